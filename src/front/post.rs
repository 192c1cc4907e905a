//! The way from a request, or from a peer of the front, to the peers of the shards.

use std::sync::Arc;

use super::outbound::{Outbound, Outgoing};
use crate::base::{NodeId, PeerKey};
use crate::dialect::OwnedDelivery;

/// Sends to peers of other nodes, from any thread.
#[derive(Clone, Default)]
pub struct Post(pub(super) Arc<Outbound>);

impl Post {
    /// Who sends for a request: nobody who could be told of a message that came back. It is counted
    /// and published.
    pub const REQUESTS: PeerKey = PeerKey { node: NodeId::FRONT, slot: u32::MAX, generation: 0 };

    /// On its way, until it comes back as [`Parcel::Bounce`](crate::mesh::Parcel::Bounce) to its sender.
    pub fn deliver(&self, to: PeerKey, delivery: OwnedDelivery) {
        self.0.push(to, Outgoing::Deliver(Box::new(delivery)));
    }

    /// What this peer belonged to has been removed.
    pub fn dismiss(&self, peer: PeerKey) {
        self.0.push(peer, Outgoing::Dismiss);
    }
}
