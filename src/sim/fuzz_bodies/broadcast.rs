//! A `signal` of `broadcast`, from the packet in which it comes to those who get it.
//!
//! Socket.IO itself is a library's; this is what is ours of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::talk::Object;
use crate::dialect::broadcast::{Problem, crossing, read, write_crossing};
use crate::front::broadcast::payload::{Payload, first_argument};

const SENDER: &str = "socket \"1\"";
const TYPES: [&str; 3] = ["offer", "answer", "ice-candidate"];

/// More would be another limit's to refuse.
const ATTACHMENTS_MAX: usize = 4;

/// The first byte says how many attachments come with it. The rest is the text of an event's packet,
/// and of its first argument.
pub fn broadcast(data: &[u8]) {
    let [attachments, bytes @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut packet = serde_json::Deserializer::from_str(text);
    let packet = Vec::<&RawValue>::deserialize(&mut packet).ok();
    let second = packet.as_ref().and_then(|all| all.get(1)).map(|raw| raw.get());
    assert_eq!(first_argument(text), second);
    let attachments = usize::from(*attachments) % (ATTACHMENTS_MAX + 1);
    for argument in [Some(text), second].into_iter().flatten() {
        if let Some(stamped) = stamped(argument) {
            crosses_as_it_is(&stamped);
            attachments_go_out_once(&stamped, attachments);
        }
    }
}

/// Everybody gets the sender's bytes, in which every word on the sender is ours. `None` for what is
/// no signal.
fn stamped(text: &str) -> Option<String> {
    let object = Object::parse(text).filter(|object| !object.has_twice(&["type", "to"]));
    let signal = match (read(text, SENDER), &object) {
        (Ok(signal), Some(_)) => signal,
        (Err(Problem::InvalidFormat), None) => return None,
        (Err(problem @ Problem::InvalidType { .. }), Some(object)) => {
            assert!(!object.text("type").is_some_and(|word| TYPES.contains(&word.as_str())));
            assert!(Object::parse(&problem.text()).is_some());
            return None;
        }
        (read, object) => panic!("{:?} of an object: {}", read.err(), object.is_some()),
    };
    let object = object.expect("it was read");
    assert!(object.text("type").is_some_and(|word| TYPES.contains(&word.as_str())));
    let to = object.given("to");
    assert_eq!(signal.target.is_some(), to.is_some(), "it is for whom it says");
    if let (Some(target), Some(to)) = (&signal.target, object.text("to").or(to.map(str::to_owned))) {
        assert_eq!(**target, *to);
    }
    let stamped = Object::parse(&signal.text).expect("it is an object still");
    let claims: Vec<Option<String>> =
        stamped.all("from").map(|from| serde_json::from_str(from).ok()).collect();
    assert!(!claims.is_empty() && claims.iter().all(|from| from.as_deref() == Some(SENDER)), "{claims:?}");
    let others = |object: &Object<'_>| -> Vec<(String, Vec<String>)> {
        let keys = object.keys().into_iter().filter(|key| *key != "from");
        keys.map(|key| (key.to_owned(), object.all(key).map(str::to_owned).collect())).collect()
    };
    assert_eq!(others(&stamped), others(&object), "everything else passes as it came");
    Some(signal.text)
}

/// What another dialect of the realm is told of it, is told back the same.
fn crosses_as_it_is(text: &str) {
    let Some(crossed) = crossing(text.as_bytes()) else { return };
    let written = write_crossing(&crossed);
    let again = crossing(&written).expect("what was written is read");
    assert!(again == crossed, "{text} becomes another signal");
}

/// `text` has been read, so it is not too deep.
fn attachments_go_out_once(text: &str, attachments: usize) {
    let bytes: Vec<Bytes> = (0..attachments).map(|n| Bytes::from(vec![250, n as u8])).collect();
    let Some(payload) = Payload::new(text.to_owned(), bytes) else { return };
    let written = serde_json::to_string(&payload).expect("it was tried when it was made");
    if attachments == 0 {
        return assert_eq!(written, payload.text(), "without attachments the bytes stay");
    }
    let mut found = BTreeMap::new();
    compare(payload.text(), &written, &mut found);
    let each_once = (0..attachments).map(|n| (n, 1)).collect();
    assert_eq!(found, each_once, "{text}\n{written}");
}

/// Both are the same but for spaces and the places of attachments, which are counted.
fn compare(before: &str, after: &str, found: &mut BTreeMap<usize, usize>) {
    match (before.as_bytes()[0], after.as_bytes()[0]) {
        (b'{', b'[') => {
            let place: Value = serde_json::from_str(before).expect("a place for an attachment");
            assert_eq!(place.get("_placeholder"), Some(&Value::Bool(true)));
            let number = place.get("num").and_then(Value::as_u64).expect("a place has a number");
            assert_eq!(after, format!("[250,{number}]"));
            *found.entry(number as usize).or_default() += 1;
        }
        (b'{', b'{') => {
            let members = |text| {
                let object = Object::parse(text).expect("an object");
                object.into_members()
            };
            let (before, after) = (members(before), members(after));
            assert_eq!(before.len(), after.len());
            for ((key, value), (same_key, same_value)) in before.iter().zip(&after) {
                assert_eq!(key, same_key);
                compare(value, same_value, found);
            }
        }
        (b'[', b'[') => {
            let (before, after) = (list(before), list(after));
            assert_eq!(before.len(), after.len());
            before.iter().zip(after).for_each(|(before, after)| compare(before.get(), after.get(), found));
        }
        _ => assert_eq!(before, after),
    }
}

fn list(text: &str) -> Vec<&RawValue> {
    serde_json::from_str(text).expect("an array")
}
