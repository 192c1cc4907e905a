//! Signals that come from, or go to, another dialect of the realm.

use std::borrow::Cow;

use super::message::TYPES;
use crate::dialect::crossing as shapes;
use crate::hub::{Signal, SignalKind};
use crate::wire::json::{self, Kind, Scanner, Value};

/// By the position in [`TYPES`].
const KINDS: [SignalKind; 3] = [SignalKind::Offer, SignalKind::Answer, SignalKind::Candidate];

/// Takes a message of this dialect, as its target gets it, apart. `None` where its `data` is no SDP
/// or candidate.
pub fn crossing(text: &[u8]) -> Option<Signal<'_>> {
    let text = simdutf8::basic::from_utf8(text).ok()?;
    let bytes = text.as_bytes();
    let mut scanner = Scanner::of_str(text).ok()?;
    let mut object = scanner.enter_object().ok()?;
    let (mut message_type, mut data, mut from) = (None, None, None);
    while let Some(key) = scanner.next_key(&mut object).ok()? {
        let value = scanner.value().ok()?;
        if key.is(bytes, "type") {
            message_type = Some(value);
        } else if key.is(bytes, "data") {
            data = Some(value);
        } else if key.is(bytes, "from") {
            from = Some(value);
        }
    }
    scanner.end().ok()?;
    let message_type = string(bytes, message_type?)?;
    let kind = KINDS[TYPES.iter().position(|word| *word == message_type)?];
    let data = data?;
    let data = match data.kind {
        Kind::String => string(bytes, data)?,
        Kind::Object => Cow::Borrowed(text.get(data.span.start as usize..data.span.end as usize)?),
        _ => return None,
    };
    let body = match kind {
        SignalKind::Offer | SignalKind::Answer => shapes::sdp(data)?,
        SignalKind::Candidate => shapes::candidate(data)?,
    };
    Some(Signal { kind, from: string(bytes, from?)?, body })
}

/// What a peer of this dialect gets of a signal from another.
pub fn write_crossing(signal: &Signal<'_>) -> Vec<u8> {
    let word = match signal.kind {
        SignalKind::Offer => "offer",
        SignalKind::Answer => "answer",
        SignalKind::Candidate => "ice-candidate",
    };
    let mut out = Vec::with_capacity(signal.body.len() + signal.from.len() + 96);
    out.extend_from_slice(b"{\"type\":");
    json::write_string(&mut out, word);
    out.extend_from_slice(b",\"data\":");
    if signal.kind == SignalKind::Candidate {
        out.extend_from_slice(signal.body.as_bytes());
    } else {
        out.extend_from_slice(b"{\"type\":");
        json::write_string(&mut out, word);
        out.extend_from_slice(b",\"sdp\":");
        json::write_string(&mut out, &signal.body);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"from\":");
    json::write_string(&mut out, &signal.from);
    out.push(b'}');
    out
}

fn string(text: &[u8], value: Value) -> Option<Cow<'_, str>> {
    if value.kind == Kind::String { json::decode_value(text, value.span).ok() } else { None }
}
