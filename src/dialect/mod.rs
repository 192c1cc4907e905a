//! Floor 2: the protocols as state machines. A message goes in; commands to the hub and messages
//! out come back through [`Context`].
//!
//! Every word and code of a protocol stands in its own module here and nowhere else. A dialect
//! knows no socket and no core: it does not know whether its target lives beside it.

pub mod binary;
mod delivery;

pub use delivery::{Delivery, MessageRef, OwnedDelivery, Speaks, Undeliverable};

use crate::base::{Now, PeerKey, RealmId};
use crate::hub::{DialectId, OnDuplicate, Route, Taken};
use crate::observe::{Event, ShardMetrics};
use crate::wire::websocket::CloseCode;

/// What the two counters of every message are called in the metrics: dialect and type. The
/// position in [`MESSAGE_LABELS`] is the number that a dialect counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLabel(pub u8);

/// Dialect and message type, by [`MessageLabel`].
pub const MESSAGE_LABELS: &[(&str, &str)] = binary::MESSAGE_LABELS;

/// Dialect and error code, by the number that [`Surroundings::count_error`] takes.
pub const ERROR_LABELS: &[(&str, &str)] = binary::ERROR_LABELS;

/// WebSocket messages are text or binary; on a plain stream the difference is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Binary,
    Text,
}

/// What surrounds a connection: its shard, as dialect and session see it during one call.
pub trait Surroundings {
    fn now(&self) -> Now;

    /// The key of this connection.
    fn me(&self) -> PeerKey;

    fn random_u128(&mut self) -> u128;

    fn draining(&self) -> bool;

    fn metrics(&self) -> &ShardMetrics;

    fn publish(&mut self, event: Event);

    /// False when this connection's own output is over its limit, or when its messages wait for a
    /// full shard.
    fn has_room(&self) -> bool;

    /// From now on deliveries to this connection are encoded like this.
    fn set_speaks(&mut self, speaks: Speaks);

    /// Makes this connection the owner of `id`. A former owner of the same dialect is told and
    /// closed by its own shard ([`OnDuplicate::Replace`]) or keeps the id ([`OnDuplicate::Reject`]).
    fn join(
        &mut self,
        realm: RealmId,
        id: &str,
        dialect: DialectId,
        on_duplicate: OnDuplicate,
    ) -> Result<(), Taken>;

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

    fn count_received(&mut self, label: MessageLabel) {
        self.metrics().messages_received[usize::from(label.0)].add(1);
    }

    fn count_sent(&mut self, label: MessageLabel) {
        self.metrics().messages_sent[usize::from(label.0)].add(1);
    }

    /// By the position in [`ERROR_LABELS`].
    fn count_error(&mut self, index: u8) {
        self.metrics().errors[usize::from(index)].add(1);
    }
}

/// One connection as its dialect sees it during one call.
pub trait Context {
    fn around(&mut self) -> &mut dyn Surroundings;

    /// Queues one whole message for this connection's own peer. Never fails: a peer that does not
    /// read its replies is cut when their reserved room is used up.
    fn reply(&mut self, kind: Kind, message: &[u8]);

    /// Ends the connection after what has been queued: a Close frame with this code on a
    /// WebSocket, plainly on a stream. Nothing further is read.
    fn close(&mut self, code: CloseCode, reason: &'static str);

    /// False when the dialect is to return, because the connection ends or has no room. In the
    /// second case it is called again with the rest when there is room.
    fn may_go_on(&self) -> bool;
}

/// What is published of a message that came back when its sender was gone.
pub fn untold(reference: MessageRef, cause: Undeliverable, now: Now) -> Event {
    binary::undeliverable_event("", None, reference, cause, now)
}

/// Appends the error by which a connection learns that a message of its own came back.
pub fn bounced(to: Speaks, reference: MessageRef, cause: Undeliverable, out: &mut Vec<u8>) -> Option<u8> {
    match to {
        Speaks::Nothing => None,
        Speaks::Binary(form) => Some(binary::write_bounce(form, reference, cause, out)),
    }
}
