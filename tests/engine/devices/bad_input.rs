//! JSON that is allowed and strange, or not allowed at all: an error to the sender, and no more.

use serde_json::json;

use super::alone;
use crate::harness::*;

#[tokio::test]
async fn a_field_that_stands_twice_is_an_invalid_message() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut operator = Device::register(server.main(), "operator").await;

    for text in [
        r#"{"type":"list","type":"ping"}"#,
        r#"{"type":"list","ty\u0070e":"ping"}"#,
        r#"{"type":"offer","target":"nobody","target":"drone","sdp":"x"}"#,
        r#"{"type":"offer","target":"drone","sdp":"first","sdp":"second"}"#,
        r#"{"type":"register","id":"mallory","id":"operator-2"}"#,
    ] {
        operator.send_text(text).await;
        let error = operator.json().await;
        assert_eq!((&error["type"], &error["message"]), (&"error".into(), &"Invalid message format".into()));
    }
    drone.is_quiet_and_alive().await;
    operator.is_quiet_and_alive().await;
}

#[tokio::test]
async fn names_may_be_written_with_escapes() {
    let server = alone().start().await;
    let mut drone = Device::open(server.main()).await;
    drone.send_text(r#"{"\u0074ype":"r\u0065gister","\u0069d":"dr\u006fne-\ud83d\udef0-\"x\""}"#).await;
    let answer = drone.json().await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("registered"), &json!("drone-🛰-\"x\"")));
    let offer = json!({"type": "offer", "target": "drone-🛰-\"x\"", "sdp": "v=0"});
    drone.send(offer).await;
    assert_eq!(drone.json().await["from"], "drone-🛰-\"x\"");
}

#[tokio::test]
async fn a_lone_surrogate_in_a_routing_field_is_an_error() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for message in [
        r#"{"type":"register","id":"\ud800"}"#,
        r#"{"type":"register","id":"x\udc00y"}"#,
        r#"{"type":"register","id":"\ud800\ud800"}"#,
        r#"{"type":"offer","target":"\ud800","sdp":"v=0"}"#,
        r#"{"type":"answer","target":"\udc00\ud800","sdp":"v=0"}"#,
        r#"{"type":"\ud800"}"#,
    ] {
        drone.send_text(message).await;
        drone.error().await;
    }
    drone.is_quiet_and_alive().await;
    assert_eq!(drone.list().await, [""; 0]);
    let mut other = Device::register(server.main(), "other").await;
    assert_eq!(other.list().await, ["drone"]);
}

/// What is only passed on either passes as it came or is refused: it never arrives changed.
#[tokio::test]
async fn a_lone_surrogate_in_an_sdp_never_arrives_changed() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut operator = Device::register(server.main(), "operator").await;
    operator.send_text(r#"{"type":"answer","target":"drone","sdp":"v=0 \ud800 x"}"#).await;
    operator.send(json!({"type": "answer", "target": "drone", "sdp": "the end"})).await;
    let Said::Text(first) = drone.line.next().await else { panic!("a text was awaited") };
    if first.contains("the end") {
        assert_eq!(operator.error().await["message"], "Invalid message format");
    } else {
        let sdp = entries(&first).into_iter().find(|(key, _)| key == "sdp").expect("an sdp").1;
        assert_eq!(sdp, r#""v=0 \ud800 x""#);
        assert_eq!(drone.json().await["sdp"], "the end");
    }
    operator.is_quiet_and_alive().await;
}

#[tokio::test]
async fn what_is_nested_too_deeply_is_an_error() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let depth = 100_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        for message in [
            format!(r#"{{"type":"offer","target":"drone","sdp":{value}}}"#),
            format!(r#"{{"x":{value},"type":"ping"}}"#),
            value.clone(),
            open.repeat(depth),
        ] {
            drone.refused(&message, "Invalid message format").await;
        }
    }
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn an_object_of_very_many_keys_is_read_all_the_same() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let keys: String = (0..40_000).map(|index| format!("\"key-{index}\":[],")).collect();
    drone.send_text(&format!("{{{keys}\"type\":\"ping\"}}")).await;
    assert_eq!(drone.json().await["type"], "pong");
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let server = alone().server("max_message_bytes", 100_000).start().await;
    let mut peer = Device::register(server.main(), "peer").await;
    let mut drone = Device::register(server.main(), "drone").await;
    let message = json!({"type": "offer", "target": "peer", "sdp": "x".repeat(100_000)}).to_string();
    drone.send_text(&message).await;
    assert_eq!(drone.closed().await.0, 1009);
    peer.is_quiet_and_alive().await;
}

#[tokio::test]
async fn fields_of_a_wrong_type_are_errors() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for message in [
        r#"{"type":"offer","target":5,"sdp":"v=0"}"#,
        r#"{"type":"offer","target":["drone"],"sdp":"v=0"}"#,
        r#"{"type":"answer","target":{"id":"drone"},"sdp":"v=0"}"#,
        r#"{"type":"ice","target":true,"candidate":{}}"#,
    ] {
        drone.send_text(message).await;
        drone.error().await;
    }
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_binary_message_is_an_invalid_message_format() {
    let server = alone().start().await;
    for registered in [false, true] {
        let mut drone = Device::open(server.main()).await;
        if registered {
            drone.takes("drone").await;
        }
        for bytes in [Form::FlatJson.connect("alice", &token_of("alice")).encode(), vec![0xff; 100], vec![]] {
            drone.line.send_binary(bytes).await;
            assert_eq!(drone.error().await["message"], "Invalid message format");
        }
        drone.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_close_with_1007() {
    let server = alone().start().await;
    let mut raw = RawWs::open(server.main()).await;
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, b"{\"type\":\"register\",\"id\":\"\xff\"}")).await;
    assert_eq!(raw.closed().await.0, 1007);
}

#[tokio::test]
async fn a_message_in_fragments_is_one_message() {
    let server = alone().start().await;
    let mut raw = RawWs::open(server.main()).await;
    let text = "{\"type\":\"register\",\"id\":\"é-🛰\"}".as_bytes();
    for (index, byte) in text.iter().enumerate() {
        let kind = if index == 0 { opcode::TEXT } else { opcode::CONTINUATION };
        let fin = if index + 1 == text.len() { opcode::FIN } else { 0 };
        raw.send(&ws_frame(fin | kind, &[*byte])).await;
    }
    let (first, answer) = raw.next().await.expect("an answer");
    assert_eq!(first, opcode::FIN | opcode::TEXT);
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["id"], "é-🛰");
}

/// Many messages in one packet get their answers one by one, in order.
#[tokio::test]
async fn messages_sent_together_are_answered_each() {
    let server = alone().start().await;
    let mut raw = RawWs::open(server.main()).await;
    let mut bytes = ws_frame(opcode::FIN | opcode::TEXT, br#"{"type":"register","id":"drone"}"#);
    for index in 0..50 {
        let message = format!(r#"{{"type":"answer","target":"drone","sdp":"{index}"}}"#);
        bytes.extend(ws_frame(opcode::FIN | opcode::TEXT, message.as_bytes()));
    }
    raw.send(&bytes).await;
    for index in -1..50 {
        let (first, text) = raw.next().await.expect("an answer");
        assert_eq!(first, opcode::FIN | opcode::TEXT);
        let json: serde_json::Value = serde_json::from_slice(&text).expect("exactly one JSON text");
        match index {
            -1 => assert_eq!(json["type"], "registered"),
            _ => assert_eq!(json["sdp"], index.to_string()),
        }
    }
}
