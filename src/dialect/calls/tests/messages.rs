use super::*;
use crate::base::Entropy;
use crate::dialect::{MESSAGE_LABELS, Speaks};

/// Nothing of a call is made up.
struct NoEntropy;

impl Entropy for NoEntropy {
    fn next_u128(&mut self) -> u128 {
        unreachable!("an event passes as it is")
    }
}

fn event(event: &Event<'_>) -> String {
    let mut out = Vec::new();
    write_event(event, &mut out);
    String::from_utf8(out).expect("JSON is text")
}

#[test]
fn events_have_the_deployed_order_of_keys_and_no_empty_ones() {
    let text = r#"{"kind":"OFFER","body":"v=0\r\n\u0041\"","session":"s","call":"a\"b"}"#;
    let message = Message::parse(text).unwrap();
    let kind = message.signal().unwrap();
    let all = Event { call: &message.call, session: &message.session, body: message.body, kind };
    // The body has passed as it came, escapes included.
    assert_eq!(event(&all), r#"{"call":"a\"b","session":"s","body":"v=0\r\n\u0041\"","kind":"OFFER"}"#);
    let peer = Event { call: "c", session: "", body: Body::default(), kind: EventKind::Peer };
    assert_eq!(event(&peer), r#"{"call":"c","kind":"PEER"}"#);
}

#[test]
fn fields_are_strings_and_none_stands_twice() {
    let text =
        r#"{"c\u0061ll":"a","extra":[{"call":"b"}],"extra":1,"kind":"ANSWER","session":null,"body":""}"#;
    let message = Message::parse(text).unwrap();
    assert_eq!((&*message.call, &*message.session, message.kind), ("a", "", Some(EventKind::Answer)));
    assert!(message.body.is_empty());
    let unknown = Message::parse(r#"{"kind":"join"}"#).unwrap();
    assert_eq!(unknown.kind, None);
    for text in [
        "",
        "null",
        "[]",
        r#""JOIN""#,
        r#"{"call":"a"} x"#,
        r#"{"call":"a""#,
        r#"{"call":"a","call":5}"#,
        r#"{"call":"a","c\u0061ll":"a"}"#,
        r#"{"body":{}}"#,
        r#"{"session":true}"#,
        r#"{"kind":["JOIN"]}"#,
        r#"{"call":"\ud800"}"#,
    ] {
        assert!(Message::parse(text).is_err(), "{text}");
    }
    let deep = format!("{{\"call\":\"a\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(Message::parse(&deep).is_err());
}

#[test]
fn names_have_a_longest_length() {
    for (key, bytes_max) in [("call", CALL_BYTES_MAX), ("session", SESSION_BYTES_MAX)] {
        for (bytes, fits) in [(bytes_max, true), (bytes_max + 1, false)] {
            let text = format!("{{\"{key}\":\"{}\"}}", "x".repeat(bytes));
            assert_eq!(Message::parse(&text).is_ok(), fits, "{key} of {bytes}");
        }
    }
}

#[test]
fn a_signal_has_all_its_fields_and_one_of_three_kinds() {
    for kind in ["OFFER", "ANSWER", "CANDIDATE"] {
        let whole = format!(r#"{{"kind":"{kind}","call":"c","session":"s","body":"b"}}"#);
        let found = Message::parse(&whole).unwrap().signal().unwrap();
        assert_eq!((found.word(), MESSAGE_LABELS[usize::from(found.label().0)]), (kind, ("calls", kind)));
        for empty in [r#""c""#, r#""s""#, r#""b""#] {
            assert_eq!(Message::parse(&whole.replace(empty, "\"\"")).unwrap().signal(), None);
        }
    }
    for kind in ["JOIN", "WELCOME", "PEER", "offer", ""] {
        let other = format!(r#"{{"kind":"{kind}","call":"c","session":"s","body":"b"}}"#);
        assert_eq!(Message::parse(&other).unwrap().signal(), None, "{kind}");
    }
}

#[test]
fn an_event_reaches_listeners_of_calls_as_it_is_and_nobody_else() {
    let body = Message::parse(r#"{"body":"v=0"}"#).unwrap().body;
    let offer = Event { call: "c", session: "", body, kind: EventKind::Offer };
    let owned = delivery(ME, &offer);
    let delivery = owned.borrow();
    let mut out = Vec::new();
    let plan = delivery.plan(Speaks::Calls, Now::default(), &mut NoEntropy).unwrap();
    delivery.write(&plan, &mut out);
    assert_eq!(out, event(&offer).into_bytes());
    assert_eq!((delivery.from, delivery.label()), (ME, EventKind::Offer.label()));
    for other in [Speaks::Nothing, Speaks::Devices { reports_all: true }, Speaks::Broadcast] {
        assert!(delivery.plan(other, Now::default(), &mut NoEntropy).is_err(), "{other:?}");
    }
}
