//! What the streams have for their shards, on its way to the pump, which alone owns the outlets.

use std::collections::VecDeque;

use super::Notify;
use crate::base::PeerKey;
use crate::base::sync::Mutex;
use crate::dialect::OwnedDelivery;
use crate::mesh::TunnelStep;

/// One queue for all tunnels, and for messages to peers. It needs no bound of its own: the bytes in
/// it are bounded by each tunnel's window, the credits by the bytes that the shards had credit for,
/// and the messages by what one turn of the exchanges reads.
#[derive(Default)]
pub(super) struct Outbound {
    queue: Mutex<VecDeque<(PeerKey, Outgoing)>>,
    filled: Notify,
}

pub(super) enum Outgoing {
    Step(TunnelStep),
    /// A message of a peer of the front, or of a request.
    Deliver(Box<OwnedDelivery>),
    Dismiss,
    /// The stream is gone and its shard needs no word of it.
    Gone,
}

impl Outbound {
    /// Steps of one tunnel reach its shard in the order of these calls.
    pub(super) fn push(&self, peer: PeerKey, outgoing: Outgoing) {
        let mut queue = self.queue.lock();
        queue.push_back((peer, outgoing));
        let was_empty = queue.len() == 1;
        drop(queue);
        // The pump empties the whole queue when it is told once.
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Moves everything into `taken`, which has to be empty; its memory is used again.
    pub(super) fn take_all(&self, taken: &mut VecDeque<(PeerKey, Outgoing)>) {
        debug_assert!(taken.is_empty(), "the pump has dealt with what it took before");
        std::mem::swap(&mut *self.queue.lock(), taken);
    }

    /// Resolves once something has been pushed since the last call.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }
}
