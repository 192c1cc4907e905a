//! The 0xAA protocol: frames in WebSocket binary messages, or straight on a TCP stream.
//!
//! Owns every word and number of the protocol, one connection's session, and how a signal is said
//! to a target of another payload type.
//!
//! Invariants: every frame of a client is answered, delivered or, for DISCONNECT, followed by a
//! close. No target is told a sender other than the session that has sent. The same payload type
//! on both ends means that the payload's bytes pass, copied once.
//!
//! Must not know sockets, cores, or where a target lives.

mod codes;
mod convert;
mod crossing;
mod fields;
mod form;
mod message;
mod reply;
mod session;
mod signal;
mod usual;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use codes::{ERROR_LABELS, ERROR_MESSAGE_LABEL, MESSAGE_LABELS};
pub use crossing::write_crossing;
pub use form::Form;
pub use message::is_client_id;
pub use reply::{Refusal, write_bounce, write_not_served, write_refusal, write_text_refused};
pub use session::{
    FAILED_CONNECTS_MAX, Session, SessionInfo, StreamNext, StreamProgress, undeliverable_event,
};
pub use signal::{OwnedSignal, Plan, Signal};

use crate::auth::Authenticator;
use crate::base::RealmId;
use crate::dialect::Dialect;
use crate::hub::{DialectId, OnDuplicate};

/// What this dialect is called in the directory.
pub const DIALECT: DialectId = Dialect::Binary.id();

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    pub realm: RealmId,
    /// Whether targets learn who has sent a signal.
    pub stamp_sender: bool,
    pub on_duplicate: OnDuplicate,
    pub auth: Arc<Authenticator>,
    /// Messages a second that a live session may send, a second's worth of them at once; 0 for any
    /// number.
    pub message_rate: u32,
}
