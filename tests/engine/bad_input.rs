//! Everything that a client must not do, done over real sockets: the culprit gets the documented
//! error or close code, and two bystanders notice nothing. `leaks` does the same ten thousand times.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::{Instant, interval};

use crate::harness::*;

/// Longest message that the default configuration takes.
const MESSAGE_BYTES_MAX: u64 = 1_048_576;

/// The length field cannot say it: one byte stands behind the longest frame there is. Built once,
/// since ten thousand rounds of it take their time in a build without optimization.
static PAYLOAD_OF_65536_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let head = r#"{"target_client_id":"nobody","signal_data":""#;
    let payload = format!("{head}{}\"}}", "x".repeat(PAYLOAD_BYTES_MAX + 1 - head.len() - 2));
    assert_eq!(payload.len(), 65_536);
    let mut bad = flat_json(OFFER, &payload[..PAYLOAD_BYTES_MAX]).encode();
    bad.extend(&payload.as_bytes()[PAYLOAD_BYTES_MAX..]);
    ws_frame(opcode::FIN | opcode::BINARY, &bad)
});

/// One way to misbehave.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    BadStartByte,
    BadStartByteOnTcp,
    UnknownType,
    UnknownPayloadType,
    LengthBeyondTheFrame,
    PayloadOf65536Bytes,
    TruncatedFrame,
    TruncatedFrameOnTcp,
    BadUtf8,
    JsonThatIsNoObject,
    MissingFields,
    WrongTypes,
    UnmaskedFrame,
    ReservedBits,
    FragmentedControlFrame,
    OversizedMessage,
    GarbageInPlaceOfHttp,
    HeadThatNeverEnds,
    NeverReads,
    SaysNothing,
    SaysNothingAfterTheUpgrade,
}

impl Fault {
    pub const ALL: [Fault; 21] = [
        Fault::BadStartByte,
        Fault::BadStartByteOnTcp,
        Fault::UnknownType,
        Fault::UnknownPayloadType,
        Fault::LengthBeyondTheFrame,
        Fault::PayloadOf65536Bytes,
        Fault::TruncatedFrame,
        Fault::TruncatedFrameOnTcp,
        Fault::BadUtf8,
        Fault::JsonThatIsNoObject,
        Fault::MissingFields,
        Fault::WrongTypes,
        Fault::UnmaskedFrame,
        Fault::ReservedBits,
        Fault::FragmentedControlFrame,
        Fault::OversizedMessage,
        Fault::GarbageInPlaceOfHttp,
        Fault::HeadThatNeverEnds,
        Fault::NeverReads,
        Fault::SaysNothing,
        Fault::SaysNothingAfterTheUpgrade,
    ];

    /// A configuration under which the faults that need time take `patience`, and those that need
    /// full buffers need few bytes.
    pub fn setup(patience: &str) -> Setup {
        Setup::new()
            .server("first_message_seconds", patience)
            .server("head_seconds", patience)
            .server("close_seconds", "'1s'")
            .server("slow_consumer_seconds", "'100ms'")
            .server("outbox_soft_bytes", 65_536)
            .server("outbox_hard_bytes", 131_072)
    }

