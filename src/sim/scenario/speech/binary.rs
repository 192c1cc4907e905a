//! 0xAA frames in six forms.

use minicbor::decode::Decoder;

use super::{Arrival, Kind, json, serial_in};
use crate::wire::cbor::{write_map_head, write_text};
use crate::wire::frame::write_frame;

/// Payload type, and whether fields are wrapped in a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub payload_type: u8,
    pub tagged: bool,
}

pub const FORMS: [Form; 6] = [
    Form { payload_type: 2, tagged: false },
    Form { payload_type: 2, tagged: true },
    Form { payload_type: 5, tagged: false },
    Form { payload_type: 5, tagged: true },
    Form { payload_type: 3, tagged: false },
    Form { payload_type: 1, tagged: false },
];

pub const CONNECT: u8 = 0x01;
pub const DISCONNECT: u8 = 0x03;
pub const HEARTBEAT: u8 = 0x04;

/// What a frame is, by the first byte of its uuid; the last eight are its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    Join = 1,
    Message = 2,
    Question = 3,
    Bad = 4,
}

pub fn uuid(class: Class, number: u64) -> [u8; 16] {
    let mut uuid = [class as u8; 16];
    uuid[8..].copy_from_slice(&number.to_be_bytes());
    uuid
}

/// The number in the uuid of a message, as events print it.
pub fn serial_in_uuid(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    let [class, .., _] = number.to_be_bytes();
    (class == Class::Message as u8).then_some(number as u64)
}

/// One frame. A payload is never longer than a frame can say.
pub fn frame(message_type: u8, uuid: &[u8; 16], payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, message_type, uuid, payload_type, |out| out.extend_from_slice(payload))
        .expect("the workload's payloads fit a frame");
    out
}

pub fn connect(form: Form, number: u64, id: &str, token: &str) -> Vec<u8> {
    let payload = match form.payload_type {
        1 => [&[id.len() as u8], id.as_bytes(), &[token.len() as u8], token.as_bytes()].concat(),
        3 => format!("{id}:{token}").into_bytes(),
        _ => object(form, "Connect", &[("client_id", id), ("auth_token", token)]),
    };
    frame(CONNECT, &uuid(Class::Join, number), form.payload_type, &payload)
}

/// `forged` is what the sender says of itself.
pub fn signal(form: Form, kind: Kind, serial: u64, to: &str, data: &str, forged: Option<&str>) -> Vec<u8> {
    let (message_type, tag) = match kind {
        Kind::Offer => (0x10, "SignalOffer"),
        Kind::Answer => (0x11, "SignalAnswer"),
        Kind::Candidate => (0x12, "SignalIceCandidate"),
    };
    let payload = match form.payload_type {
        1 => {
            let length = (data.len() as u16).to_be_bytes();
            [&[to.len() as u8], to.as_bytes(), &length, data.as_bytes()].concat()
        }
        3 => format!("{to}:{data}").into_bytes(),
        _ => {
            let mut fields = vec![("target_client_id", to), ("signal_data", data)];
            fields.extend(forged.map(|forged| ("sender_client_id", forged)));
            object(form, tag, &fields)
        }
    };
    frame(message_type, &uuid(Class::Message, serial), form.payload_type, &payload)
}

pub fn heartbeat(form: Form, number: u64) -> Vec<u8> {
    let payload = match form.payload_type {
        1 | 3 => b"12345678".to_vec(),
        _ => object(form, "Heartbeat", &[("timestamp", "now")]),
    };
    frame(HEARTBEAT, &uuid(Class::Question, number), form.payload_type, &payload)
}

pub fn disconnect(form: Form) -> Vec<u8> {
    frame(DISCONNECT, &uuid(Class::Question, 0), form.payload_type, b"")
}

/// Bytes of the whole frame at the front; `None` while it is not complete.
pub fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, String> {
    if bytes.first().is_some_and(|first| *first != 0xAA) {
        return Err(format!("a frame that begins with {:#x}", bytes[0]));
    }
    let Some(&[high, low]) = bytes.get(19..21) else { return Ok(None) };
    let whole = 21 + (usize::from(high) << 8 | usize::from(low));
    Ok((bytes.len() >= whole).then_some(whole))
}

