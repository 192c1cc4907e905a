//! What is read, stamped, refused and translated.

use std::borrow::Cow;
use std::sync::Arc;

use super::*;
use crate::dialect::Undeliverable;
use crate::hub::{Signal as Crossed, SignalKind};

fn stamped(text: &str) -> String {
    read(text, "S1").unwrap_or_else(|problem| panic!("{text}: {problem:?}")).text
}

fn refused(text: &str) -> String {
    read(text, "S1").err().unwrap_or_else(|| panic!("{text} is refused")).text()
}

#[test]
fn a_signal_passes_as_it_came_with_its_sender_added() {
    for (text, expected) in [
        (
            r#"{"type":"offer","data":{"sdp":"v=0\r\n","type":"offer"}}"#,
            r#"{"type":"offer","data":{"sdp":"v=0\r\n","type":"offer"},"from":"S1"}"#,
        ),
        (
            "{ \"z\": 1.50, \"type\":\"answer\",\n\"a\" : 12345678901234567890123, \"u\":\"\\u00e9\\ud800\" }",
            "{ \"z\": 1.50, \"type\":\"answer\",\n\"a\" : 12345678901234567890123, \"u\":\"\\u00e9\\ud800\" ,\"from\":\"S1\"}",
        ),
        (
            r#"{"type":"ice-candidate","data":null,"to":null}"#,
            r#"{"type":"ice-candidate","data":null,"to":null,"from":"S1"}"#,
        ),
        (r#"{"typ\u0065":"\u006fffer"}"#, r#"{"typ\u0065":"\u006fffer","from":"S1"}"#),
    ] {
        assert_eq!(stamped(text), expected);
    }
}

#[test]
fn a_sender_that_the_client_wrote_itself_is_overwritten_wherever_it_stands() {
    for (text, expected) in [
        (r#"{"from":"B","type":"offer"}"#, r#"{"from":"S1","type":"offer"}"#),
        (
            r#"{"fr\u006fm":{"a":[1]},"type":"offer", "from" : "B" ,"data":{"from":"kept"}}"#,
            r#"{"fr\u006fm":"S1","type":"offer", "from" : "S1" ,"data":{"from":"kept"}}"#,
        ),
    ] {
        assert_eq!(stamped(text), expected);
    }
}

#[test]
fn a_routing_field_that_stands_twice_is_an_invalid_format() {
    for text in [
        r#"{"type":"x","type":"answer"}"#,
        r#"{"type":"offer","to":"A","to":"B"}"#,
        r#"{"type":"offer","to":"A","t\u006f":null}"#,
    ] {
        assert_eq!(read(text, "S1").err(), Some(Problem::InvalidFormat), "{text}");
    }
}

#[test]
fn what_is_no_object_is_an_invalid_format() {
    let deep = format!(r#"{{"type":"offer","data":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    for text in ["null", "5", r#""offer""#, r#"["offer"]"#, "{", "", r#"{"type":"offer"}}"#, &deep] {
        assert_eq!(refused(text), r#"{"message":"Invalid message format"}"#, "{text}");
    }
}

#[test]
fn another_type_is_named_as_the_deployed_server_names_it() {
    for (text, word) in [
        (r#"{"type":"bye"}"#, "bye"),
        (r#"{"data":1}"#, "None"),
        (r#"{"type":null}"#, "None"),
        (r#"{"type":true}"#, "True"),
        (r#"{"type":1.0}"#, "1.0"),
        (r#"{"type":"Offer"}"#, "Offer"),
        (r#"{"type":"a\"b"}"#, r#"a\"b"#),
        (r#"{"type":"\ud800"}"#, r#"\"\\ud800\""#),
    ] {
        let types = r#""valid_types":["offer","answer","ice-candidate"]"#;
        assert_eq!(refused(text), format!(r#"{{"message":"Invalid message type: {word}",{types}}}"#));
    }
}

#[test]
fn an_error_repeats_only_the_beginning_of_a_long_text() {
    let long = "é".repeat(100_000);
    assert!(refused(&format!(r#"{{"type":"{long}"}}"#)).len() < 300);
    let target: Arc<str> = long.into();
    let problem = Problem::Undeliverable { target, cause: Undeliverable::NotConnected };
    assert!(problem.text().len() < 300);
}

#[test]
fn each_cause_has_its_words_and_its_number() {
    use Undeliverable::{Draining, Full, NotConnected, TooLarge, Unconvertible};
    let mut texts = Vec::new();
    for cause in [NotConnected, Full, Draining, TooLarge, Unconvertible] {
        let problem = Problem::Undeliverable { target: "X".into(), cause };
        let (dialect, word) = crate::dialect::ERROR_LABELS[usize::from(problem.error())];
        assert_eq!(dialect, "broadcast");
        assert_eq!(word == "peer_not_found", cause == NotConnected);
        texts.push(problem.text());
    }
    assert_eq!(texts[0], r#"{"message":"Peer X not found"}"#);
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 5);
}

#[test]
fn the_data_of_a_signal_is_found_in_all_its_shapes() {
    for (text, kind, body) in [
        (
            r#"{"type":"offer","data":{"type":"offer","sdp":"v=0\r\n"},"from":"A"}"#,
            SignalKind::Offer,
            "v=0\r\n",
        ),
        (r#"{"type":"answer","data":"v=0\n","from":"A"}"#, SignalKind::Answer, "v=0\n"),
        (
            r#"{"from":"A","data":{"candidate":"c","sdpMid":null},"type":"ice-candidate"}"#,
            SignalKind::Candidate,
            r#"{"candidate":"c","sdpMid":null}"#,
        ),
        (
            r#"{"type":"ice-candidate","data":"candidate:1","from":"A"}"#,
            SignalKind::Candidate,
            r#"{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}"#,
        ),
    ] {
        let signal = crossing(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((signal.kind, &*signal.from, &*signal.body), (kind, "A", body));
    }
    for text in [
        r#"{"type":"offer","from":"A"}"#,
        r#"{"type":"offer","data":5,"from":"A"}"#,
        r#"{"type":"offer","data":{"type":"offer"},"from":"A"}"#,
        r#"{"type":"ice-candidate","data":null,"from":"A"}"#,
        r#"{"type":"offer","data":"v=0"}"#,
    ] {
        assert!(crossing(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn a_signal_of_another_dialect_has_the_documents_shape() {
    for (kind, body, expected) in [
        (
            SignalKind::Offer,
            "v=0\r\n",
            r#"{"type":"offer","data":{"type":"offer","sdp":"v=0\r\n"},"from":"drone \"1\""}"#,
        ),
        (
            SignalKind::Answer,
            "a",
            r#"{"type":"answer","data":{"type":"answer","sdp":"a"},"from":"drone \"1\""}"#,
        ),
        (
            SignalKind::Candidate,
            r#"{"candidate":"c"}"#,
            r#"{"type":"ice-candidate","data":{"candidate":"c"},"from":"drone \"1\""}"#,
        ),
    ] {
        let (from, body) = (Cow::Borrowed("drone \"1\""), Cow::Borrowed(body));
        let signal = Crossed { kind, from, body };
        let written = write_crossing(&signal);
        assert_eq!(String::from_utf8_lossy(&written), expected);
        assert!(crossing(&written).as_ref() == Some(&signal), "it is read as it was written");
    }
}
