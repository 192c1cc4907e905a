//! Every error code of the document; the connection is as usable after as before.

use serde_json::json;

use super::meeting;
use crate::harness::*;

#[tokio::test]
async fn whoever_has_not_registered_is_not_in_a_room() {
    let meeting = meeting().await;
    let mut inside = meeting.peer("Inside").await;
    let mut outside = Peer::open(meeting.addr()).await;
    for message in [
        json!({"type": "discover_peers", "from_peer_id": "Outside", "filters": {}}),
        json!({"type": "peer_message", "from_peer_id": "Outside", "to_peer_id": "Inside", "payload": {"n": 1}}),
        json!({"type": "peer_message", "from_peer_id": "Inside", "to_peer_id": "Inside", "payload": {"n": 1}}),
        json!({"type": "offer", "sender": "Outside", "target": "Inside", "sdp": "v=0"}),
        json!({"type": "offer", "sender": "Inside", "target": "Inside", "sdp": "v=0"}),
        json!({"type": "answer", "sender": "Outside", "target": "Inside", "sdp": "v=0"}),
        json!({"type": "candidate", "sender": "Outside", "target": "Inside", "candidate": "candidate:"}),
        json!({"type": "update_metadata", "peer_id": "Outside", "metadata": {}}),
        json!({"type": "query"}),
        json!({"type": "error", "target": "Inside", "message": "from nobody"}),
    ] {
        outside.errs(&message.to_string(), "NOT_IN_ROOM").await;
    }
    inside.is_quiet_and_alive().await;
    outside.is_quiet_and_alive().await;
    outside.registers(meeting.registration("Outside")).await;
    talk(&mut outside, &mut inside).await;
}

#[tokio::test]
async fn a_type_that_is_none_is_unknown() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut nobody = Peer::open(meeting.addr()).await;
    for kind in
        ["hello", "Offer", "REGISTER", "registered_auth", "peer_list", "list", "ice", "", "a \"b\" \\ é 🛰"]
    {
        let message = json!({"type": kind}).to_string();
        let codes = if kind.is_empty() {
            &["UNKNOWN_MESSAGE_TYPE", "INVALID_MESSAGE"][..]
        } else {
            &["UNKNOWN_MESSAGE_TYPE"]
        };
        peer.errs_with_one_of(&message, codes).await;
        nobody.errs_with_one_of(&message, codes).await;
    }
    peer.is_quiet_and_alive().await;
    nobody.is_quiet_and_alive().await;
}

#[tokio::test]
async fn text_that_is_no_json_is_invalid_json() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut nobody = Peer::open(meeting.addr()).await;
    for text in [
        "",
        " ",
        "hello",
        "{",
        "}",
        "{\"type\":\"ping\"",
        "{\"type\":\"ping\"}}",
        "{\"type\":\"ping\"}{\"type\":\"ping\"}",
        "{\"type\":\"ping\",}",
        "{type:\"ping\"}",
        "{'type':'ping'}",
        "{\"type\":\"ping\"} x",
        "{\"type\":\"pi\nng\"}",
        "{\"type\":\"\\x41\"}",
        "{\"type\":\"\\u12\"}",
        "{\"type\":\"ping\",\"n\":01}",
        "{\"type\":\"ping\",\"n\":1.}",
        "{\"type\":\"ping\",\"n\":+1}",
        "{\"type\":\"ping\",\"n\":NaN}",
        "{\"type\":\"ping\",\"n\":tru}",
        "{\"type\":\"ping\" \"n\":1}",
        "{\"type\":\"ping\",\"n\":[1,]}",
        "{\"type\":\"ping\",\"n\":[1}",
        "{\"type\":\"ping\",/* */\"n\":1}",
        "\u{feff}{\"type\":\"ping\"}",
    ] {
        peer.errs(text, "INVALID_JSON").await;
        nobody.errs(text, "INVALID_JSON").await;
    }
    peer.is_quiet_and_alive().await;
    nobody.is_quiet_and_alive().await;
}

#[tokio::test]
async fn json_that_is_no_object_with_a_type_is_an_error() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    for text in ["[]", "[{\"type\":\"ping\"}]", "null", "true", "5", "\"ping\""] {
        peer.errs_with_one_of(text, &["INVALID_JSON", "INVALID_MESSAGE"]).await;
    }
    for text in ["{}", r#"{"kind":"JOIN"}"#, r#"{"type":null}"#, r#"{"type":5}"#, r#"{"type":["ping"]}"#] {
        peer.errs_with_one_of(text, &["INVALID_MESSAGE", "UNKNOWN_MESSAGE_TYPE"]).await;
    }
    peer.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_signal_without_a_target_is_an_invalid_message() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    for kind in ["offer", "answer", "candidate"] {
        for text in [
            format!(r#"{{"type":"{kind}","sender":"Peer","sdp":"v=0"}}"#),
            format!(r#"{{"type":"{kind}","sender":"Peer","target":"","sdp":"v=0"}}"#),
            format!(r#"{{"type":"{kind}","sender":"Peer","target":null,"sdp":"v=0"}}"#),
            format!(r#"{{"type":"{kind}","sender":"Peer","target":5,"sdp":"v=0"}}"#),
            format!(r#"{{"type":"{kind}","sender":"Peer","target":["Peer"],"sdp":"v=0"}}"#),
            format!(r#"{{"type":"{kind}","sender":5,"target":"Peer","sdp":"v=0"}}"#),
        ] {
            peer.errs(&text, "INVALID_MESSAGE").await;
        }
    }
    peer.is_quiet_and_alive().await;
}

/// One message after the other, none lost and none disturbed by the bad ones between.
#[tokio::test]
async fn errors_come_in_the_order_of_what_they_answer() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    let mut other = meeting.peer("Other").await;
    for round in 0..20 {
        peer.send_text("{").await;
        peer.tells("Other", &round.to_string()).await;
        peer.send_text(r#"{"type":"what"}"#).await;
        peer.tells("Nobody", "1").await;
        peer.send_text(r#"{"type":"peer_message"}"#).await;
        peer.send_text(r#"{"type":"ping"}"#).await;
        for code in ["INVALID_JSON", "UNKNOWN_MESSAGE_TYPE", "PEER_NOT_FOUND", "INVALID_MESSAGE"] {
            peer.error(code).await;
        }
        assert_eq!(peer.json().await["type"], "pong");
        assert_eq!(other.hears("Peer").await, round);
    }
}
