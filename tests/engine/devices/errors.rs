//! Every error, word for word; the connection is as usable after as before.

use serde_json::json;

use super::alone;
use crate::harness::*;

#[tokio::test]
async fn a_missing_or_empty_target_is_no_target_specified() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for message in [
        r#"{"type":"offer","sdp":"v=0"}"#,
        r#"{"type":"answer","sdp":"v=0"}"#,
        r#"{"type":"ice","candidate":{}}"#,
        r#"{"type":"offer","sdp":"v=0","target":""}"#,
        r#"{"type":"offer","sdp":"v=0","target":null}"#,
        r#"{"type":"offer","sdp":"v=0","to":"drone"}"#,
    ] {
        drone.refused(message, "No target specified").await;
    }
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_target_that_is_not_there_is_named() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for target in ["nobody", "a \"quoted\" \\ one", "Дрон 🛰", "Drone"] {
        let offer = json!({"type": "offer", "target": target, "sdp": "v=0"}).to_string();
        drone.refused(&offer, &format!("Target {target} not found or offline")).await;
        let answer = json!({"type": "answer", "target": target, "sdp": "v=0"}).to_string();
        drone.refused(&answer, &format!("Caller {target} not found or offline")).await;
    }
    drone.is_quiet_and_alive().await;
}

/// Deployed clients treat an error for a candidate as the end of their call.
#[tokio::test]
async fn a_candidate_for_nobody_is_dropped_in_silence_by_default() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    drone.send(json!({"type": "ice", "target": "nobody", "candidate": {}})).await;
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn with_report_undeliverable_a_candidate_for_nobody_is_an_error() {
    let server = alone().section("[devices]\nreport_undeliverable = true").start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let ice = r#"{"type":"ice","target":"nobody","candidate":{}}"#;
    drone.refused(ice, "Peer nobody not found or offline").await;
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_target_that_has_gone_is_not_found() {
    let server = alone().start().await;
    let mut operator = Device::register(server.main(), "operator").await;
    for round in 0..6 {
        let mut drone = Device::register(server.main(), "drone").await;
        // The way to it is known by now.
        operator.send(json!({"type": "offer", "target": "drone", "sdp": "v=0"})).await;
        drone.json().await;
        drone.leave().await;
        let offer = r#"{"type":"offer","target":"drone","sdp":"v=0"}"#;
        operator.refused(offer, "Target drone not found or offline").await;
        let answer = r#"{"type":"answer","target":"drone","sdp":"v=0"}"#;
        operator.refused(answer, "Caller drone not found or offline").await;
        operator.is_quiet_and_alive().await;
        assert_eq!(operator.list().await, [""; 0], "round {round}");
    }
}

#[tokio::test]
async fn an_unknown_type_is_named() {
    let server = alone().start().await;
    for registered in [true, false] {
        let mut drone = Device::open(server.main()).await;
        if registered {
            drone.takes("drone").await;
        }
        for kind in
            ["hello", "Offer", "registered", "pong", "clients", "error", "candidate", "a \"b\" \\ é 🛰"]
        {
            let message = json!({"type": kind}).to_string();
            drone.refused(&message, &format!("Unknown message type: {kind}")).await;
        }
        // What another dialect would understand is nothing here.
        for kind in ["query", "discover_peers", "peer_message", "update_metadata"] {
            let message = json!({"type": kind, "peer_id": "x", "room_id": "y"}).to_string();
            drone.refused(&message, &format!("Unknown message type: {kind}")).await;
        }
        drone.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn what_is_no_json_object_is_an_invalid_message_format_with_details() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for message in [
        "",
        " ",
        "hello",
        "{",
        "}",
        "[]",
        "[{\"type\":\"ping\"}]",
        "null",
        "true",
        "5",
        "\"ping\"",
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
        "{\"type\":\"ping\",\"n\":NaN}",
        "{\"type\":\"ping\",\"n\":undefined}",
        "\u{feff}{\"type\":\"ping\"}",
    ] {
        let error = drone.refused(message, "Invalid message format").await;
        assert!(error["details"].as_str().is_some_and(|it| !it.is_empty()), "{error}");
    }
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_message_without_a_type_is_an_error() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for message in ["{}", r#"{"kind":"JOIN"}"#, r#"{"type":null}"#, r#"{"type":5}"#, r#"{"type":["ping"]}"#] {
        drone.send_text(message).await;
        let error = drone.error().await;
        let words = error["message"].as_str().expect("checked");
        assert!(
            words == "Invalid message format" || words.starts_with("Unknown message type: "),
            "{message}: {words}"
        );
    }
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_bad_message_disturbs_nobody_else() {
    let server = alone().start().await;
    let mut operator = Device::register(server.main(), "operator").await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut culprit = Device::register(server.main(), "culprit").await;
    for message in ["{", r#"{"type":"?"}"#, r#"{"type":"offer"}"#, r#"{"type":"register"}"#] {
        culprit.send_text(message).await;
        culprit.error().await;
        operator.send(json!({"type": "offer", "target": "drone", "sdp": message})).await;
        assert_eq!(drone.json().await["sdp"], message);
        operator.is_quiet_and_alive().await;
    }
}
