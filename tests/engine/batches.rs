//! Many frames in one message, one frame in many pieces.

use crate::harness::*;

#[tokio::test]
async fn frames_of_one_message_are_carried_out_one_by_one_in_order() {
    let server = Setup::new().start().await;
    for form in Form::ALL {
        for via in Via::BOTH {
            let mut alice = Client::login(server.main(), via, form, "alice").await;
            let mut bob = Client::login(server.main(), Via::WebSocket, form, "bob").await;
            let sent: Vec<Frame> =
                (0..200).map(|i| form.signal(SIGNALS[i % 3], "bob", &format!("number {i}"))).collect();
            let mut batch: Vec<u8> = sent.iter().flat_map(Frame::encode).collect();
            let heartbeat = form.heartbeat(1);
            batch.extend(heartbeat.encode());
            alice.send_bytes(batch).await;
            for (index, frame) in sent.iter().enumerate() {
                // The client asserts that each WebSocket message holds exactly one frame.
                assert_eq!(bob.delivered(frame).await.data, format!("number {index}"));
            }
            assert_eq!(alice.frame().await.uuid, heartbeat.uuid);
            alice.leave().await;
            bob.leave().await;
        }
    }
}

#[tokio::test]
async fn a_login_and_everything_after_it_may_come_in_one_message() {
    let server = Setup::new().start().await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    for via in Via::BOTH {
        let mut alice = Client::open(server.main(), via).await;
        (alice.form, alice.id) = (Form::TaggedJson, "alice".into());
        let connect = alice.form.connect("alice", &token_of("alice"));
        let offer = alice.form.signal(OFFER, "bob", "v=0");
        let leave = alice.form.disconnect("alice", "that was all");
        alice.send_bytes([connect.encode(), offer.encode(), leave.encode()].concat()).await;
        alice.form.read_ack(&alice.frame().await);
        assert_eq!(bob.delivered(&offer).await.data, "v=0");
        assert_eq!(alice.closed().await.map(|it| it.0), (via == Via::WebSocket).then_some(1000));
    }
}

#[tokio::test]
async fn a_message_may_be_as_long_as_the_limit_and_full_of_frames() {
    // Room for all of it in the target's outbox: this is not about a slow reader.
    let server = Setup::new().server("outbox_hard_bytes", 4_194_304).start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::Text, "alice").await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::Text, "bob").await;
    let mut sent = Vec::new();
    let mut batch = Vec::new();
    while batch.len() < 1_048_576 {
        let room = (1_048_576 - batch.len()).min(PAYLOAD_BYTES_MAX + HEADER_BYTES);
        // A rest too small for a frame is left by no step: the last two frames share what is left.
        let length = if room == 1_048_576 - batch.len() { room } else { room - 1000 };
        let frame = Form::Text.signal(OFFER, "bob", &"d".repeat(length - HEADER_BYTES - "bob:".len()));
        batch.extend(frame.encode());
        sent.push(frame);
    }
    assert_eq!(batch.len(), 1_048_576);
    let reading = async {
        for frame in &sent {
            let got = bob.delivered(frame).await;
            assert_eq!(got.data.len() + "bob:".len(), frame.payload.len());
        }
    };
    tokio::join!(alice.send_bytes(batch), reading);
    alice.is_quiet_and_alive().await;
}

#[tokio::test]
async fn trailing_bytes_are_one_400_after_the_frames_before_them() {
    let server = Setup::new().start().await;
    for form in Form::ALL {
        let mut alice = Client::login(server.main(), Via::WebSocket, form, "alice").await;
        let mut bob = Client::login(server.main(), Via::WebSocket, form, "bob").await;
        for trailing in [&b"\x00"[..], b"\xAA", b"\x55\xAA\x10", b"trailing bytes, and quite a lot of them"] {
            let first = form.signal(OFFER, "bob", "one");
            let second = form.heartbeat(1);
            alice.send_bytes([&first.encode()[..], &second.encode(), trailing].concat()).await;
            assert_eq!(bob.delivered(&first).await.data, "one");
            assert_eq!(alice.frame().await.uuid, second.uuid, "{form:?} {trailing:02x?}");
            alice.error(400).await;
            alice.is_quiet_and_alive().await;
        }
        bob.is_quiet_and_alive().await;
        alice.leave().await;
        bob.leave().await;
    }
}

#[tokio::test]
async fn a_frame_cut_by_the_end_of_its_message_is_one_400_wherever_the_cut_is() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    let whole = alice.form.signal(OFFER, "bob", "a frame that is cut");
    let bytes = whole.encode();
    for cut in 1..bytes.len() {
        alice.send_bytes(bytes[..cut].to_vec()).await;
        alice.error(400).await;
        alice.is_quiet_and_alive().await;
    }
    // The next message begins anew: the rest of a cut frame is never waited for.
    alice.send_bytes(bytes).await;
    assert_eq!(bob.delivered(&whole).await.data, "a frame that is cut");
}

