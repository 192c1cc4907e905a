//! One bounded lock-free inbox per node, with the flag that says whether its owner sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;

use super::Parcel;
use crate::base::NodeId;

/// All nodes of the process: the shards, then the front.
pub struct Mesh {
    nodes: Box<[Node]>,
}

/// Aligned so that no two nodes share a cache line.
#[repr(align(128))]
struct Node {
    inbox: ArrayQueue<Parcel>,
    asleep: AtomicBool,
    ended: AtomicBool,
}

impl Mesh {
    pub fn new(shards: usize, inbox_messages_max: usize) -> Arc<Mesh> {
        let nodes = (0..=shards)
            .map(|_| Node {
                inbox: ArrayQueue::new(inbox_messages_max.max(1)),
                asleep: AtomicBool::new(false),
                ended: AtomicBool::new(false),
            })
            .collect();
        Arc::new(Mesh { nodes })
    }

    pub fn shards(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Every node, shards first.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.shards()).map(NodeId::shard).chain([NodeId::FRONT])
    }

    /// # Errors
    /// The parcel itself when the inbox is full.
    pub(super) fn push(&self, to: NodeId, parcel: Parcel) -> Result<(), Parcel> {
        self.node(to).inbox.push(parcel)
    }

    pub fn take(&self, own: NodeId) -> Option<Parcel> {
        self.node(own).inbox.pop()
    }

    pub fn depth(&self, node: NodeId) -> usize {
        self.node(node).inbox.len()
    }

    /// Announces that `own` is about to sleep. False: something came in, so it must not.
    ///
    /// The flag is raised before the inbox is looked at, and a sender looks at the flag after it
    /// has pushed, both behind a full fence: one of the two always sees the other.
    #[must_use]
    pub fn fall_asleep(&self, own: NodeId) -> bool {
        let node = self.node(own);
        node.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if node.inbox.is_empty() {
            return true;
        }
        node.asleep.store(false, Ordering::Relaxed);
        false
    }

    /// `own` takes nothing any more, and none of its peers is left to be told anything.
    pub fn end(&self, own: NodeId) {
        self.node(own).ended.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self, node: NodeId) -> bool {
        self.node(node).ended.load(Ordering::Acquire)
    }

    pub fn wake_up(&self, own: NodeId) {
        self.node(own).asleep.store(false, Ordering::Relaxed);
    }

    /// Whether the caller, having pushed, has to pull the bell of `to`. True for one caller only.
    #[must_use]
    pub fn must_ring(&self, to: NodeId) -> bool {
        fence(Ordering::SeqCst);
        let asleep = &self.node(to).asleep;
        asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::Relaxed)
    }

    fn node(&self, id: NodeId) -> &Node {
        let index = if id.is_front() { self.shards() } else { id.index() };
        &self.nodes[index]
    }
}
