use std::borrow::Cow;

use super::*;
use crate::hub::{Signal, SignalKind};

fn said_to_devices(kind: SignalKind, from: &str, body: &str) -> String {
    let signal = Signal { kind, from: Cow::Borrowed(from), body: Cow::Borrowed(body) };
    String::from_utf8(write_crossing(&signal, World::new().now, &mut Dice(3))).unwrap()
}

fn taken_apart(text: &str) -> Option<(SignalKind, String, String)> {
    crossing(text.as_bytes()).map(|signal| (signal.kind, signal.from.into_owned(), signal.body.into_owned()))
}

#[test]
fn a_signal_from_elsewhere_reads_like_one_of_a_device() {
    let answer = said_to_devices(SignalKind::Answer, "agent\"1", "v=0\r\n");
    assert_eq!(
        answer,
        format!(r#"{{"type":"answer","from":"agent\"1","sdp":"v=0\r\n","timestamp":"{TIME}"}}"#)
    );
    let object = r#"{"candidate":"c","sdpMid":"0"}"#;
    let ice = said_to_devices(SignalKind::Candidate, "agent", object);
    assert_eq!(ice, format!(r#"{{"type":"ice","from":"agent","candidate":{object},"timestamp":"{TIME}"}}"#));
    let offer = json(&said_to_devices(SignalKind::Offer, "agent", "v=0"));
    let session_id = offer["sessionId"].as_str().unwrap();
    assert!(session_id.starts_with("session-1764244800000-") && session_id.len() == 31, "{session_id}");
    assert_eq!(
        (&offer["type"], &offer["from"], &offer["sdp"]),
        (&"offer".into(), &"agent".into(), &"v=0".into())
    );
}

#[test]
fn a_signal_of_a_device_is_taken_apart() {
    for (text, expected) in [
        (
            r#"{"type":"offer","from":"d","sdp":"v=0\r\n","sessionId":"s","timestamp":"t"}"#,
            Some((SignalKind::Offer, "d", "v=0\r\n")),
        ),
        (
            r#"{"type":"answer","from":"d","sdp":{"type":"answer","sdp":"v=0"},"timestamp":"t"}"#,
            Some((SignalKind::Answer, "d", "v=0")),
        ),
        (
            r#"{"type":"answer","from":null,"sdp":"{\"sdp\":\"v=0\"}","timestamp":"t"}"#,
            Some((SignalKind::Answer, "", "v=0")),
        ),
        (
            r#"{"type":"ice","from":"d","candidate":{"candidate":"c" },"timestamp":"t"}"#,
            Some((SignalKind::Candidate, "d", r#"{"candidate":"c" }"#)),
        ),
        (
            r#"{"type":"ice","from":"d","candidate":"candidate:1 1 udp","timestamp":"t"}"#,
            Some((
                SignalKind::Candidate,
                "d",
                r#"{"candidate":"candidate:1 1 udp","sdpMid":"0","sdpMLineIndex":0}"#,
            )),
        ),
        (r#"{"type":"offer","from":"d","timestamp":"t"}"#, None),
        (r#"{"type":"offer","from":"d","sdp":null,"timestamp":"t"}"#, None),
        (r#"{"type":"offer","from":"d","sdp":{"type":"offer"},"timestamp":"t"}"#, None),
        (r#"{"type":"offer","from":"d","sdp":"\ud800","timestamp":"t"}"#, None),
        (r#"{"type":"ice","from":"d","candidate":null,"timestamp":"t"}"#, None),
        (r#"{"type":"ice","from":"d","candidate":[],"timestamp":"t"}"#, None),
        (r#"{"type":"pong","from":"d"}"#, None),
        ("{", None),
    ] {
        let expected = expected.map(|(kind, from, body)| (kind, from.to_owned(), body.to_owned()));
        assert_eq!(taken_apart(text), expected, "{text}");
    }
}

#[test]
fn what_crosses_twice_is_the_same_signal() {
    for (kind, body) in [
        (SignalKind::Offer, "v=0\r\na=\"x\"\\\u{1}é"),
        (SignalKind::Answer, "v=0"),
        (SignalKind::Candidate, r#"{"candidate":"c","sdpMLineIndex":0}"#),
    ] {
        let text = said_to_devices(kind, "agent ü\"", body);
        assert_eq!(taken_apart(&text), Some((kind, "agent ü\"".to_owned(), body.to_owned())));
    }
}

#[test]
fn what_another_dialect_cannot_say_comes_back() {
    let mut world = World::new();
    let (me, station) = (world.client("drone"), world.open());
    world.peers[station].speaks = Speaks::Broadcast;
    world.peers[station].attends = true;
    let dialect = Dialect::Broadcast.id();
    world.directory.join(REALM, "station", key(station), dialect, OnDuplicate::Replace).unwrap();
    let unsaid = error("Target station cannot understand this message");
    assert_eq!(world.ask(me, r#"{"type":"offer","target":"station","sdp":[]}"#), unsaid);
    assert_eq!(world.event("cause"), ("signal_undeliverable", "drone".into(), "unconvertible".into()));
}
