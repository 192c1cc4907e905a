//! What a shard is made of, and its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use crate::base::{Entropy, Live, NodeId, RealmId};
use crate::hub::{AddressLimits, Addresses, Departures, Directory};
use crate::mesh::{self, Mesh};
use crate::observe::{EventQueue, ShardMetrics};
use crate::session;

#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of the whole process.
    pub connections_max: usize,
    /// An outbox above this is counted.
    pub outbox_soft_bytes: usize,
    /// An outbox above this takes no relayed message, and its connection is not read from.
    pub outbox_hard_bytes: usize,
    /// Room above the hard limit for replies and for messages that came back. A connection that
    /// uses it up is cut.
    pub outbox_reserve_bytes: usize,
    /// Longest that an outbox may stay over its hard limit.
    pub slow_consumer: Duration,
    pub drain: Duration,
    /// What telling the clients of `devices` who is left may cost, for the whole process.
    pub list_update_bytes_per_second: u64,
    pub mesh: mesh::Limits,
}

/// What a reload replaces for every shard at once. Listeners keep their number and order, and queues
/// between nodes their size.
pub struct Terms {
    pub settings: Arc<session::Settings>,
    pub limits: Limits,
}

/// Shared by all nodes of the process.
pub struct Shared {
    /// The server shuts down. Set once, then every bell is rung.
    pub draining: AtomicBool,
    /// Connections that are served.
    pub connections: AtomicUsize,
    /// Connections of clients that are open, those that are refused or closing too. A shard that
    /// drains stays for the others' sake until there are none: it answers fences, and takes what
    /// comes back. Meanwhile operators can watch.
    pub clients_open: AtomicUsize,
    /// Of the realm of `devices`.
    pub departures: Departures,
    /// In place of what a shard was made of; `None` until the first reload. Each shard looks once a
    /// turn whether there is something new.
    pub terms: Live<Option<Terms>>,
    /// What each address may do, and does.
    pub addresses: Arc<Addresses>,
}

impl Shared {
    /// `announced` is the realm of which those who stay hear who has left.
    pub fn new(announced: RealmId) -> Shared {
        Shared {
            draining: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            clients_open: AtomicUsize::new(0),
            departures: Departures::new(announced),
            terms: Live::new(None),
            addresses: Arc::new(Addresses::new(AddressLimits::default(), 0)),
        }
    }

    /// Without it, addresses have no limits.
    pub fn with_addresses(mut self, addresses: Addresses) -> Shared {
        self.addresses = Arc::new(addresses);
        self
    }
}

/// Everything that a shard is given.
pub struct Parts {
    pub node: NodeId,
    pub settings: Arc<session::Settings>,
    pub limits: Limits,
    pub shared: Arc<Shared>,
    pub directory: Arc<Directory>,
    pub mesh: Arc<Mesh>,
    pub metrics: Arc<ShardMetrics>,
    pub events: Arc<EventQueue>,
    pub entropy: Box<dyn Entropy + Send>,
}
