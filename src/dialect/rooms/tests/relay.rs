//! What passes between the peers of a room, and what becomes of what cannot.

use super::*;
use crate::dialect::{MessageRef, Told, untold};
use crate::observe::Detail;

fn peer_message(from: &str, to: &str, payload: &str) -> String {
    format!(r#"{{"type":"peer_message","from_peer_id":"{from}","to_peer_id":"{to}","payload":{payload}}}"#)
}

fn signal(message_type: &str, from: &str, to: &str) -> String {
    json!({"type": message_type, "sender": from, "target": to, "sdp": "v=0\r\n"}).to_string()
}

#[test]
fn a_payload_arrives_byte_for_byte_in_exactly_four_fields() {
    let mut world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    for payload in [
        r#"{"z":1,"a":2.50,"z":1e2}"#,
        "{ \"spaced\" :\t[ 1 , 2 ]\n}",
        r#""\u0041\/\ud83d\ude00\ud800""#,
        "12345678901234567890.000000000000000000001",
        "false",
        r#"{"type":"peer_message","from_peer_id":"evil"}"#,
    ] {
        world.say(a, &peer_message("a", "b", payload));
        assert_eq!(world.text(b), peer_message("a", "b", payload));
        world.nothing(a);
    }
    // Whatever else stands in it, and in whatever order, stays behind.
    let text = r#" {"extra":{"x":[]},"payload" : [1] ,"to_peer_id":"\u0062","from_peer_id":"\u0061","type":"peer_message"} "#;
    world.say(a, text);
    let expected = r#"{"type":"peer_message","from_peer_id":"a","to_peer_id":"\u0062","payload":[1]}"#;
    assert_eq!(world.text(b), expected);
}

#[test]
fn signals_pass_unchanged_with_whatever_else_is_in_them() {
    let mut world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    for text in [
        signal("offer", "a", "b"),
        signal("answer", "a", "b"),
        r#"{"type":"candidate","sender":"a","target":"b","candidate":"candidate:1 1 UDP"}"#.to_owned(),
        r#"{ "candidate" : null, "x":"\ud800", "target":"b", "sender":"a", "type":"candidate" }"#.to_owned(),
        r#"{"type":"offer","from_peer_id":"a","target":"b","sdp":{"k":[1.0]}}"#.to_owned(),
        r#"{"type":"error","target":"b","reason":"worker_busy","current_job":7}"#.to_owned(),
    ] {
        world.say(a, &text);
        assert_eq!(world.text(b), text);
        world.nothing(a);
    }
    assert!(world.events.iter().all(|event| event.event_type == "client_connected"));
}

#[test]
fn messages_to_one_target_after_another_arrive_in_their_order() {
    let mut world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("cc"));
    for n in 0..10 {
        world.say(a, &peer_message("a", if n % 2 == 0 { "b" } else { "cc" }, &n.to_string()));
    }
    let payloads = |texts: Vec<String>| -> Vec<u64> {
        let payload = |text: &String| serde_json::from_str::<Value>(text).unwrap()["payload"].as_u64();
        texts.iter().filter_map(payload).collect()
    };
    assert_eq!(payloads(world.texts(b)), [0, 2, 4, 6, 8]);
    assert_eq!(payloads(world.texts(c)), [1, 3, 5, 7, 9]);
}

