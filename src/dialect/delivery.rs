//! A message between two peers: borrowed from the sender's receive buffer while both live on one
//! shard, owned when it crosses to another.

use super::{MessageLabel, binary};
use crate::base::PeerKey;

/// How a connection wants to be spoken to; it stands beside its outbox, so that a delivery touches
/// nothing else of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Not logged in: nothing can be delivered.
    Nothing,
    Binary(binary::Form),
}

/// Enough of a message to tell its sender which one failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef {
    pub uuid: [u8; 16],
    pub message_type: u8,
}

/// Why a message did not reach its target. Whoever sent it is told by its own dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeliverable {
    /// Nobody has that id (any more).
    NotConnected,
    /// The target's outbox, or its shard's inbox, is full.
    Full,
    /// The server is shutting down.
    Draining,
    /// Does not fit a frame in the form that the target uses.
    TooLarge,
    /// Cannot be said in the form that the target uses.
    Unconvertible,
}

/// One message on its way to one target.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    pub from: PeerKey,
    pub body: Body<'a>,
}

#[derive(Clone, Copy)]
pub enum Body<'a> {
    Binary(binary::Signal<'a>),
}

/// A [`Delivery`] that carries its bytes itself.
pub struct OwnedDelivery {
    from: PeerKey,
    body: OwnedBody,
}

enum OwnedBody {
    Binary(binary::OwnedSignal),
}

impl Delivery<'_> {
    pub fn reference(&self) -> MessageRef {
        match &self.body {
            Body::Binary(signal) => signal.reference(),
        }
    }

    pub fn label(&self) -> MessageLabel {
        match &self.body {
            Body::Binary(signal) => signal.label(),
        }
    }

    /// Length in bytes of what [`Delivery::write`] will append for such a target. A conversion
    /// between forms may have to be carried out to know, so the caller asks once.
    pub fn plan(&self, target: Speaks) -> Result<binary::Plan, Undeliverable> {
        match (&self.body, target) {
            (_, Speaks::Nothing) => Err(Undeliverable::NotConnected),
            (Body::Binary(signal), Speaks::Binary(form)) => signal.plan(form),
        }
    }

    /// Appends one whole message, exactly `plan.len()` bytes.
    pub fn write(&self, plan: &binary::Plan, out: &mut Vec<u8>) {
        match &self.body {
            Body::Binary(signal) => signal.write(plan, out),
        }
    }

    pub fn to_owned(&self) -> OwnedDelivery {
        let body = match &self.body {
            Body::Binary(signal) => OwnedBody::Binary(signal.to_owned()),
        };
        OwnedDelivery { from: self.from, body }
    }
}

impl OwnedDelivery {
    pub fn borrow(&self) -> Delivery<'_> {
        let body = match &self.body {
            OwnedBody::Binary(signal) => Body::Binary(signal.borrow()),
        };
        Delivery { from: self.from, body }
    }

    /// Bytes of heap that this message holds while it waits.
    pub fn heap_bytes(&self) -> usize {
        match &self.body {
            OwnedBody::Binary(signal) => signal.heap_bytes(),
        }
    }
}
