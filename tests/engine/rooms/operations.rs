//! What operators set and see: pings, heartbeats, slow readers, the drain, privacy.

use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{alone, meeting};
use crate::harness::*;

#[tokio::test]
async fn a_ping_is_answered_and_a_pong_taken_in_silence() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut nobody = Peer::open(meeting.addr()).await;
    for peer in [&mut peer, &mut nobody] {
        peer.send_text(r#"{"type":"ping"}"#).await;
        assert_eq!(peer.line.text().await, r#"{"type":"pong"}"#);
        for pong in [r#"{"type":"pong"}"#, r#"{"type":"pong","timestamp":1}"#] {
            peer.send_text(pong).await;
        }
        peer.is_quiet_and_alive().await;
    }
}

/// Deployed workers reconnect when they hear none for 90 seconds.
#[tokio::test]
async fn the_server_pings_in_the_dialect_too() {
    let meeting = Meeting::start(alone().section("[rooms]\napp_ping_seconds = '300ms'")).await;
    let mut peer = meeting.peer("Peer").await;
    let started = Instant::now();
    for _ in 0..4 {
        assert_eq!(peer.line.text().await, r#"{"type":"ping"}"#);
        peer.send(&json!({"type": "pong"})).await;
    }
    let lasted = started.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_secs(6)).contains(&lasted), "{lasted:?}");
}

#[tokio::test]
async fn with_app_ping_seconds_0_the_server_never_pings_in_the_dialect() {
    let setup = alone().server("heartbeat_interval", "'200ms'").section("[rooms]\napp_ping_seconds = 0");
    let meeting = Meeting::start(setup).await;
    let mut raw = RawWs::open(meeting.addr()).await;
    let registration = meeting.registration("Peer").to_string();
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, registration.as_bytes())).await;
    assert_eq!(raw.next().await.expect("registered").0, opcode::FIN | opcode::TEXT);
    // Nothing but pings of the WebSocket, until the heartbeat is missed.
    assert_eq!(raw.close_frame().await, (1008, "Heartbeat timeout".into()));
}

#[tokio::test]
async fn a_peer_that_misses_its_heartbeat_leaves_no_ghost() {
    let meeting = Meeting::start(alone().server("heartbeat_interval", "'200ms'")).await;
    let mut raw = RawWs::open(meeting.addr()).await;
    let registration = meeting.registration("Silent").to_string();
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, registration.as_bytes())).await;
    assert_eq!(raw.next().await.expect("registered").0, opcode::FIN | opcode::TEXT);
    assert_eq!(raw.close_frame().await, (1008, "Heartbeat timeout".into()));
    let mut peer = meeting.peer("Peer").await;
    assert_eq!(peer.finds(json!({})).await, [""; 0]);
}

