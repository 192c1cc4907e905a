//! Offers, answers and candidates: who gets what, with which keys, byte for byte.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::alone;
use crate::harness::*;

/// Values that a parser and writer in between would change.
const TELLTALE: [&str; 7] = [
    r#""v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\n""#,
    r#""\u0041\/\ud83e\udd80 \u00e9 é 🛰 \u0000 \t""#,
    r#"{ "type" : "offer" ,"z":1.50e+3, "a":-0.0,"big":123456789012345678901234567890 , "tiny":1E-400}"#,
    r#"{"b":1,"a":2,"b":3}"#,
    r#"{"candidate":"candidate:842163049 1 udp 1677729535 192.0.2.7 46154 typ srflx","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}"#,
    "{}",
    r#"{"nested":[[[{"type":"register","target":"nobody","from":"mallory"}]],true,false,null]}"#,
];

async fn pair(server: &Server) -> (Device, Device) {
    (Device::register(server.main(), "operator").await, Device::register(server.main(), "drone").await)
}

#[tokio::test]
async fn an_offer_reaches_its_target_with_sender_session_and_time() {
    let server = alone().start().await;
    let (mut operator, mut drone) = pair(&server).await;
    operator.send(json!({"type": "offer", "target": "drone", "sdp": "v=0", "sessionId": "call 7"})).await;
    let offer = drone.json().await;
    assert_eq!(keys_of(&offer), ["from", "sdp", "sessionId", "timestamp", "type"]);
    assert_eq!((&offer["type"], &offer["from"]), (&json!("offer"), &json!("operator")));
    assert_eq!((&offer["sdp"], &offer["sessionId"]), (&json!("v=0"), &json!("call 7")));
    assert_is_timestamp(&offer["timestamp"]);
    // The sender hears nothing of it.
    operator.is_quiet_and_alive().await;
}

#[tokio::test]
async fn an_offer_without_a_session_gets_one_of_its_own() {
    let server = alone().start().await;
    let (mut operator, mut drone) = pair(&server).await;
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let before = unix_milliseconds();
        operator.send(json!({"type": "offer", "target": "drone", "sdp": "v=0"})).await;
        let offer = drone.json().await;
        let session = offer["sessionId"].as_str().expect("a string").to_owned();
        let parts: Vec<&str> = session.split('-').collect();
        assert_eq!((parts.len(), parts[0]), (3, "session"), "{session}");
        let made: u128 = parts[1].parse().expect("milliseconds");
        // The engine's clock may be read once for many messages.
        assert!((before - 1000..=unix_milliseconds() + 1).contains(&made), "{session}");
        assert_eq!(parts[2].len(), 9, "{session}");
        let is_base_36 = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
        assert!(parts[2].chars().all(is_base_36), "{session}");
        assert!(seen.insert(parts[2].to_owned()), "{session} was there before");
    }
}

#[tokio::test]
async fn answers_and_candidates_copy_their_session_or_have_none() {
    let server = alone().start().await;
    let (mut operator, mut drone) = pair(&server).await;
    for (kind, key) in [("answer", "sdp"), ("ice", "candidate")] {
        drone.send(json!({"type": kind, "target": "operator", key: {"x": 1}, "sessionId": "s-1"})).await;
        let with = operator.json().await;
        let mut keys = vec!["from", key, "sessionId", "timestamp", "type"];
        keys.sort_unstable();
        assert_eq!(keys_of(&with), keys);
        assert_eq!(
            (&with["type"], &with["from"], &with["sessionId"], &with[key]),
            (&json!(kind), &json!("drone"), &json!("s-1"), &json!({"x": 1}))
        );
        assert_is_timestamp(&with["timestamp"]);

        drone.send(json!({"type": kind, "target": "operator", key: {"x": 2}})).await;
        let without = operator.json().await;
        let keys: Vec<&str> = keys.into_iter().filter(|key| *key != "sessionId").collect();
        assert_eq!(keys_of(&without), keys);
    }
}

