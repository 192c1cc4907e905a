//! The `broadcast` dialect: what stands inside the Socket.IO events `signal`, `peer_joined`,
//! `peer_left` and `error`.
//!
//! Owns every word of the protocol, and how a signal is said to a peer that speaks another one.
//!
//! Invariants: no peer is told a sender other than the socket that has sent. Apart from `from`, a
//! signal's bytes pass as they came.
//!
//! Must not know Socket.IO, sockets, groups, or where a target lives: those are the front's.

mod crossing;
mod message;
mod problem;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use crossing::{crossing, write_crossing};
pub use message::{Signal, peer_notice, read};
pub use problem::Problem;

use crate::base::RealmId;
use crate::dialect::{Dialect, MessageLabel, labels};
use crate::hub::DialectId;

/// What this dialect is called in the directory.
pub const DIALECT: DialectId = Dialect::Broadcast.id();

/// Message types by their label; last the unknown ones.
pub const MESSAGE_LABELS: &[(&str, &str)] = &[
    ("broadcast", "offer"),
    ("broadcast", "answer"),
    ("broadcast", "ice-candidate"),
    ("broadcast", "peer_joined"),
    ("broadcast", "peer_left"),
    ("broadcast", "error"),
    ("broadcast", "unknown"),
];

/// Errors, by the number that [`Problem::error`] gives.
pub const ERROR_LABELS: &[(&str, &str)] = &[
    ("broadcast", "invalid_format"),
    ("broadcast", "invalid_type"),
    ("broadcast", "too_many_messages"),
    ("broadcast", "peer_not_found"),
    ("broadcast", "undeliverable"),
    ("broadcast", "internal"),
];

pub const PEER_JOINED: MessageLabel = label(3);
pub const PEER_LEFT: MessageLabel = label(4);
pub const ERROR: MessageLabel = label(5);
pub const UNKNOWN: MessageLabel = label(6);

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    pub realm: RealmId,
    /// Between two pings of one session.
    pub ping_interval: Duration,
    /// Longest wait for a pong, and for a socket that takes no byte.
    pub ping_timeout: Duration,
    /// Largest polling body and WebSocket message.
    pub payload_bytes_max: usize,
    /// Sockets at one time.
    pub clients_max: usize,
    /// Signals a second that one socket may send, a second's worth of them at once; 0 for any
    /// number.
    pub message_rate: u32,
    /// Bytes that may wait for one client. A signal that finds nothing waiting is always taken.
    pub outbox_bytes_max: usize,
    /// Signals that may wait for one client.
    pub outbox_messages_max: usize,
}

const fn label(index: u8) -> MessageLabel {
    MessageLabel(labels::BROADCAST_MESSAGES + index)
}
