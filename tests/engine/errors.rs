//! Every documented code, for every form, with the connection as usable after as before.

use crate::harness::*;

#[tokio::test]
async fn an_unknown_target_is_a_404_and_the_connection_stays_open() {
    let server = Setup::new().start().await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut alice = Client::login(server.main(), via, form, "alice").await;
            for kind in SIGNALS {
                alice.refused(&form.signal(kind, "nobody", "v=0"), 404).await;
            }
            alice.is_quiet_and_alive().await;
            alice.leave().await;
        }
    }
}

#[tokio::test]
async fn a_target_that_has_gone_is_a_404_however_it_went() {
    let server = Setup::new().start().await;
    for via in Via::BOTH {
        let mut alice = Client::login(server.main(), Via::WebSocket, Form::TaggedJson, "alice").await;
        let bob = Client::login(server.main(), via, Form::FlatJson, "bob").await;
        bob.leave().await;
        alice.refused(&alice.form.signal(OFFER, "bob", "v=0"), 404).await;

        // Without a word: the engine learns of it by the end of the TCP connection.
        drop(Client::login(server.main(), via, Form::FlatJson, "bob").await);
        until("bob is gone", async || {
            let offer = alice.signal(OFFER, "bob", "v=0").await;
            // Until then the offer is delivered to a connection that nobody reads, and comes back
            // when that is closed: a 404 may be for an earlier one.
            let heartbeat = alice.form.heartbeat(1);
            alice.send(&heartbeat).await;
            let mut refused = false;
            loop {
                let answer = alice.frame().await;
                if answer.uuid == heartbeat.uuid {
                    return refused.then_some(());
                }
                assert_eq!(alice.form.read_error(&answer).0, 4);
                refused |= answer.uuid == offer.uuid;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn each_refused_signal_of_a_batch_gets_its_own_404() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::TaggedCbor, "alice").await;
    let sent: Vec<Frame> = (0..50).map(|i| alice.form.signal(OFFER, &format!("nobody-{i}"), "v=0")).collect();
    alice.send_bytes(sent.iter().flat_map(Frame::encode).collect()).await;
    for frame in &sent {
        assert_eq!(alice.error(404).await.0.uuid, frame.uuid);
    }
}

#[tokio::test]
async fn too_many_messages_are_429s_until_time_has_passed() {
    let server = Setup::new().server("message_rate", 10).start().await;
    for form in [Form::FlatJson, Form::TaggedJson, Form::Binary] {
        let mut alice = Client::login(server.main(), Via::WebSocket, form, "alice").await;
        let sent: Vec<Frame> = (0..100).map(|_| form.signal(OFFER, "nobody", "v=0")).collect();
        alice.send_bytes(sent.iter().flat_map(Frame::encode).collect()).await;
        let (mut passed, mut limited) = (0, 0);
        for frame in &sent {
            let answer = alice.frame().await;
            assert_eq!(answer.uuid, frame.uuid);
            match form.read_error(&answer).0 {
                code if code == form.code(404) => passed += 1,
                code if code == form.code(429) => limited += 1,
                code => panic!("code {code}"),
            }
        }
        // One second's worth at once, and a little more while the batch was worked off.
        assert!((1..=30).contains(&passed), "{passed} passed, {limited} were limited");
        until("messages pass again", async || {
            let offer = alice.signal(OFFER, "nobody", "v=0").await;
            let answer = alice.frame().await;
            assert_eq!(answer.uuid, offer.uuid);
            (form.read_error(&answer).0 == form.code(404)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn one_clients_rate_is_not_anothers() {
    let server = Setup::new().server("message_rate", 10).shards(1).start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let flood: Vec<u8> = (0..100).flat_map(|_| alice.form.signal(OFFER, "nobody", "v=0").encode()).collect();
    alice.send_bytes(flood).await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    bob.refused(&bob.form.signal(OFFER, "nobody", "v=0"), 404).await;
}

#[tokio::test]
async fn at_max_connections_an_upgrade_is_a_503_and_plain_tcp_an_error_503() {
    let server = Setup::new().server("max_connections", 2).start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let bob = Client::login(server.main(), Via::Tcp, Form::FlatJson, "bob").await;

    let mut http = Http::open(server.main()).await;
    http.send(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert_eq!(http.response(false).await.expect("an answer").status, 503);

    let mut third = Client::open(server.main(), Via::Tcp).await;
    third.send(&Form::FlatJson.connect("carol", &token_of("carol"))).await;
    third.error(503).await;
    third.closed().await;
    // A full server can still be looked at.
    assert_eq!(Http::open(server.metrics()).await.get("/health").await.status, 200);

    alice.is_quiet_and_alive().await;
    bob.leave().await;
    until("a place is free again", async || {
        let mut carol = Client::open(server.main(), Via::Tcp).await;
        let connect = Form::FlatJson.connect("carol", &token_of("carol"));
        carol.try_send_bytes(connect.encode()).await.ok()?;
        match carol.next().await {
            Event::Frame(frame) if frame.kind == CONNECT_ACK => Some(()),
            _ => None,
        }
    })
    .await;
    alice.is_quiet_and_alive().await;
}

/// Before a CONNECT nothing tells the form, and a text has no uuid.
#[tokio::test]
async fn a_text_message_where_only_binary_is_served_is_refused_in_binary() {
    let server = Setup::new().start().await;
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.send_text("{\"type\":\"register\"}").await;
    let (error, _) = client.error(400).await;
    assert_eq!((error.uuid, error.payload_type), (NIL, 2));
    client.connect(Form::FlatJson, "alice").await;

    for form in Form::ALL {
        let mut client = Client::login(server.main(), Via::WebSocket, form, "bob").await;
        client.send_text("hello").await;
        let error = client.frame().await;
        let (code, _) = form.read_error(&error);
        let wanted = match form {
            Form::FlatJson | Form::FlatCbor | Form::Text => 400,
            Form::TaggedJson | Form::TaggedCbor | Form::Binary => 3,
        };
        assert_eq!((code, error.uuid), (wanted, NIL), "{form:?}");
        client.is_quiet_and_alive().await;
        client.leave().await;
    }
}

/// What only the server says is no message for it to hear.
#[tokio::test]
async fn replies_sent_by_a_client_are_400s() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    for kind in [CONNECT_ACK, HEARTBEAT_ACK, ERROR] {
        alice.refused(&flat_json(kind, "{}"), 400).await;
    }
    alice.is_quiet_and_alive().await;
}
