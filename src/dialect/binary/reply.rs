//! What the server itself says: acknowledgements and errors, in every form.
//!
//! ```text
//!                binary (01)                   text (03)
//! CONNECT_ACK    status8 │ len8 │ session id   status ':' session id
//! HEARTBEAT_ACK  u64                           decimal digits
//! ERROR          code8 │ len8 │ message        code ':' message
//! ```
//!
//! `status8` is 1 for success; a CONNECT that fails is answered with ERROR. Binary and tagged
//! payloads have the codes of one byte, flat and text ones those of the document.

use super::codes::{Code, MessageType, undeliverable};
use super::form::{Form, PayloadType};
use crate::dialect::Undeliverable;
use crate::wire::cbor;
use crate::wire::frame::{self, Broken};
use crate::wire::json;

/// The uuid of a reply to something that has none.
pub(super) const NIL: [u8; 16] = [0; 16];

pub(super) const TEXT_MESSAGE: &str = "Text messages are not served, only binary";

const STATUS: &str = "success";
const STATUS_BYTE: u8 = 1;

#[derive(Clone, Copy)]
pub(super) enum Reply<'a> {
    ConnectAck { session_id: &'a str },
    HeartbeatAck { unix_seconds: u64 },
    Error { code: Code, message: &'a str },
}

/// Why a connection is turned away, or given up, without a message of its own to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server has as many connections as it may.
    TooManyConnections,
    /// The client's address has as many as it may, or they come too fast.
    TooManyOfAddress,
    /// The server is shutting down.
    Draining,
    /// The connection should have begun with TLS.
    NeedsTls,
    /// We broke something.
    Internal,
}

/// Appends the ERROR frame by which a connection learns that its message came back. Returns the
/// position of the code in [`ERROR_LABELS`](super::ERROR_LABELS).
pub fn write_bounce(form: Form, uuid: &[u8; 16], cause: Undeliverable, out: &mut Vec<u8>) -> u8 {
    let (code, message) = undeliverable(cause);
    write(Reply::Error { code, message }, form, uuid, out);
    code.label()
}

/// Appends what a client of this dialect is told on a listener that does not serve it.
/// `offending` is what it has sent.
pub fn write_not_served(offending: &[u8], out: &mut Vec<u8>) {
    let error = Reply::Error { code: Code::BadRequest, message: "Binary messages are not served here" };
    let (uuid, form) = match frame::complete(offending) {
        Ok(frame) => (*frame.uuid, Form::of_offending(Some(frame.payload_type), frame.payload)),
        Err(Broken::Cut { uuid, payload_type }) => {
            (uuid.unwrap_or(NIL), Form::of_offending(payload_type, &[]))
        }
        Err(Broken::BadStartByte) => (NIL, Form::FLAT_JSON),
    };
    write(error, form, &uuid, out);
}

/// Appends the answer to a text message where only binary ones are served.
pub fn write_text_refused(out: &mut Vec<u8>) {
    let message = TEXT_MESSAGE;
    write(Reply::Error { code: Code::TextMessage, message }, Form::FLAT_JSON, &NIL, out);
}

/// Appends an ERROR frame with the nil uuid, in flat JSON for those who have not logged in.
/// Returns the position of the code in [`ERROR_LABELS`](super::ERROR_LABELS).
pub fn write_refusal(form: Option<Form>, refusal: Refusal, out: &mut Vec<u8>) -> u8 {
    let (code, message) = match refusal {
        Refusal::TooManyConnections => (Code::Unavailable, "Server has too many connections"),
        Refusal::TooManyOfAddress => (Code::RateLimited, "Too many connections from this address"),
        Refusal::Draining => undeliverable(Undeliverable::Draining),
        Refusal::NeedsTls => (Code::BadRequest, "This port speaks TLS"),
        Refusal::Internal => (Code::Internal, "Internal server error"),
    };
    write(Reply::Error { code, message }, form.unwrap_or(Form::FLAT_JSON), &NIL, out);
    code.label()
}