#[tokio::test]
async fn draining_closes_with_1001() {
    let mut meeting = Meeting::start(alone()).await;
    let mut peer = meeting.peer("Peer").await;
    let mut nobody = Peer::open(meeting.addr()).await;
    nobody.is_quiet_and_alive().await;
    meeting.server.sigterm();
    assert_eq!(peer.closed().await, (1001, "Server shutting down".into()));
    assert_eq!(nobody.closed().await, (1001, "Server shutting down".into()));
    assert_eq!(meeting.server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn secrets_reach_neither_logs_nor_metrics_nor_events() {
    for format in ["json", "plain"] {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("events.jsonl");
        let setup = alone()
            .section(&format!("[logging]\nlevel = 'trace'\nformat = '{format}'"))
            .section(&format!("[events]\nsinks = ['file', 'log']\nfile = '{}'", file.display()))
            .section("[rooms]\napi_keys = ['lab:hush-api-key']");
        let mut meeting = Meeting::start(setup).await;
        let metadata = json!({"tags": ["hush-tag"], "properties": {"hush-name": "hush-value"}});
        let mut one = meeting.peer_with("One", "worker", metadata.clone()).await;
        let mut two = meeting.peer("Two").await;
        one.tells("Two", r#"{"x":"hush-payload"}"#).await;
        two.hears("One").await;
        one.tells("Nobody", r#"{"x":"hush-payload"}"#).await;
        one.error("PEER_NOT_FOUND").await;
        for target in ["Two", "Nobody"] {
            one.send(&json!({"type": "offer", "sender": "One", "target": target, "sdp": "hush-sdp"})).await;
            one.send(
                &json!({"type": "candidate", "sender": "One", "target": target, "candidate": "hush-ice"}),
            )
            .await;
        }
        one.send(&json!({"type": "update_metadata", "peer_id": "One", "metadata": metadata})).await;
        one.json().await;
        one.errs(r#"{"type":"offer","sender":"One","target":"Two","sdp":"hush-sdp"#, "INVALID_JSON").await;
        let mut thief = Peer::open(meeting.addr()).await;
        for (field, value) in [
            ("token", "hush-room-token"),
            ("id_token", "hush-id-token"),
            ("jwt", "hush-jwt"),
            ("api_key", "hush-api-kex"),
        ] {
            let mut registration = meeting.registration("Thief");
            if field == "jwt" || field == "api_key" {
                registration.as_object_mut().expect("an object").remove("id_token");
            }
            registration[field] = json!(value);
            thief.send(&registration).await;
            thief.refusal().await;
        }
        let headers = [("Authorization", "Bearer hush-bearer")];
        assert_eq!(ask(meeting.addr(), "POST", "/create-room", &headers, Some("")).await.status, 401);
        let own = ask(meeting.addr(), "GET", "/metrics", &[], None).await;
        let prometheus = ask(meeting.server.metrics(), "GET", "/metrics", &[], None).await;
        one.leave().await;
        meeting.server.sigterm();
        assert_eq!(meeting.server.exit().await.code(), Some(0));
        let logs = meeting.server.logs();
        assert!(logs.lines().count() > 3, "a log of nothing proves nothing: {logs}");
        let events = std::fs::read_to_string(&file).expect("the file is there");
        assert!(events.contains("client_connected"), "{events}");
        let own_token = meeting.room.token.clone();
        for secret in ["hush", meeting.owner.id_token.as_str()] {
            for (place, text) in [
                ("logs", logs.as_str()),
                ("events", &events),
                ("metrics", own.text()),
                ("Prometheus", prometheus.text()),
            ] {
                assert!(!text.contains(secret), "{secret} is in the {format} {place}");
            }
        }
        for (place, text) in [("events", events.as_str()), ("metrics", own.text())] {
            assert!(!text.contains(&own_token), "the room's token is in the {place}");
        }
    }
}

/// A WebSocket with so little room in the kernel's buffers that a reader which stops is felt soon.
async fn narrow(meeting: &Meeting) -> RawWs {
    let addr = meeting.addr();
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
    socket.set_tcp_mss(536).expect("a segment size");
    socket.set_recv_buffer_size(4096).expect("a buffer size");
    socket.set_nonblocking(true).expect("a mode");
    let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
    let stream: TcpStream = within("TCP connects", socket.connect(addr)).await.expect("the port is open");
    RawWs::upgrade(stream, Vec::new()).await
}

#[tokio::test]
async fn a_target_that_cannot_take_more_is_delivery_failed_and_nothing_is_lost_in_silence() {
    let setup = alone()
        .server("outbox_soft_bytes", 65_536)
        .server("outbox_hard_bytes", 262_144)
        .server("slow_consumer_seconds", 600)
        .section("[rooms]\napp_ping_seconds = 0");
    let meeting = Meeting::start(setup).await;
    let mut slow = narrow(&meeting).await;
    let registration = meeting.registration("Slow").to_string();
    slow.send(&ws_frame(opcode::FIN | opcode::TEXT, registration.as_bytes())).await;
    assert_eq!(slow.next().await.expect("registered").0, opcode::FIN | opcode::TEXT);

    let mut fast = meeting.peer("Fast").await;
    let mut bystanders = (meeting.peer("Bystander-1").await, meeting.peer("Bystander-2").await);
    let filling = "x".repeat(8000);
    let (mut sent, mut failed) = (0, 0);
    while failed == 0 {
        assert!(sent < 2000, "16 MB fitted into 256 KiB");
        fast.tells("Slow", &format!(r#"{{"n":{sent},"x":"{filling}"}}"#)).await;
        sent += 1;
        fast.send(&json!({"type": "ping"})).await;
        loop {
            let answer = fast.json().await;
            if answer["type"] == "pong" {
                break;
            }
            assert_eq!(answer["code"], "DELIVERY_FAILED", "{answer}");
            failed += 1;
        }
    }
    talk(&mut bystanders.0, &mut bystanders.1).await;
    let mut got = Vec::new();
    while got.len() + failed < sent {
        let frame = tokio::select! {
            frame = slow.next() => frame,
            // An error may be on its way still.
            error = fast.error("DELIVERY_FAILED") => {
                assert!(error["message"].is_string());
                failed += 1;
                continue;
            }
        };
        let (first, payload) = frame.expect("the connection is open");
        if first == opcode::FIN | opcode::PING {
            slow.send(&ws_frame(opcode::FIN | opcode::PONG, &payload)).await;
            continue;
        }
        let message: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
        got.push(message["payload"]["n"].as_u64().expect("a number"));
    }
    assert!(got.is_sorted_by(|a, b| a < b), "in order, none twice: {got:?}");
    // Once it has caught up, it is reachable again.
    until("it is reachable again", async || {
        fast.tells("Slow", r#"{"n":-1}"#).await;
        tokio::select! {
            frame = slow.next() => {
                let (_, payload) = frame.expect("the connection is open");
                String::from_utf8_lossy(&payload).contains("-1").then_some(())
            }
            _ = fast.error("DELIVERY_FAILED") => None,
        }
    })
    .await;
}
