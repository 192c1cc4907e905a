//! Floor 2: the protocols as state machines. A message goes in; commands to the hub and messages
//! out come back through [`Context`].
//!
//! Every word and code of a protocol stands in its own module here and nowhere else. A dialect
//! knows no socket and no core: it does not know whether its target lives beside it.

pub mod binary;
mod delivery;

pub use delivery::{Delivery, MessageRef, OwnedDelivery, Speaks, Undeliverable};

use crate::base::{Now, PeerKey, RealmId};
use crate::hub::{OnDuplicate, Route, Taken};
use crate::observe::Event;
use crate::wire::websocket::CloseCode;

/// What the two counters of every message are called in the metrics: dialect and type. The
/// position in [`MESSAGE_LABELS`] is the number that a dialect counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLabel(pub u8);

/// Dialect and message type, by [`MessageLabel`].
pub const MESSAGE_LABELS: &[(&str, &str)] = binary::MESSAGE_LABELS;

/// Dialect and error code, by the number that [`Context::count_error`] takes.
pub const ERROR_LABELS: &[(&str, &str)] = binary::ERROR_LABELS;

/// WebSocket messages are text or binary; on a plain stream the difference is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Binary,
    Text,
}

/// The world as one connection's dialect sees it during one call.
pub trait Context {
    fn now(&self) -> Now;

    /// The key of this connection.
    fn me(&self) -> PeerKey;

    fn random_u128(&mut self) -> u128;

    /// Queues one whole message for this connection's own peer. Never fails: a peer that does not
    /// read its replies is cut when their reserved room is used up.
    fn reply(&mut self, kind: Kind, message: &[u8]);

    /// From now on deliveries to this connection are encoded like this.
    fn set_speaks(&mut self, speaks: Speaks);

    /// Makes this connection the owner of `id`. A former owner of the same dialect is told and
    /// closed by its own shard ([`OnDuplicate::Replace`]) or keeps the id ([`OnDuplicate::Reject`]).
    fn join(&mut self, realm: RealmId, id: &str, on_duplicate: OnDuplicate) -> Result<(), Taken>;

    /// Gives `id` up. Does nothing when a newer connection owns it by now.
    fn leave(&mut self, realm: RealmId, id: &str);

    /// Routes one message. `Ok` means that it is on its way and that this connection hears of it
    /// again (through [`bounced`]) if it cannot be delivered after all.
    fn send(
        &mut self,
        realm: RealmId,
        to: &str,
        route: &mut Option<Box<Route>>,
        delivery: &Delivery<'_>,
    ) -> Result<(), Undeliverable>;

    /// Ends the connection after what has been queued: a Close frame with this code on a
    /// WebSocket, plainly on a stream. Nothing further is read.
    fn close(&mut self, code: CloseCode, reason: &'static str);

    /// False when this connection's own output is over its limit or its messages wait for a full
    /// shard: the dialect returns, and is called again with the rest when there is room.
    fn may_go_on(&self) -> bool;

    fn draining(&self) -> bool;

    fn count_received(&mut self, label: MessageLabel);

    fn count_sent(&mut self, label: MessageLabel);

    fn count_error(&mut self, index: u8);

    fn publish(&mut self, event: Event);
}

/// Appends the error by which a connection learns that a message of its own came back.
pub fn bounced(to: Speaks, reference: MessageRef, cause: Undeliverable, out: &mut Vec<u8>) -> Option<u8> {
    match to {
        Speaks::Nothing => None,
        Speaks::Binary(form) => Some(binary::write_bounce(form, reference, cause, out)),
    }
}
