//! What nodes send each other.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{PeerKey, Redacted};
use crate::dialect::{MessageRef, OwnedDelivery, Undeliverable};

pub enum Parcel {
    /// A message for a peer of the receiving node.
    Deliver {
        to: PeerKey,
        delivery: Box<OwnedDelivery>,
        /// When its last byte was received, on the process's steady clock.
        received_us: u64,
    },
    /// A message of the receiving node's peer came back. Answered, never routed again.
    Bounce {
        to: PeerKey,
        reference: MessageRef,
        cause: Undeliverable,
    },
    /// A newer connection owns this peer's id.
    Evict {
        peer: PeerKey,
    },
    /// What this peer belonged to has been removed by somebody who may: it is told and closed.
    Dismiss {
        peer: PeerKey,
    },
    /// A text for every peer of the receiving node that speaks `devices`, built once for all nodes.
    Announce {
        text: Arc<[u8]>,
    },
    /// Comes back as `FenceBack`. Whatever a peer has sent to the node before it has been delivered
    /// or bounced by then, and the bounces are ahead of it.
    Fence {
        peer: PeerKey,
    },
    FenceBack {
        peer: PeerKey,
    },
    /// A step of the tunnel that carries this connection's HTTP between its shard and the front.
    Tunnel {
        peer: PeerKey,
        step: TunnelStep,
    },
}

/// One step of a tunnel. `Bytes` and `End` are bounded by credits: a side may have at most
/// `tunnel_window_bytes` on the way that the other has not credited.
pub enum TunnelStep {
    /// Shard to front: a connection speaks HTTP. Its first bytes follow as `Bytes`.
    Open {
        listener: u16,
        /// Of the client, where a proxy has named it.
        peer_address: std::net::SocketAddr,
    },
    Bytes(Bytes),
    /// The other side has made use of this many bytes.
    Credit(u32),
    /// No more bytes will come from this side.
    End,
    /// The connection is gone, or is to be closed at once.
    Reset,
    /// Front to shard: HTTP is over on this connection, it is a WebSocket from here on.
    Return(Box<Returned>),
    /// Front to shard: bytes that reached the front after `Return` had been sent.
    Unused(Bytes),
}

/// A tunnel that ends in a WebSocket. The front has already sent the 101.
pub struct Returned {
    /// Bytes that the front had received by then. The shard knows how many it has sent, and waits
    /// for the difference to come back as [`TunnelStep::Unused`].
    pub received_bytes: u64,
    /// What the client had sent behind its upgrade request, as far as the front has it.
    pub rest: Bytes,
    pub upgrade: Upgrade,
}

/// What the session needs of the request that asked for the WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    pub path: String,
    pub query: Option<String>,
    /// The value of `Authorization`.
    pub authorization: Option<Redacted<String>>,
    /// Another client than the one of the tunnel, as a proxy names it.
    pub client: Option<std::net::IpAddr>,
}

impl Parcel {
    /// A message between peers: it may be refused when there is no room, since its sender is told.
    /// Everything else has room reserved.
    pub fn is_delivery(&self) -> bool {
        matches!(self, Parcel::Deliver { .. })
    }

    /// What a message between peers holds of memory; 0 for everything else, which has room reserved.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Parcel::Deliver { delivery, .. } => delivery.heap_bytes(),
            _ => 0,
        }
    }

    /// The message of which nobody hears any more when this parcel is taken by nobody.
    pub fn lost_message(&self) -> Option<(MessageRef, Undeliverable)> {
        match self {
            Parcel::Deliver { delivery, .. } => {
                Some((delivery.borrow().reference(), Undeliverable::Draining))
            }
            Parcel::Bounce { reference, cause, .. } => Some((reference.clone(), *cause)),
            _ => None,
        }
    }
}
