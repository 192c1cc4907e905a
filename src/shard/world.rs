//! Routing: from a sender to its target's outbox, on this shard or on another, and the way back for
//! what could not be delivered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::announce::Announcement;
use super::port::{Admission, Ports};
use super::settings::{Limits, Parts, Shared};
use crate::base::{Entropy, NODES_MAX, NodeId, Now, PeerKey, RealmId, planted};
use crate::dialect::{Delivery, Kind, MessageRef, Speaks, Undeliverable, bounced, untold};
use crate::hub::{DialectId, Directory, OnDuplicate, Route, Taken};
use crate::mesh::{Mesh, Outlets, Parcel, Posted, TunnelStep};
use crate::observe::{Event, EventQueue, LatencyRecorder, ShardMetrics};
use crate::session::{Framing, Refusal, Spares};
use crate::wire::websocket::{self, Opcode, header_len, write_header};

/// Everything of a shard but its sessions and its sockets.
pub struct World {
    pub node: NodeId,
    pub now: Now,
    pub limits: Limits,
    pub shared: Arc<Shared>,
    pub directory: Arc<Directory>,
    pub mesh: Arc<Mesh>,
    pub outlets: Outlets,
    pub ports: Ports,
    pub spares: Spares,
    /// Slots whose outbox has something to send.
    pub touched: Vec<u32>,
    /// What one session's call means for others, or for its own socket; carried out after it.
    pub deferred: Vec<Deferred>,
    /// Connections that feed a full node, and since when they are not read from.
    pub held: Vec<(PeerKey, u64)>,
    pub metrics: Arc<ShardMetrics>,
    pub latency: LatencyRecorder,
    pub pool: websocket::Pool,
    pub entropy: Box<dyn Entropy + Send>,
    pub announcement: Option<Announcement>,
    events: Arc<EventQueue>,
    /// One error on its way into a WebSocket message.
    scratch: Vec<u8>,
}

pub enum Deferred {
    /// Its session panicked: a defect of ours costs one connection.
    Failed(PeerKey),
    /// Another connection has taken this one's id.
    Evict(PeerKey),
    /// What it belonged to has been removed.
    Dismiss(PeerKey),
    /// It reads neither its messages nor its replies.
    Cut(PeerKey),
    /// A message of its own came back, and it has been told where its dialect tells that.
    Returned(PeerKey, MessageRef, Undeliverable),
    /// Its outbox is full: it is to be looked at when that has lasted too long.
    Watch(PeerKey),
    /// It is plain TCP, which has no pings.
    KeepAlive(PeerKey),
    /// Its request is the front's.
    OpenTunnel(PeerKey),
    Tunnel(PeerKey, TunnelStep),
}

impl World {
    pub fn new(parts: Parts, now: Now) -> World {
        World {
            node: parts.node,
            now,
            outlets: Outlets::new(parts.mesh.clone(), parts.limits.mesh),
            limits: parts.limits,
            shared: parts.shared,
            directory: parts.directory,
            mesh: parts.mesh,
            ports: Ports::default(),
            spares: Spares::default(),
            touched: Vec::new(),
            deferred: Vec::new(),
            held: Vec::new(),
            metrics: parts.metrics,
            latency: LatencyRecorder::default(),
            pool: websocket::Pool::default(),
            entropy: parts.entropy,
            announcement: None,
            events: parts.events,
            scratch: Vec::new(),
        }
    }

    pub fn draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    pub fn wants_event(&self, event_type: &str) -> bool {
        self.events.wants(event_type)
    }

    pub fn publish(&self, event: Event) {
        self.events.publish(event);
    }

    /// What happened on a connection, for subscribers and for the audit trail.
    pub fn publish_of(&mut self, key: PeerKey, event: Event) {
        let address = self.ports.find(key.slot, key.generation).and_then(|port| port.client);
        self.events.publish_and_record(event, address);
    }

    /// A proxy has named the client of a connection, which counts at that one's address from now on.
    /// `Some`: it is not to be served.
    pub fn client_is(&mut self, key: PeerKey, client: SocketAddr) -> Option<Refusal> {
        let World { ports, shared, now, metrics, .. } = self;
        let port = ports.get(key.slot, key.generation)?;
        let former = port.client.replace(client).filter(|_| std::mem::take(&mut port.counts_at_address));
        if let Some(former) = former {
            shared.addresses.disconnect(former.ip(), *now);
        }
        if port.admission != Admission::Client || shared.addresses.is_proxy(client.ip()) {
            return None;
        }
        if shared.addresses.connect(client.ip(), *now).is_err() {
            metrics.connections_refused.add(1);
            metrics.connections_crowded.add(1);
            return Some(Refusal::Crowded);
        }
        port.counts_at_address = true;
        None
    }

