//! What the server itself says.

use super::message::{MessageType, bounded};
use super::timestamp::timestamp;
use crate::base::Now;
use crate::dialect::{MessageLabel, Told, Undeliverable, labels};
use crate::wire::json;

pub(super) const REGISTERED_LABEL: MessageLabel = MessageLabel(labels::DEVICES_MESSAGES + 6);
pub(super) const PONG_LABEL: MessageLabel = MessageLabel(labels::DEVICES_MESSAGES + 7);
pub(super) const CLIENTS_LABEL: MessageLabel = MessageLabel(labels::DEVICES_MESSAGES + 8);
pub(super) const ERROR_LABEL: MessageLabel = MessageLabel(labels::DEVICES_MESSAGES + 10);

/// Most characters of a target which its sender is told again: those of the longest id.
const SHOWN_TARGET_CHARACTERS_MAX: usize = 255;

const INVALID_MESSAGE: &str = "Invalid message format";
pub(super) const SHUTTING_DOWN: &str = "Server shutting down";

/// Errors as they are counted, in the order of [`ERROR_LABELS`](super::ERROR_LABELS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    InvalidMessage,
    UnknownType,
    NoTarget,
    NotFound,
    CannotTakeMore,
    NotRegistered,
    InvalidId,
    IdTaken,
    NotAllowed,
    TooManyMessages,
    TooManyClients,
    ShuttingDown,
    Unauthorized,
    Internal,
}

/// An error that is not about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal<'a> {
    InvalidMessage {
        details: &'a str,
    },
    UnknownType {
        shown: &'a str,
    },
    NoTarget,
    NotRegistered,
    InvalidId,
    IdTaken,
    /// By the role.
    NotAllowed,
    /// The token is somebody else's.
    OtherId,
    /// The certificate is somebody else's.
    OtherCertificate,
    TooManyMessages,
    /// From the client's address.
    TooManyFailedLogins,
    TooManyClients,
    /// The list would be longer than what is kept free for replies.
    ListTooLong,
    ShuttingDown,
    Internal,
}

impl Code {
    pub(super) fn label(self) -> u8 {
        labels::DEVICES_ERRORS + self as u8
    }
}

impl Refusal<'_> {
    pub(super) fn code(&self) -> Code {
        match self {
            Refusal::InvalidMessage { .. } => Code::InvalidMessage,
            Refusal::UnknownType { .. } => Code::UnknownType,
            Refusal::NoTarget => Code::NoTarget,
            Refusal::NotRegistered => Code::NotRegistered,
            Refusal::InvalidId => Code::InvalidId,
            Refusal::IdTaken => Code::IdTaken,
            Refusal::NotAllowed => Code::NotAllowed,
            Refusal::OtherId | Refusal::OtherCertificate => Code::Unauthorized,
            Refusal::TooManyMessages => Code::TooManyMessages,
            Refusal::TooManyFailedLogins => Code::Unauthorized,
            Refusal::TooManyClients => Code::TooManyClients,
            Refusal::ListTooLong => Code::CannotTakeMore,
            Refusal::ShuttingDown => Code::ShuttingDown,
            Refusal::Internal => Code::Internal,
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (message, details) = match self {
            Refusal::InvalidMessage { details } => (INVALID_MESSAGE, Some(*details)),
            Refusal::UnknownType { shown } => {
                return write_error(&format!("Unknown message type: {shown}"), None, out);
            }
            Refusal::NoTarget => ("No target specified", None),
            Refusal::NotRegistered => ("Not registered", None),
            Refusal::InvalidId => ("Invalid id", Some("An id has 1 to 128 visible characters")),
            Refusal::IdTaken => ("Id is taken", None),
            Refusal::NotAllowed => ("Not allowed", None),
            Refusal::OtherId => ("Not allowed", Some("The token is for another id")),
            Refusal::OtherCertificate => ("Not allowed", Some("The certificate is for another id")),
            Refusal::TooManyMessages => ("Too many messages", None),
            Refusal::TooManyFailedLogins => ("Too many failed logins", None),
            Refusal::TooManyClients => ("Too many clients", None),
            Refusal::ListTooLong => ("Too many clients to list", None),
            Refusal::ShuttingDown => (SHUTTING_DOWN, None),
            Refusal::Internal => ("Internal server error", None),
        };
        write_error(message, details, out);
    }
}

