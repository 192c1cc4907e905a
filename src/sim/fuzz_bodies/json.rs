//! The scan of JSON, against serde_json.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::wire::json::{
    DEPTH_MAX, Error, Kind, Scanner, Value, decode, decode_value, string_bytes, write_string,
};

/// Any bytes, as one value and as an object.
pub fn json(data: &[u8]) {
    let scanned = scan(data);
    match &scanned {
        Ok(value) => {
            assert!(is_json(data), "serde_json refuses what was accepted");
            assert!(depth(data) <= DEPTH_MAX);
            check_value(data, *value);
        }
        // The one difference: serde_json skips values of any depth.
        Err(Error::TooDeep) => assert!(depth(data) > DEPTH_MAX),
        Err(Error::NotUtf8) => assert!(std::str::from_utf8(data).is_err()),
        Err(error) => assert!(!is_json(data), "serde_json accepts what was refused: {error:?}"),
    }
    let walked = walk(data);
    match (&scanned, &walked) {
        (Ok(Value { kind: Kind::Object, .. }), Ok(members)) => check_members(data, members),
        (Ok(value), Err(Error::NotAnObject)) => assert_ne!(value.kind, Kind::Object),
        (Err(left), Err(right)) => {
            // Behind a value of another kind nothing is looked at any more.
            assert!(left == right || *right == Error::NotAnObject, "{left:?} {right:?}");
        }
        (scanned, walked) => panic!("{scanned:?} as a value, {:?} as an object", walked.is_ok()),
    }
    if let Ok(text) = std::str::from_utf8(data) {
        check_writer(text);
    }
}

fn scan(data: &[u8]) -> Result<Value, Error> {
    let mut scanner = Scanner::new(data)?;
    let value = scanner.value()?;
    scanner.end()?;
    Ok(value)
}

/// One member: the bytes of its key without quotes, whether they hold an escape, and its value.
type Member<'a> = (&'a [u8], bool, Value);

fn walk(data: &[u8]) -> Result<Vec<Member<'_>>, Error> {
    let mut scanner = Scanner::new(data)?;
    let mut object = scanner.enter_object()?;
    let mut members = Vec::new();
    let mut behind = object.start;
    while let Some(key) = scanner.next_key(&mut object)? {
        assert!(behind < key.span.start, "members follow each other");
        let value = scanner.value()?;
        assert!(key.span.end < value.span.start && (value.span.end as usize) <= data.len());
        behind = value.span.end;
        members.push((key.span.of(data), key.escaped, value));
        let name = decode(key.span.of(data));
        assert!(name.is_err() || key.is(data, &name.unwrap_or_default()), "a key is its own text");
    }
    scanner.end()?;
    assert!(behind <= object.close && data[object.start as usize] == b'{');
    assert_eq!(data[object.close as usize], b'}');
    Ok(members)
}

fn check_members(data: &[u8], members: &[Member<'_>]) {
    let expected: Members<'_> = serde_json::from_slice(data).expect("it is an object");
    assert_eq!(members.len(), expected.0.len());
    for ((key, escaped, value), (expected_key, expected_value)) in members.iter().zip(&expected.0) {
        assert_eq!(*escaped, key.contains(&b'\\'));
        let quoted = expected_key.get().as_bytes();
        assert_eq!(*key, &quoted[1..quoted.len() - 1]);
        assert_same_text(key, quoted);
        assert_eq!(value.span.of(data), expected_value.get().as_bytes());
        check_value(data, *value);
    }
}

fn check_value(data: &[u8], value: Value) {
    let text = value.span.of(data);
    assert!(is_json(text), "a value's span is the value");
    let kind = match text.first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    };
    assert_eq!(value.kind, kind);
    if kind == Kind::String {
        assert_same_text(&text[1..text.len() - 1], text);
        let text_of = |bytes| serde_json::from_slice::<String>(bytes).ok();
        assert_eq!(decode_value(data, value.span).ok().as_deref(), text_of(text).as_deref());
    }
}

/// Escapes mean the same to both, and both refuse half of a surrogate pair.
fn assert_same_text(raw: &[u8], quoted: &[u8]) {
    let expected: Option<String> = serde_json::from_slice(quoted).ok();
    assert_eq!(decode(raw).ok().as_deref(), expected.as_deref());
}

fn check_writer(text: &str) {
    let mut written = Vec::new();
    write_string(&mut written, text);
    assert_eq!(written.len(), string_bytes(text));
    assert_eq!(serde_json::from_slice::<String>(&written).ok().as_deref(), Some(text));
    assert_eq!(decode(&written[1..written.len() - 1]).as_deref(), Ok(text));
}

/// serde_json looks at no encoding inside of what it skips, so that is asked for apart.
pub(super) fn is_json(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok() && serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

/// Most brackets that are open at once, outside of strings.
pub(super) fn depth(data: &[u8]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let mut bytes = data.iter();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => drop(bytes.next()),
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => open += 1,
            b'}' | b']' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// All members of an object in their order, those with the same key too.
pub(super) struct Members<'a>(pub(super) Vec<(Box<RawValue>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}
