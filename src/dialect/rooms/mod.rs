//! The `rooms` dialect: JSON texts between the peers of a room, for ML workers and their clients.
//!
//! Owns every word and code of the protocol's WebSocket half, one connection's session, and what a
//! filter means.
//!
//! ```text
//! fresh ──register──▶ in a room ──register elsewhere──▶ in another room
//!   └────────────────────┴──evicted, dismissed, connection lost──▶ ended
//! ```
//!
//! Invariants: a client acts only as the peer that it has registered; whatever names another
//! sender goes no further. A message stays in its sender's room. What the applications say to one
//! another keeps its bytes, and is not looked at beyond the fields that route it.
//!
//! The registry of rooms ([`hub::Rooms`](crate::hub::rooms::Rooms)) is the truth about who is in a
//! room; the directory, by which messages find their way, follows it. A peer enters the registry
//! first and the directory second, and leaves in the opposite order. Where two connections take one
//! peer id at the same time, the directory may name the loser for a moment; then the winner is
//! evicted there, finds itself in the registry, and joins again.
//!
//! Must not know sockets, cores, stores or HTTP.

mod codes;
mod discovery;
mod message;
mod register;
mod reply;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use codes::{ERROR_LABELS, MESSAGE_LABELS};
pub use reply::{write_bad_json, write_bounce, write_not_served};
pub use session::Session;

use crate::auth::Identities;
use crate::base::RealmId;
use crate::dialect::Dialect;
use crate::hub::DialectId;
use crate::hub::rooms::Rooms;

/// What this dialect is called in the directory.
pub const DIALECT: DialectId = Dialect::Rooms.id();

/// Where the peers of all rooms are in the directory, each under its room's id, a NUL and its own
/// id. No other dialect ever shares it: rooms are closed.
pub const REALM: RealmId = RealmId(u16::MAX);

/// What the operator decides.
#[derive(Clone)]
pub struct Settings {
    pub rooms: Arc<Rooms>,
    pub identities: Arc<Identities>,
    /// Whether a peer has to prove an identity. If not, a proof that does not hold counts as none.
    pub require_id_token: bool,
    /// Whether a client hears also of offers, answers, candidates and errors that did not arrive.
    pub report_undeliverable: bool,
    /// How often a registered client gets a `ping` of this protocol; zero for never.
    pub app_ping: Duration,
    /// Metadata of one message, as it is sent. What a peer may have in all is the registry's limit.
    pub metadata_bytes_max: usize,
    /// Messages a second that a connection may send, a second's worth of them at once; 0 for any
    /// number.
    pub message_rate: u32,
    /// Longest that a register waits for keys that are being fetched.
    pub key_wait: Duration,
}