/// Appends one whole frame.
pub(super) fn write(reply: Reply<'_>, form: Form, uuid: &[u8; 16], out: &mut Vec<u8>) {
    let message_type = reply.message_type() as u8;
    frame::write_frame(out, message_type, uuid, form.payload_type as u8, |out| match form.payload_type {
        PayloadType::Binary => reply.write_binary(out),
        PayloadType::Text => reply.write_text(out),
        PayloadType::Json => reply.write_json(form.tagged, out),
        PayloadType::Cbor => reply.write_cbor(form.tagged, out),
    })
    .expect("replies are short");
}

impl Reply<'_> {
    pub(super) fn message_type(self) -> MessageType {
        match self {
            Reply::ConnectAck { .. } => MessageType::ConnectAck,
            Reply::HeartbeatAck { .. } => MessageType::HeartbeatAck,
            Reply::Error { .. } => MessageType::Error,
        }
    }

    fn write_binary(self, out: &mut Vec<u8>) {
        let mut status_and_text = |status: u8, text: &str| {
            // Our own words, all of them shorter than that.
            let text = text.as_bytes().get(..255).unwrap_or(text.as_bytes());
            out.extend_from_slice(&[status, text.len() as u8]);
            out.extend_from_slice(text);
        };
        match self {
            Reply::ConnectAck { session_id } => status_and_text(STATUS_BYTE, session_id),
            Reply::Error { code, message } => status_and_text(code.byte(), message),
            Reply::HeartbeatAck { unix_seconds } => out.extend_from_slice(&unix_seconds.to_be_bytes()),
        }
    }

    fn write_text(self, out: &mut Vec<u8>) {
        let text = match self {
            Reply::ConnectAck { session_id } => format!("{STATUS}:{session_id}"),
            Reply::HeartbeatAck { unix_seconds } => unix_seconds.to_string(),
            Reply::Error { code, message } => format!("{}:{message}", code.number()),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn write_json(self, tagged: bool, out: &mut Vec<u8>) {
        if tagged {
            out.push(b'{');
            json::write_string(out, self.message_type().tag());
            out.push(b':');
        }
        match self {
            Reply::ConnectAck { session_id } => {
                out.extend_from_slice(b"{\"status\":");
                json::write_string(out, STATUS);
                out.extend_from_slice(b",\"session_id\":");
                json::write_string(out, session_id);
            }
            Reply::HeartbeatAck { unix_seconds } => {
                out.extend_from_slice(format!("{{\"timestamp\":{unix_seconds}").as_bytes());
            }
            Reply::Error { code, message } => {
                let code = if tagged { code.byte().into() } else { code.number() };
                out.extend_from_slice(format!("{{\"error_code\":{code},\"error_message\":").as_bytes());
                json::write_string(out, message);
            }
        }
        out.extend_from_slice(if tagged { b"}}" } else { b"}" });
    }

    fn write_cbor(self, tagged: bool, out: &mut Vec<u8>) {
        if tagged {
            cbor::write_map_head(out, 1);
            cbor::write_text(out, self.message_type().tag());
        }
        match self {
            Reply::ConnectAck { session_id } => {
                cbor::write_map_head(out, 2);
                cbor::write_text(out, "status");
                cbor::write_text(out, STATUS);
                cbor::write_text(out, "session_id");
                cbor::write_text(out, session_id);
            }
            Reply::HeartbeatAck { unix_seconds } => {
                cbor::write_map_head(out, 1);
                cbor::write_text(out, "timestamp");
                cbor::write_unsigned(out, unix_seconds);
            }
            Reply::Error { code, message } => {
                let code = if tagged { code.byte().into() } else { code.number() };
                cbor::write_map_head(out, 2);
                cbor::write_text(out, "error_code");
                cbor::write_unsigned(out, code.into());
                cbor::write_text(out, "error_message");
                cbor::write_text(out, message);
            }
        }
    }
}
