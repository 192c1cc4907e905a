//! A message between two peers: borrowed from the sender's receive buffer while both live on one
//! shard, owned when it crosses to another.
//!
//! Within a dialect a message passes as its sender's dialect has laid it. Between two dialects of a
//! realm it is taken apart once, into a [`hub::Signal`](crate::hub::Signal), which the target's
//! dialect then says in its own words:
//!
//! ```text
//! binary ─┐                    ┌─► binary
//! devices ┼─ signal ─► Signal ─┼─► devices
//! broadcast ┘                  └─► broadcast
//! ```

use std::sync::Arc;

use super::{MessageLabel, binary, broadcast, devices};
use crate::base::{Entropy, Now, PeerKey};
use crate::dialect::Kind;
use crate::hub::Signal;

/// How a connection wants to be spoken to; it stands beside its outbox, so that a delivery touches
/// nothing else of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Not logged in: nothing can be delivered.
    Nothing,
    Binary(binary::Form),
    Rooms {
        /// Tells its client also of offers, answers and candidates that came back.
        reports_all: bool,
    },
    Devices {
        /// Tells its client also of candidates that came back.
        reports_all: bool,
    },
    Calls,
    Broadcast,
}

impl Speaks {
    /// Of the WebSocket messages in which this is spoken.
    pub fn kind(self) -> Kind {
        match self {
            Speaks::Nothing | Speaks::Binary(_) => Kind::Binary,
            Speaks::Rooms { .. } | Speaks::Devices { .. } | Speaks::Calls | Speaks::Broadcast => Kind::Text,
        }
    }
}

/// Enough of a message to tell its sender which one failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageRef {
    /// A 0xAA frame, by its uuid.
    Frame { uuid: [u8; 16], message_type: u8 },
    /// A text, by what it is and whom it was for.
    Text { label: MessageLabel, target: Arc<str> },
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

impl Undeliverable {
    /// For events and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Undeliverable::NotConnected => "not_connected",
            Undeliverable::Full => "full",
            Undeliverable::Draining => "draining",
            Undeliverable::TooLarge => "too_large",
            Undeliverable::Unconvertible => "unconvertible",
        }
    }
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
    Text(Text<'a>),
}

/// A JSON text as a peer of its own dialect gets it.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    pub dialect: TextDialect,
    pub reference: &'a MessageRef,
    pub label: MessageLabel,
    pub parts: Parts<'a>,
}

/// Whose words a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextDialect {
    Rooms,
    Devices,
    Calls,
    Broadcast,
}

/// Pieces that make one text, so that what passes as it came is copied only once.
#[derive(Clone, Copy)]
pub enum Parts<'a> {
    One(&'a [u8]),
    Many(&'a [&'a [u8]]),
}

/// How a delivery will be written for one target.
pub enum Plan {
    Binary(binary::Plan),
    /// As it lies, so many bytes.
    AsIs(usize),
    /// Said anew in the target's dialect.
    Converted(Vec<u8>),
}

/// A [`Delivery`] that carries its bytes itself.
pub struct OwnedDelivery {
    from: PeerKey,
    body: OwnedBody,
}

enum OwnedBody {
    Binary(binary::OwnedSignal),
    Text { dialect: TextDialect, reference: MessageRef, label: MessageLabel, bytes: Box<[u8]> },
}

impl Plan {
    /// Bytes that [`Delivery::write`] will append.
    pub fn len(&self) -> usize {
        match self {
            Plan::Binary(plan) => plan.len(),
            Plan::AsIs(bytes) => *bytes,
            Plan::Converted(bytes) => bytes.len(),
        }
    }

    /// Never: no dialect has an empty message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Parts<'_> {
    fn len(&self) -> usize {
        match self {
            Parts::One(bytes) => bytes.len(),
            Parts::Many(parts) => parts.iter().map(|part| part.len()).sum(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Parts::One(bytes) => out.extend_from_slice(bytes),
            Parts::Many(parts) => parts.iter().for_each(|part| out.extend_from_slice(part)),
        }
    }
}

impl Delivery<'_> {
    pub fn reference(&self) -> MessageRef {
        match &self.body {
            Body::Binary(signal) => signal.reference(),
            Body::Text(text) => text.reference.clone(),
        }
    }

    pub fn label(&self) -> MessageLabel {
        match &self.body {
            Body::Binary(signal) => signal.label(),
            Body::Text(text) => text.label,
        }
    }

