//! What clients send, read from its four kinds of payload.
//!
//! ```text
//!              binary (01)                       text (03)
//! CONNECT      len8 │ id │ len8 │ token          id ':' token
//! signals      len8 │ target │ len16 │ data      target ':' data
//! HEARTBEAT    u64                               anything
//! DISCONNECT   anything                          anything
//! ```
//!
//! All numbers are big-endian. The first colon splits, so that data may hold colons; SDP does. JSON
//! (02) and CBOR (05) are objects with named fields.

use std::borrow::Cow;

use super::codes::MessageType;
use super::fields::{self, Malformed, SENDER};
use super::form::{Form, PayloadType};
use super::signal::Head;
use super::usual::{self, Opening};
use crate::base::{Redacted, planted};
use crate::wire::cbor;
use crate::wire::frame::Frame;
use crate::wire::json::{self, Span};

/// Longest client id: what the length byte of a binary payload can say.
pub(super) const CLIENT_ID_BYTES_MAX: usize = 255;

/// What a client may call itself: 1 to 255 bytes without control characters.
pub fn is_client_id(id: &str) -> bool {
    (1..=CLIENT_ID_BYTES_MAX).contains(&id.len()) && !id.contains(char::is_control)
}

pub(super) struct Connect<'a> {
    pub(super) form: Form,
    pub(super) client_id: Cow<'a, str>,
    pub(super) token: Redacted<Cow<'a, str>>,
}

pub(super) struct Disconnect<'a> {
    pub(super) client_id: Option<Cow<'a, str>>,
}

pub(super) fn connect<'a>(frame: &Frame<'a>) -> Result<Connect<'a>, Malformed> {
    let payload = frame.payload;
    let payload_type = payload_type(frame)?;
    let (form, client_id, token) = match payload_type {
        PayloadType::Binary => {
            let (client_id, rest) = short(payload, "CONNECT has no client id")?;
            let (token, rest) = short(rest, "CONNECT has no token")?;
            if !rest.is_empty() {
                return Err(Malformed("CONNECT is longer than its fields"));
            }
            (Form::flat(payload_type), Cow::Borrowed(utf8(client_id)?), Cow::Borrowed(utf8(token)?))
        }
        PayloadType::Text => {
            let (client_id, token) =
                utf8(payload)?.split_once(':').ok_or(Malformed("CONNECT has no colon"))?;
            (Form::flat(payload_type), Cow::Borrowed(client_id), Cow::Borrowed(token))
        }
        PayloadType::Json | PayloadType::Cbor => {
            let wanted = ["client_id", "auth_token"];
            let fields = fields::read(payload_type, payload, MessageType::Connect, wanted)?;
            let [Some(client_id), Some(token)] = fields.values else {
                return Err(Malformed("CONNECT needs client_id and auth_token"));
            };
            let no_string = Malformed("client_id and auth_token have to be strings");
            (
                Form { payload_type, tagged: fields.tagged },
                string(payload_type, payload, client_id).ok_or(no_string)?,
                string(payload_type, payload, token).ok_or(no_string)?,
            )
        }
    };
    if !is_client_id(&client_id) {
        return Err(Malformed("client_id has to have 1 to 255 bytes and no control characters"));
    }
    Ok(Connect { form, client_id, token: Redacted::new(token) })
}

pub(super) fn disconnect<'a>(frame: &Frame<'a>) -> Result<Disconnect<'a>, Malformed> {
    let payload_type = payload_type(frame)?;
    let anything = matches!(payload_type, PayloadType::Binary | PayloadType::Text);
    if anything || frame.payload.is_empty() {
        return Ok(Disconnect { client_id: None });
    }
    let fields = fields::read(payload_type, frame.payload, MessageType::Disconnect, ["client_id", "reason"])?;
    let [client_id, reason] = fields.values.map(|value| {
        let value = value.filter(|&value| !is_null(payload_type, frame.payload, value))?;
        Some(string(payload_type, frame.payload, value))
    });
    if client_id == Some(None) || reason == Some(None) {
        return Err(Malformed("client_id and reason have to be strings"));
    }
    Ok(Disconnect { client_id: client_id.flatten() })
}

