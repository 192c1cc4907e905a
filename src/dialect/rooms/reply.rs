//! What the server says of its own accord, as JSON texts.

use super::codes::{Code, MessageType, is_reported, undeliverable};
use super::message::{Fault, Field};
use crate::base::Now;
use crate::dialect::{MessageLabel, TOO_MANY_FAILED_LOGINS, Told, Undeliverable};
use crate::wire::json::write_string;

/// Why a register was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Faulty(Fault),
    AuthenticationFailed,
    RoomNotFound,
    InvalidToken,
    RoomExpired,
    RoomFull,
    /// From the client's address: its credentials were not looked at.
    TooManyFailedLogins,
    Draining,
}

impl Refusal {
    pub(super) fn code(self) -> Code {
        match self {
            Refusal::Faulty(fault) => fault.code(),
            Refusal::AuthenticationFailed => Code::AuthenticationFailed,
            Refusal::RoomNotFound => Code::RoomNotFound,
            Refusal::InvalidToken => Code::InvalidToken,
            Refusal::RoomExpired => Code::RoomExpired,
            Refusal::TooManyFailedLogins => Code::RateLimited,
            Refusal::RoomFull | Refusal::Draining => Code::Unavailable,
        }
    }

    /// The words that deployed clients read.
    fn reason(self) -> &'static str {
        match self {
            Refusal::Faulty(_) => "Missing required fields during registration.",
            Refusal::AuthenticationFailed => "Authentication failed",
            Refusal::RoomNotFound => "Room not found",
            Refusal::InvalidToken => "Invalid token",
            Refusal::RoomExpired => "Room expired",
            Refusal::RoomFull => "Room is full",
            Refusal::TooManyFailedLogins => "Too many failed attempts",
            Refusal::Draining => "Server is shutting down",
        }
    }

    /// A fixed word for events.
    pub(super) fn word(self) -> &'static str {
        match self {
            Refusal::Faulty(_) => "malformed",
            Refusal::AuthenticationFailed => "authentication_failed",
            Refusal::RoomNotFound => "room_not_found",
            Refusal::InvalidToken => "invalid_token",
            Refusal::RoomExpired => "room_expired",
            Refusal::RoomFull => "room_full",
            Refusal::TooManyFailedLogins => TOO_MANY_FAILED_LOGINS,
            Refusal::Draining => "draining",
        }
    }
}

impl Fault {
    pub(super) fn code(self) -> Code {
        if self == Fault::NotJson { Code::InvalidJson } else { Code::InvalidMessage }
    }

    pub(super) fn message(self) -> String {
        match self {
            Fault::NotJson => INVALID_JSON.to_owned(),
            Fault::NotAnObject => "A message has to be a JSON object".to_owned(),
            Fault::Missing(field) => format!("Missing required field: {}", field.name()),
            Fault::NotAString(field) => format!("Field has to be a string: {}", field.name()),
            Fault::AnotherSender => "Sender is not the peer registered on this connection".to_owned(),
            Fault::Bad(field, why) => format!("Field {} {why}", field.name()),
        }
    }
}

const INVALID_JSON: &str = "Invalid JSON format";

pub(super) fn write_error(code: Code, message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"error\",\"code\":");
    write_string(out, code.word());
    out.extend_from_slice(b",\"message\":");
    write_string(out, message);
    out.push(b'}');
}

pub(super) fn write_refusal(refusal: Refusal, out: &mut Vec<u8>) {
    let message = match refusal {
        Refusal::Faulty(fault) => fault.message(),
        refusal => refusal.reason().to_owned(),
    };
    write_error(refusal.code(), &message, out);
    write_last_member("reason", refusal.reason(), out);
}

/// `token` is what the peer has sent or, to the creator of the room, the room's.
pub(super) fn write_registered(room_id: &str, token: Option<&str>, peer_id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"registered_auth\",\"room_id\":");
    write_string(out, room_id);
    out.extend_from_slice(b",\"token\":");
    match token {
        Some(token) => write_string(out, token),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"peer_id\":");
    write_string(out, peer_id);
    out.push(b'}');
}

/// `peers` is the inside of the list, as JSON.
pub(super) fn write_peer_list(to: &str, count: usize, peers: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"peer_list\",\"to_peer_id\":");
    write_string(out, to);
    out.extend_from_slice(format!(",\"count\":{count},\"peers\":[").as_bytes());
    out.extend_from_slice(peers);
    out.extend_from_slice(b"]}");
}

/// `peers` is the inside of the list, as JSON.
pub(super) fn write_available_peers(peers: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"available_peers\",\"peers\":[");
    out.extend_from_slice(peers);
    out.extend_from_slice(b"]}");
}

pub(super) fn write_metadata_updated(peer_id: &str, metadata: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"metadata_updated\",\"peer_id\":");
    write_string(out, peer_id);
    out.extend_from_slice(b",\"metadata\":");
    out.extend_from_slice(metadata);
    out.push(b'}');
}

pub(super) const PING: &[u8] = br#"{"type":"ping"}"#;
pub(super) const PONG: &[u8] = br#"{"type":"pong"}"#;

/// Appends what a client of this dialect is told on a listener that does not serve it.
pub fn write_not_served(out: &mut Vec<u8>) {
    let message = "The rooms protocol is not served here";
    write_error(Code::UnknownMessageType, message, out);
    write_last_member("reason", message, out);
}

/// Appends the answer to a first message that is no JSON of any dialect.
pub fn write_bad_json(out: &mut Vec<u8>) {
    write_error(Code::InvalidJson, INVALID_JSON, out);
}

/// See [`bounced`](crate::dialect::bounced).
pub fn write_bounce(
    reports_all: bool,
    label: MessageLabel,
    target: &str,
    cause: Undeliverable,
    _: Now,
    out: &mut Vec<u8>,
) -> Option<Told> {
    if !is_reported(label, reports_all) {
        return None;
    }
    let (code, message) = undeliverable(cause, None);
    write_undeliverable(code, message, target, out);
    Some(Told { label: MessageType::Error.label(), error: code.label() })
}

/// `target` is named if it can be somebody's id.
pub(super) fn write_undeliverable(code: Code, message: &str, target: &str, out: &mut Vec<u8>) {
    if target.is_empty() {
        return write_error(code, message, out);
    }
    write_error(code, &format!("{message}: {target}"), out);
}

fn write_last_member(name: &str, text: &str, out: &mut Vec<u8>) {
    out.pop();
    out.push(b',');
    write_string(out, name);
    out.push(b':');
    write_string(out, text);
    out.push(b'}');
}

/// What a client has to send with a register, whatever else it proves itself by.
pub(super) const NO_PROOF: Refusal = Refusal::Faulty(Fault::Missing(Field::IdToken));
