//! Registering: ids, takeover, a second id, and what may be done without one.

use serde_json::json;

use super::alone;
use crate::harness::*;

#[tokio::test]
async fn a_register_is_confirmed_with_id_and_time() {
    let server = alone().start().await;
    let mut drone = Device::open(server.main()).await;
    let answer = drone.takes("drone-alpha-001").await;
    assert_eq!(keys_of(&answer), ["id", "timestamp", "type"]);
    assert_is_timestamp(&answer["timestamp"]);
}

#[tokio::test]
async fn an_id_has_1_to_128_visible_characters() {
    let server = alone().start().await;
    // Characters, not bytes: the last has 256 of those.
    for id in ["x", "a\"b\\c/d", "Дрон-№7-🛰", &"x".repeat(128), &"é".repeat(128)] {
        let device = Device::register(server.main(), id).await;
        let mut peer = Device::register(server.main(), "peer").await;
        assert_eq!(peer.list().await, [id]);
        device.leave().await;
        peer.leave().await;
    }
    let mut device = Device::open(server.main()).await;
    let line_in_it = "two\nlines";
    for id in ["", line_in_it, "\u{0}", "tab\tbed", "\u{7f}", &"x".repeat(129), &"é".repeat(129)] {
        let register = json!({"type": "register", "id": id}).to_string();
        device.refused(&register, "Invalid id").await;
    }
    assert_eq!(device.list().await, [""; 0], "nobody has registered");
    device.takes("x").await;
}

#[tokio::test]
async fn a_register_without_a_string_for_an_id_is_refused() {
    let server = alone().start().await;
    let mut device = Device::open(server.main()).await;
    for register in [
        r#"{"type":"register"}"#,
        r#"{"type":"register","id":null}"#,
        r#"{"type":"register","id":5}"#,
        r#"{"type":"register","id":true}"#,
        r#"{"type":"register","id":["x"]}"#,
        r#"{"type":"register","id":{"id":"x"}}"#,
        r#"{"type":"register","ID":"x"}"#,
    ] {
        device.refused(register, "Invalid id").await;
    }
    assert_eq!(device.list().await, [""; 0]);
    device.takes("x").await;
}

#[tokio::test]
async fn the_newer_registration_wins_and_the_older_is_closed_with_1008() {
    let server = alone().start().await;
    let mut peer = Device::register(server.main(), "peer").await;
    for round in 0..10 {
        let mut older = Device::register(server.main(), "drone").await;
        let mut newer = Device::register(server.main(), "drone").await;
        assert_eq!(older.closed().await.0, 1008, "round {round}");
        peer.send(json!({"type": "offer", "target": "drone", "sdp": "v=0"})).await;
        assert_eq!(newer.json().await["from"], "peer");
        assert_eq!(peer.list().await, ["drone"]);
        newer.leave().await;
    }
}

#[tokio::test]
async fn the_end_of_the_older_never_removes_the_newer() {
    let server = alone().start().await;
    let mut peer = Device::register(server.main(), "peer").await;
    let mut drone = Device::register(server.main(), "drone").await;
    for round in 0..40 {
        let newer = Device::register(server.main(), "drone").await;
        let mut older = std::mem::replace(&mut drone, newer);
        if round % 2 == 0 {
            assert_eq!(older.closed().await.0, 1008);
        }
        // Dropped here at the latest, with or without having read its Close.
        drop(older);
        peer.send(json!({"type": "offer", "target": "drone", "sdp": format!("round {round}")})).await;
        assert_eq!(drone.json().await["sdp"], format!("round {round}"));
    }
    peer.is_quiet_and_alive().await;
    assert_eq!(peer.list().await, ["drone"]);
}

