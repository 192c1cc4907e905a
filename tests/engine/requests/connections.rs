//! One connection after another purpose: kept, closed, upgraded.

use serde_json::{Value, json};

use super::both;
use crate::harness::*;

async fn json_frame(raw: &mut RawWs) -> Value {
    let (first, payload) = raw.next().await.expect("the connection is open");
    assert_eq!(first, opcode::FIN | opcode::TEXT, "{payload:02x?}");
    serde_json::from_slice(&payload).expect("JSON")
}

#[tokio::test]
async fn a_connection_that_carried_requests_becomes_a_peer() {
    for serves in [&["rooms"][..], &["rooms", "calls"], &["binary", "rooms", "broadcast", "calls", "devices"]]
    {
        let meeting = Meeting::start(Setup::new().listener("main", serves)).await;
        let mut other = meeting.peer("Other").await;
        let mut http = Http::open(meeting.addr()).await;
        let bearer = format!("Bearer {}", meeting.owner.id_token);
        for _ in 0..3 {
            http.send(&http_request("POST", "/create-room", &[("Authorization", &bearer)], Some("{}"))).await;
            assert_eq!(http.response(false).await.expect("an answer").status, 200);
        }
        let (stream, rest) = http.into_parts();
        let mut raw = RawWs::upgrade(stream, rest).await;
        let registration = meeting.registration("Upgraded").to_string();
        raw.send(&ws_frame(opcode::FIN | opcode::TEXT, registration.as_bytes())).await;
        assert_eq!(json_frame(&mut raw).await["type"], "registered_auth");
        other.tells("Upgraded", r#"{"n":1}"#).await;
        assert_eq!(json_frame(&mut raw).await["payload"], json!({"n": 1}));
    }
}

#[tokio::test]
async fn a_connection_that_took_a_seat_becomes_a_caller() {
    for serves in [&["calls"][..], &["rooms", "calls"], &["binary", "rooms", "broadcast", "calls", "devices"]]
    {
        let server = Setup::new().listener("main", serves).start().await;
        let mut http = Http::open(server.main()).await;
        let join = json_of(&http.get("/call/demo").await);
        let (stream, rest) = http.into_parts();
        let mut raw = RawWs::upgrade(stream, rest).await;
        raw.send(&ws_frame(opcode::FIN | opcode::TEXT, join.to_string().as_bytes())).await;
        assert_eq!(json_frame(&mut raw).await, json!({"kind": "WELCOME", "call": "demo"}));
        Seat::take(server.main(), "demo").await;
        assert_eq!(json_frame(&mut raw).await, json!({"kind": "PEER", "call": "demo"}));
    }
}

#[tokio::test]
async fn an_upgrade_may_be_pipelined_behind_a_request_with_a_body() {
    let server = both().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let mut requests = http_request("POST", "/signal", &[], Some(&seat.event("OFFER", "x").to_string()));
    requests.extend(http_request(
        "GET",
        "/ws",
        &[
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        None,
    ));
    let mut http = Http::open(server.main()).await;
    http.send(&requests).await;
    assert_eq!(http.response(false).await.expect("an answer").status, 200);
    assert_eq!(http.response(false).await.expect("an answer").status, 101);
}

#[tokio::test]
async fn requests_of_both_dialects_share_a_connection() {
    let server = both().start().await;
    let mut http = Http::open(server.main()).await;
    for round in 0..20 {
        http.send(&http_request("POST", "/anonymous-signin", &[], Some("{}"))).await;
        let identity = json_of(&http.response(false).await.expect("an answer"));
        let bearer = format!("Bearer {}", identity["id_token"].as_str().expect("a string"));
        http.send(&http_request("POST", "/create-room", &[("Authorization", &bearer)], Some(""))).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 200);
        assert_eq!(http.get(&format!("/call/call-{round}")).await.status, 200);
        http.send(&http_request("POST", "/signal", &[], Some("nonsense"))).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 400);
        assert_eq!(http.get("/health").await.status, 200);
        http.send(&http_request("OPTIONS", "/signal", &[], None)).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 204);
    }
}

#[tokio::test]
async fn connection_close_is_honoured() {
    let server = both().start().await;
    let mut http = Http::open(server.main()).await;
    http.send(&http_request("GET", "/call/demo", &[("Connection", "close")], None)).await;
    assert_eq!(http.response(false).await.expect("an answer").status, 200);
    assert!(http.until_end().await.is_empty());
    let mut http = Http::open(server.main()).await;
    http.send(b"POST /anonymous-signin HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}").await;
    let answer = http.until_end().await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.split("\r\n").next().expect("a line").contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let server = both().start().await;
    let mut http = Http::open(server.main()).await;
    http.send(&http_request("HEAD", "/health", &[], None)).await;
    assert_eq!(http.response(true).await.expect("an answer").status, 200);
    // A body after the first answer would be taken for the start of the second.
    assert_eq!(http.get("/health").await.status, 200);
}

/// Both ways to say where a body ends, or two lengths, are how requests are smuggled past proxies.
#[tokio::test]
async fn a_body_of_two_lengths_is_refused() {
    let server = both().start().await;
    for head in [
        "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n{}{}}",
        "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: x\r\n\r\n{}",
        "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n{}",
        "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
    ] {
        let mut http = Http::open(server.main()).await;
        http.send(head.as_bytes()).await;
        // An answer, or the end of the connection, but nothing that looks like a success.
        let answer = http.until_end().await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{head}: {answer}");
        assert!(answer.matches("HTTP/1.1").count() <= 1, "two answers to one request: {answer}");
    }
    assert_eq!(ask(server.main(), "GET", "/health", &[], None).await.status, 200);
}

#[tokio::test]
async fn a_malformed_head_is_a_400() {
    let server = both().start().await;
    for head in [
        "GET /health\r\n\r\n",
        "GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nX: a\u{0}b\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        for warm in [false, true] {
            let mut http = Http::open(server.main()).await;
            if warm {
                assert_eq!(http.get("/health").await.status, 200);
            }
            http.send(head.as_bytes()).await;
            let answer = http.until_end().await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 505"),
                "{head}: {answer}"
            );
        }
    }
    assert_eq!(ask(server.main(), "GET", "/health", &[], None).await.status, 200);
}

#[tokio::test]
async fn while_the_server_drains_no_request_is_served() {
    let meeting = Meeting::start(both()).await;
    let mut http = Http::open(meeting.addr()).await;
    assert_eq!(http.get("/health").await.status, 200);
    // A peer that does not answer its Close keeps the drain going.
    let mut slow = RawWs::open(meeting.addr()).await;
    let registration = meeting.registration("Slow").to_string();
    slow.send(&ws_frame(opcode::FIN | opcode::TEXT, registration.as_bytes())).await;
    assert_eq!(json_frame(&mut slow).await["type"], "registered_auth");
    meeting.server.sigterm();
    assert_eq!(slow.close_frame().await, (1001, "Server shutting down".into()));
    let (mut stream, _) = http.into_parts();
    // The connection may have been closed already.
    let request = http_request("POST", "/anonymous-signin", &[], Some("{}"));
    let mut answer = Vec::new();
    within("an answer or the end", async {
        if tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.is_ok() {
            let _ = tokio::io::AsyncReadExt::read_buf(&mut stream, &mut answer).await;
        }
    })
    .await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
}