/// One whole frame.
pub fn read(frame: &[u8]) -> Result<Arrival, String> {
    let (message_type, uuid, payload_type, payload) = (frame[1], &frame[2..18], frame[18], &frame[21..]);
    let number = uuid[8..].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let class = uuid[0];
    Ok(match message_type {
        0x02 => Arrival::Joined,
        0x05 => Arrival::Answered("heartbeat"),
        0x10..=0x12 => {
            let serial = serial_in(payload).ok_or_else(|| format!("no number in {payload:?}"))?;
            Arrival::Relayed { serial, sender: sender(payload_type, payload)? }
        }
        0xFF => {
            let code = error_code(payload_type, payload)?;
            match class {
                class if class == Class::Join as u8 => Arrival::JoinRefused,
                class if class == Class::Message as u8 => {
                    Arrival::CameBack { serial: number, is_refusal: matches!(code, 401 | 429) }
                }
                0 if code == 409 => Arrival::Replaced,
                0 if matches!(code, 500 | 503) => Arrival::Goodbye,
                _ => Arrival::Refused,
            }
        }
        other => return Err(format!("a frame of type {other:#x}")),
    })
}

fn object(form: Form, tag: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    if form.payload_type == 5 {
        let mut out = Vec::new();
        if form.tagged {
            write_map_head(&mut out, 1);
            write_text(&mut out, tag);
        }
        write_map_head(&mut out, fields.len() as u64);
        for (name, value) in fields {
            write_text(&mut out, name);
            write_text(&mut out, value);
        }
        return out;
    }
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name:?}:{value:?}")).collect();
    let object = format!("{{{}}}", fields.join(","));
    if form.tagged { format!("{{{tag:?}:{object}}}").into_bytes() } else { object.into_bytes() }
}

/// Who a delivered signal says has sent it.
fn sender(payload_type: u8, payload: &[u8]) -> Result<Option<String>, String> {
    match payload_type {
        1 => {
            let name = payload.get(1..1 + usize::from(payload[0])).ok_or("a name that is cut off")?;
            Ok(Some(String::from_utf8_lossy(name).into_owned()))
        }
        3 => {
            let text = String::from_utf8_lossy(payload);
            Ok(text.split_once(':').map(|(name, _)| name.to_owned()))
        }
        _ => field(payload_type, payload, "sender_client_id"),
    }
}

/// As the document numbers it, in whatever form it came.
fn error_code(payload_type: u8, payload: &[u8]) -> Result<u16, String> {
    let code = match payload_type {
        1 => payload.first().map(|code| u16::from(*code)),
        3 => String::from_utf8_lossy(payload).split_once(':').and_then(|(code, _)| code.parse().ok()),
        _ => field(payload_type, payload, "error_code")?.and_then(|code| code.parse().ok()),
    };
    let code = code.ok_or_else(|| format!("an error without a code: {payload:?}"))?;
    Ok(match code {
        1 => 401,
        2 => 400,
        4 => 404,
        5 => 500,
        6 => 409,
        7 => 429,
        8 => 503,
        other => other,
    })
}

/// A field of an object, inside of its tag if it has one; numbers as text.
fn field(payload_type: u8, payload: &[u8], name: &str) -> Result<Option<String>, String> {
    if payload_type == 5 {
        return cbor_field(payload, name).map_err(|_| format!("no CBOR: {payload:?}"));
    }
    let mut value = json(&String::from_utf8_lossy(payload))?;
    if let Some(object) = value.as_object()
        && object.len() == 1
        && let Some(inner) = object.values().next().filter(|inner| inner.is_object())
    {
        value = inner.clone();
    }
    Ok(value.get(name).map(|value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }))
}

fn cbor_field(payload: &[u8], name: &str) -> Result<Option<String>, minicbor::decode::Error> {
    use minicbor::data::Type;
    let mut decoder = Decoder::new(payload);
    let mut entries = decoder.map()?.unwrap_or(0);
    if entries == 1 {
        let _tag = decoder.str()?;
        entries = decoder.map()?.unwrap_or(0);
    }
    let mut found = None;
    for _ in 0..entries {
        let key = decoder.str()?;
        let start = decoder.position();
        let is_text = decoder.datatype()? == Type::String;
        decoder.skip()?;
        if key == name {
            let mut value = Decoder::new(&payload[start..decoder.position()]);
            found = Some(if is_text { value.str()?.to_owned() } else { value.u64()?.to_string() });
        }
    }
    Ok(found)
}
