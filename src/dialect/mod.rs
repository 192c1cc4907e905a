//! Floor 2: the protocols as state machines. A message goes in; commands to the hub and messages
//! out come back through [`Context`].
//!
//! Every word and code of a protocol stands in its own module here and nowhere else. A dialect
//! knows no socket and no core: it does not know whether its target lives beside it.

pub mod binary;
pub mod broadcast;
pub mod calls;
mod choice;
mod conversation;
mod crossing;
mod delivery;
pub mod devices;
mod labels;
pub mod rooms;
mod session;

pub use choice::{Dialect, First, SOCKET_IO_PATH, Serves, choose, refuse};
pub use conversation::{Conversation, Opening, Progress};
pub use delivery::{
    Body, Delivery, MessageRef, OwnedDelivery, Parts, Plan, Speaks, Text, TextDialect, Undeliverable,
};
pub use labels::{ERROR_LABELS, MESSAGE_LABELS, MessageLabel};
pub use session::{Heartbeat, Session};

use std::net::SocketAddr;
use std::sync::Arc;

use crate::auth::Certified;
use crate::base::{Now, PeerKey, RealmId};
use crate::hub::{DialectId, OnDuplicate, Route, Taken};
use crate::observe::{Event, ShardMetrics};
use crate::wire::websocket::CloseCode;

/// What the operator decides, by dialect. Shared by all shards and the front.
#[derive(Clone)]
pub struct Settings {
    pub binary: binary::Settings,
    pub rooms: rooms::Settings,
    pub devices: devices::Settings,
    pub calls: calls::Settings,
    pub broadcast: broadcast::Settings,
}

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

    /// Where the client of this connection is; `None` where that is not known.
    fn client(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether credentials from the client's address are looked at. False after too many wrong ones;
    /// it is to be asked before each attempt, and counts one that was not looked at.
    fn may_log_in(&mut self) -> bool {
        true
    }

    /// Credentials of this connection were wrong.
    fn login_failed(&mut self) {}

    fn metrics(&self) -> &ShardMetrics;

    /// Whether an event of this type would reach anybody.
    fn wants_event(&self, _event_type: &str) -> bool {
        true
    }

    fn publish(&mut self, event: Event);

    /// False when this connection's own output is over its limit, or when its messages wait for a
    /// full shard.
    fn has_room(&self) -> bool;

    /// What the certificate that this connection's client has shown says about an id.
    fn certified(&self, _id: &str) -> Certified {
        Certified::NotAsked
    }

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

    /// From now on this connection, whose key is known by another way than the directory, takes
    /// deliveries.
    fn attend(&mut self);

    /// The opposite of [`Surroundings::attend`].
    fn retire(&mut self);

    /// The ids of a realm in the order of their bytes, this connection's among them.
    fn ids(&self, realm: RealmId) -> Arc<[Box<str>]>;

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

    /// Queues a WebSocket ping.
    fn ping(&mut self);

    /// Ends the connection after what has been queued: a Close frame with this code on a
    /// WebSocket, plainly on a stream. Nothing further is read.
    fn close(&mut self, code: CloseCode, reason: &'static str);

    /// False when the dialect is to return, because the connection ends or has no room. In the
    /// second case it is called again with the rest when there is room.
    fn may_go_on(&self) -> bool;
}

/// Why a login was refused, in its event, when its credentials were not looked at.
pub const TOO_MANY_FAILED_LOGINS: &str = "too_many_failed_logins";

/// What is published of a message that came back when its sender was gone.
pub fn untold(reference: &MessageRef, cause: Undeliverable, now: Now) -> Event {
    match reference {
        MessageRef::Frame { .. } => binary::undeliverable_event("", None, reference, cause, now),
        MessageRef::Text { label, target } => undeliverable_event("", *label, target, cause, now),
    }
}

/// For whoever subscribes: a message in a text dialect did not arrive. `target` has to be an id that
/// may be shown.
pub fn undeliverable_event(
    sender: &str,
    label: MessageLabel,
    target: &str,
    cause: Undeliverable,
    now: Now,
) -> Event {
    let (dialect, message_type) = MESSAGE_LABELS.get(usize::from(label.0)).copied().unwrap_or_default();
    let details = vec![
        ("dialect", dialect.into()),
        ("message_type", message_type.into()),
        ("cause", cause.word().into()),
        ("target", target.into()),
    ];
    Event { event_type: "signal_undeliverable", client_id: sender.to_owned(), unix_ms: now.unix_ms, details }
}

/// What is appended when a connection learns that a message of its own came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The reply's own label.
    pub label: MessageLabel,
    /// Position in [`ERROR_LABELS`].
    pub error: u8,
}

/// Appends the error by which a connection learns that a message of its own came back. `None`: its
/// dialect says nothing of it, so that it is to be published only.
pub fn bounced(
    to: Speaks,
    reference: &MessageRef,
    cause: Undeliverable,
    now: Now,
    out: &mut Vec<u8>,
) -> Option<Told> {
    match (to, reference) {
        (Speaks::Binary(form), MessageRef::Frame { uuid, .. }) => {
            let error = binary::write_bounce(form, uuid, cause, out);
            Some(Told { label: binary::ERROR_MESSAGE_LABEL, error })
        }
        (Speaks::Rooms { reports_all }, MessageRef::Text { label, target }) => {
            rooms::write_bounce(reports_all, *label, target, cause, now, out)
        }
        (Speaks::Devices { reports_all }, MessageRef::Text { label, target }) => {
            devices::write_bounce(reports_all, *label, target, cause, now, out)
        }
        _ => None,
    }
}
