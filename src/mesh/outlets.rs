//! One node's way out to all others: straight into their inboxes, or behind what already waits.
//!
//! ```text
//! post ──► overflow empty and inbox has room? ──► inbox ──► (end of turn) bell, if it sleeps
//!                        │ no
//!                        ▼
//!                 overflow list ──► flush: inbox, in order
//!                        │ a delivery older than hold_us
//!                        ▼
//!                 back to its sender: "cannot take more"
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Mesh, Parcel};
use crate::base::{NodeId, planted};

/// Bounds of an overflow list.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deliveries that may wait for one node. Other parcels (bounces, evictions, tunnel steps)
    /// have room of their own: each of them answers something that was bounded itself.
    pub overflow_messages_max: usize,
    /// Bytes of the deliveries that wait for all nodes together. One always fits.
    pub overflow_bytes_max: usize,
    /// Longest that a delivery waits, in microseconds.
    pub hold_us: u64,
}

/// What became of a posted parcel.
pub enum Posted {
    /// In the inbox.
    Sent,
    /// In the overflow list: whoever feeds it should be held back.
    Waiting,
    /// There is no room: nothing was queued, the caller answers the sender.
    Refused,
}

pub struct Outlets {
    mesh: Arc<Mesh>,
    lanes: Vec<Lane>,
    limits: Limits,
    waiting: usize,
    /// Of the deliveries that wait.
    waiting_bytes: usize,
}

struct Lane {
    to: NodeId,
    overflow: VecDeque<Waiting>,
    deliveries: usize,
    /// Something was pushed since the bell was last considered.
    pushed: bool,
}

struct Waiting {
    since_us: u64,
    parcel: Parcel,
}

impl Outlets {
    pub fn new(mesh: Arc<Mesh>, limits: Limits) -> Outlets {
        let lanes = mesh
            .node_ids()
            .map(|to| Lane { to, overflow: VecDeque::new(), deliveries: 0, pushed: false })
            .collect();
        Outlets { mesh, lanes, limits, waiting: 0, waiting_bytes: 0 }
    }

    pub fn post(&mut self, now_us: u64, to: NodeId, parcel: Parcel) -> Posted {
        let limits = self.limits;
        let index = self.index(to);
        let lane = &mut self.lanes[index];
        let parcel = if lane.overflow.is_empty() || planted!(OverflowOvertaken) {
            match self.mesh.push(to, parcel) {
                Ok(()) => {
                    lane.pushed = true;
                    return Posted::Sent;
                }
                Err(parcel) => parcel,
            }
        } else {
            parcel
        };
        if parcel.is_delivery() {
            let bytes = parcel.heap_bytes();
            let is_over = self.waiting_bytes > 0 && self.waiting_bytes + bytes > limits.overflow_bytes_max;
            let is_over = is_over || lane.deliveries >= limits.overflow_messages_max;
            if is_over && !planted!(OverflowUnbounded) {
                return Posted::Refused;
            }
            lane.deliveries += 1;
            self.waiting_bytes += bytes;
        }
        lane.overflow.push_back(Waiting { since_us: now_us, parcel });
        self.waiting += 1;
        Posted::Waiting
    }

    /// Moves what waits into the inboxes, in order, and hands over each delivery that has waited
    /// too long, and everything for a node that has ended.
    pub fn flush(&mut self, now_us: u64, mut expired: impl FnMut(Parcel)) {
        if self.waiting == 0 {
            return;
        }
        let waiting_bytes = &mut self.waiting_bytes;
        let mut expired = |parcel: Parcel| {
            *waiting_bytes -= parcel.heap_bytes();
            expired(parcel);
        };
        let mut moved_bytes = 0;
        for lane in &mut self.lanes {
            self.waiting -= lane.overflow.len();
            if self.mesh.has_ended(lane.to) {
                lane.deliveries = 0;
                lane.overflow.drain(..).map(|waiting| waiting.parcel).for_each(&mut expired);
                continue;
            }
            moved_bytes += lane.move_to_inbox(&self.mesh);
            lane.expire(now_us, self.limits.hold_us, &mut expired);
            self.waiting += lane.overflow.len();
        }
        self.waiting_bytes -= moved_bytes;
    }

