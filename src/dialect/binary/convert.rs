//! A signal said anew for a target of another payload type.
//!
//! Three things pass: target, sender and data. Data is a string, or the JSON text of whatever else
//! it was; only between CBOR and binary do bytes pass that are no text. Further fields stay behind.

use std::borrow::Cow;

use super::codes::MessageType;
use super::fields::SENDER;
use super::form::{Form, PayloadType};
use super::message;
use super::signal::Signal;
use crate::dialect::Undeliverable;
use crate::wire::cbor;
use crate::wire::frame::PAYLOAD_BYTES_MAX;
use crate::wire::json;

enum Data<'a> {
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

/// # Errors
/// [`Undeliverable::TooLarge`] and [`Undeliverable::Unconvertible`].
pub(super) fn payload(signal: &Signal<'_>, target: Form) -> Result<Vec<u8>, Undeliverable> {
    let data = data(signal).ok_or(Undeliverable::Unconvertible)?;
    let out = match target.payload_type {
        PayloadType::Binary => to_binary(&first_name(signal)?, data.bytes())?,
        PayloadType::Text => to_text(&first_name(signal)?, data.text()?)?,
        PayloadType::Json | PayloadType::Cbor => {
            let (target_id, data) = (target_id(signal)?, data.text()?);
            let write = if target.payload_type == PayloadType::Json { to_json } else { to_cbor };
            let message_type = signal.head.message_type;
            let sender = signal.head.stamp.then_some(signal.sender);
            let stamped = write(message_type, target.tagged, &target_id, data, sender);
            if sender.is_some() && stamped.len() > PAYLOAD_BYTES_MAX {
                write(message_type, target.tagged, &target_id, data, None)
            } else {
                stamped
            }
        }
    };
    if out.len() > PAYLOAD_BYTES_MAX { Err(Undeliverable::TooLarge) } else { Ok(out) }
}

/// The payload of a signal that comes from another dialect. Its sender is always named: nobody
/// could answer otherwise, and no client of that dialect can be bound to a frame without it.
///
/// # Errors
/// [`Undeliverable::TooLarge`] and [`Undeliverable::Unconvertible`].
pub(super) fn said_anew(
    message_type: MessageType,
    form: Form,
    sender: &str,
    target: &str,
    data: &str,
) -> Result<Vec<u8>, Undeliverable> {
    let out = match form.payload_type {
        PayloadType::Binary => to_binary(sender, data.as_bytes())?,
        PayloadType::Text => to_text(sender, data)?,
        PayloadType::Json => to_json(message_type, form.tagged, target, data, Some(sender)),
        PayloadType::Cbor => to_cbor(message_type, form.tagged, target, data, Some(sender)),
    };
    if out.len() > PAYLOAD_BYTES_MAX { Err(Undeliverable::TooLarge) } else { Ok(out) }
}

/// The signal's data as text.
pub(super) fn data_text<'a>(signal: &Signal<'a>) -> Option<Cow<'a, str>> {
    match data(signal)? {
        Data::Text(text) => Some(text),
        Data::Bytes(Cow::Borrowed(bytes)) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Data::Bytes(Cow::Owned(bytes)) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

impl Data<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Data::Text(text) => text.as_bytes(),
            Data::Bytes(bytes) => bytes,
        }
    }

    fn text(&self) -> Result<&str, Undeliverable> {
        match self {
            Data::Text(text) => Ok(text),
            Data::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| Undeliverable::Unconvertible),
        }
    }
}

/// The signal's data; `None` where it has neither text nor bytes.
fn data<'a>(signal: &Signal<'a>) -> Option<Data<'a>> {
    let payload_type = signal.head.form.payload_type;
    let raw = signal.head.data.of(signal.payload);
    let text = |raw| std::str::from_utf8(raw).ok().map(|text| Data::Text(Cow::Borrowed(text)));
    match payload_type {
        PayloadType::Binary => Some(Data::Bytes(Cow::Borrowed(raw))),
        PayloadType::Text => text(raw),
        PayloadType::Json if raw.first() != Some(&b'"') => text(raw),
        PayloadType::Json => message::string(payload_type, signal.payload, signal.head.data).map(Data::Text),
        PayloadType::Cbor => {
            if let Some(text) = cbor::text(raw) {
                return Some(Data::Text(text));
            }
            if let Some(bytes) = cbor::byte_string(raw) {
                return Some(Data::Bytes(bytes));
            }
            let mut text = Vec::new();
            cbor::write_json(raw, &mut text).ok()?;
            String::from_utf8(text).ok().map(|text| Data::Text(Cow::Owned(text)))
        }
    }
}

fn target_id<'a>(signal: &Signal<'a>) -> Result<Cow<'a, str>, Undeliverable> {
    let (payload_type, span) = (signal.head.form.payload_type, signal.head.target);
    match payload_type {
        PayloadType::Json | PayloadType::Cbor => message::string(payload_type, signal.payload, span),
        PayloadType::Binary | PayloadType::Text => {
            std::str::from_utf8(span.of(signal.payload)).ok().map(Cow::Borrowed)
        }
    }
    .ok_or(Undeliverable::Unconvertible)
}

/// What stands first in binary and text payloads.
fn first_name<'a>(signal: &Signal<'a>) -> Result<Cow<'a, str>, Undeliverable> {
    if signal.head.stamp { Ok(Cow::Borrowed(signal.sender)) } else { target_id(signal) }
}

fn to_binary(name: &str, data: &[u8]) -> Result<Vec<u8>, Undeliverable> {
    let name_bytes = u8::try_from(name.len()).map_err(|_| Undeliverable::Unconvertible)?;
    let data_bytes = u16::try_from(data.len()).map_err(|_| Undeliverable::TooLarge)?;
    Ok([&[name_bytes], name.as_bytes(), &data_bytes.to_be_bytes(), data].concat())
}

fn to_text(name: &str, data: &str) -> Result<Vec<u8>, Undeliverable> {
    if name.contains(':') {
        return Err(Undeliverable::Unconvertible);
    }
    Ok([name.as_bytes(), b":", data.as_bytes()].concat())
}

fn to_json(
    message_type: MessageType,
    tagged: bool,
    target: &str,
    data: &str,
    sender: Option<&str>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 128);
    if tagged {
        out.push(b'{');
        json::write_string(&mut out, message_type.tag());
        out.push(b':');
    }
    out.extend_from_slice(b"{\"target_client_id\":");
    json::write_string(&mut out, target);
    out.extend_from_slice(b",\"signal_data\":");
    json::write_string(&mut out, data);
    if let Some(sender) = sender {
        out.extend_from_slice(b",\"sender_client_id\":");
        json::write_string(&mut out, sender);
    }
    out.extend_from_slice(if tagged { b"}}" } else { b"}" });
    out
}

fn to_cbor(
    message_type: MessageType,
    tagged: bool,
    target: &str,
    data: &str,
    sender: Option<&str>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 128);
    if tagged {
        cbor::write_map_head(&mut out, 1);
        cbor::write_text(&mut out, message_type.tag());
    }
    cbor::write_map_head(&mut out, 2 + u64::from(sender.is_some()));
    cbor::write_text(&mut out, "target_client_id");
    cbor::write_text(&mut out, target);
    cbor::write_text(&mut out, "signal_data");
    cbor::write_text(&mut out, data);
    if let Some(sender) = sender {
        cbor::write_text(&mut out, SENDER);
        cbor::write_text(&mut out, sender);
    }
    out
}
