//! The Socket.IO service: Engine.IO 4 over polling and WebSocket, through the library
//! `socketioxide`.
//!
//! ```text
//! hyper ──► axum ──► service ──► library ──► handlers ──► Clients ──► directory, shards
//!                       │           ▲                        │
//!            stream, polling bodies └──────── emit ◄─────────┘◄── deliver, bounced (pump)
//!                       └───► Line ◄─ what waits for a client ─┘
//! ```
//!
//! Owns the sockets, their groups, and what may wait for each of them. Invariants: who is in the
//! directory has a live socket here; a session belongs to whoever opened it, and a socket's id, which
//! others know, opens nothing; a message is taken by the library or its sender is told; nothing
//! is asked of the library while a client's limits say no. Everything runs on the front's thread,
//! which is the only writer of its metrics. Knows no tunnel and no shard; the words of the protocol
//! are the dialect's.

mod clients;
mod handlers;
mod line;
pub(crate) mod payload;
mod service;
mod sessions;
mod signals;
mod stream;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;

use self::clients::Clients;
use super::{Clock, Doorkeeper, Phase};
use crate::base::{Live, PeerKey, RealmId};
use crate::dialect::broadcast::Settings;
use crate::dialect::{Delivery, MessageRef, OwnedDelivery, Undeliverable};
use crate::hub::Directory;
use crate::observe::{Event, ShardMetrics};

pub use self::service::{is_of_session, is_path};

/// Sends a message to a peer on a shard. What cannot be delivered comes back through
/// [`Broadcast::bounced`], later or at once.
pub type Send = Arc<dyn Fn(PeerKey, OwnedDelivery) + std::marker::Send + Sync>;

/// Also for the audit trail, with the address of the client.
pub type Publish = Arc<dyn Fn(Event, Option<SocketAddr>) + std::marker::Send + Sync>;

/// What the service is made of.
pub struct Parts {
    /// What the library and the sessions were set up with stays as it was at the start: of what is
    /// replaced later, `message_rate` holds.
    pub settings: Arc<Live<Settings>>,
    pub directory: Arc<Directory>,
    pub send: Send,
    pub publish: Publish,
    /// Somebody has left this realm, whose other dialects may want to say so.
    pub departed: Arc<dyn Fn(RealmId) + std::marker::Send + Sync>,
    /// The front's own, which nobody else writes.
    pub metrics: Arc<ShardMetrics>,
    pub doorkeeper: Doorkeeper,
    pub clock: Clock,
    /// Not to be guessed: whoever knows such a number of a session has the session.
    pub random: Arc<dyn Fn() -> u128 + std::marker::Send + Sync>,
    pub phase: watch::Receiver<Phase>,
}

/// One per process, for all listeners that serve `broadcast`. All of it is to be used on the front's
/// thread only, inside its runtime.
pub struct Broadcast {
    clients: Arc<Clients>,
}

impl Broadcast {
    pub fn new(parts: Parts) -> Broadcast {
        let clients = Arc::new(Clients::new(parts));
        service::start(&clients);
        Broadcast { clients }
    }

    /// Answers what [`is_path`] says, and `/`. The same for all listeners. A request that carries the
    /// [`PeerKey`] of its connection as an extension counts towards what one connection may open.
    pub fn router(&self) -> Router {
        service::router(self.clients.clone())
    }

    /// A message for one of our sockets.
    ///
    /// # Errors
    /// Why the library has not taken it; its sender is to be told.
    pub fn deliver(&self, to: PeerKey, delivery: &Delivery<'_>) -> Result<(), Undeliverable> {
        self.clients.deliver(to, delivery)
    }

    /// A message of one of our sockets came back.
    pub fn bounced(&self, to: PeerKey, reference: &MessageRef, cause: Undeliverable) {
        self.clients.bounced(to, reference, cause);
    }

    /// Tells every client to go, because the server does. All transports are ended a moment later,
    /// also of those that have not joined.
    pub fn disconnect_all(&self) {
        self.clients.disconnect_all();
    }

    /// Sockets that have joined.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }
}
