use super::*;
use crate::dialect::{ERROR_LABELS, MESSAGE_LABELS, MessageRef};

fn offer(target: &str, sdp: &str) -> String {
    format!(
        "{{\"type\":\"offer\",\"target\":{},\"sdp\":{},\"sessionId\":\"s\"}}",
        Value::from(target),
        Value::from(sdp)
    )
}

#[test]
fn registering_is_confirmed_and_repeats_without_effect() {
    let mut world = World::new();
    let me = world.open();
    let confirmed = format!(r#"{{"type":"registered","id":"drone\"ü","timestamp":"{TIME}"}}"#);
    assert_eq!(world.ask(me, &register("drone\"ü")), confirmed);
    assert_eq!(world.event(""), ("client_connected", "drone\"ü".into(), "".into()));
    assert_eq!(world.ask(me, &register("drone\"ü")), confirmed);
    assert_eq!((world.owner("drone\"ü"), world.settings.roster.len()), (Some(me), 1));
    assert!(world.events.is_empty());
}

#[test]
fn a_second_id_takes_the_place_of_the_first() {
    let mut world = World::new();
    let (me, other) = (world.client("first"), world.client("other"));
    world.ask(me, &register("second"));
    assert_eq!((world.owner("first"), world.owner("second")), (None, Some(me)));
    assert_eq!(world.event("reason"), ("client_disconnected", "first".into(), "renamed".into()));
    assert_eq!(world.event(""), ("client_connected", "second".into(), "".into()));
    world.say(other, &offer("second", "x"));
    assert_eq!(json(&world.one(me))["from"], "other");
    world.say(me, &offer("other", "x"));
    assert_eq!(json(&world.one(other))["from"], "second");
    assert_eq!(world.settings.roster.len(), 2);
}

#[test]
fn a_newer_connection_wins_and_the_end_of_the_older_changes_nothing() {
    let mut world = World::new();
    let (older, newer, other) = (world.client("x"), world.client("x"), world.client("other"));
    // Its own repetition, before it knows, takes nothing back.
    assert_eq!(json(&world.ask(older, &register("x")))["type"], "registered");
    assert_eq!(world.owner("x"), Some(newer));
    world.evict(older);
    world.nothing(older);
    assert_eq!(world.peers[older].closed, Some((CloseCode::POLICY, "Replaced by a newer connection")));
    assert_eq!(world.event("reason"), ("client_disconnected", "x".into(), "replaced".into()));
    world.end(older, "closed");
    world.say(older, &register("x"));
    world.nothing(older);
    assert_eq!((world.owner("x"), world.settings.roster.len()), (Some(newer), 2));
    world.say(other, &offer("x", "sdp"));
    assert_eq!(json(&world.one(newer))["sdp"], "sdp");
    assert!(world.events.is_empty());
}

#[test]
fn an_id_of_another_dialect_is_refused_and_the_former_one_kept() {
    let mut world = World::new();
    world.directory.join(REALM, "agent", key(99), OTHER_DIALECT, OnDuplicate::Replace).unwrap();
    let me = world.client("drone");
    assert_eq!(world.ask(me, &register("agent")), error("Id is taken"));
    assert_eq!(world.event("reason"), ("client_rejected", "agent".into(), "id_taken".into()));
    assert_eq!((world.owner("drone"), world.settings.roster.len()), (Some(me), 1));
    assert_eq!(world.directory.lookup(REALM, "agent"), Some(key(99)));
}

#[test]
fn what_is_forwarded_has_the_documented_members_in_their_order() {
    let mut world = World::new();
    let (me, other) = (world.client("me"), world.client("other"));
    for (sent, got) in [
        (
            r#"{"sessionId":"s-1","x":1,"sdp":"v=0\r\n\u0041","from":"liar","timestamp":0,"target":"other","type":"offer"}"#,
            r#"{"type":"offer","from":"me","sdp":"v=0\r\n\u0041","sessionId":"s-1","timestamp":"T"}"#,
        ),
        (
            r#"{"type":"answer","target":"other","sdp":{ "type":"answer" , "sdp":"v=0" },"sessionId":"s-1"}"#,
            r#"{"type":"answer","from":"me","sdp":{ "type":"answer" , "sdp":"v=0" },"sessionId":"s-1","timestamp":"T"}"#,
        ),
        (
            r#"{"type":"answer","target":"other","sdp":"v=0"}"#,
            r#"{"type":"answer","from":"me","sdp":"v=0","timestamp":"T"}"#,
        ),
        (
            r#"{"type":"ice","target":"other","candidate":{"candidate":"c","sdpMLineIndex":0.0},"sessionId":null}"#,
            r#"{"type":"ice","from":"me","candidate":{"candidate":"c","sdpMLineIndex":0.0},"sessionId":null,"timestamp":"T"}"#,
        ),
        (r#"{"type":"ice","target":"other","sdp":"v=0"}"#, r#"{"type":"ice","from":"me","timestamp":"T"}"#),
        (
            r#"{"type":"offer","target":"\u006fther","sdp":null,"sessionId":7}"#,
            r#"{"type":"offer","from":"me","sdp":null,"sessionId":7,"timestamp":"T"}"#,
        ),
    ] {
        world.say(me, sent);
        assert_eq!(world.one(other), got.replace("\"T\"", &format!("\"{TIME}\"")));
    }
    world.nothing(me);
}

#[test]
fn an_offer_without_a_session_gets_one() {
    let mut world = World::new();
    let (me, other) = (world.client("me"), world.client("other"));
    let mut seen = Vec::new();
    for session_id in ["", r#","sessionId":null"#, r#","sessionId":"""#, r#","sessionId":0"#] {
        world.say(me, &format!(r#"{{"type":"offer","target":"other","sdp":"v=0"{session_id}}}"#));
        let got = json(&world.one(other));
        let made = got["sessionId"].as_str().unwrap().to_owned();
        let random = made.strip_prefix("session-1764244800000-").unwrap();
        assert!(random.len() == 9 && random.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()));
        assert!(!seen.contains(&made));
        seen.push(made);
    }
}

#[test]
fn who_has_not_registered_may_ping_and_list_only() {
    let mut world = World::new();
    world.client("drone");
    let me = world.open();
    assert_eq!(world.ask(me, r#"{"type":"ping"}"#), format!(r#"{{"type":"pong","timestamp":"{TIME}"}}"#));
    assert_eq!(world.ask(me, r#"{"type":"list"}"#), r#"{"type":"clients","clients":["drone"],"count":1}"#);
    for message_type in ["offer", "answer", "ice"] {
        let text = format!(r#"{{"type":"{message_type}","target":"drone"}}"#);
        assert_eq!(world.ask(me, &text), error("Not registered"));
    }
    world.end(me, "closed");
    assert!(world.events.is_empty());
}

#[test]
fn who_has_not_registered_may_send_as_nobody_where_that_is_allowed() {
    let mut world = World::with(|settings| settings.allow_unregistered = true);
    let (drone, me) = (world.client("drone"), world.open());
    world.say(me, &offer("drone", "v=0"));
    let expected =
        format!(r#"{{"type":"offer","from":null,"sdp":"v=0","sessionId":"s","timestamp":"{TIME}"}}"#);
    assert_eq!(world.one(drone), expected);
    assert_eq!(world.ask(me, &offer("gone", "v=0")), error("Target gone not found or offline"));
    assert_eq!(world.event("target"), ("signal_undeliverable", "".into(), "gone".into()));
}

#[test]
fn a_list_names_all_of_the_realm_but_the_asker() {
    let mut world = World::new();
    let me = world.client("m");
    assert_eq!(world.ask(me, r#"{"type":"list"}"#), r#"{"type":"clients","clients":[],"count":0}"#);
    world.client("z");
    world.client("a\\");
    world.directory.join(REALM, "agent", key(99), OTHER_DIALECT, OnDuplicate::Replace).unwrap();
    world.directory.join(RealmId(8), "elsewhere", key(99), OTHER_DIALECT, OnDuplicate::Replace).unwrap();
    let expected = r#"{"type":"clients","clients":["a\\","agent","z"],"count":3}"#;
    assert_eq!(world.ask(me, r#"{"type":"list"}"#), expected);
}

#[test]
fn the_list_of_who_is_left_is_one_text_for_all() {
    let mut out = Vec::new();
    write_list_update(&["a".into(), "b\"".into()], World::new().now, &mut out);
    let expected =
        format!(r#"{{"type":"client_list_update","clients":["a","b\""],"count":2,"timestamp":"{TIME}"}}"#);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_sender_hears_what_did_not_arrive_in_words_that_fit_the_message() {
    let mut world = World::with(|settings| settings.report_undeliverable = true);
    let me = world.client("me");
    let causes = [
        (Undeliverable::NotConnected, "not found or offline"),
        (Undeliverable::Full, "cannot take more now"),
        (Undeliverable::TooLarge, "cannot take a message of this size"),
        (Undeliverable::Unconvertible, "cannot understand this message"),
        (Undeliverable::Draining, "is out of reach: the server is shutting down"),
    ];
    for (cause, words) in causes {
        world.undeliverable = Some(cause);
        for (message_type, named) in [("offer", "Target"), ("answer", "Caller"), ("ice", "Peer")] {
            let expected = error(&format!("{named} x {words}"));
            let text = format!(r#"{{"type":"{message_type}","target":"x"}}"#);
            assert_eq!(world.ask(me, &text), expected);
            assert_eq!(world.event("cause"), ("signal_undeliverable", "me".into(), cause.word().into()));
            // The same when it comes back later.
            let label = message::MessageType::of_word(message_type).unwrap().label();
            let reference = MessageRef::Text { label, target: "x".into() };
            let mut out = Vec::new();
            let told = bounced(world.peers[me].speaks, &reference, cause, world.now, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert_eq!(MESSAGE_LABELS[usize::from(told.label.0)], ("devices", "error"));
            assert_eq!(ERROR_LABELS[usize::from(told.error)].0, "devices");
            let event = world.sessions[me].undeliverable(&reference, cause, world.now).unwrap();
            assert_eq!((event.event_type, event.client_id.as_str()), ("signal_undeliverable", "me"));
        }
    }
}

#[test]
fn a_lost_candidate_is_published_and_counted_but_not_told_unless_asked_for() {
    let mut world = World::new();
    let me = world.client("me");
    world.say(me, r#"{"type":"ice","target":"gone","candidate":{"candidate":"c"}}"#);
    world.nothing(me);
    assert_eq!(world.event("message_type"), ("signal_undeliverable", "me".into(), "ice".into()));
    assert_eq!(world.metrics.errors[usize::from(reply::Code::NotFound.label())].get(), 1);
    let reference = MessageRef::Text { label: message::MessageType::Ice.label(), target: "gone".into() };
    let mut out = Vec::new();
    let told = bounced(world.peers[me].speaks, &reference, Undeliverable::Full, world.now, &mut out);
    assert_eq!((told, out.len()), (None, 0));
    assert!(world.sessions[me].undeliverable(&reference, Undeliverable::Full, world.now).is_some());
}

#[test]
fn what_can_be_nobodys_id_is_not_published() {
    let mut world = World::new();
    let me = world.client("me");
    for target in ["v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n".to_owned(), "x".repeat(513)] {
        assert_eq!(json(&world.ask(me, &offer(&target, "v=0")))["type"], "error");
        assert_eq!(world.event("target"), ("signal_undeliverable", "me".into(), "".into()));
    }
}

#[test]
fn who_sends_too_much_is_told() {
    let mut world = World::with(|settings| settings.message_rate = 3);
    let me = world.client("me");
    for _ in 0..2 {
        assert_eq!(json(&world.ask(me, r#"{"type":"ping"}"#))["type"], "pong");
    }
    assert_eq!(world.ask(me, r#"{"type":"ping"}"#), error("Too many messages"));
    assert_eq!(world.ask(me, "{"), error("Too many messages"));
    world.now.mono_us += 1_000_000;
    assert_eq!(json(&world.ask(me, r#"{"type":"ping"}"#))["type"], "pong");
}

#[test]
fn a_binary_message_is_refused() {
    let mut world = World::new();
    let me = world.client("me");
    world.with_session(me, |session, settings, ctx| session.on_binary(settings, ctx));
    let expected = error_with("Invalid message format", "Binary messages are not served, only text");
    assert_eq!(world.one(me), expected);
}

#[test]
fn a_draining_server_registers_nobody() {
    let mut world = World::new();
    let (me, other) = (world.client("me"), world.open());
    world.draining = true;
    assert_eq!(world.ask(other, &register("other")), error("Server shutting down"));
    assert_eq!(world.owner("other"), None);
    // Nothing new: it is.
    assert_eq!(json(&world.ask(me, &register("me")))["type"], "registered");
}

#[test]
fn only_so_many_clients_are_registered_at_once() {
    let mut world = World::with(|settings| settings.max_clients = 2);
    let (a, b, c) = (world.client("a"), world.client("b"), world.open());
    assert_eq!(world.ask(c, &register("c")), error("Too many clients"));
    assert_eq!(world.event("reason"), ("client_rejected", "c".into(), "too_many_clients".into()));
    // Neither who comes back before its old connection is gone, nor who changes its name, is one more.
    let again = world.client("a");
    world.evict(a);
    world.end(a, "closed");
    assert_eq!(json(&world.ask(b, &register("b2")))["type"], "registered");
    assert_eq!(world.ask(c, &register("c")), error("Too many clients"));
    world.end(again, "closed");
    assert_eq!(json(&world.ask(c, &register("c")))["type"], "registered");
    assert_eq!(world.settings.roster.len(), 2);
}

#[test]
fn a_list_that_is_too_long_is_an_error() {
    let mut world = World::new();
    let me = world.client("me");
    let elsewhere = key(1000);
    // 128 characters in 500 bytes each.
    let ids: Vec<String> = (1000..3100).map(|number| "😀".repeat(124) + &number.to_string()).collect();
    let (some, rest) = ids.split_at(2000);
    let join = |world: &mut World, id: &str| {
        let joined = world.directory.join(REALM, id, elsewhere, OTHER_DIALECT, OnDuplicate::Reject);
        assert!(joined.is_ok());
    };
    some.iter().for_each(|id| join(&mut world, id));
    let list = world.ask(me, r#"{"type":"list"}"#);
    assert!(list.len() <= 1 << 20, "{}", list.len());
    assert_eq!(json(&list)["count"], some.len());

    rest.iter().for_each(|id| join(&mut world, id));
    assert_eq!(world.ask(me, r#"{"type":"list"}"#), error("Too many clients to list"));
    // Nothing else has changed, and it passes.
    assert_eq!((world.peers[me].closed, world.owner("me")), (None, Some(me)));
    for id in rest {
        world.directory.leave(REALM, id, elsewhere);
    }
    assert_eq!(json(&world.ask(me, r#"{"type":"list"}"#))["count"], some.len());
}

#[test]
fn an_end_gives_the_id_up_and_tells_why_and_how_long() {
    let mut world = World::new();
    let me = world.client("me");
    world.say(me, r#"{"type":"ping"}"#);
    world.now.mono_us += 2_500_000;
    world.end(me, "heartbeat_timeout");
    let details = world.events[0].details.clone();
    assert!(
        details.contains(&("duration_ms", 2500.into())) && details.contains(&("message_count", 2.into()))
    );
    assert_eq!(world.event("reason"), ("client_disconnected", "me".into(), "heartbeat_timeout".into()));
    assert_eq!((world.owner("me"), world.settings.roster.is_empty()), (None, true));
    world.end(me, "closed");
    assert!(world.events.is_empty());
}

#[test]
fn a_failure_of_ours_is_told_and_ends_the_connection() {
    let mut world = World::new();
    let me = world.client("me");
    let fail = |world: &mut World| {
        world.with_session(me, |session, settings, ctx| session.failed(settings, ctx));
    };
    fail(&mut world);
    assert_eq!(world.one(me), error("Internal server error"));
    assert_eq!(world.peers[me].closed, Some((CloseCode::INTERNAL, "Internal server error")));
    assert_eq!(world.owner("me"), None);
    fail(&mut world);
    world.nothing(me);
}

#[test]
fn every_label_stands_where_it_is_counted() {
    for message_type in ["register", "offer", "answer", "ice", "list", "ping"] {
        let label = message::MessageType::of_word(message_type).unwrap().label();
        assert_eq!(MESSAGE_LABELS[usize::from(label.0)], ("devices", message_type));
    }
    for (label, word) in [
        (reply::REGISTERED_LABEL, "registered"),
        (reply::PONG_LABEL, "pong"),
        (reply::CLIENTS_LABEL, "clients"),
        (LIST_UPDATE_LABEL, "client_list_update"),
        (reply::ERROR_LABEL, "error"),
        (message::UNKNOWN_LABEL, "unknown"),
    ] {
        assert_eq!(MESSAGE_LABELS[usize::from(label.0)], ("devices", word));
    }
    for (code, word) in [
        (reply::Code::InvalidMessage, "invalid_message"),
        (reply::Code::NotRegistered, "not_registered"),
        (reply::Code::TooManyClients, "too_many_clients"),
        (reply::Code::Internal, "internal"),
    ] {
        assert_eq!(ERROR_LABELS[usize::from(code.label())], ("devices", word));
    }
}

#[test]
fn every_message_and_answer_is_counted_once() {
    let mut world = World::new();
    let (me, _other) = (world.client("me"), world.client("other"));
    for text in [r#"{"type":"ping"}"#, r#"{"type":"nonsense"}"#, "[", &offer("other", "v=0")] {
        world.say(me, text);
    }
    let count = |counters: &[crate::observe::Counter], word: &str| {
        let label = MESSAGE_LABELS.iter().position(|label| *label == ("devices", word)).unwrap();
        counters[label].get()
    };
    let received = ["register", "ping", "unknown", "offer"];
    assert_eq!(received.map(|word| count(&world.metrics.messages_received, word)), [2, 1, 2, 1]);
    let sent = ["registered", "pong", "error", "offer"];
    assert_eq!(sent.map(|word| count(&world.metrics.messages_sent, word)), [2, 1, 2, 1]);
}

#[test]
fn its_own_heartbeat_stands_in_for_the_servers() {
    let mut settings = Settings::new(REALM);
    assert_eq!(settings.heartbeat().interval_us, 0);
    settings.heartbeat_interval = Duration::from_millis(30_000);
    assert_eq!(settings.heartbeat().interval_us, 30_000_000);
}