#[tokio::test]
async fn sdp_candidate_and_session_pass_byte_for_byte() {
    let server = alone().start().await;
    let (mut operator, mut drone) = pair(&server).await;
    for (kind, key) in [("offer", "sdp"), ("answer", "sdp"), ("ice", "candidate")] {
        for value in TELLTALE {
            let session = r#""\u0073-\"1\" é""#;
            for sent in [
                format!(r#"{{"type":"{kind}","target":"drone","{key}":{value},"sessionId":{session}}}"#),
                // Keys in another order, space between, escapes in names.
                format!(
                    "\r\n{{ \"sessionId\" :\t{session} ,\"{key}\": {value} , \"t\\u0061rget\" : \"dr\\u006fne\",\"type\":\"{kind}\" }} "
                ),
            ] {
                operator.send_text(&sent).await;
                let got = drone.text().await;
                let members = entries(&got);
                let find = |name: &str| {
                    let found: Vec<&str> = members
                        .iter()
                        .filter(|(key, _)| key == name)
                        .map(|(_, value)| value.as_str())
                        .collect();
                    assert_eq!(found.len(), 1, "{name} in {got}");
                    found[0]
                };
                assert_eq!(find(key), value, "{sent}");
                assert_eq!(find("from"), "\"operator\"");
                let session_got: String = serde_json::from_str(find("sessionId")).expect("a string");
                assert_eq!(session_got, "s-\"1\" é");
            }
        }
    }
}

/// A browser ends its candidates with null.
#[tokio::test]
async fn a_null_candidate_passes() {
    let server = alone().start().await;
    let (mut operator, mut drone) = pair(&server).await;
    operator.send_text(r#"{"type":"ice","target":"drone","candidate":null}"#).await;
    let got = drone.json().await;
    assert_eq!(keys_of(&got), ["candidate", "from", "timestamp", "type"]);
    assert!(got["candidate"].is_null());
}

#[tokio::test]
async fn a_sender_cannot_say_that_it_is_another() {
    let server = alone().start().await;
    let (mut operator, mut drone) = pair(&server).await;
    operator
        .send_text(
            r#"{"type":"offer","target":"drone","sdp":"v=0","from":"mallory","id":"mallory","timestamp":"never"}"#,
        )
        .await;
    let got = drone.text().await;
    let from: Vec<_> = entries(&got).into_iter().filter(|(key, _)| key == "from").collect();
    assert_eq!(from, [("from".to_owned(), "\"operator\"".to_owned())]);
    let got: Value = serde_json::from_str(&got).expect("JSON");
    assert_eq!(keys_of(&got), ["from", "sdp", "sessionId", "timestamp", "type"]);
    assert_is_timestamp(&got["timestamp"]);
}

#[tokio::test]
async fn only_the_target_hears_a_message() {
    let server = alone().start().await;
    let (mut operator, mut drone) = pair(&server).await;
    let mut others = Vec::new();
    for index in 0..8 {
        others.push(Device::register(server.main(), &format!("other-{index}")).await);
    }
    for kind in ["offer", "answer"] {
        operator.send(json!({"type": kind, "target": "drone", "sdp": "v=0"})).await;
        assert_eq!(drone.json().await["type"], kind);
    }
    operator.send(json!({"type": "ice", "target": "drone", "candidate": {}})).await;
    assert_eq!(drone.json().await["type"], "ice");
    for other in &mut others {
        other.is_quiet_and_alive().await;
    }
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn messages_arrive_in_the_order_they_were_sent() {
    let server = alone().start().await;
    // Some of these pairs are on one shard and some on two.
    for round in 0..6 {
        let (sender, target) = (format!("sender-{round}"), format!("target-{round}"));
        let mut sender = Device::register(server.main(), &sender).await;
        let mut target = Device::register(server.main(), &target).await;
        for index in 0..100 {
            sender.send(json!({"type": "answer", "target": target.id, "sdp": index.to_string()})).await;
        }
        for index in 0..100 {
            assert_eq!(target.json().await["sdp"], index.to_string());
        }
    }
}

#[tokio::test]
async fn one_may_send_to_oneself() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    drone.send(json!({"type": "offer", "target": "drone", "sdp": "v=0"})).await;
    assert_eq!(drone.json().await["from"], "drone");
}

#[tokio::test]
async fn a_pong_carries_the_time() {
    let server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    drone.send(json!({"type": "ping"})).await;
    let pong = drone.json().await;
    assert_eq!(keys_of(&pong), ["timestamp", "type"]);
    assert_eq!(pong["type"], "pong");
    assert_is_timestamp(&pong["timestamp"]);
}

#[tokio::test]
async fn a_large_sdp_passes_whole() {
    let server = alone().start().await;
    let (mut operator, mut drone) = pair(&server).await;
    let sdp = format!("v=0\r\n{}", "a=candidate:é\r\n".repeat(25_000));
    operator.send(json!({"type": "offer", "target": "drone", "sdp": sdp})).await;
    assert!(drone.json().await["sdp"] == sdp, "{} bytes came changed", sdp.len());
}

fn unix_milliseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis()
}
