//! One bounded lock-free inbox per node, with the flag that says whether its owner sleeps.

use std::sync::Arc;

use super::Parcel;
use crate::base::sync::{ArrayQueue, AtomicBool, AtomicUsize, Ordering, fence};
use crate::base::{NodeId, planted};

/// A message with fewer bytes is bounded by the number of parcels alone, and so costs the inbox no
/// counting: 8,192 of them are 32 MiB at most.
const LARGE_BYTES_MIN: usize = 4096;

/// All nodes of the process: the shards, then the front.
pub struct Mesh {
    nodes: Box<[Node]>,
    large_bytes_max: usize,
}

/// Aligned so that no two nodes share a cache line.
#[repr(align(128))]
struct Node {
    inbox: ArrayQueue<Parcel>,
    asleep: AtomicBool,
    ended: AtomicBool,
    /// Of the large messages in the inbox.
    large_bytes: AtomicUsize,
}

impl Mesh {
    /// Without a limit of bytes.
    pub fn new(shards: usize, inbox_messages_max: usize) -> Arc<Mesh> {
        Mesh::bounded(shards, inbox_messages_max, usize::MAX)
    }

    /// The messages of [`LARGE_BYTES_MIN`] and more in one inbox have at most `large_bytes_max` bytes
    /// together. One of them always fits, however large it is.
    pub fn bounded(shards: usize, inbox_messages_max: usize, large_bytes_max: usize) -> Arc<Mesh> {
        let nodes = (0..=shards)
            .map(|_| Node {
                inbox: ArrayQueue::new(inbox_messages_max.max(1)),
                asleep: AtomicBool::new(false),
                ended: AtomicBool::new(false),
                large_bytes: AtomicUsize::new(0),
            })
            .collect();
        Arc::new(Mesh { nodes, large_bytes_max })
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
        let node = self.node(to);
        let large_bytes = large_bytes(&parcel);
        if large_bytes == 0 {
            return node.inbox.push(parcel);
        }
        // Counted before it is there: whoever takes it out may be faster than this thread.
        let before = node.large_bytes.fetch_add(large_bytes, Ordering::Relaxed);
        let has_room = before == 0 || before.saturating_add(large_bytes) <= self.large_bytes_max;
        let pushed = if has_room { node.inbox.push(parcel) } else { Err(parcel) };
        if pushed.is_err() {
            node.large_bytes.fetch_sub(large_bytes, Ordering::Relaxed);
        }
        pushed
    }

    pub fn take(&self, own: NodeId) -> Option<Parcel> {
        let node = self.node(own);
        let parcel = node.inbox.pop()?;
        let large_bytes = large_bytes(&parcel);
        if large_bytes > 0 {
            node.large_bytes.fetch_sub(large_bytes, Ordering::Relaxed);
        }
        Some(parcel)
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
    ///
    /// Whoever pushes to it later finds the flag at its own end: with the fence here and between that
    /// push and that look, the parcel is seen by one of the two.
    pub(super) fn end(&self, own: NodeId) {
        self.node(own).ended.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
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
        !planted!(BellUnrung) && asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::Relaxed)
    }

    fn node(&self, id: NodeId) -> &Node {
        let index = if id.is_front() { self.shards() } else { id.index() };
        &self.nodes[index]
    }
}

/// What a parcel counts against the limit of bytes; 0 for a small one, and for what is bounded
/// otherwise.
fn large_bytes(parcel: &Parcel) -> usize {
    Some(parcel.heap_bytes()).filter(|&bytes| bytes >= LARGE_BYTES_MIN).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerKey;
    use crate::dialect::{Body, Delivery, MessageLabel, MessageRef, Parts, Text, TextDialect};

    const TO: PeerKey = PeerKey { node: NodeId::FRONT, slot: 0, generation: 0 };

    fn message(bytes: usize) -> Parcel {
        let label = MessageLabel(0);
        let text = vec![b'x'; bytes];
        let body = Body::Text(Text {
            dialect: TextDialect::Devices,
            reference: &MessageRef::Text { label, target: "t".into() },
            label,
            parts: Parts::One(&text),
        });
        let delivery = Box::new(Delivery { from: TO, body }.to_owned());
        Parcel::Deliver { to: TO, delivery, received_us: 0 }
    }

    fn fits(mesh: &Mesh, bytes: usize) -> bool {
        mesh.push(NodeId::shard(0), message(bytes)).is_ok()
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes_and_small_ones_by_their_number() {
        let mesh = Mesh::bounded(1, 16, 100_000);
        assert!(fits(&mesh, 60_000) && !fits(&mesh, 60_000) && fits(&mesh, 40_000) && !fits(&mesh, 4096));
        let small = (0..100).filter(|_| fits(&mesh, 4095)).count();
        assert_eq!(small, 14);
        while mesh.take(NodeId::shard(0)).is_some() {}
        assert!(fits(&mesh, 100_000), "everything has been given back");
    }

    #[test]
    fn a_message_above_the_limit_passes_alone() {
        let mesh = Mesh::bounded(1, 16, 100_000);
        assert!(fits(&mesh, 1 << 20) && !fits(&mesh, 4096));
        assert!(mesh.take(NodeId::shard(0)).is_some() && fits(&mesh, 4096));
    }
}