    /// The owner ends. Hands over what nobody will take any more: parcels in the inboxes of nodes
    /// that have ended, this one among them, and those that wait here.
    pub fn end(&mut self, own: NodeId, mut left: impl FnMut(Parcel)) {
        self.mesh.end(own);
        for node in self.mesh.node_ids().filter(|node| self.mesh.has_ended(*node)) {
            while let Some(parcel) = self.mesh.take(node) {
                left(parcel);
            }
        }
        for lane in &mut self.lanes {
            lane.deliveries = 0;
            lane.overflow.drain(..).map(|waiting| waiting.parcel).for_each(&mut left);
        }
        (self.waiting, self.waiting_bytes) = (0, 0);
    }

    /// Calls `ring` for each node that was given something and sleeps.
    pub fn ring_bells(&mut self, mut ring: impl FnMut(NodeId)) {
        for lane in &mut self.lanes {
            if std::mem::take(&mut lane.pushed) && self.mesh.must_ring(lane.to) {
                ring(lane.to);
            }
        }
    }

    /// Whether parcels for `to` wait.
    pub fn is_waiting_for(&self, to: NodeId) -> bool {
        !self.lanes[self.index(to)].overflow.is_empty()
    }

    /// Parcels that wait, for all nodes.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Of the deliveries that wait, for all nodes.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// For each node: deliveries that wait for it, and since when the oldest does.
    pub fn overflow(&self) -> impl Iterator<Item = (NodeId, usize, Option<u64>)> {
        self.lanes.iter().map(|lane| {
            let oldest = lane.overflow.iter().find(|waiting| waiting.parcel.is_delivery());
            (lane.to, lane.deliveries, oldest.map(|waiting| waiting.since_us))
        })
    }

    fn index(&self, to: NodeId) -> usize {
        if to.is_front() { self.lanes.len() - 1 } else { to.index() }
    }
}

impl Lane {
    /// Returns the bytes of the deliveries that it has moved.
    fn move_to_inbox(&mut self, mesh: &Mesh) -> usize {
        let mut moved_bytes = 0;
        if planted!(OverflowReversed) {
            self.overflow.make_contiguous().reverse();
        }
        while let Some(first) = self.overflow.pop_front() {
            let (is_delivery, bytes) = (first.parcel.is_delivery(), first.parcel.heap_bytes());
            match mesh.push(self.to, first.parcel) {
                Ok(()) => {
                    self.pushed = true;
                    self.deliveries -= usize::from(is_delivery);
                    moved_bytes += bytes;
                }
                Err(parcel) => {
                    self.overflow.push_front(Waiting { since_us: first.since_us, parcel });
                    break;
                }
            }
        }
        moved_bytes
    }

