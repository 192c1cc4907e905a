//! Who is who inside one process.

use std::fmt;

/// Most shards that a process may have.
pub const SHARDS_MAX: usize = 64;
/// The shards and the front.
pub const NODES_MAX: usize = SHARDS_MAX + 1;

/// A place that owns peers: a shard (0..=63) or the front (64).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u8);

impl NodeId {
    pub const FRONT: NodeId = NodeId(SHARDS_MAX as u8);

    /// # Panics
    /// If `shard` is not below [`SHARDS_MAX`]; the configuration has been checked by then.
    pub fn shard(shard: usize) -> NodeId {
        assert!(shard < SHARDS_MAX, "at most {SHARDS_MAX} shards");
        NodeId(shard as u8)
    }

    /// The node with this [`NodeId::index`].
    ///
    /// # Panics
    /// If `index` is not below [`NODES_MAX`]: indices come from nodes.
    pub fn at(index: usize) -> NodeId {
        assert!(index < NODES_MAX, "at most {NODES_MAX} nodes");
        NodeId(index as u8)
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    pub fn is_front(self) -> bool {
        self == NodeId::FRONT
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_front() { f.write_str("front") } else { write!(f, "shard{}", self.0) }
    }
}

/// Names one connection for the life of the process: its owner, its slot there, and the slot's
/// generation. A slot that is used again has another generation, so a stale key finds nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey {
    pub node: NodeId,
    pub slot: u32,
    pub generation: u32,
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}#{}", self.node, self.slot, self.generation)
    }
}

/// A flat space of ids. Dialects that share a realm see each other's peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RealmId(pub u16);
