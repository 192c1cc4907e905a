//! Hostile JSON and hostile frames: an error for the one who sent it, and nobody else notices.

use serde_json::json;

use super::{alone, meeting};
use crate::harness::*;

const REFUSED: [&str; 2] = ["INVALID_JSON", "INVALID_MESSAGE"];

#[tokio::test]
async fn a_routing_field_that_stands_twice_is_refused() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut one = meeting.peer("One").await;
    let mut two = meeting.peer("Two").await;
    for text in [
        r#"{"type":"offer","sender":"Peer","target":"One","target":"Two","sdp":"v=0"}"#,
        r#"{"type":"offer","sender":"Peer","target":"One","sdp":"v=0","t\u0061rget":"Two"}"#,
        r#"{"type":"offer","sender":"Peer","sender":"Two","target":"One","sdp":"v=0"}"#,
        r#"{"type":"offer","sender":"Two","sender":"Peer","target":"One","sdp":"v=0"}"#,
        r#"{"type":"offer","type":"answer","sender":"Peer","target":"One","sdp":"v=0"}"#,
        r#"{"type":"peer_message","from_peer_id":"Peer","to_peer_id":"One","to_peer_id":"Two","payload":1}"#,
        r#"{"type":"peer_message","from_peer_id":"Peer","from_peer_id":"Two","to_peer_id":"One","payload":1}"#,
        r#"{"type":"update_metadata","peer_id":"Peer","peer_id":"One","metadata":{}}"#,
        r#"{"type":"discover_peers","from_peer_id":"Peer","from_peer_id":"One"}"#,
    ] {
        peer.errs_with_one_of(text, &REFUSED).await;
    }
    one.is_quiet_and_alive().await;
    two.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_register_with_a_field_twice_lets_nobody_in() {
    let meeting = meeting().await;
    let mut peer = Peer::open(meeting.addr()).await;
    let (room, token, id_token) = (&meeting.room.id, &meeting.room.token, &meeting.owner.id_token);
    for text in [
        format!(
            r#"{{"type":"register","peer_id":"a","room_id":"{room}","token":"wrong0","token":"{token}","id_token":"{id_token}"}}"#
        ),
        format!(
            r#"{{"type":"register","peer_id":"a","peer_id":"b","room_id":"{room}","token":"{token}","id_token":"{id_token}"}}"#
        ),
    ] {
        peer.send_text(&text).await;
        peer.any_error().await;
        peer.errs(r#"{"type":"query"}"#, "NOT_IN_ROOM").await;
    }
}

#[tokio::test]
async fn a_lone_surrogate_in_a_routing_field_is_refused() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    for text in [
        r#"{"type":"offer","sender":"Peer","target":"\ud800","sdp":"v=0"}"#,
        r#"{"type":"offer","sender":"Peer","target":"x\udc00y","sdp":"v=0"}"#,
        r#"{"type":"offer","sender":"\ud83d","target":"Peer","sdp":"v=0"}"#,
        r#"{"type":"\ud800","sender":"Peer","target":"Peer"}"#,
        r#"{"type":"peer_message","from_peer_id":"Peer","to_peer_id":"\udfff\ud800","payload":1}"#,
        r#"{"type":"register","peer_id":"\ud800","room_id":"x","token":"y","id_token":"z"}"#,
    ] {
        peer.send_text(text).await;
        peer.any_error().await;
    }
    peer.is_quiet_and_alive().await;
}

/// Whoever receives it has to parse it: either it arrives as it was, or its sender is told.
#[tokio::test]
async fn strange_payloads_arrive_unchanged_or_are_refused() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut other = meeting.peer("Other").await;
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let deep_objects = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    for payload in [
        r#""\ud800""#.to_owned(),
        r#"{"\udc00":"\ud83d"}"#.to_owned(),
        r#"{"a":1,"a":2,"a":{"a":1,"a":2}}"#.to_owned(),
        deep(100),
        deep(10_000),
        deep(200_000),
        deep_objects(50),
        deep_objects(50_000),
        format!("[{}1]", "1,".repeat(100_000)),
        format!("\"{}\"", "\\u0000".repeat(50_000)),
        "9".repeat(100_000),
    ] {
        let text = format!(
            r#"{{"type":"peer_message","from_peer_id":"Peer","to_peer_id":"Other","payload":{payload}}}"#
        );
        peer.send_text(&text).await;
        peer.send_text(r#"{"type":"ping"}"#).await;
        let shown: String = payload.chars().take(40).collect();
        let answer = peer.json().await;
        if answer["type"] == "pong" {
            let Said::Text(got) = other.line.next().await else { panic!("{shown} is lost") };
            assert!(got.contains(&payload), "{shown} was changed");
        } else {
            assert!(REFUSED.iter().any(|it| answer["code"] == *it), "{shown}: {answer}");
            assert_eq!(peer.json().await["type"], "pong");
        }
    }
    talk(&mut peer, &mut other).await;
}

