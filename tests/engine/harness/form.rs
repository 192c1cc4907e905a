//! Payload types and forms: what a client of each kind writes and reads.
//!
//! ```text
//! binary  CONNECT  len8 id  len8 token     ACK  status8  len8 session     ERROR  code8  len8 message
//!         SIGNAL_* len8 id  len16 data     HEARTBEAT, HEARTBEAT_ACK  u64
//! text    id:token   status:session   code:message   id:data   seconds
//! JSON    {"client_id":…}   or tagged   {"Connect":{"client_id":…}}; CBOR has the same two
//! ```

use std::fmt;

use ciborium::Value as Cbor;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::frame::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    Binary,
    Text,
    FlatJson,
    TaggedJson,
    FlatCbor,
    TaggedCbor,
}

/// A delivered signal as its target understands it.
#[derive(Debug, PartialEq)]
pub struct Signal {
    pub data: String,
    pub sender: Option<String>,
    pub target: Option<String>,
}

impl Form {
    pub const ALL: [Form; 6] =
        [Form::Binary, Form::Text, Form::FlatJson, Form::TaggedJson, Form::FlatCbor, Form::TaggedCbor];

    pub fn payload_type(self) -> u8 {
        match self {
            Form::Binary => 0x01,
            Form::FlatJson | Form::TaggedJson => 0x02,
            Form::Text => 0x03,
            Form::FlatCbor | Form::TaggedCbor => 0x05,
        }
    }

    fn is_tagged(self) -> bool {
        matches!(self, Form::TaggedJson | Form::TaggedCbor)
    }

    pub fn connect(self, id: &str, token: &str) -> Frame {
        self.frame(
            CONNECT,
            match self {
                Form::Binary => [len8(id), len8(token)].concat(),
                Form::Text => format!("{id}:{token}").into_bytes(),
                _ => self.object(CONNECT, json!({"client_id": id, "auth_token": token})),
            },
        )
    }

    pub fn disconnect(self, id: &str, reason: &str) -> Frame {
        self.frame(
            DISCONNECT,
            match self {
                Form::Binary => [len8(id), len8(reason)].concat(),
                Form::Text => format!("{id}:{reason}").into_bytes(),
                _ => self.object(DISCONNECT, json!({"client_id": id, "reason": reason})),
            },
        )
    }

    pub fn heartbeat(self, timestamp: u64) -> Frame {
        self.frame(
            HEARTBEAT,
            match self {
                Form::Binary => timestamp.to_be_bytes().to_vec(),
                Form::Text => timestamp.to_string().into_bytes(),
                _ => self.object(HEARTBEAT, json!({"timestamp": timestamp})),
            },
        )
    }

    pub fn signal(self, kind: u8, target: &str, data: &str) -> Frame {
        self.frame(
            kind,
            match self {
                Form::Binary => {
                    let length = u16::try_from(data.len()).expect("data fits");
                    [len8(target), length.to_be_bytes().to_vec(), data.as_bytes().to_vec()].concat()
                }
                Form::Text => format!("{target}:{data}").into_bytes(),
                _ => self.object(kind, json!({"target_client_id": target, "signal_data": data})),
            },
        )
    }

    fn frame(self, kind: u8, payload: Vec<u8>) -> Frame {
        Frame::new(kind, self.payload_type(), payload)
    }

    fn object(self, kind: u8, fields: Value) -> Vec<u8> {
        let object = if self.is_tagged() { json!({tag_of(kind): fields}) } else { fields };
        match self.payload_type() {
            0x02 => object.to_string().into_bytes(),
            _ => {
                let mut bytes = Vec::new();
                ciborium::into_writer(&object, &mut bytes).expect("a vector takes all");
                bytes
            }
        }
    }

    /// The fields of a JSON or CBOR payload, with the tag checked and taken off.
    fn fields(self, frame: &Frame) -> Value {
        let object: Value = match self.payload_type() {
            0x02 => serde_json::from_slice(&frame.payload).expect("JSON"),
            _ => cbor_of(&frame.payload).deserialized().expect("CBOR that has a JSON form"),
        };
        if !self.is_tagged() {
            assert!(object.is_object(), "{object}");
            return object;
        }
        let outer = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
        assert_eq!(outer.len(), 1, "one tag and nothing beside it: {object}");
        outer.get(tag_of(frame.kind)).unwrap_or_else(|| panic!("{object} lacks its tag")).clone()
    }

    fn check_header(self, frame: &Frame, kind: u8) {
        assert_eq!(frame.kind, kind, "{frame:?}");
        assert_eq!(frame.payload_type, self.payload_type(), "{frame:?}");
    }

    /// Status and session id. In the binary form the status is one byte, given here in decimal.
    pub fn read_ack(self, frame: &Frame) -> (String, String) {
        self.check_header(frame, CONNECT_ACK);
        match self {
            Form::Binary => {
                let session = take_len8(&frame.payload[1..]).0;
                (frame.payload[0].to_string(), session)
            }
            Form::Text => {
                let (status, session) = text_of(frame).split_once(':').expect("a colon");
                (status.into(), session.into())
            }
            _ => {
                let fields = self.fields(frame);
                (string(&fields, "status"), string(&fields, "session_id"))
            }
        }
    }