    /// Makes a connection of this shard the owner of an id. A former owner hears of it on its own
    /// shard.
    pub fn join(
        &mut self,
        key: PeerKey,
        realm: RealmId,
        id: &str,
        dialect: DialectId,
        on_duplicate: OnDuplicate,
    ) -> Result<(), Taken> {
        let joined = self.directory.join(realm, id, key, dialect, on_duplicate)?;
        let replaced =
            if planted!(SuccessorEvicted) { joined.replaced.map(|_| key) } else { joined.replaced };
        match replaced {
            Some(old) if old.node == self.node => self.deferred.push(Deferred::Evict(old)),
            Some(old) => self.post(old.node, Parcel::Evict { peer: old }),
            None => {}
        }
        self.attend(key);
        Ok(())
    }

    /// The connection takes deliveries from now on.
    pub fn attend(&mut self, key: PeerKey) {
        if let Some(port) = self.ports.get(key.slot, key.generation)
            && port.joined_us == 0
        {
            port.joined_us = self.now.mono_us.max(1);
            self.metrics.sessions.add(1);
        }
    }

    /// Gives an id up; a newer owner keeps it.
    pub fn leave(&mut self, key: PeerKey, realm: RealmId, id: &str) {
        if self.directory.leave(realm, id, key) {
            self.shared.departures.note(realm);
        }
        self.retire(key);
    }

    /// The connection takes no more deliveries.
    pub fn retire(&mut self, key: PeerKey) {
        if let Some(port) = self.ports.get(key.slot, key.generation)
            && port.joined_us != 0
        {
            let lasted_us = self.now.mono_us.saturating_sub(port.joined_us);
            port.joined_us = 0;
            self.metrics.sessions.add(-1);
            self.metrics.sessions_ended.add(1);
            self.metrics.session_milliseconds.add(lasted_us / 1000);
        }
    }

    /// Routes a message of the connection `from`.
    pub fn send(
        &mut self,
        realm: RealmId,
        to: &str,
        route: &mut Option<Box<Route>>,
        delivery: &Delivery<'_>,
    ) -> Result<(), Undeliverable> {
        let to = self.directory.resolve(realm, to, route).ok_or(Undeliverable::NotConnected)?;
        if to.node == self.node {
            return self.deliver(to, delivery, self.now.mono_us);
        }
        if let Some(port) = self.ports.get(delivery.from.slot, delivery.from.generation) {
            port.sent_to |= 1 << to.node.index();
        }
        let received_us = self.now.mono_us;
        let parcel = Parcel::Deliver { to, delivery: Box::new(delivery.to_owned()), received_us };
        match self.outlets.post(self.now.mono_us, to.node, parcel) {
            Posted::Sent => Ok(()),
            Posted::Waiting => {
                self.hold(delivery.from, to.node);
                Ok(())
            }
            Posted::Refused => Err(Undeliverable::Full),
        }
    }

    /// Appends a message to the outbox of a connection of this shard. The generation in `to` is
    /// what decides whether the target is still there.
    pub fn deliver(
        &mut self,
        to: PeerKey,
        delivery: &Delivery<'_>,
        received_us: u64,
    ) -> Result<(), Undeliverable> {
        let Some(port) = self.ports.get(to.slot, to.generation) else {
            return Err(Undeliverable::NotConnected);
        };
        // It may still hear of its own messages, but has given up its id.
        if port.joined_us == 0 {
            return Err(Undeliverable::NotConnected);
        }
        let plan = delivery.plan(port.speaks, self.now, &mut *self.entropy)?;
        let opcode = opcode(port.speaks.kind());
        let length = plan.len();
        let framed = match port.framing {
            Framing::Stream => length,
            Framing::WebSocket => length + header_len(length),
        };
        // It would never fit, however well the target reads.
        if framed > self.limits.outbox_hard_bytes {
            return Err(Undeliverable::TooLarge);
        }
        let queued = port.outbox.queued_bytes();
        if queued + framed > self.limits.outbox_hard_bytes && !planted!(OutboxUnbounded) {
            if port.over_since_us == 0 {
                port.over_since_us = self.now.mono_us.max(1);
                self.deferred.push(Deferred::Watch(to));
            }
            return Err(Undeliverable::Full);
        }
        if queued + framed > self.limits.outbox_soft_bytes && !port.over_soft {
            port.over_soft = true;
            self.metrics.outbox_over_soft.add(1);
        }
        let out = &mut port.outbox.out(&mut self.spares).bytes;
        if port.framing == Framing::WebSocket {
            write_header(out, opcode, length);
        }
        delivery.write(&plan, out);
        port.outbox.expect(delivery.from, delivery.reference(), received_us);
        port.touch(to.slot, &mut self.touched);
        self.metrics.messages_sent[usize::from(delivery.label().0)].add(1);
        if planted!(FullAfterQueued) && queued + framed > self.limits.outbox_soft_bytes {
            return Err(Undeliverable::Full);
        }
        Ok(())
    }