    /// Does it as `id` and checks what the engine answers. `pusher` is a client in good standing
    /// that sends to `id` where that belongs to the fault.
    pub async fn commit(self, server: &Server, id: &str, pusher: &Mutex<Client>) {
        let addr = server.main();
        let json = Form::FlatJson;
        let offer = json.signal(OFFER, "nobody", "v=0").encode();
        match self {
            Fault::BadStartByte => {
                let mut bad = offer;
                bad[0] = 0xAB;
                refused_on_websocket(server, id, &[bad]).await;
            }
            Fault::BadStartByteOnTcp => {
                let mut client = Client::open(addr, Via::Tcp).await;
                client.connect(json, id).await;
                client.send_bytes(b"\x55 not a frame".to_vec()).await;
                client.error(400).await;
                client.closed().await;
            }
            Fault::UnknownType => {
                let bad = [0x00, 0x06, 0x0F, 0x13, 0x7F, 0xFE].map(|kind| flat_json(kind, "{}").encode());
                refused_on_websocket(server, id, &bad).await;
            }
            Fault::UnknownPayloadType => {
                let payload = json.signal(OFFER, "nobody", "v=0").payload;
                let bad =
                    [0x00, 0x04, 0x06, 0xFF].map(|kind| Frame::new(OFFER, kind, payload.clone()).encode());
                refused_on_websocket(server, id, &bad).await;
            }
            Fault::LengthBeyondTheFrame => {
                let mut bad = offer;
                bad[19..21].copy_from_slice(&u16::MAX.to_be_bytes());
                refused_on_websocket(server, id, &[bad]).await;
            }
            Fault::PayloadOf65536Bytes => {
                let mut raw = login_raw(server, id).await;
                raw.send(&PAYLOAD_OF_65536_BYTES).await;
                // The frame's JSON is cut, and what is behind the frame is no frame.
                expect_error(&mut raw, 400).await;
                expect_error(&mut raw, 400).await;
                leave_raw(raw, id).await;
            }
            Fault::TruncatedFrame => {
                let bad = [1, 2, 20, 21, offer.len() - 1].map(|cut| offer[..cut].to_vec());
                refused_on_websocket(server, id, &bad).await;
            }
            Fault::TruncatedFrameOnTcp => {
                let mut client = Client::open(addr, Via::Tcp).await;
                client.connect(json, id).await;
                client.send_bytes(offer[..offer.len() - 1].to_vec()).await;
                // The stream ends here, in the middle: no one is left to be told.
                drop(client);
            }
            Fault::BadUtf8 => {
                let bad = [
                    Frame::new(
                        OFFER,
                        2,
                        b"{\"target_client_id\":\"nobody\",\"signal_data\":\"\xff\"}".as_slice(),
                    ),
                    Frame::new(
                        OFFER,
                        2,
                        b"{\"target_client_id\":\"no\xc3\",\"signal_data\":\"\"}".as_slice(),
                    ),
                    Frame::new(OFFER, 3, b"nobody:\xed\xa0\x80".as_slice()),
                    Frame::new(OFFER, 3, b"nob\x80dy:v=0".as_slice()),
                    Frame::new(OFFER, 1, b"\x06nob\x80dy\x00\x03v=0".as_slice()),
                    Frame::new(
                        OFFER,
                        5,
                        b"\xa2\x70target_client_id\x66nobody\x6bsignal_data\x61\xff".as_slice(),
                    ),
                ];
                refused_on_websocket(server, id, &bad.map(|frame| frame.encode())).await;
            }
            Fault::JsonThatIsNoObject => {
                let bad = ["", " ", "[]", "1", "\"x\"", "null", "{", "{}}", "{\"a\":}", "{'a':1}", "offer"];
                let bad = bad.map(|payload| flat_json(OFFER, payload).encode());
                refused_on_websocket(server, id, &bad).await;
            }
            Fault::MissingFields => {
                let bad = [
                    flat_json(OFFER, "{}"),
                    flat_json(OFFER, r#"{"target_client_id":"nobody"}"#),
                    flat_json(OFFER, r#"{"signal_data":"v=0"}"#),
                    flat_json(OFFER, r#"{"SignalOffer":{}}"#),
                    flat_json(ANSWER, r#"{"SignalAnswer":{"signal_data":"v=0"}}"#),
                    Frame::new(OFFER, 3, b"no colon".as_slice()),
                    Frame::new(OFFER, 1, b"\x06nobody".as_slice()),
                    Frame::new(OFFER, 1, b"\x06nobody\x00\x09v=0".as_slice()),
                    Frame::new(OFFER, 1, b"\xffnobody\x00\x03v=0".as_slice()),
                    Frame::new(OFFER, 1, b"".as_slice()),
                    Frame::new(OFFER, 5, b"\xa0".as_slice()),
                ];
                refused_on_websocket(server, id, &bad.map(|frame| frame.encode())).await;
            }
            Fault::WrongTypes => {
                let bad = [
                    r#"{"target_client_id":1,"signal_data":"v=0"}"#,
                    r#"{"target_client_id":null,"signal_data":"v=0"}"#,
                    r#"{"target_client_id":["nobody"],"signal_data":"v=0"}"#,
                    r#"{"SignalOffer":[]}"#,
                    r#"{"SignalOffer":"nobody"}"#,
                ];
                let bad = bad.map(|payload| flat_json(OFFER, payload).encode());
                refused_on_websocket(server, id, &bad).await;
            }
            Fault::UnmaskedFrame => {
                let heartbeat = json.heartbeat(1).encode();
                let mut bad = vec![opcode::FIN | opcode::BINARY, heartbeat.len() as u8];
                bad.extend(heartbeat);
                closed_on_websocket(server, id, &bad, 1002).await;
            }
            Fault::ReservedBits => {
                for bit in [opcode::RSV1, opcode::RSV2, opcode::RSV3] {
                    let bad = ws_frame(opcode::FIN | bit | opcode::BINARY, &json.heartbeat(1).encode());
                    closed_on_websocket(server, id, &bad, 1002).await;
                }
            }
            Fault::FragmentedControlFrame => {
                closed_on_websocket(server, id, &ws_frame(opcode::PING, b"half of a ping"), 1002).await;
            }
            Fault::OversizedMessage => {
                // Its head alone says so: not one byte of it needs to come.
                let mut bad = vec![opcode::FIN | opcode::BINARY, 0x80 | 127];
                bad.extend((MESSAGE_BYTES_MAX + 1).to_be_bytes());
                bad.extend([1, 2, 3, 4]);
                closed_on_websocket(server, id, &bad, 1009).await;
            }
            Fault::GarbageInPlaceOfHttp => {
                let mut http = Http::open(addr).await;
                http.send(b"\x00\x01\x02 this is no HTTP\r\n\r\n").await;
                let response = http.response(false).await.expect("an answer");
                assert_eq!(response.status, 400);
                assert!(http.until_end().await.is_empty());
            }
            Fault::HeadThatNeverEnds => {
                let mut http = Http::open(addr).await;
                http.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n").await;
                // Either the time ends it, with or without a word, or the last line does.
                if let Some(response) = http.response(false).await {
                    assert_eq!(response.status, 408);
                    assert!(http.until_end().await.is_empty());
                }
            }
            Fault::NeverReads => {
                let mut sloth = Client::open_narrow(addr, Via::WebSocket).await;
                sloth.connect(json, id).await;
                let mut pusher = pusher.lock().await;
                push_until(&mut pusher, id, 503).await;
                push_until(&mut pusher, id, 404).await;
            }
            Fault::SaysNothing => {
                let mut http = Http::open(addr).await;
                assert!(http.until_end().await.is_empty());
            }
            Fault::SaysNothingAfterTheUpgrade => {
                let mut raw = RawWs::open(addr).await;
                assert_eq!(raw.closed().await, (1008, "No message".into()));
            }
        }
    }
}

/// The property of each fault, with witnesses.
async fn only_the_culprit_notices(fault: Fault) {
    let server = Fault::setup("'250ms'").start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let pusher = Mutex::new(Client::login(server.main(), Via::WebSocket, Form::FlatJson, "dave").await);
    for _ in 0..4 {
        bystanders.talk().await;
        fault.commit(&server, "erin", &pusher).await;
        bystanders.talk().await;
    }
}

#[tokio::test]
async fn a_bad_start_byte_is_a_400() {
    only_the_culprit_notices(Fault::BadStartByte).await;
}

#[tokio::test]
async fn a_bad_start_byte_in_a_tcp_stream_is_a_400_and_the_end() {
    only_the_culprit_notices(Fault::BadStartByteOnTcp).await;
}

#[tokio::test]
async fn an_unknown_message_type_is_a_400() {
    only_the_culprit_notices(Fault::UnknownType).await;
}

#[tokio::test]
async fn an_unknown_payload_type_is_a_400() {
    only_the_culprit_notices(Fault::UnknownPayloadType).await;
}

#[tokio::test]
async fn a_length_beyond_the_message_is_a_400() {
    only_the_culprit_notices(Fault::LengthBeyondTheFrame).await;
}

#[tokio::test]
async fn a_payload_of_65536_bytes_is_a_400() {
    only_the_culprit_notices(Fault::PayloadOf65536Bytes).await;
}

#[tokio::test]
async fn a_truncated_frame_is_a_400() {
    only_the_culprit_notices(Fault::TruncatedFrame).await;
}

#[tokio::test]
async fn a_frame_cut_by_the_end_of_a_tcp_stream_ends_a_session_like_any_other_end() {
    only_the_culprit_notices(Fault::TruncatedFrameOnTcp).await;
}

#[tokio::test]
async fn bad_utf8_is_a_400() {
    only_the_culprit_notices(Fault::BadUtf8).await;
}

#[tokio::test]
async fn json_that_is_no_object_is_a_400() {
    only_the_culprit_notices(Fault::JsonThatIsNoObject).await;
}

#[tokio::test]
async fn missing_fields_are_a_400() {
    only_the_culprit_notices(Fault::MissingFields).await;
}

#[tokio::test]
async fn wrong_types_are_a_400() {
    only_the_culprit_notices(Fault::WrongTypes).await;
}

#[tokio::test]
async fn an_unmasked_frame_closes_with_1002() {
    only_the_culprit_notices(Fault::UnmaskedFrame).await;
}

#[tokio::test]
async fn reserved_bits_close_with_1002() {
    only_the_culprit_notices(Fault::ReservedBits).await;
}

#[tokio::test]
async fn a_fragmented_control_frame_closes_with_1002() {
    only_the_culprit_notices(Fault::FragmentedControlFrame).await;
}

#[tokio::test]
async fn an_oversized_message_closes_with_1009() {
    only_the_culprit_notices(Fault::OversizedMessage).await;
}

#[tokio::test]
async fn garbage_in_place_of_http_is_an_http_400() {
    only_the_culprit_notices(Fault::GarbageInPlaceOfHttp).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_by_time() {
    only_the_culprit_notices(Fault::HeadThatNeverEnds).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut() {
    only_the_culprit_notices(Fault::NeverReads).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_plainly() {
    only_the_culprit_notices(Fault::SaysNothing).await;
}

#[tokio::test]
async fn a_client_that_upgrades_and_says_nothing_is_closed_with_1008() {
    only_the_culprit_notices(Fault::SaysNothingAfterTheUpgrade).await;
}

#[tokio::test]
async fn bad_connects_are_400s_in_the_form_they_came_in() {
    let server = Setup::new().start().await;
    for payload in ["[]", "{}", "nonsense", r#"{"client_id":"alice"}"#, r#"{"auth_token":"x"}"#] {
        let mut client = Client::open(server.main(), Via::WebSocket).await;
        client.refused(&flat_json(CONNECT, payload), 400).await;
        client.connect(Form::FlatJson, "alice").await;
    }
    for payload in [r#"{"client_id":1,"auth_token":"x"}"#, r#"{"client_id":"alice","auth_token":null}"#] {
        let mut client = Client::open(server.main(), Via::Tcp).await;
        client.refused(&flat_json(CONNECT, payload), 400).await;
        client.connect(Form::FlatJson, "alice").await;
    }
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.form = Form::TaggedJson;
    client.refused(&flat_json(CONNECT, r#"{"Connect":{"client_id":"alice"}}"#), 400).await;
    client.form = Form::Binary;
    client.refused(&Frame::new(CONNECT, 1, b"\x05alice\xffshort".as_slice()), 400).await;
    client.connect(Form::Binary, "alice").await;
}

/// A payload type that nobody reads gives no form to answer in.
#[tokio::test]
async fn what_cannot_be_read_before_connect_is_answered_in_flat_json() {
    let server = Setup::new().start().await;
    for via in Via::BOTH {
        let mut client = Client::open(server.main(), via).await;
        let protobuf = Frame::new(CONNECT, 4, b"\x0a\x05alice".as_slice());
        client.send(&protobuf).await;
        let (error, _) = client.error(400).await;
        assert_eq!(error.payload_type, 2, "{via:?}");
    }
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.send_bytes(b"?".to_vec()).await;
    let (error, _) = client.error(400).await;
    assert_eq!((error.uuid, error.payload_type), (NIL, 2));
}

#[tokio::test]
async fn in_a_tcp_stream_whatever_keeps_its_framing_keeps_the_connection() {
    let server = Setup::new().start().await;
    let mut client = Client::login(server.main(), Via::Tcp, Form::FlatJson, "alice").await;
    client.refused(&flat_json(0x77, "{}"), 400).await;
    client.refused(&Frame::new(OFFER, 9, b"x".as_slice()), 400).await;
    client.refused(&flat_json(OFFER, "[1,2]"), 400).await;
    client.refused(&Frame::new(OFFER, 3, b"bob\xff:x".as_slice()), 400).await;
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn garbage_after_frames_in_a_tcp_stream_ends_it_after_the_frames_are_carried_out() {
    let server = Setup::new().start().await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    let mut alice = Client::login(server.main(), Via::Tcp, Form::FlatJson, "alice").await;
    let offer = alice.form.signal(OFFER, "bob", "before the garbage");
    alice.send_bytes([&offer.encode()[..], b"garbage"].concat()).await;
    assert_eq!(bob.delivered(&offer).await.data, "before the garbage");
    alice.error(400).await;
    alice.closed().await;
    bob.refused(&bob.form.signal(OFFER, "alice", "too late"), 404).await;
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_cut_although_it_keeps_coming() {
    let server = Fault::setup("'250ms'").start().await;
    let mut http = Http::open(server.main()).await;
    http.send(b"GET / HTTP/1.1\r\n").await;
    let (stream, _) = http.into_parts();
    let started = Instant::now();
    let mut pace = interval(Duration::from_millis(20));
    within("the engine loses its patience", async {
        loop {
            pace.tick().await;
            let mut buffer = [0; 512];
            if stream.try_write(b"X-More: of this\r\n").is_err() {
                return;
            }
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => assert!(buffer.starts_with(b"HTTP/1.1 408 ")),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    })
    .await;
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_by_its_size() {
    let server = Setup::new().start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let mut head = String::from("GET / HTTP/1.1\r\nHost: localhost\r\n");
    while head.len() < 256 * 1024 {
        head += &format!("X-{}: {}\r\n", head.len(), "x".repeat(100));
    }
    let (mut stream, _) = Http::open(server.main()).await.into_parts();
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    // The engine need not read all of it before it refuses, so writing and reading may fail late.
    let exchange = async {
        let write = async { writing.write_all(head.as_bytes()).await.is_ok() };
        let read = async { reading.read_to_end(&mut answer).await.is_ok() };
        tokio::join!(write, read)
    };
    within("the head is refused", exchange).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    bystanders.talk().await;
}

async fn login_raw(server: &Server, id: &str) -> RawWs {
    let mut raw = RawWs::open(server.main()).await;
    let connect = Form::FlatJson.connect(id, &token_of(id));
    raw.send_frame(&connect).await;
    let ack = raw.frame().await;
    assert_eq!((ack.kind, ack.uuid), (CONNECT_ACK, connect.uuid), "{ack:?}");
    raw
}

async fn leave_raw(mut raw: RawWs, id: &str) {
    let heartbeat = Form::FlatJson.heartbeat(1);
    raw.send_frame(&heartbeat).await;
    let ack = raw.frame().await;
    assert_eq!((ack.kind, ack.uuid), (HEARTBEAT_ACK, heartbeat.uuid), "{ack:?}");
    raw.send_frame(&Form::FlatJson.disconnect(id, "enough")).await;
    assert_eq!(raw.closed().await.0, 1000);
}

async fn expect_error(raw: &mut RawWs, code: u64) {
    let error = raw.frame().await;
    let (got, message) = Form::FlatJson.read_error(&error);
    assert_eq!(got, code, "{message}");
}

/// Each of `bad`, as a message of its own, is exactly one 400, and the session goes on.
async fn refused_on_websocket(server: &Server, id: &str, bad: &[Vec<u8>]) {
    let mut raw = login_raw(server, id).await;
    for (index, bytes) in bad.iter().enumerate() {
        raw.send(&ws_frame(opcode::FIN | opcode::BINARY, bytes)).await;
        let error = raw.frame().await;
        assert_eq!(error.kind, ERROR, "number {index}: {error:?}");
        let (code, message) = Form::FlatJson.read_error(&error);
        assert_eq!(code, 400, "number {index}: {message}");
    }
    leave_raw(raw, id).await;
}

async fn closed_on_websocket(server: &Server, id: &str, bad: &[u8], code: u16) {
    let mut raw = login_raw(server, id).await;
    raw.send(bad).await;
    assert_eq!(raw.closed().await.0, code);
}

/// Sends to `target` until an answer has this code. Earlier answers may still be on their way,
/// also from another round: the number of one code is not what this is about.
async fn push_until(pusher: &mut Client, target: &str, code: u64) {
    let data = "x".repeat(16_384);
    let heartbeat = pusher.form.heartbeat(1);
    let signal = pusher.form.signal(OFFER, target, &data).encode();
    let batch = [&signal[..], &signal, &signal, &signal, &heartbeat.encode()].concat();
    let mut pace = interval(Duration::from_millis(10));
    within("the signals are refused", async {
        loop {
            pace.tick().await;
            pusher.send_bytes(batch.clone()).await;
            let mut seen = false;
            loop {
                let answer = pusher.frame().await;
                if answer.uuid == heartbeat.uuid {
                    break;
                }
                seen |= pusher.form.read_error(&answer).0 == pusher.form.code(code);
            }
            if seen {
                return;
            }
        }
    })
    .await;
}