    /// The server's clock in a HEARTBEAT_ACK.
    pub fn read_time(self, frame: &Frame) -> u64 {
        self.check_header(frame, HEARTBEAT_ACK);
        match self {
            Form::Binary => u64::from_be_bytes(frame.payload[..].try_into().expect("eight bytes")),
            Form::Text => text_of(frame).parse().expect("a number"),
            _ => self.fields(frame)["timestamp"].as_u64().expect("a whole number"),
        }
    }

    /// Code, as it was sent, and message of an ERROR.
    pub fn read_error(self, frame: &Frame) -> (u64, String) {
        self.check_header(frame, ERROR);
        match self {
            Form::Binary => {
                let (message, rest) = take_len8(&frame.payload[1..]);
                assert!(rest.is_empty(), "{frame:?}");
                (u64::from(frame.payload[0]), message)
            }
            Form::Text => {
                let (code, message) = text_of(frame).split_once(':').expect("a colon");
                (code.parse().expect("a number"), message.into())
            }
            _ => {
                let fields = self.fields(frame);
                (fields["error_code"].as_u64().expect("a number"), string(&fields, "error_message"))
            }
        }
    }

    /// How this form writes one of the documented codes. Where it has only one byte, there are u8
    /// codes in their place.
    pub fn code(self, documented: u64) -> u64 {
        match self {
            Form::FlatJson | Form::FlatCbor | Form::Text => documented,
            Form::TaggedJson | Form::TaggedCbor | Form::Binary => match documented {
                401 => 1,
                400 => 2,
                404 => 4,
                500 => 5,
                409 => 6,
                429 => 7,
                503 => 8,
                other => panic!("{other} has no u8 code"),
            },
        }
    }

    pub fn read_signal(self, frame: &Frame) -> Signal {
        assert!(SIGNALS.contains(&frame.kind), "{frame:?}");
        assert_eq!(frame.payload_type, self.payload_type(), "{frame:?}");
        match self {
            Form::Binary => {
                let (sender, rest) = take_len8(&frame.payload);
                let (length, data) = rest.split_first_chunk::<2>().expect("a length");
                assert_eq!(usize::from(u16::from_be_bytes(*length)), data.len(), "{frame:?}");
                let data = String::from_utf8(data.to_vec()).expect("UTF-8");
                Signal { data, sender: Some(sender), target: None }
            }
            Form::Text => {
                let (sender, data) = text_of(frame).split_once(':').expect("a colon");
                Signal { data: data.into(), sender: Some(sender.into()), target: None }
            }
            _ => {
                let fields = self.fields(frame);
                let optional = |name| fields.get(name).map(|_| string(&fields, name));
                Signal {
                    data: string(&fields, "signal_data"),
                    sender: optional("sender_client_id"),
                    target: optional("target_client_id"),
                }
            }
        }
    }
}

pub fn flat_json(kind: u8, json: &str) -> Frame {
    Frame::new(kind, Form::FlatJson.payload_type(), json)
}

/// The members of a JSON object in their order, repetitions kept, values as they were written.
pub fn entries(json: &str) -> Vec<(String, String)> {
    struct Entries(Vec<(String, String)>);
    impl<'de> Deserialize<'de> for Entries {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Members;
            impl<'de> Visitor<'de> for Members {
                type Value = Entries;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                    let mut found = Vec::new();
                    while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                        found.push((key, value.get().to_owned()));
                    }
                    Ok(Entries(found))
                }
            }
            from.deserialize_map(Members)
        }
    }
    serde_json::from_str::<Entries>(json).unwrap_or_else(|error| panic!("{error} in {json}")).0
}

/// The inner object of a tagged JSON payload, as it was written.
pub fn untagged(frame: &Frame) -> String {
    let outer = entries(text_of(frame));
    assert_eq!(outer.len(), 1, "{frame:?}");
    let (tag, inner) = outer.into_iter().next().expect("one entry");
    assert_eq!(tag, tag_of(frame.kind));
    inner
}

pub fn text_of(frame: &Frame) -> &str {
    std::str::from_utf8(&frame.payload).expect("UTF-8")
}

pub fn cbor_of(bytes: &[u8]) -> Cbor {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).expect("CBOR");
    assert!(rest.is_empty(), "nothing behind the value: {bytes:02x?}");
    value
}

fn len8(field: &str) -> Vec<u8> {
    let length = u8::try_from(field.len()).expect("at most 255 bytes");
    [&[length], field.as_bytes()].concat()
}

fn take_len8(bytes: &[u8]) -> (String, &[u8]) {
    let (length, rest) = bytes.split_first().expect("a length");
    let (field, rest) = rest.split_at_checked(usize::from(*length)).expect("the field is whole");
    (String::from_utf8(field.to_vec()).expect("UTF-8"), rest)
}

fn string(fields: &Value, name: &str) -> String {
    fields[name].as_str().unwrap_or_else(|| panic!("{name} is no string in {fields}")).to_owned()
}
