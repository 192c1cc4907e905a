//! The event `signal`, as its sender writes it and as its targets get it.

use std::sync::Arc;

use super::problem::{Problem, shown};
use super::{UNKNOWN, label};
use crate::dialect::MessageLabel;
use crate::wire::json::{self, Kind, Scanner, Span, Value};

/// A valid signal.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal {
    pub label: MessageLabel,
    /// The `to` of the message. None: for everybody else in the sender's group.
    pub target: Option<Arc<str>>,
    /// What the targets get: the sender's bytes with `from` in them.
    pub text: String,
}

/// Reads one `signal` that the socket `from` has sent. A `from` that it wrote itself is overwritten.
///
/// # Errors
/// [`Problem::InvalidFormat`] and [`Problem::InvalidType`].
pub fn read(text: &str, from: &str) -> Result<Signal, Problem> {
    let fields = fields(text).map_err(|_| Problem::InvalidFormat)?;
    let label = message_type(text, fields.message_type)?;
    let target = match fields.to {
        None | Some(Value { kind: Kind::Null, .. }) => None,
        Some(to) => Some(Arc::from(shown(text, to))),
    };
    Ok(Signal { label, target, text: stamped(text, &fields, from) })
}

/// What `peer_joined` and `peer_left` carry.
pub fn peer_notice(peer_id: &str) -> String {
    let mut out = b"{\"peer_id\":".to_vec();
    json::write_string(&mut out, peer_id);
    out.push(b'}');
    String::from_utf8(out).expect("a JSON string of UTF-8 is UTF-8")
}

/// By the position in the labels.
pub(super) const TYPES: [&str; 3] = ["offer", "answer", "ice-candidate"];

/// What the routing needs of a message. Neither `type` nor `to` may stand there twice: of two, the
/// server could take one and the target's reader the other.
struct Fields {
    message_type: Option<Value>,
    to: Option<Value>,
    /// Every value of a `from`: whichever the target's reader believes, it is ours.
    from: Vec<Span>,
    close: u32,
    has_members: bool,
}

fn fields(text: &str) -> Result<Fields, json::Error> {
    let bytes = text.as_bytes();
    let mut scanner = Scanner::of_str(text)?;
    let mut object = scanner.enter_object()?;
    let mut fields = Fields { message_type: None, to: None, from: Vec::new(), close: 0, has_members: false };
    let mut repeats = false;
    while let Some(key) = scanner.next_key(&mut object)? {
        fields.has_members = true;
        let value = scanner.value()?;
        if key.is(bytes, "type") {
            repeats |= fields.message_type.replace(value).is_some();
        } else if key.is(bytes, "to") {
            repeats |= fields.to.replace(value).is_some();
        } else if key.is(bytes, "from") {
            fields.from.push(value.span);
        }
    }
    scanner.end()?;
    if repeats {
        return Err(json::Error::Syntax);
    }
    fields.close = object.close;
    Ok(fields)
}

fn message_type(text: &str, value: Option<Value>) -> Result<MessageLabel, Problem> {
    let invalid = |value| Problem::InvalidType { shown: shown_type(text, value) };
    let Some(value) = value.filter(|value| value.kind == Kind::String) else { return Err(invalid(value)) };
    let word = json::decode_value(text.as_bytes(), value.span).map_err(|_| invalid(Some(value)))?;
    match TYPES.iter().position(|known| *known == word) {
        Some(index) => Ok(label(index as u8)),
        None => Err(invalid(Some(value))),
    }
}

/// A type in the words of the deployed server, which is written in Python.
fn shown_type(text: &str, value: Option<Value>) -> String {
    match value.map(|value| (value, value.span.of(text.as_bytes()))) {
        None | Some((Value { kind: Kind::Null, .. }, _)) => "None".to_owned(),
        Some((_, b"true")) => "True".to_owned(),
        Some((_, b"false")) => "False".to_owned(),
        Some((value, _)) => shown(text, value),
    }
}

fn stamped(text: &str, fields: &Fields, from: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(text.len() + json::string_bytes(from) + 8);
    let mut at = 0;
    for span in &fields.from {
        out.extend_from_slice(bytes.get(at..span.start as usize).unwrap_or_default());
        json::write_string(&mut out, from);
        at = span.end as usize;
    }
    if fields.from.is_empty() {
        at = fields.close as usize;
        out.extend_from_slice(bytes.get(..at).unwrap_or_default());
        out.extend_from_slice(if fields.has_members { b",\"from\":" } else { b"\"from\":" });
        json::write_string(&mut out, from);
    }
    out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    String::from_utf8(out).expect("whole tokens of one text and a string between them")
}

const _: () = assert!(UNKNOWN.0 as usize - label(0).0 as usize + 1 == super::MESSAGE_LABELS.len());