    /// The list is in the order of waiting, so what has expired stands at its front; only parcels
    /// that do not expire are put back there.
    fn expire(&mut self, now_us: u64, hold_us: u64, expired: &mut impl FnMut(Parcel)) {
        let is_due = |w: &Waiting| now_us.saturating_sub(w.since_us) >= hold_us;
        let due = self.overflow.iter().take_while(|w| is_due(w)).count();
        if due == 0 {
            return;
        }
        let mut kept = VecDeque::new();
        for waiting in self.overflow.drain(..due) {
            if waiting.parcel.is_delivery() {
                self.deliveries -= 1;
                expired(waiting.parcel);
            } else {
                kept.push_back(waiting);
            }
        }
        while let Some(last) = kept.pop_back() {
            self.overflow.push_front(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerKey;
    use crate::dialect::{Body, Delivery, MessageLabel, MessageRef, Parts, Text, TextDialect, Undeliverable};

    const LIMITS: Limits = Limits { overflow_messages_max: 8, overflow_bytes_max: 10_000, hold_us: 1000 };
    const TO: PeerKey = PeerKey { node: NodeId::FRONT, slot: 0, generation: 0 };

    fn bounce(n: u8) -> Parcel {
        let reference = MessageRef::Frame { uuid: [n; 16], message_type: 0x10 };
        Parcel::Bounce { to: TO, reference, cause: Undeliverable::NotConnected }
    }

    fn message(bytes: usize) -> Parcel {
        let label = MessageLabel(0);
        let text = vec![b'x'; bytes];
        let body = Body::Text(Text {
            dialect: TextDialect::Devices,
            reference: &MessageRef::Text { label, target: "t".into() },
            label,
            parts: Parts::One(&text),
        });
        Parcel::Deliver { to: TO, delivery: Box::new(Delivery { from: TO, body }.to_owned()), received_us: 0 }
    }

    fn number(parcel: &Parcel) -> u8 {
        match parcel {
            Parcel::Bounce { reference: MessageRef::Frame { uuid, .. }, .. } => uuid[0],
            _ => unreachable!("the tests post bounces"),
        }
    }

    #[test]
    fn nothing_overtakes_what_waits_in_the_overflow_list() {
        let mesh = Mesh::new(2, 2);
        let mut outlets = Outlets::new(mesh.clone(), LIMITS);
        let to = NodeId::shard(1);
        for n in 0..4 {
            outlets.post(0, to, bounce(n));
        }
        assert_eq!(mesh.take(to).as_ref().map(number), Some(0));
        // There is room now, but 2 and 3 came first.
        assert!(matches!(outlets.post(0, to, bounce(4)), Posted::Waiting));
        let mut seen = Vec::new();
        while outlets.waiting() > 0 || mesh.depth(to) > 0 {
            seen.extend(mesh.take(to).as_ref().map(number));
            outlets.flush(0, |_| panic!("nothing is old enough"));
        }
        assert_eq!(seen, [1, 2, 3, 4]);
    }

    #[test]
    fn a_sleeper_is_rung_once_for_a_batch_and_never_sleeps_on_a_full_inbox() {
        let mesh = Mesh::new(2, 8);
        let mut outlets = Outlets::new(mesh.clone(), LIMITS);
        let to = NodeId::shard(1);
        assert!(mesh.fall_asleep(to));
        outlets.post(0, to, bounce(0));
        outlets.post(0, to, bounce(1));
        let mut rung = Vec::new();
        outlets.ring_bells(|node| rung.push(node));
        outlets.ring_bells(|node| rung.push(node));
        assert_eq!(rung, [to]);
        assert!(!mesh.fall_asleep(to));
    }

    #[test]
    fn what_waits_is_bounded_by_bytes_and_given_back_when_it_has_moved_or_expired() {
        let mesh = Mesh::new(2, 1);
        let mut outlets = Outlets::new(mesh.clone(), LIMITS);
        let to = NodeId::shard(1);
        let post = |outlets: &mut Outlets, bytes| outlets.post(0, to, message(bytes));
        assert!(matches!(post(&mut outlets, 9000), Posted::Sent));
        assert!(matches!(post(&mut outlets, 9000), Posted::Waiting));
        assert!(matches!(post(&mut outlets, 9000), Posted::Refused));
        assert!(matches!(post(&mut outlets, 1000), Posted::Waiting));
        assert!(mesh.take(to).is_some());
        outlets.flush(0, |_| panic!("nothing is old enough"));
        assert!(matches!(post(&mut outlets, 9000), Posted::Waiting), "one of 9000 has moved");
        let mut expired = 0;
        outlets.flush(1000, |_| expired += 1);
        assert_eq!((expired, outlets.waiting()), (2, 0));
        assert!(matches!(post(&mut outlets, 1 << 20), Posted::Waiting), "one always fits");
    }
}
