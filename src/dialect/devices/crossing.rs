//! Signals that come from, or go to, another dialect of the realm.

use std::borrow::Cow;

use super::message::MessageType;
use super::signal::{MadeSessionId, SignalText};
use crate::base::{Entropy, Now};
use crate::dialect::crossing as shapes;
use crate::hub::{Signal, SignalKind};
use crate::wire::json::{self, Kind, Scanner, Value};

/// Takes a message of this dialect, as its target gets it, apart. `None` where its body is no SDP or
/// candidate, and where it is longer than any message can be.
pub fn crossing(text: &[u8]) -> Option<Signal<'_>> {
    let fields = read(text).ok()?;
    let message_type = MessageType::of_word(&string(text, fields.message_type?)?)?;
    let kind = message_type.signal_kind()?;
    // Who has not registered is nobody.
    let from = fields.from.and_then(|from| string(text, from)).unwrap_or_default();
    let body = match kind {
        SignalKind::Offer | SignalKind::Answer => shapes::sdp(text_of(text, fields.sdp?)?)?,
        SignalKind::Candidate => shapes::candidate(text_of(text, fields.candidate?)?)?,
    };
    Some(Signal { kind, from, body })
}

/// What a peer of this dialect gets of a signal from another.
pub fn write_crossing(signal: &Signal<'_>, now: Now, entropy: &mut dyn Entropy) -> Vec<u8> {
    let (mut from, mut sdp) = (Vec::new(), Vec::new());
    json::write_string(&mut from, &signal.from);
    let (message_type, body) = match signal.kind {
        SignalKind::Offer => (MessageType::Offer, None),
        SignalKind::Answer => (MessageType::Answer, None),
        SignalKind::Candidate => (MessageType::Ice, Some(signal.body.as_bytes())),
    };
    let body = body.unwrap_or_else(|| {
        json::write_string(&mut sdp, &signal.body);
        &sdp
    });
    let made = (signal.kind == SignalKind::Offer).then(|| MadeSessionId::new(now, entropy.next_u128()));
    let session_id = made.as_ref().map(MadeSessionId::json);
    SignalText::new(message_type, &from, Some(body), session_id, now).parts().concat()
}

#[derive(Default)]
struct Fields {
    message_type: Option<Value>,
    from: Option<Value>,
    sdp: Option<Value>,
    candidate: Option<Value>,
}

fn read(text: &[u8]) -> Result<Fields, json::Error> {
    let mut scanner = Scanner::new(text)?;
    let mut object = scanner.enter_object()?;
    let mut fields = Fields::default();
    while let Some(key) = scanner.next_key(&mut object)? {
        let value = scanner.value()?;
        match key.span.of(text) {
            b"type" => fields.message_type = Some(value),
            b"from" => fields.from = Some(value),
            b"sdp" => fields.sdp = Some(value),
            b"candidate" => fields.candidate = Some(value),
            _ => {}
        }
    }
    scanner.end()?;
    Ok(fields)
}

fn string(text: &[u8], value: Value) -> Option<Cow<'_, str>> {
    (value.kind == Kind::String).then(|| json::decode_value(text, value.span).ok()).flatten()
}

/// The text of a string, or the JSON text of an object.
fn text_of(text: &[u8], value: Value) -> Option<Cow<'_, str>> {
    match value.kind {
        Kind::String => string(text, value),
        Kind::Object => std::str::from_utf8(value.span.of(text)).ok().map(Cow::Borrowed),
        _ => None,
    }
}
