//! Heartbeats, sessions that end by time, connections that say nothing: who is closed, who is not.

use std::time::Duration;

use tokio::time::{Instant, interval, timeout};

use crate::harness::*;

const INTERVAL: Duration = Duration::from_millis(200);

/// How much earlier than asked a coarse timer may fire.
const TICK: Duration = Duration::from_millis(60);

fn beating() -> Setup {
    Setup::new().server("heartbeat_interval", "'200ms'")
}

#[tokio::test]
async fn a_silent_client_is_pinged_after_the_interval_and_closed_after_three() {
    let server = beating().start().await;
    let mut raw = login(&server, "alice").await;
    let started = Instant::now();
    let (first, _) = raw.next().await.expect("a ping");
    assert_eq!(first, opcode::FIN | opcode::PING);
    assert!(started.elapsed() + TICK >= INTERVAL, "pinged after {:?}", started.elapsed());
    // No pong goes back.
    assert_eq!(raw.close_frame().await, (1008, "Heartbeat timeout".into()));
    assert!(started.elapsed() + TICK >= 3 * INTERVAL, "closed after {:?}", started.elapsed());
    assert!(started.elapsed() < 10 * INTERVAL, "closed only after {:?}", started.elapsed());
}

#[tokio::test]
async fn nobody_answers_for_an_id_after_its_heartbeat_was_lost() {
    let server = beating().start().await;
    let mut raw = login(&server, "alice").await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    let silence = async {
        raw.close_frame().await;
    };
    let closed = async {
        tokio::select! {
            () = silence => {}
            event = bob.next_unbounded() => panic!("{event:?}"),
        }
    };
    within("alice is closed while bob answers pings", closed).await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "carol").await;
    bob.refused(&bob.form.signal(OFFER, "alice", "v=0"), 404).await;
}

#[tokio::test]
async fn a_pong_keeps_a_session_alive() {
    let server = beating().start().await;
    let mut client = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    // tungstenite answers pings while it is read.
    if let Ok(event) = timeout(8 * INTERVAL, client.next_unbounded()).await {
        panic!("{event:?} although every ping was answered");
    }
    client.is_quiet_and_alive().await;
}

/// Not even whole messages: the bytes of one that has not ended yet.
#[tokio::test]
async fn any_received_byte_keeps_a_session_alive() {
    let server = beating().start().await;
    let mut raw = login(&server, "alice").await;
    let heartbeat = Form::FlatJson.heartbeat(1);
    let message = ws_frame(opcode::FIN | opcode::BINARY, &heartbeat.encode());
    let mut pace = interval(INTERVAL / 2);
    for byte in &message[..20] {
        pace.tick().await;
        raw.send(&[*byte]).await;
    }
    raw.send(&message[20..]).await;
    assert_eq!(raw.frame().await.uuid, heartbeat.uuid);
}

#[tokio::test]
async fn a_busy_client_is_not_pinged() {
    let server = beating().start().await;
    let mut raw = login(&server, "alice").await;
    let mut pace = interval(INTERVAL / 4);
    for _ in 0..24 {
        pace.tick().await;
        let heartbeat = Form::FlatJson.heartbeat(1);
        raw.send_frame(&heartbeat).await;
        let (first, _) = raw.next().await.expect("an answer");
        assert_eq!(first, opcode::FIN | opcode::BINARY, "no ping between answers");
    }
}

#[tokio::test]
async fn plain_tcp_has_no_heartbeat_to_lose() {
    let server = beating().start().await;
    let mut client = Client::login(server.main(), Via::Tcp, Form::FlatJson, "alice").await;
    if let Ok(event) = timeout(8 * INTERVAL, client.next_unbounded()).await {
        panic!("{event:?} on a silent TCP connection");
    }
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_session_without_a_received_byte_ends_by_its_timeout() {
    let server = Setup::new().server("session_timeout", "'400ms'").start().await;
    for via in Via::BOTH {
        let mut client = Client::login(server.main(), via, Form::FlatJson, "alice").await;
        let started = Instant::now();
        client.closed().await;
        let lasted = started.elapsed();
        assert!(lasted + TICK >= Duration::from_millis(400), "{via:?} closed after {lasted:?}");
        let mut bob = Client::login(server.main(), via, Form::FlatJson, "bob").await;
        bob.refused(&bob.form.signal(OFFER, "alice", "v=0"), 404).await;
    }
}

#[tokio::test]
async fn received_bytes_put_the_session_timeout_off() {
    let server = Setup::new().server("session_timeout", "'400ms'").start().await;
    for via in Via::BOTH {
        let mut client = Client::login(server.main(), via, Form::FlatJson, "alice").await;
        let mut pace = interval(Duration::from_millis(100));
        for _ in 0..10 {
            pace.tick().await;
            client.is_quiet_and_alive().await;
        }
    }
}

#[tokio::test]
async fn a_websocket_that_says_nothing_is_closed_with_no_message() {
    let server = Setup::new().server("first_message_seconds", "'300ms'").start().await;
    let started = Instant::now();
    let mut raw = RawWs::open(server.main()).await;
    assert_eq!(raw.closed().await, (1008, "No message".into()));
    assert!(started.elapsed() + TICK >= Duration::from_millis(300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_tcp_connection_that_says_nothing_is_closed_without_a_word() {
    let server = Setup::new().server("first_message_seconds", "'300ms'").start().await;
    let started = Instant::now();
    assert!(Http::open(server.main()).await.until_end().await.is_empty());
    assert!(started.elapsed() + TICK >= Duration::from_millis(300), "{:?}", started.elapsed());
}

/// Half a frame does not show what a connection is.
#[tokio::test]
async fn a_tcp_connection_that_stops_within_its_first_frame_is_closed() {
    let server = Setup::new().server("first_message_seconds", "'300ms'").start().await;
    let mut client = Client::open(server.main(), Via::Tcp).await;
    let connect = Form::FlatJson.connect("alice", &token_of("alice")).encode();
    client.send_bytes(connect[..30].to_vec()).await;
    // Whether it is told why is the engine's choice; that it ends is not.
    while let Event::Frame(frame) = client.next().await {
        assert_eq!(frame.kind, ERROR);
    }
}

#[tokio::test]
async fn a_session_that_has_begun_has_no_first_message_to_miss() {
    let server = Setup::new().server("first_message_seconds", "'200ms'").start().await;
    for via in Via::BOTH {
        let mut client = Client::login(server.main(), via, Form::FlatJson, "alice").await;
        if let Ok(event) = timeout(Duration::from_millis(800), client.next_unbounded()).await {
            panic!("{event:?} on a session that has begun");
        }
        client.is_quiet_and_alive().await;
    }
}

async fn login(server: &Server, id: &str) -> RawWs {
    let mut raw = RawWs::open(server.main()).await;
    raw.send_frame(&Form::FlatJson.connect(id, &token_of(id))).await;
    Form::FlatJson.read_ack(&raw.frame().await);
    raw
}
