//! How a payload is dressed: its type, and for JSON and CBOR flat or tagged.
//!
//! ```text
//! flat                          tagged
//! {"client_id":…, …}            {"Connect":{"client_id":…, …}}
//! ```

use super::codes::MessageType;
use super::fields;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PayloadType {
    Binary = 0x01,
    Json = 0x02,
    Text = 0x03,
    Cbor = 0x05,
}

/// How a connection wants its payloads: as it sent its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub(super) payload_type: PayloadType,
    /// Never set for binary and text, which know no tags.
    pub(super) tagged: bool,
}

impl PayloadType {
    /// # Errors
    /// The words for the client.
    pub(super) fn from_byte(byte: u8) -> Result<PayloadType, &'static str> {
        match byte {
            0x01 => Ok(PayloadType::Binary),
            0x02 => Ok(PayloadType::Json),
            0x03 => Ok(PayloadType::Text),
            0x04 => Err("Protobuf payloads are not supported"),
            0x05 => Ok(PayloadType::Cbor),
            _ => Err("Unknown payload type"),
        }
    }
}

impl Form {
    /// What is spoken to those who have not shown another form.
    pub(super) const FLAT_JSON: Form = Form::flat(PayloadType::Json);

    pub(super) const fn flat(payload_type: PayloadType) -> Form {
        Form { payload_type, tagged: false }
    }

    /// The form of a message that may be broken in every way: flat JSON where it shows none.
    pub(super) fn of_offending(payload_type: Option<u8>, payload: &[u8]) -> Form {
        let Some(Ok(payload_type)) = payload_type.map(PayloadType::from_byte) else {
            return Form::FLAT_JSON;
        };
        let tagged = match fields::read(payload_type, payload, MessageType::Connect, []) {
            Ok(fields) => fields.tagged,
            Err(error) => error == fields::OTHER_TAG,
        };
        Form { payload_type, tagged }
    }
}