#[tokio::test]
async fn deep_filters_and_metadata_are_answered() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut other = meeting.peer_with("Other", "worker", json!({"properties": {"a": 1}})).await;
    for levels in [10, 1000, 200_000] {
        let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for text in [
            format!(
                r#"{{"type":"discover_peers","from_peer_id":"Peer","filters":{{"properties":{{"a":{deep}}}}}}}"#
            ),
            format!(r#"{{"type":"discover_peers","from_peer_id":"Peer","filters":{deep}}}"#),
            format!(
                r#"{{"type":"update_metadata","peer_id":"Peer","metadata":{{"properties":{{"a":{deep}}}}}}}"#
            ),
            format!(r#"{{"type":{deep},"sender":"Peer"}}"#),
        ] {
            peer.send_text(&text).await;
            let Said::Text(_) = peer.line.next().await else { panic!("{levels} levels have no answer") };
        }
    }
    talk(&mut peer, &mut other).await;
}

#[tokio::test]
async fn very_long_ids_are_answered() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let long = "x".repeat(100_000);
    peer.send(&json!({"type": "peer_message", "from_peer_id": "Peer", "to_peer_id": long, "payload": 1}))
        .await;
    let error = peer.any_error().await;
    assert!(error["code"] == "PEER_NOT_FOUND" || error["code"] == "INVALID_MESSAGE", "{}", error["code"]);
    let mut nobody = Peer::open(meeting.addr()).await;
    for field in ["peer_id", "room_id", "token", "id_token"] {
        let mut registration = meeting.registration("Long");
        registration[field] = json!(long);
        nobody.send(&registration).await;
        let answer = nobody.json().await;
        assert_eq!(answer["type"], "error", "{field}");
    }
    nobody.registers(meeting.registration("Long")).await;
    talk(&mut peer, &mut nobody).await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_closes_with_1007() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut raw = RawWs::open(meeting.addr()).await;
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, b"{\"type\":\"ping\",\"x\":\"\xff\xfe\"}")).await;
    assert_eq!(raw.closed().await.0, 1007);
    peer.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let meeting = Meeting::start(alone().server("max_message_bytes", 65_556)).await;
    let mut peer = meeting.peer("Peer").await;
    let mut other = meeting.peer("Other").await;
    let mut raw = RawWs::open(meeting.addr()).await;
    let long = format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(70_000));
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, long.as_bytes())).await;
    assert_eq!(raw.close_frame().await.0, 1009);
    talk(&mut peer, &mut other).await;
}

#[tokio::test]
async fn fragments_make_one_message() {
    let meeting = meeting().await;
    let mut raw = RawWs::open(meeting.addr()).await;
    raw.send(&ws_frame(opcode::TEXT, b"{\"type\"")).await;
    raw.send(&ws_frame(opcode::FIN | opcode::PING, b"between")).await;
    raw.send(&ws_frame(opcode::CONTINUATION, b":\"pi")).await;
    raw.send(&ws_frame(opcode::FIN | opcode::CONTINUATION, b"ng\"}")).await;
    assert_eq!(raw.next().await, Some((opcode::FIN | opcode::PONG, b"between".to_vec())));
    let (first, payload) = raw.next().await.expect("an answer");
    assert_eq!(first, opcode::FIN | opcode::TEXT);
    assert_eq!(payload, br#"{"type":"pong"}"#);
}

#[tokio::test]
async fn a_binary_message_does_no_harm() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut other = meeting.peer("Other").await;
    let mut culprit = Peer::open(meeting.addr()).await;
    culprit.line.send_binary(b"\xaa\x01 and nonsense".to_vec()).await;
    match culprit.line.next().await {
        Said::Text(text) => assert!(text.contains("\"error\""), "{text}"),
        Said::Closed(Some((code, _))) => assert!((1002..=1008).contains(&code), "{code}"),
        other => panic!("neither error nor Close: {other:?}"),
    }
    talk(&mut peer, &mut other).await;
}