#[test]
fn nobody_speaks_for_another_and_nobody_is_reached_in_another_room() {
    let mut world = World::new();
    world.make_room("otherone", "tttttt");
    let (a, b) = (world.peer("a"), world.peer("b"));
    let c = world.open();
    world.say(c, &register_in("otherone", "tttttt", "c"));
    world.texts(c);
    for text in [
        peer_message("b", "b", "1"),
        signal("offer", "b", "b"),
        r#"{"type":"offer","sender":"b","sender":"a","target":"b"}"#.to_owned(),
        r#"{"type":"offer","sender":"a","sender":"b","target":"b"}"#.to_owned(),
        r#"{"type":"answer","sender":"a","from_peer_id":"b","target":"b"}"#.to_owned(),
        r#"{"type":"error","sender":"b","target":"b"}"#.to_owned(),
        r#"{"type":"discover_peers","from_peer_id":"b"}"#.to_owned(),
        r#"{"type":"query","sender":"b"}"#.to_owned(),
        r#"{"type":"update_metadata","peer_id":"b","metadata":{"tags":[]}}"#.to_owned(),
    ] {
        world.say(a, &text);
        assert_eq!(world.code(a), "INVALID_MESSAGE", "{text}");
    }
    // The address in the directory is made of room and peer; neither can be forged by the other.
    world.say(a, &peer_message("a", "c", "1"));
    assert_eq!(world.code(a), "PEER_NOT_IN_ROOM");
    world.say(a, r#"{"type":"peer_message","from_peer_id":"a","to_peer_id":"x\u0000c","payload":1}"#);
    assert_eq!(world.code(a), "PEER_NOT_FOUND");
    world.nothing(b);
    world.nothing(c);
}

#[test]
fn a_peer_message_that_does_not_arrive_is_told_and_published() {
    let mut world = World::new();
    let a = world.peer("a");
    world.peer("b");
    world.events.clear();
    for (undeliverable, to, code, cause) in [
        (None, "nobody", "PEER_NOT_FOUND", "not_connected"),
        (Some(Undeliverable::NotConnected), "b", "PEER_NOT_FOUND", "not_connected"),
        (Some(Undeliverable::Full), "b", "DELIVERY_FAILED", "full"),
        (Some(Undeliverable::Draining), "b", "DELIVERY_FAILED", "draining"),
    ] {
        world.undeliverable = undeliverable;
        world.say(a, &peer_message("a", to, "\"secret\""));
        let (told, message) = world.error(a);
        assert_eq!(told, code);
        assert!(message.ends_with(to), "{message}");
        let event = world.event();
        assert_eq!((event.event_type, event.client_id.as_str()), ("signal_undeliverable", "a"));
        assert!(event.details.contains(&("cause", Detail::from(cause))));
        assert!(event.details.contains(&("target", Detail::from(to))));
        assert!(!format!("{event:?}").contains("secret"));
    }
    assert_eq!((world.errors_counted("PEER_NOT_FOUND"), world.errors_counted("DELIVERY_FAILED")), (2, 2));
}

#[test]
fn signals_that_do_not_arrive_are_counted_and_published_and_told_only_on_wish() {
    for report_undeliverable in [false, true] {
        let mut world = World::with(|settings| settings.report_undeliverable = report_undeliverable);
        let a = world.peer("a");
        for (counted, message_type) in ["offer", "answer", "candidate", "error"].into_iter().enumerate() {
            world.events.clear();
            world.say(a, &signal(message_type, "a", "nobody"));
            if report_undeliverable {
                assert_eq!(world.code(a), "PEER_NOT_FOUND");
            } else {
                world.nothing(a);
            }
            let event = world.event();
            assert!(event.details.contains(&("message_type", Detail::from(message_type))));
            assert!(event.details.contains(&("target", Detail::from("nobody"))));
            assert_eq!(world.errors_counted("PEER_NOT_FOUND"), counted as u64 + 1);
        }
    }
}

#[test]
fn a_target_that_can_be_nobodys_id_never_shows() {
    let mut world = World::new();
    let a = world.peer("a");
    world.events.clear();
    for target in ["v=0\r\no=- secret", &"s".repeat(300)] {
        world.say(a, &signal("offer", "a", target));
        let event = world.event();
        assert!(event.details.contains(&("target", Detail::from(""))), "{event:?}");
        let message = json!({
            "type": "peer_message", "from_peer_id": "a", "to_peer_id": target, "payload": 1
        });
        world.say(a, &message.to_string());
        assert_eq!(world.error(a), ("PEER_NOT_FOUND".to_owned(), "Target peer is not found".to_owned()));
        world.events.clear();
    }
}

#[test]
fn what_comes_back_later_is_told_by_the_same_rule() {
    let label = |message_type: &str| {
        let at = crate::dialect::MESSAGE_LABELS.iter().position(|&label| label == ("rooms", message_type));
        crate::dialect::MessageLabel(at.expect("a label") as u8)
    };
    let now = World::new().now;
    for (message_type, reports_all, cause, code) in [
        ("peer_message", false, Undeliverable::NotConnected, Some("PEER_NOT_FOUND")),
        ("peer_message", false, Undeliverable::Full, Some("DELIVERY_FAILED")),
        ("offer", false, Undeliverable::NotConnected, None),
        ("candidate", false, Undeliverable::Full, None),
        ("error", false, Undeliverable::NotConnected, None),
        ("offer", true, Undeliverable::NotConnected, Some("PEER_NOT_FOUND")),
        ("candidate", true, Undeliverable::Full, Some("DELIVERY_FAILED")),
    ] {
        let reference = MessageRef::Text { label: label(message_type), target: "b\"c".into() };
        let mut out = Vec::new();
        let told = bounced(Speaks::Rooms { reports_all }, &reference, cause, now, &mut out);
        let Some(code) = code else {
            assert_eq!((told, out.len()), (None, 0));
            continue;
        };
        let error: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)));
        assert!(error["message"].as_str().expect("a string").ends_with("b\"c"));
        let Told { label: told_label, error } = told.expect("it is told");
        assert_eq!(told_label, label("error"));
        assert_eq!(ERROR_LABELS[usize::from(error)], ("rooms", code));
    }
    let mut world = World::new();
    let a = world.peer("a");
    let reference = MessageRef::Text { label: label("offer"), target: "b".into() };
    let event = world.sessions[a].undeliverable(&reference, Undeliverable::Full, now).expect("it had an id");
    assert_eq!((event.client_id.as_str(), event.event_type), ("a", "signal_undeliverable"));
    assert_eq!(untold(&reference, Undeliverable::Full, now).details, event.details);
    world.end(a);
    assert!(world.sessions[a].undeliverable(&reference, Undeliverable::Full, now).is_some());
    let fresh = world.open();
    assert_eq!(world.sessions[fresh].undeliverable(&reference, Undeliverable::Full, now), None);
}

#[test]
fn pings_go_both_ways() {
    let mut world = World::new();
    let fresh = world.open();
    assert_eq!(world.sessions[fresh].deadline_us(&world.settings), None);
    world.say(fresh, r#"{"type":"ping"}"#);
    assert_eq!(world.one(fresh), json!({"type": "pong"}));
    world.say(fresh, r#"{"type":"pong"}"#);
    world.nothing(fresh);

    let a = world.peer("a");
    for _ in 0..3 {
        let deadline_us = world.sessions[a].deadline_us(&world.settings).expect("a ping is due");
        assert_eq!(deadline_us, world.now.mono_us + 30_000_000);
        world.pass_us(29_999_999);
        world.tick(a);
        world.nothing(a);
        world.pass_us(1);
        world.tick(a);
        assert_eq!(world.one(a), json!({"type": "ping"}));
        world.say(a, r#"{"type":"pong","x":1}"#);
        world.nothing(a);
    }
    world.has_room = false;
    world.pass_us(30_000_000);
    world.tick(a);
    world.nothing(a);
    world.settings.app_ping = Duration::ZERO;
    assert_eq!(world.sessions[a].deadline_us(&world.settings), None);
}