    /// What [`Delivery::write`] will append for such a target. A conversion may have to be carried
    /// out to know, so the caller asks once. `now` and `entropy` are for what the target's dialect
    /// wants and the sender's does not have.
    ///
    /// # Errors
    /// [`Undeliverable::NotConnected`], [`Undeliverable::TooLarge`], [`Undeliverable::Unconvertible`].
    pub fn plan(&self, target: Speaks, now: Now, entropy: &mut dyn Entropy) -> Result<Plan, Undeliverable> {
        match (&self.body, target) {
            (_, Speaks::Nothing) => Err(Undeliverable::NotConnected),
            (Body::Binary(signal), Speaks::Binary(form)) => signal.plan(form).map(Plan::Binary),
            (Body::Text(text), target) if text.dialect.is_spoken(target) => Ok(Plan::AsIs(text.parts.len())),
            (body, target) => body.convert(target, now, entropy).map(Plan::Converted),
        }
    }

    /// Appends one whole message, exactly `plan.len()` bytes.
    pub fn write(&self, plan: &Plan, out: &mut Vec<u8>) {
        match (plan, &self.body) {
            (Plan::Binary(plan), Body::Binary(signal)) => signal.write(plan, out),
            (Plan::AsIs(_), Body::Text(text)) => text.parts.write(out),
            (Plan::Converted(bytes), _) => out.extend_from_slice(bytes),
            (Plan::Binary(_), Body::Text(_)) | (Plan::AsIs(_), Body::Binary(_)) => {
                debug_assert!(false, "a plan is carried out on the delivery that it was made for");
            }
        }
    }

    pub fn to_owned(&self) -> OwnedDelivery {
        let body = match &self.body {
            Body::Binary(signal) => OwnedBody::Binary(signal.to_owned()),
            Body::Text(text) => {
                let mut bytes = Vec::with_capacity(text.parts.len());
                text.parts.write(&mut bytes);
                OwnedBody::Text {
                    dialect: text.dialect,
                    reference: text.reference.clone(),
                    label: text.label,
                    bytes: bytes.into_boxed_slice(),
                }
            }
        };
        OwnedDelivery { from: self.from, body }
    }
}

impl Body<'_> {
    /// Says a message of one dialect in another.
    fn convert(&self, target: Speaks, now: Now, entropy: &mut dyn Entropy) -> Result<Vec<u8>, Undeliverable> {
        let mut joined = Vec::new();
        let signal = match self {
            Body::Binary(signal) => signal.crossing(),
            Body::Text(text) => {
                text.parts.write(&mut joined);
                text.dialect.signal(&joined)
            }
        };
        let signal = signal.ok_or(Undeliverable::Unconvertible)?;
        match target {
            Speaks::Binary(form) => {
                let to = match self {
                    Body::Text(Text { reference: MessageRef::Text { target, .. }, .. }) => target,
                    _ => "",
                };
                binary::write_crossing(&signal, to, form, entropy.next_u128())
            }
            Speaks::Devices { .. } => Ok(devices::write_crossing(&signal, now, entropy)),
            Speaks::Broadcast => Ok(broadcast::write_crossing(&signal)),
            Speaks::Nothing | Speaks::Rooms { .. } | Speaks::Calls => Err(Undeliverable::Unconvertible),
        }
    }
}

impl TextDialect {
    fn is_spoken(self, target: Speaks) -> bool {
        match self {
            TextDialect::Rooms => matches!(target, Speaks::Rooms { .. }),
            TextDialect::Devices => matches!(target, Speaks::Devices { .. }),
            TextDialect::Calls => target == Speaks::Calls,
            TextDialect::Broadcast => target == Speaks::Broadcast,
        }
    }

    /// Takes a text of this dialect apart. The rooms and calls of others are closed.
    fn signal(self, text: &[u8]) -> Option<Signal<'_>> {
        match self {
            TextDialect::Devices => devices::crossing(text),
            TextDialect::Broadcast => broadcast::crossing(text),
            TextDialect::Rooms | TextDialect::Calls => None,
        }
    }
}

impl OwnedDelivery {
    pub fn borrow(&self) -> Delivery<'_> {
        let body = match &self.body {
            OwnedBody::Binary(signal) => Body::Binary(signal.borrow()),
            OwnedBody::Text { dialect, reference, label, bytes } => {
                Body::Text(Text { dialect: *dialect, reference, label: *label, parts: Parts::One(bytes) })
            }
        };
        Delivery { from: self.from, body }
    }

    /// Bytes of heap that this message holds while it waits.
    pub fn heap_bytes(&self) -> usize {
        match &self.body {
            OwnedBody::Binary(signal) => signal.heap_bytes(),
            OwnedBody::Text { bytes, .. } => bytes.len(),
        }
    }
}