pub(super) fn heartbeat(frame: &Frame<'_>) -> Result<(), Malformed> {
    match payload_type(frame)? {
        PayloadType::Binary if frame.payload.len() == 8 => Ok(()),
        PayloadType::Binary => Err(Malformed("HEARTBEAT needs 8 bytes of timestamp")),
        PayloadType::Text => Ok(()),
        payload_type @ (PayloadType::Json | PayloadType::Cbor) => {
            let fields = fields::read(payload_type, frame.payload, MessageType::Heartbeat, ["timestamp"])?;
            let [timestamp] = fields.values;
            timestamp.map(|_| ()).ok_or(Malformed("HEARTBEAT needs timestamp"))
        }
    }
}

/// Where in the payload everything stands that a delivery needs, and the target.
#[inline]
pub(super) fn signal<'a>(
    frame: &Frame<'a>,
    message_type: MessageType,
    stamp: bool,
    opening: &'a mut Opening,
) -> Result<(Head, Cow<'a, str>), Malformed> {
    let payload = frame.payload;
    let payload_type = payload_type(frame)?;
    let mut head = Head::new(*frame.uuid, message_type, Form::flat(payload_type), stamp);
    let target = match payload_type {
        PayloadType::Binary => {
            let (target, rest) = short(payload, "Signal has no target")?;
            let (length, data) =
                rest.split_first_chunk::<2>().ok_or(Malformed("Signal has no length of its data"))?;
            if data.len() != usize::from(u16::from_be_bytes(*length)) {
                return Err(Malformed("Signal's data has another length than it says"));
            }
            head.target = span(1, 1 + target.len());
            head.data = span(payload.len() - data.len(), payload.len());
            Cow::Borrowed(utf8(target)?)
        }
        PayloadType::Text => {
            let (target, _) = utf8(payload)?.split_once(':').ok_or(Malformed("Signal has no colon"))?;
            head.target = span(0, target.len());
            head.data = span(target.len() + 1, payload.len());
            Cow::Borrowed(target)
        }
        PayloadType::Json | PayloadType::Cbor => {
            let wanted = ["target_client_id", "signal_data", SENDER];
            let is_json = payload_type == PayloadType::Json;
            let usual = if is_json { usual::signal(payload, message_type, opening) } else { None };
            let (fields, id) = match usual {
                Some((fields, id)) => (fields, Some(id)),
                None => (fields::read(payload_type, payload, message_type, wanted)?, None),
            };
            let [Some(target), Some(data), own_sender] = fields.values else {
                return Err(Malformed("Signal needs target_client_id and signal_data"));
            };
            head.form.tagged = fields.tagged;
            (head.object, head.entries) = (fields.object, fields.entries);
            (head.target, head.data, head.own_sender) = (target, data, own_sender);
            head.claims_repeat = fields.claims_repeat;
            head.stamp &= !(planted!(SenderKept) && own_sender.is_some());
            match id {
                Some(id) => Cow::Borrowed(id),
                None => string(payload_type, payload, target)
                    .ok_or(Malformed("target_client_id has to be a string"))?,
            }
        }
    };
    Ok((head, target))
}

pub(super) fn payload_type(frame: &Frame<'_>) -> Result<PayloadType, Malformed> {
    PayloadType::from_byte(frame.payload_type).map_err(Malformed)
}

/// The text of a JSON or CBOR value; `None` where it is something else.
pub(super) fn string(payload_type: PayloadType, payload: &[u8], value: Span) -> Option<Cow<'_, str>> {
    match payload_type {
        PayloadType::Json if value.of(payload).first() == Some(&b'"') => {
            json::decode_value(payload, value).ok()
        }
        PayloadType::Cbor => cbor::text(value.of(payload)),
        PayloadType::Json | PayloadType::Binary | PayloadType::Text => None,
    }
}

fn is_null(payload_type: PayloadType, payload: &[u8], value: Span) -> bool {
    match payload_type {
        PayloadType::Json => value.of(payload) == b"null",
        PayloadType::Cbor => cbor::is_null(value.of(payload)),
        PayloadType::Binary | PayloadType::Text => false,
    }
}

/// A field with a length byte before it, and what follows it.
fn short<'a>(bytes: &'a [u8], missing: &'static str) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let (&length, rest) = bytes.split_first().ok_or(Malformed(missing))?;
    rest.split_at_checked(usize::from(length)).ok_or(Malformed("A field is cut off"))
}

fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| Malformed("Payload is not valid UTF-8"))
}

/// Of a payload, so below 2^16.
fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}