#[tokio::test]
async fn registering_the_same_id_again_on_one_socket_changes_nothing() {
    let server = alone().start().await;
    let mut peer = Device::register(server.main(), "peer").await;
    let mut drone = Device::register(server.main(), "drone").await;
    drone.takes("drone").await;
    assert_eq!(peer.list().await, ["drone"]);
    peer.send(json!({"type": "offer", "target": "drone", "sdp": "v=0"})).await;
    assert_eq!(drone.json().await["sdp"], "v=0");
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_second_id_gives_up_the_first() {
    let server = alone().start().await;
    let mut peer = Device::register(server.main(), "peer").await;
    let mut drone = Device::register(server.main(), "first").await;
    drone.takes("second").await;
    assert_eq!(peer.list().await, ["second"]);
    let to_first = r#"{"type":"offer","target":"first","sdp":"v=0"}"#;
    peer.refused(to_first, "Target first not found or offline").await;
    peer.send(json!({"type": "offer", "target": "second", "sdp": "v=0"})).await;
    drone.json().await;
    drone.send(json!({"type": "answer", "target": "peer", "sdp": "v=0"})).await;
    assert_eq!(peer.json().await["from"], "second");
    // The first is free for another.
    let mut other = Device::register(server.main(), "first").await;
    other.is_quiet_and_alive().await;
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_second_id_may_be_taken_over_from_another_socket() {
    let server = alone().start().await;
    let mut older = Device::register(server.main(), "wanted").await;
    let mut newer = Device::register(server.main(), "given-up").await;
    newer.takes("wanted").await;
    assert_eq!(older.closed().await.0, 1008);
    let mut peer = Device::register(server.main(), "peer").await;
    assert_eq!(peer.list().await, ["wanted"]);
    newer.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_refused_second_id_leaves_the_first() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    drone.refused(r#"{"type":"register","id":""}"#, "Invalid id").await;
    let mut peer = Device::register(server.main(), "peer").await;
    assert_eq!(peer.list().await, ["drone"]);
}

#[tokio::test]
async fn without_an_id_one_may_ping_list_and_register_only() {
    let server = alone().start().await;
    let mut peer = Device::register(server.main(), "peer").await;
    let mut nobody = Device::open(server.main()).await;
    nobody.is_quiet_and_alive().await;
    assert_eq!(nobody.list().await, ["peer"]);
    for message in [
        r#"{"type":"offer","target":"peer","sdp":"v=0"}"#,
        r#"{"type":"answer","target":"peer","sdp":"v=0"}"#,
        r#"{"type":"ice","target":"peer","candidate":{"candidate":"candidate:1"}}"#,
        r#"{"type":"offer","target":"not-there","sdp":"v=0"}"#,
    ] {
        nobody.refused(message, "Not registered").await;
    }
    peer.is_quiet_and_alive().await;
    nobody.takes("somebody").await;
    nobody.send(json!({"type": "offer", "target": "peer", "sdp": "v=0"})).await;
    assert_eq!(peer.json().await["from"], "somebody");
}

#[tokio::test]
async fn with_allow_unregistered_signals_pass_from_null() {
    let server = alone().section("[devices]\nallow_unregistered = true").start().await;
    let mut peer = Device::register(server.main(), "peer").await;
    let mut nobody = Device::open(server.main()).await;
    for (message, payload) in [
        (r#"{"type":"offer","target":"peer","sdp":"v=0 offer"}"#, "sdp"),
        (r#"{"type":"answer","target":"peer","sdp":"v=0 answer"}"#, "sdp"),
        (r#"{"type":"ice","target":"peer","candidate":{"candidate":"candidate:1"}}"#, "candidate"),
    ] {
        nobody.send_text(message).await;
        let got = peer.json().await;
        assert!(got.as_object().expect("an object").contains_key("from"), "{got}");
        assert!(got["from"].is_null(), "{got}");
        assert!(!got[payload].is_null(), "{got}");
    }
    let to_nobody = r#"{"type":"offer","target":"not-there","sdp":"v=0"}"#;
    nobody.refused(to_nobody, "Target not-there not found or offline").await;
}
