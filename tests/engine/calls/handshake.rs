//! `/ws`: JOIN and WELCOME, and every reason for a close before.

use serde_json::json;
use tokio::net::TcpStream;

use super::alone;
use crate::harness::*;

async fn refused(server: &Server, text: &str, reason: &str) {
    let mut line = TextClient::open_at(server.main(), "/ws").await;
    line.send_text(text).await;
    assert_eq!(line.closed().await, (1000, reason.into()), "{text}");
}

#[tokio::test]
async fn a_join_is_welcomed() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    for text in [
        seat.join().to_string(),
        format!(r#" {{ "session":"{}", "call" : "demo",  "kind":"J\u004fIN" }} "#, seat.session),
        json!({"kind": "JOIN", "call": "demo", "session": seat.session, "body": ""}).to_string(),
        json!({"kind": "JOIN", "call": "demo", "session": seat.session, "further": {"a": [1]}}).to_string(),
    ] {
        let mut line = TextClient::open_at(server.main(), "/ws").await;
        line.send_text(&text).await;
        assert_eq!(line.json().await, json!({"kind": "WELCOME", "call": "demo"}), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_join_is_a_bad_handshake() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    for text in [
        "".to_owned(),
        "hello".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "5".to_owned(),
        "{}".to_owned(),
        r#"{"type":"register","id":"x"}"#.to_owned(),
        json!({"kind": "WELCOME", "call": "demo", "session": seat.session}).to_string(),
        json!({"kind": "join", "call": "demo", "session": seat.session}).to_string(),
        json!({"kind": "OFFER", "call": "demo", "session": seat.session, "body": "x"}).to_string(),
        json!({"call": "demo", "session": seat.session}).to_string(),
        json!({"kind": "JOIN", "session": seat.session}).to_string(),
        json!({"kind": "JOIN", "call": "demo"}).to_string(),
        json!({"kind": "JOIN", "call": "", "session": seat.session}).to_string(),
        json!({"kind": "JOIN", "call": "demo", "session": ""}).to_string(),
        json!({"kind": "JOIN", "call": 5, "session": seat.session}).to_string(),
        json!({"kind": "JOIN", "call": "demo", "session": [seat.session]}).to_string(),
        json!({"kind": ["JOIN"], "call": "demo", "session": seat.session}).to_string(),
        format!("{} x", seat.join()),
    ] {
        refused(&server, &text, "bad handshake").await;
    }
    // The seat is as good as before.
    seat.connect(server.main()).await;
}

#[tokio::test]
async fn hostile_json_is_a_bad_handshake() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let session = &seat.session;
    for text in [
        format!(r#"{{"kind":"JOIN","call":"demo","session":"{session}","x":{}}}"#, "[".repeat(200_000)),
        format!(r#"{{"kind":"JOIN","call":"\ud800","session":"{session}"}}"#),
        format!(r#"{{"kind":"JOIN","call":"demo","session":"{session}\udc00"}}"#),
    ] {
        refused(&server, &text, "bad handshake").await;
    }
    seat.connect(server.main()).await;
}

#[tokio::test]
async fn a_field_that_stands_twice_is_a_bad_handshake() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let session = &seat.session;
    for text in [
        format!(r#"{{"kind":"JOIN","kind":"OFFER","call":"demo","session":"{session}"}}"#),
        format!(r#"{{"kind":"OFFER","k\u0069nd":"JOIN","call":"demo","session":"{session}"}}"#),
        format!(r#"{{"kind":"JOIN","call":"other","call":"demo","session":"{session}"}}"#),
        format!(r#"{{"kind":"JOIN","call":"demo","session":"x","session":"{session}"}}"#),
    ] {
        refused(&server, &text, "bad handshake").await;
    }
    seat.connect(server.main()).await;
}

#[tokio::test]
async fn a_session_without_a_seat_is_a_bad_seat() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let other = Seat::take(server.main(), "other").await;
    for (call, session) in [
        ("demo", "0o5Fs0EELR0fUjHjbCnEtdUwQe3"),
        ("demo", "x"),
        ("demo", &other.session),
        ("other", &seat.session),
        ("nobody-called", &seat.session),
        ("Demo", &seat.session),
        ("demo", &seat.session.to_lowercase()),
        ("demo", &format!("{} ", seat.session)),
    ] {
        refused(&server, &json!({"kind": "JOIN", "call": call, "session": session}).to_string(), "bad seat")
            .await;
    }
    seat.connect(server.main()).await;
}

#[tokio::test]
async fn an_expired_session_is_a_bad_seat() {
    let server = alone().section("[calls]\nseat_count = 1\nseat_timeout = '1s'").start().await;
    let lapsed = Seat::take(server.main(), "demo").await;
    let (taken, _) = super::until_a_seat_is_free(&server, "demo").await;
    refused(&server, &lapsed.join().to_string(), "bad seat").await;
    taken.connect(server.main()).await;
}

#[tokio::test]
async fn without_a_join_in_time_the_handshake_is_a_read_failure() {
    let server = alone().section("[calls]\nws_handshake_timeout = '300ms'").start().await;
    let mut line = TextClient::open_at(server.main(), "/ws").await;
    assert_eq!(line.closed().await, (1000, "handshake read failure".into()));
    // A pong is no handshake, and half a message neither.
    let mut raw = open_raw(&server).await;
    raw.send(&ws_frame(opcode::TEXT, b"{\"kind\":")).await;
    raw.send(&ws_frame(opcode::FIN | opcode::PONG, b"")).await;
    assert_eq!(raw.closed().await, (1000, "handshake read failure".into()));
}

/// Whoever was welcomed in time is not cut when the time for it is over, by either of its names.
#[tokio::test]
async fn the_time_for_a_handshake_ends_with_it() {
    for key in ["ws_handshake_timeout", "ws_join_timeout"] {
        let server = alone().section(&format!("[calls]\n{key} = '500ms'")).start().await;
        let seat = Seat::take(server.main(), "demo").await;
        let mut caller = seat.connect(server.main()).await;
        let mut line = TextClient::open_at(server.main(), "/ws").await;
        assert_eq!(line.closed().await, (1000, "handshake read failure".into()), "{key}");
        let other = Seat::take(server.main(), "demo").await;
        caller.hears("demo", "PEER", None).await;
        other.signals(server.main(), "OFFER", "still there").await;
        caller.hears("demo", "OFFER", Some("still there")).await;
    }
}

/// A listener for calls alone decides by its one dialect.
async fn open_raw(server: &Server) -> RawWs {
    let stream = within("TCP connects", TcpStream::connect(server.main())).await.expect("the port is open");
    RawWs::upgrade(stream, Vec::new()).await
}

#[tokio::test]
async fn after_a_close_the_tcp_connection_ends() {
    let server = alone().start().await;
    for (text, reason) in
        [("{", "bad handshake"), (r#"{"kind":"JOIN","call":"a","session":"b"}"#, "bad seat")]
    {
        // Also for a client that does not answer the Close.
        let mut raw = open_raw(&server).await;
        raw.send(&ws_frame(opcode::FIN | opcode::TEXT, text.as_bytes())).await;
        assert_eq!(raw.close_frame().await, (1000, reason.into()));
        assert_eq!(raw.next().await, None);
    }
}

#[tokio::test]
async fn a_binary_first_message_is_no_handshake() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let mut line = TextClient::open_at(server.main(), "/ws").await;
    line.send_binary(b"\xaa\x01 and nonsense".to_vec()).await;
    let (code, reason) = line.closed().await;
    assert!(code == 1003 || (code, reason.as_str()) == (1000, "bad handshake"), "{code} {reason}");
    seat.connect(server.main()).await;
}

#[tokio::test]
async fn a_message_after_the_handshake_is_ignored() {
    let server = alone().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let mut line = TextClient::open_at(server.main(), "/ws").await;
    line.send(&seat.join()).await;
    assert_eq!(line.json().await["kind"], "WELCOME");
    let other = Seat::take(server.main(), "demo").await;
    assert_eq!(line.json().await["kind"], "PEER");
    let mut caller = other.connect(server.main()).await;
    for text in [
        "hello".to_owned(),
        "{".to_owned(),
        String::new(),
        seat.join().to_string(),
        seat.event("OFFER", "by WebSocket").to_string(),
        r#"{"type":"ping"}"#.to_owned(),
    ] {
        line.send_text(&text).await;
    }
    line.send_binary(b"\xaa\x01 and nonsense".to_vec()).await;
    // Both still hear what is signalled properly, and nothing else before it.
    seat.signals(server.main(), "OFFER", "by HTTP").await;
    caller.hears("demo", "OFFER", Some("by HTTP")).await;
    other.signals(server.main(), "ANSWER", "by HTTP").await;
    assert_eq!(line.json().await, json!({"kind": "ANSWER", "call": "demo", "body": "by HTTP"}));
}

/// From the moment of WELCOME on nothing is missed.
#[tokio::test]
async fn what_is_signalled_right_behind_a_welcome_arrives() {
    let server = alone().start().await;
    for round in 0..20 {
        let call = format!("call-{round}");
        let one = Seat::take(server.main(), &call).await;
        let two = Seat::take(server.main(), &call).await;
        let mut caller = one.connect(server.main()).await;
        two.signals(server.main(), "OFFER", "first").await;
        caller.hears(&call, "OFFER", Some("first")).await;
    }
}
