//! What a shard holds at one moment, for whoever checks that its limits hold.

use super::core::Shard;
use crate::base::NodeId;
use crate::ring::ConnId;
use crate::session::Session;

/// Of one shard, between two turns.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// By slot.
    pub connections: Vec<ConnectionHoldings>,
    /// Connections that are not read from since they feed a full node.
    pub held: usize,
    /// By the node for which they wait.
    pub overflow: Vec<Overflow>,
    /// Of the deliveries among them.
    pub overflow_bytes: usize,
}

/// Of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionHoldings {
    pub conn: ConnId,
    /// Received and not used yet.
    pub backlog_bytes: usize,
    /// Not taken by the kernel.
    pub outbox_bytes: usize,
    /// Since when its outbox has had no room for what was to be delivered, on the steady clock.
    pub full_since_us: Option<u64>,
    pub closing: bool,
    /// It holds an id, or listens to a call.
    pub joined: bool,
}

/// Parcels that wait for one node's inbox.
#[derive(Clone, Copy, Debug)]
pub struct Overflow {
    pub to: NodeId,
    pub deliveries: usize,
    /// Since when the oldest delivery waits, on the steady clock.
    pub oldest_us: Option<u64>,
}

impl Shard {
    pub fn holdings(&self) -> Holdings {
        let connections = self.sessions.iter().map(|(slot, generation, session)| {
            let port = self.world.ports.find(slot, generation);
            ConnectionHoldings {
                conn: ConnId { slot, generation },
                backlog_bytes: session.backlog_bytes(),
                outbox_bytes: port.map_or(0, |port| port.outbox.queued_bytes()),
                full_since_us: port.map(|port| port.over_since_us).filter(|since_us| *since_us != 0),
                closing: Session::is_closing(session) || port.is_none_or(|port| port.closing),
                joined: port.is_some_and(|port| port.joined_us != 0),
            }
        });
        let overflow = self.world.outlets.overflow();
        Holdings {
            connections: connections.collect(),
            held: self.world.held.len(),
            overflow_bytes: self.world.outlets.waiting_bytes(),
            overflow: overflow
                .map(|(to, deliveries, oldest_us)| Overflow { to, deliveries, oldest_us })
                .collect(),
        }
    }
}