/// The bytes before the cut are in the engine before those behind it are sent: a heartbeat of
/// somebody else on the only shard, answered meanwhile, shows that.
#[tokio::test]
async fn a_tcp_stream_may_be_cut_at_every_byte() {
    let server = Setup::new().shards(1).start().await;
    let mut witness = Client::login(server.main(), Via::WebSocket, Form::Binary, "bystander-1").await;
    for form in [Form::FlatJson, Form::Binary] {
        let mut bob = Client::login(server.main(), Via::Tcp, form, "bob").await;
        let offer = form.signal(OFFER, "bob", "cut anywhere");
        let heartbeat = form.heartbeat(1);
        let connect = form.connect("alice", &token_of("alice"));
        let stream = [connect.encode(), offer.encode(), heartbeat.encode()].concat();
        for cut in 1..stream.len() {
            let mut alice = Client::open(server.main(), Via::Tcp).await;
            alice.send_bytes(stream[..cut].to_vec()).await;
            witness.is_quiet_and_alive().await;
            alice.send_bytes(stream[cut..].to_vec()).await;
            assert_eq!(alice.frame().await.uuid, connect.uuid, "cut at {cut}");
            assert_eq!(alice.frame().await.uuid, heartbeat.uuid, "cut at {cut}");
            assert_eq!(bob.delivered(&offer).await.data, "cut anywhere");
            (alice.form, alice.id) = (form, "alice".into());
            alice.leave().await;
        }
        bob.leave().await;
    }
}

#[tokio::test]
async fn a_tcp_stream_may_come_byte_by_byte() {
    let server = Setup::new().start().await;
    let mut alice = Client::open(server.main(), Via::Tcp).await;
    let connect = Form::FlatJson.connect("alice", &token_of("alice"));
    let heartbeat = Form::FlatJson.heartbeat(1);
    for byte in [connect.encode(), heartbeat.encode()].concat() {
        alice.send_bytes(vec![byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(alice.frame().await.uuid, connect.uuid);
    assert_eq!(alice.frame().await.uuid, heartbeat.uuid);
}

#[tokio::test]
async fn a_message_in_fragments_with_pings_between_them_is_one_message() {
    let server = Setup::new().start().await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    for piece in [1, 2, 7, 20, 21, 22, 64] {
        let mut raw = RawWs::open(server.main()).await;
        let form = Form::FlatJson;
        let frames = [
            form.connect("alice", &token_of("alice")),
            form.signal(OFFER, "bob", "in pieces"),
            form.heartbeat(1),
        ];
        let message: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let pieces: Vec<&[u8]> = message.chunks(piece).collect();
        for (index, part) in pieces.iter().enumerate() {
            let first = if index == 0 { opcode::BINARY } else { opcode::CONTINUATION };
            let last = if index + 1 == pieces.len() { opcode::FIN } else { 0 };
            raw.send(&ws_frame(first | last, part)).await;
            if last == 0 {
                let ping = format!("ping {index}");
                raw.send(&ws_frame(opcode::FIN | opcode::PING, ping.as_bytes())).await;
                assert_eq!(raw.next().await, Some((opcode::FIN | opcode::PONG, ping.into_bytes())));
            }
        }
        assert_eq!(raw.frame().await.uuid, frames[0].uuid, "pieces of {piece}");
        assert_eq!(raw.frame().await.uuid, frames[2].uuid, "pieces of {piece}");
        assert_eq!(bob.delivered(&frames[1]).await.data, "in pieces");
        raw.send_frame(&form.disconnect("alice", "next size")).await;
        assert_eq!(raw.closed().await.0, 1000);
    }
}

#[tokio::test]
async fn an_empty_fragment_changes_nothing() {
    let server = Setup::new().start().await;
    let mut raw = RawWs::open(server.main()).await;
    let connect = Form::FlatJson.connect("alice", &token_of("alice")).encode();
    raw.send(&ws_frame(opcode::BINARY, b"")).await;
    raw.send(&ws_frame(opcode::CONTINUATION, &connect)).await;
    raw.send(&ws_frame(opcode::CONTINUATION, b"")).await;
    raw.send(&ws_frame(opcode::FIN | opcode::CONTINUATION, b"")).await;
    Form::FlatJson.read_ack(&raw.frame().await);
}

/// The kernel may hand over one WebSocket frame in as many reads as it likes.
#[tokio::test]
async fn a_websocket_frame_may_come_byte_by_byte() {
    let server = Setup::new().shards(1).start().await;
    let mut witness = Client::login(server.main(), Via::Tcp, Form::Binary, "bystander-1").await;
    let mut raw = RawWs::open(server.main()).await;
    let connect = Form::TaggedJson.connect("alice", &token_of("alice"));
    for byte in ws_frame(opcode::FIN | opcode::BINARY, &connect.encode()) {
        raw.send(&[byte]).await;
        witness.is_quiet_and_alive().await;
    }
    Form::TaggedJson.read_ack(&raw.frame().await);
}
