//! Everything that a client can get wrong, and some things that nobody sends by mistake.

use super::*;
use crate::dialect::{First, Serves, choose, refuse};

#[test]
fn whoever_has_not_registered_is_in_no_room() {
    let mut world = World::new();
    let me = world.open();
    for text in [
        r#"{"type":"discover_peers","from_peer_id":"a"}"#,
        r#"{"type":"peer_message","from_peer_id":"a","to_peer_id":"b","payload":1}"#,
        r#"{"type":"offer","sender":"a","target":"b","sdp":"x"}"#,
        r#"{"type":"answer","sender":"a","target":"b","sdp":"x"}"#,
        r#"{"type":"candidate","sender":"a","target":"b"}"#,
        r#"{"type":"update_metadata","peer_id":"a","metadata":{}}"#,
        r#"{"type":"error","target":"b"}"#,
        r#"{"type":"query"}"#,
    ] {
        world.say(me, text);
        assert_eq!(world.code(me), "NOT_IN_ROOM", "{text}");
    }
    assert!(world.events.is_empty());
    assert_eq!(world.errors_counted("NOT_IN_ROOM"), 8);
}

#[test]
fn each_kind_of_bad_text_has_its_code_and_disturbs_nothing() {
    let mut world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let too_deep = format!(
        r#"{{"type":"peer_message","from_peer_id":"a","to_peer_id":"b","payload":{}{}}}"#,
        "[".repeat(128),
        "]".repeat(128)
    );
    for (text, code) in [
        ("", "INVALID_JSON"),
        ("{", "INVALID_JSON"),
        ("hello", "INVALID_JSON"),
        (r#"{"type":"offer",}"#, "INVALID_JSON"),
        (r#"{"type":"offer"} x"#, "INVALID_JSON"),
        ("{\"type\":\"offer\",\"x\":\"\n\"}", "INVALID_JSON"),
        (&too_deep, "INVALID_JSON"),
        ("[]", "INVALID_MESSAGE"),
        ("null", "INVALID_MESSAGE"),
        ("{}", "INVALID_MESSAGE"),
        (r#"{"type":null}"#, "INVALID_MESSAGE"),
        (r#"{"type":5}"#, "INVALID_MESSAGE"),
        (r#"{"type":""}"#, "INVALID_MESSAGE"),
        (r#"{"type":"\ud800"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"Offer"}"#, "UNKNOWN_MESSAGE_TYPE"),
        (r#"{"type":"registered_auth"}"#, "UNKNOWN_MESSAGE_TYPE"),
        (r#"{"type":"peer_list","to_peer_id":"b"}"#, "UNKNOWN_MESSAGE_TYPE"),
        (r#"{"type":"offer","type":"metadata_updated"}"#, "INVALID_MESSAGE"),
        (r#"{"type":"mesh_connect","from_peer_id":"a"}"#, "UNKNOWN_MESSAGE_TYPE"),
    ] {
        world.say(a, text);
        assert_eq!(world.code(a), code, "{text}");
    }
    world.nothing(b);
    world.say(a, r#"{"type":"offer","sender":"a","target":"b"}"#);
    assert_eq!(world.texts(b).len(), 1);
}

#[test]
fn missing_empty_and_wrong_fields_of_each_message_are_invalid() {
    let mut world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let peer_message = json!({
        "type": "peer_message", "from_peer_id": "a", "to_peer_id": "b", "payload": {"x": 1}
    });
    let offer = json!({"type": "offer", "sender": "a", "target": "b", "sdp": "x"});
    let bad = [json!(null), json!(""), json!(5), json!([]), json!({}), json!(true)];
    for (message, fields) in
        [(&peer_message, &["from_peer_id", "to_peer_id"][..]), (&offer, &["sender", "target"][..])]
    {
        for field in fields {
            for value in &bad {
                let mut changed = message.clone();
                changed[*field] = value.clone();
                world.say(a, &changed.to_string());
                assert_eq!(world.code(a), "INVALID_MESSAGE", "{changed}");
            }
            world.say(a, &with(&message.to_string(), json!({ *field: null })));
            assert_eq!(world.code(a), "INVALID_MESSAGE", "without {field}");
        }
    }
    for payload in [json!(null), json!(""), json!({}), json!([])] {
        let mut changed = peer_message.clone();
        changed["payload"] = payload;
        world.say(a, &changed.to_string());
        assert_eq!(world.code(a), "INVALID_MESSAGE", "{changed}");
    }
    world.say(a, r#"{"type":"error","reason":"to nobody"}"#);
    assert_eq!(world.code(a), "INVALID_MESSAGE");
    world.nothing(b);
}

#[test]
fn a_payload_of_the_greatest_depth_passes() {
    let mut world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let payload = format!("{}{}", "[".repeat(127), "]".repeat(127));
    let text =
        format!(r#"{{"type":"peer_message","from_peer_id":"a","to_peer_id":"b","payload":{payload}}}"#);
    world.say(a, &text);
    assert_eq!(world.text(b), text);
}

#[test]
fn binary_messages_are_told_that_they_are() {
    let mut world = World::new();
    let me = world.open();
    world.call(me, |session, settings, ctx| session.on_binary(settings, ctx));
    assert_eq!(world.code(me), "INVALID_MESSAGE");
    assert_eq!(world.peers[me].closed, None);
}

#[test]
fn who_sends_too_much_is_told_and_loses_only_that() {
    let mut world = World::with(|settings| settings.message_rate = 3);
    let a = world.peer("a");
    for _ in 0..2 {
        world.say(a, r#"{"type":"ping"}"#);
        assert_eq!(world.one(a)["type"], "pong");
    }
    for text in [r#"{"type":"ping"}"#, "no json", &register("a")] {
        world.say(a, text);
        assert_eq!(world.code(a), "RATE_LIMITED");
    }
    world.call(a, |session, settings, ctx| session.on_binary(settings, ctx));
    assert_eq!(world.code(a), "RATE_LIMITED");
    world.pass_us(1_000_000);
    world.say(a, r#"{"type":"ping"}"#);
    assert_eq!(world.one(a)["type"], "pong");
}

#[test]
fn a_listener_without_this_dialect_refuses_in_its_words() {
    let mut world = World::new();
    let me = world.open();
    let first = First::Text(r#"{"type":"register","peer_id":"a"}"#);
    assert_eq!(choose(first), Some(Dialect::Rooms));
    let serves = Serves::new(vec![Dialect::Binary]);
    refuse(first, &serves, false, &mut InWorld { world: &mut world, me });
    assert_eq!(world.code(me), "UNKNOWN_MESSAGE_TYPE");
    let serves = Serves::new(vec![Dialect::Rooms, Dialect::Devices]);
    refuse(First::Text("{"), &serves, false, &mut InWorld { world: &mut world, me });
    assert_eq!(world.code(me), "INVALID_JSON");
}

/// Every text that one change of a byte makes of a good one is answered, delivered or dropped by
/// rule, and whoever else is there gets nothing that is not JSON or says another sender.
#[test]
fn no_change_of_a_byte_breaks_anything_or_forges_a_sender() {
    let mut world = World::with(|settings| settings.report_undeliverable = true);
    let (a, b) = (world.peer("a"), world.peer("b"));
    let texts = [
        r#"{"type":"offer","sender":"a","target":"b","sdp":"v=0\r\n\u0041"}"#,
        r#"{"type":"peer_message","from_peer_id":"a","to_peer_id":"b","payload":{"x":[1.5e3,null]}}"#,
        r#"{"type":"update_metadata","peer_id":"a","metadata":{"tags":["x"],"properties":{"n":1}}}"#,
        r#"{"type":"discover_peers","from_peer_id":"a","filters":{"properties":{"n":{"$in":[1]}}}}"#,
    ];
    for text in texts {
        for at in 0..text.len() {
            for byte in [b'"', b'\\', b'{', b'}', b',', b':', b'a', b'0', b' ', b'\n', 0] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                let changed = String::from_utf8(bytes).expect("still ASCII");
                world.say(a, &changed);
                for message in world.texts(b) {
                    let value: Value = serde_json::from_str(&message).expect("JSON");
                    let sender = value.get("sender").or(value.get("from_peer_id"));
                    assert_eq!(sender, Some(&json!("a")), "{changed}");
                }
                let answers = world.texts(a);
                assert!(answers.len() <= 1, "{changed}: {answers:?}");
                for answer in answers {
                    serde_json::from_str::<Value>(&answer).expect("JSON");
                }
            }
        }
    }
}