    /// Tells the sender of a message, wherever it lives, that it was not delivered.
    pub fn bounce(&mut self, to: PeerKey, reference: MessageRef, cause: Undeliverable) {
        if planted!(BounceDropped) && to.node != self.node {
            return;
        }
        if to.node != self.node {
            self.outlets.post(self.now.mono_us, to.node, Parcel::Bounce { to, reference, cause });
            return;
        }
        self.metrics.bounced.add(1);
        self.scratch.clear();
        // Who has said its last word is not told any more, and its session has no name to publish.
        let port = self.ports.get(to.slot, to.generation).filter(|port| port.speaks != Speaks::Nothing);
        let Some(port) = port else {
            return self.publish(untold(&reference, cause, self.now));
        };
        let told = bounced(port.speaks, &reference, cause, self.now, &mut self.scratch);
        self.deferred.push(Deferred::Returned(to, reference, cause));
        let Some(told) = told else { return };
        self.metrics.errors[usize::from(told.error)].add(1);
        self.metrics.messages_sent[usize::from(told.label.0)].add(1);
        let out = &mut port.outbox.out(&mut self.spares).bytes;
        if port.framing == Framing::WebSocket {
            write_header(out, opcode(port.speaks.kind()), self.scratch.len());
        }
        out.extend_from_slice(&self.scratch);
        port.touch(to.slot, &mut self.touched);
        if self.is_out_of_reserve(to) {
            self.deferred.push(Deferred::Cut(to));
        }
    }

    /// Sends a fence to each shard that the connection has sent messages to; false if there is none.
    pub fn fence(&mut self, key: PeerKey) -> bool {
        let Some(port) = self.ports.get(key.slot, key.generation) else { return false };
        let sent_to = std::mem::take(&mut port.sent_to);
        port.fences += sent_to.count_ones() as u8;
        for index in (0..NODES_MAX).filter(|index| sent_to & (1 << index) != 0) {
            self.post(NodeId::at(index), Parcel::Fence { peer: key });
        }
        sent_to != 0
    }

    /// A fence has come back; true if it was the last.
    pub fn fence_back(&mut self, key: PeerKey) -> bool {
        let Some(port) = self.ports.get(key.slot, key.generation) else { return false };
        port.fences = port.fences.saturating_sub(1);
        port.fences == 0
    }

    pub fn is_out_of_reserve(&self, key: PeerKey) -> bool {
        let most = self.limits.outbox_hard_bytes + self.limits.outbox_reserve_bytes;
        self.ports.find(key.slot, key.generation).is_some_and(|port| port.outbox.queued_bytes() > most)
    }

    /// Whether a session may use more of its input.
    pub fn has_room(&self, key: PeerKey) -> bool {
        let hard = self.limits.outbox_hard_bytes;
        self.ports
            .find(key.slot, key.generation)
            .is_some_and(|port| port.held_for.is_none() && port.outbox.queued_bytes() <= hard)
    }

    /// Gives up what waited too long for a full inbox, and lets go of those who fed it.
    /// Returns the connections that may go on.
    pub fn flush_outlets(&mut self) -> Vec<PeerKey> {
        let mut expired = Vec::new();
        self.outlets.flush(self.now.mono_us, |parcel| expired.push(parcel));
        for parcel in expired {
            if planted!(ExpiredDropped) {
                continue;
            }
            match parcel {
                Parcel::Deliver { delivery, .. } => {
                    let delivery = delivery.borrow();
                    self.bounce(delivery.from, delivery.reference(), Undeliverable::Full);
                }
                Parcel::Bounce { reference, cause, .. } => self.publish(untold(&reference, cause, self.now)),
                _ => {}
            }
        }
        let mut freed = Vec::new();
        if !self.held.is_empty() {
            let (outlets, ports) = (&self.outlets, &mut self.ports);
            let (now_us, hold_us) = (self.now.mono_us, self.limits.mesh.hold_us);
            self.held.retain(|&(key, since_us)| {
                let Some(port) = ports.get(key.slot, key.generation) else { return false };
                let still = planted!(HeldForEver)
                    || now_us.saturating_sub(since_us) < hold_us
                        && port.held_for.is_some_and(|node| outlets.is_waiting_for(node));
                if !still {
                    port.held_for = None;
                    freed.push(key);
                }
                still
            });
        }
        self.metrics.overflow_depth.set(self.outlets.waiting() as i64);
        freed
    }

    pub fn end(&mut self) {
        let mut left = Vec::new();
        self.outlets.end(self.node, |parcel| left.extend(parcel.lost_message()));
        if planted!(LastWordsDropped) {
            return;
        }
        for (reference, cause) in left {
            self.publish(untold(&reference, cause, self.now));
        }
    }

    pub fn post(&mut self, to: NodeId, parcel: Parcel) {
        // Only deliveries are refused.
        self.outlets.post(self.now.mono_us, to, parcel);
    }

    fn hold(&mut self, from: PeerKey, node: NodeId) {
        if let Some(port) = self.ports.get(from.slot, from.generation)
            && port.held_for.replace(node).is_none()
        {
            self.held.push((from, self.now.mono_us));
            self.metrics.held_back.add(1);
        }
    }
}

fn opcode(kind: Kind) -> Opcode {
    match kind {
        Kind::Binary => Opcode::Binary,
        Kind::Text => Opcode::Text,
    }
}