/// Appends what a client of this dialect is told on a listener that does not serve it.
pub fn write_not_served(out: &mut Vec<u8>) {
    write_error("Not served here", Some("This listener serves other protocols"), out);
}

/// Appends the answer to a first message that is no JSON of any dialect.
pub fn write_bad_json(out: &mut Vec<u8>) {
    write_error(INVALID_MESSAGE, Some("Not a JSON object with a type"), out);
}

/// See [`bounced`](crate::dialect::bounced). Nothing is said of a candidate unless `reports_all`.
pub fn write_bounce(
    reports_all: bool,
    label: MessageLabel,
    target: &str,
    cause: Undeliverable,
    _: Now,
    out: &mut Vec<u8>,
) -> Option<Told> {
    let named = match MessageType::of_label(label)? {
        MessageType::Offer => "Target",
        MessageType::Answer => "Caller",
        MessageType::Ice if reports_all => "Peer",
        _ => return None,
    };
    let what = match cause {
        Undeliverable::NotConnected => "not found or offline",
        Undeliverable::Full => "cannot take more now",
        Undeliverable::TooLarge => "cannot take a message of this size",
        Undeliverable::Unconvertible => "cannot understand this message",
        Undeliverable::Draining => "is out of reach: the server is shutting down",
    };
    let target = bounded(target, SHOWN_TARGET_CHARACTERS_MAX);
    write_error(&format!("{named} {target} {what}"), None, out);
    Some(Told { label: ERROR_LABEL, error: undeliverable(cause).label() })
}

/// How a message that did not arrive is counted.
pub(super) fn undeliverable(cause: Undeliverable) -> Code {
    match cause {
        Undeliverable::NotConnected => Code::NotFound,
        Undeliverable::Draining => Code::ShuttingDown,
        Undeliverable::Full | Undeliverable::TooLarge | Undeliverable::Unconvertible => Code::CannotTakeMore,
    }
}

/// Appends the message by which everybody learns who is left.
pub fn write_list_update(ids: &[Box<str>], now: Now, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"client_list_update\",");
    write_clients(ids.iter(), out);
    out.push(b',');
    write_end(now, out);
}

/// What a list of these ids takes at most.
pub(super) fn list_bytes(ids: &[Box<str>]) -> usize {
    ids.iter().map(|id| json::string_bytes(id) + 1).sum()
}

/// `ids` but for `asker`'s own.
pub(super) fn write_list(ids: &[Box<str>], asker: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"clients\",");
    write_clients(ids.iter().filter(|id| Some(&***id) != asker), out);
    out.push(b'}');
}

/// `id` is a JSON string.
pub(super) fn write_registered(id: &[u8], now: Now, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"registered\",\"id\":");
    out.extend_from_slice(id);
    out.push(b',');
    write_end(now, out);
}

pub(super) fn write_pong(now: Now, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"pong\",");
    write_end(now, out);
}

fn write_clients<'a>(ids: impl Iterator<Item = &'a Box<str>>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"clients\":[");
    let mut count = 0_usize;
    for id in ids {
        if count > 0 {
            out.push(b',');
        }
        json::write_string(out, id);
        count += 1;
    }
    out.extend_from_slice(b"],\"count\":");
    out.extend_from_slice(count.to_string().as_bytes());
}

fn write_end(now: Now, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"timestamp\":\"");
    out.extend_from_slice(&timestamp(now));
    out.extend_from_slice(b"\"}");
}

fn write_error(message: &str, details: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"error\",\"message\":");
    json::write_string(out, message);
    if let Some(details) = details {
        out.extend_from_slice(b",\"details\":");
        json::write_string(out, details);
    }
    out.push(b'}');
}

const _: () = assert!(super::ERROR_LABELS.len() == Code::Internal as usize + 1);
