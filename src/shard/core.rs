//! A shard without its sockets: what happens to them comes in through methods, what it wants of
//! them goes out through [`Net`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::call::Call;
use super::net::Net;
use super::port::Admission;
use super::settings::Parts;
use super::wheel::{TICK, Wheel};
use super::world::{Deferred, World};
use crate::base::{NodeId, Now, PeerKey, Slab};
use crate::dialect::Undeliverable;
use crate::mesh::{Parcel, TunnelStep};
use crate::ring::ConnId;
use crate::session::{self, Host, Leftover, Refusal, Session, Settings};

/// Connections over `connections_max` that are still told so, per shard; further ones are closed
/// without a word.
const REFUSING_MAX: usize = 64;
/// What TCP_KEEPIDLE takes.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(32_767);
/// Connections to listeners for operators (metrics, health), per shard. They do not count against
/// `connections_max`, so that a full server can still be looked at.
const OPERATORS_MAX: usize = 64;
/// Parcels taken from the inbox in one turn.
const PARCELS_A_TURN_MAX: usize = 4096;

pub struct Shard {
    settings: Arc<Settings>,
    world: World,
    sessions: Slab<Session>,
    wheel: Wheel,
    refusing: usize,
    operators: usize,
    carrying_out: bool,
    /// By the ring's number of a listening socket, the listener that it belongs to.
    listeners: Vec<u16>,
    /// Listeners that ended because the machine was short of something.
    accept_again: Vec<u16>,
    accept_trouble_reported: bool,
    drain_until_us: Option<u64>,
    due: Vec<u32>,
    gauges_due_us: u64,
}

impl Shard {
    /// `listeners` tells, for each listening socket of the ring in its order there, which listener
    /// of the settings it belongs to.
    pub fn new(parts: Parts, listeners: Vec<u16>, now: Now) -> Shard {
        Shard {
            settings: Arc::clone(&parts.settings),
            world: World::new(parts, now),
            sessions: Slab::default(),
            wheel: Wheel::new(now.mono_us),
            refusing: 0,
            operators: 0,
            carrying_out: false,
            listeners,
            accept_again: Vec::new(),
            accept_trouble_reported: false,
            drain_until_us: None,
            due: Vec::new(),
            gauges_due_us: 0,
        }
    }

    pub fn node(&self) -> NodeId {
        self.world.node
    }

    /// The reading of the clocks that everything until the next call goes by.
    pub fn begin_turn(&mut self, now: Now) {
        self.world.now = now;
    }

    pub fn accepted<N: Net>(&mut self, listening: u16, socket: N::Socket, net: &mut N) {
        let Some(&listener) = self.listeners.get(usize::from(listening)) else { return };
        let world = &mut self.world;
        world.metrics.connections_accepted.add(1);
        let is_for_operators = !self.settings.listeners[usize::from(listener)].serves_websockets();
        let limit = world.limits.connections_max;
        let (admission, refusal) = if world.draining() {
            (Admission::Refused, Some(Refusal::Draining))
        } else if is_for_operators && self.operators < OPERATORS_MAX {
            (Admission::Operator, None)
        } else if !is_for_operators && world.shared.connections.fetch_add(1, Ordering::Relaxed) < limit {
            (Admission::Client, None)
        } else {
            (Admission::Refused, Some(Refusal::Full))
        };
        match admission {
            Admission::Client => {}
            Admission::Operator => self.operators += 1,
            Admission::Refused => {
                if refusal == Some(Refusal::Full) && !is_for_operators {
                    world.shared.connections.fetch_sub(1, Ordering::Relaxed);
                }
                world.metrics.connections_refused.add(1);
                if self.refusing >= REFUSING_MAX {
                    return;
                }
                self.refusing += 1;
            }
        }
        let (slot, generation) = self.sessions.insert(Session::new(listener, refusal, world.now));
        world.ports.open(slot, generation, admission);
        world.metrics.connections.add(1);
        world.shared.open.fetch_add(1, Ordering::AcqRel);
        net.open(socket, ConnId { slot, generation });
        self.settle(slot, generation, net);
    }

    /// The listener accepts no more: tried again with the next tick.
    pub fn accept_ended(&mut self, listener: u16, cause: &dyn std::fmt::Display) {
        if self.world.draining() {
            return;
        }
        if !std::mem::replace(&mut self.accept_trouble_reported, true) {
            tracing::warn!(listener, %cause, "cannot accept connections; trying again each tick");
        }
        self.accept_again.push(listener);
    }

    /// Bytes have arrived. They are borrowed from the sockets' owner, so what follows for the
    /// connection waits for [`Shard::after_received`], which is to be called next.
    pub fn received(&mut self, conn: ConnId, bytes: &mut [u8]) {
        self.world.metrics.bytes_received.add(bytes.len() as u64);
        self.call(conn, |session, settings, call| session.feed(settings, bytes, call));
    }

    pub fn after_received<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        self.after(conn, net);
    }

    /// The peer has finished writing.
    pub fn peer_ended<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        let Some(port) = self.world.ports.get(conn.slot, conn.generation) else { return };
        port.ended = true;
        self.serve(conn, net, |session, settings, call| session.peer_ended(settings, call));
    }

    /// The ring stopped receiving as it had been told to, or for want of a buffer.
    pub fn receive_stopped<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        let Some(port) = self.world.ports.get(conn.slot, conn.generation) else { return };
        if port.reading && !port.ended {
            net.receive(conn);
        }
    }

    /// The connection broke.
    pub fn broken<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        self.close_hard(conn, net);
    }

    /// A send has come back; `taken` is `None` when it failed.
    pub fn sent<N: Net>(&mut self, conn: ConnId, bytes: Vec<u8>, taken: Option<usize>, net: &mut N) {
        let World { ports, spares, metrics, latency, now, limits, touched, .. } = &mut self.world;
        let Some(port) = ports.get(conn.slot, conn.generation) else { return };
        let Some(taken) = taken else {
            drop(bytes);
            return self.close_hard(conn, net);
        };
        metrics.bytes_sent.add(taken as u64);
        let rest = port.outbox.sent(bytes, taken, spares, |receipt| {
            metrics.delivered.add(1);
            latency.record_us(now.mono_us.saturating_sub(receipt.received_us));
        });
        let has_more = rest.is_none() && !port.outbox.is_empty();
        if has_more {
            port.touch(conn.slot, touched);
        }
        if port.over_since_us != 0 && port.outbox.queued_bytes() <= limits.outbox_hard_bytes {
            port.over_since_us = 0;
        }
        if port.outbox.is_empty() {
            port.over_soft = false;
        }
        if let Some((bytes, offset)) = rest
            && net.send(conn, bytes, offset).is_err()
        {
            // The connection is closing; its receipts are answered when it is closed.
            return;
        }
        self.serve(conn, net, |session, _, call| session.output_taken(taken, call));
    }

    /// The connection's last operation is back.
    pub fn closed(&mut self, conn: ConnId) {
        let ConnId { slot, generation } = conn;
        self.call(conn, |session, settings, call| session.gone(settings, call));
        if self.sessions.remove(slot, generation).is_none() {
            return;
        }
        self.wheel.disarm(slot);
        let world = &mut self.world;
        world.metrics.connections.add(-1);
        world.shared.open.fetch_sub(1, Ordering::AcqRel);
        let Some(mut port) = world.ports.remove(slot, generation) else { return };
        match port.admission {
            Admission::Client => {
                world.shared.connections.fetch_sub(1, Ordering::Relaxed);
            }
            Admission::Operator => self.operators -= 1,
            Admission::Refused => self.refusing -= 1,
        }
        let mut lost = Vec::new();
        port.outbox.drop_all(&mut world.spares, |receipt| lost.push(*receipt));
        for receipt in lost {
            world.bounce(receipt.from, receipt.reference, Undeliverable::NotConnected);
        }
    }

    /// Takes parcels from other nodes. True: more are left for the next turn.
    pub fn drain_inbox<N: Net>(&mut self, net: &mut N) -> bool {
        let mesh = Arc::clone(&self.world.mesh);
        for _ in 0..PARCELS_A_TURN_MAX {
            let Some(parcel) = mesh.take(self.world.node) else { return false };
            self.parcel(parcel, net);
        }
        true
    }

    /// Does what is due.
    pub fn tick<N: Net>(&mut self, net: &mut N) {
        for listener in std::mem::take(&mut self.accept_again) {
            net.accept(listener);
        }
        let now = self.world.now;
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now.mono_us, &mut due);
        for slot in due.drain(..) {
            self.due(slot, net);
        }
        self.due = due;
        if now.mono_us >= self.gauges_due_us {
            self.gauges_due_us = now.mono_us + 1_000_000;
            self.measure();
        }
        if self.drain_until_us.is_some_and(|until| until <= now.mono_us) {
            self.close_all(net);
        }
    }

    /// Begins to shut down, once: the clients are told, and everything is closed within the time
    /// for draining.
    pub fn begin_drain<N: Net>(&mut self, net: &mut N) {
        if self.drain_until_us.is_some() {
            return;
        }
        // Two ticks are what it takes to say goodbye.
        self.drain_until_us = Some(self.world.now.plus(self.world.limits.drain.max(2 * TICK)));
        for listener in 0..self.listeners.len() as u16 {
            net.stop_accepting(listener);
        }
        for conn in self.connections() {
            self.serve(conn, net, |session, settings, call| session.drain(settings, call));
        }
    }

    pub fn wants_drain(&self) -> bool {
        self.drain_until_us.is_none() && self.world.draining()
    }

    /// Nothing is left to do here, or for the other shards. When the time is over, only the sockets
    /// of this shard are waited for.
    pub fn is_drained(&self) -> bool {
        let Some(until_us) = self.drain_until_us else { return false };
        let all_gone = self.world.shared.open.load(Ordering::Acquire) == 0;
        let is_over = until_us <= self.world.now.mono_us;
        self.sessions.is_empty() && (is_over || (all_gone && self.world.outlets.waiting() == 0))
    }

    /// Sends what the turn has gathered: one send for each connection, and what other nodes get.
    /// Calls `ring` for each node to be woken.
    pub fn flush<N: Net>(&mut self, net: &mut N, mut ring: impl FnMut(&mut N, NodeId)) {
        self.carry_out(net);
        if self.world.outlets.waiting() > 0 || !self.world.held.is_empty() {
            for key in self.world.flush_outlets() {
                self.settle(key.slot, key.generation, net);
            }
            self.carry_out(net);
        }
        let mut touched = std::mem::take(&mut self.world.touched);
        for slot in touched.drain(..) {
            let Some(port) = self.world.ports.at(slot) else { continue };
            port.touched = false;
            if let Some(bytes) = port.outbox.start_send() {
                let conn = ConnId { slot, generation: port.generation };
                // A connection that is closing gives them back: nobody will read them.
                let _ = net.send(conn, bytes, 0);
            }
        }
        // The list's memory is used again; nothing was added meanwhile.
        self.world.touched = touched;
        self.world.outlets.ring_bells(|node| ring(net, node));
        self.world.latency.hand_over(&self.world.metrics);
        self.world.metrics.inbox_depth.set(self.world.mesh.depth(self.world.node) as i64);
    }

    /// Parcels wait for room elsewhere, so the shard must not sleep.
    pub fn has_overflow(&self) -> bool {
        self.world.outlets.waiting() > 0
    }

    /// Announces the shard's sleep; false if something is in its inbox.
    #[must_use]
    pub fn fall_asleep(&self) -> bool {
        self.world.mesh.fall_asleep(self.world.node)
    }

    /// Nobody lives here any more: parcels for this shard need not wait.
    pub fn end(&self) {
        self.world.mesh.end(self.world.node);
    }

    pub fn wake_up(&self) {
        self.world.mesh.wake_up(self.world.node);
    }

    pub fn has_mail(&self) -> bool {
        self.world.mesh.depth(self.world.node) > 0
    }

    /// Lets the session of a connection fail, as a defect of ours would.
    #[cfg(test)]
    pub(crate) fn break_session<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        self.serve(conn, net, |_, _, _| panic!("a defect, planted by a test"));
    }

    fn parcel<N: Net>(&mut self, parcel: Parcel, net: &mut N) {
        match parcel {
            Parcel::Deliver { to, delivery, received_us } => {
                let delivery = delivery.borrow();
                let world = &mut self.world;
                let result = catch_unwind(AssertUnwindSafe(|| world.deliver(to, &delivery, received_us)));
                let result = result.unwrap_or_else(|_| {
                    self.world.deferred.push(Deferred::Failed(to));
                    Err(Undeliverable::NotConnected)
                });
                if let Err(cause) = result {
                    self.world.bounce(delivery.from, delivery.reference(), cause);
                }
            }
            Parcel::Bounce { to, reference, cause } => self.world.bounce(to, reference, cause),
            Parcel::Fence { peer } => self.world.post(peer.node, Parcel::FenceBack { peer }),
            Parcel::FenceBack { peer } => {
                if self.world.fence_back(peer) {
                    self.serve(conn_of(peer), net, |session, _, call| session.fenced(call));
                }
            }
            Parcel::Evict { peer } => self.world.deferred.push(Deferred::Evict(peer)),
            Parcel::Tunnel { peer, step } => self.tunnel_step(peer, step, net),
        }
        if !self.world.deferred.is_empty() {
            self.carry_out(net);
        }
    }

    fn tunnel_step<N: Net>(&mut self, peer: PeerKey, step: TunnelStep, net: &mut N) {
        let conn = conn_of(peer);
        // Steps that were on their way when the tunnel ended mean nothing any more.
        if !self.sessions.get(conn.slot, conn.generation).is_some_and(Session::is_tunnel) {
            return;
        }
        match step {
            TunnelStep::Bytes(bytes) => Call::new(&mut self.world, peer).out().extend_from_slice(&bytes),
            TunnelStep::Credit(bytes) => {
                self.serve(conn, net, |session, _, _| session.tunnel_credit(bytes as usize));
            }
            TunnelStep::End => {
                self.serve(conn, net, |session, settings, call| session.tunnel_ended(settings, call));
            }
            TunnelStep::Reset => self.close_hard(conn, net),
            TunnelStep::Return(returned) => self.serve(conn, net, |session, settings, call| {
                let leftover =
                    Leftover::Returned { received_bytes: returned.received_bytes, rest: &returned.rest };
                session.tunnel_leftover(settings, leftover, call);
            }),
            TunnelStep::Unused(bytes) => self.serve(conn, net, |session, settings, call| {
                session.tunnel_leftover(settings, Leftover::Unused(&bytes), call);
            }),
            // A shard opens tunnels; the front does not.
            TunnelStep::Open { .. } => {}
        }
    }

    /// Carries out what sessions have asked for that reaches beyond themselves.
    fn carry_out<N: Net>(&mut self, net: &mut N) {
        if std::mem::replace(&mut self.carrying_out, true) {
            return;
        }
        while !self.world.deferred.is_empty() {
            for deferred in std::mem::take(&mut self.world.deferred) {
                match deferred {
                    Deferred::Failed(key) => self.fail(conn_of(key), net),
                    Deferred::Evict(key) => {
                        self.serve(conn_of(key), net, |session, settings, call| {
                            session.evicted(settings, call);
                        });
                    }
                    Deferred::Returned(key, reference, cause) => {
                        self.call(conn_of(key), |session, _, call| {
                            session.returned(reference, cause, call);
                        });
                    }
                    Deferred::Cut(key) => self.cut(conn_of(key), net),
                    Deferred::Watch(key) => {
                        let deadline = self.world.now.plus(self.world.limits.slow_consumer);
                        self.wheel.arm(key.slot, deadline);
                    }
                    Deferred::KeepAlive(key) => {
                        let idle = self.settings.limits.heartbeat_interval;
                        if !idle.is_zero() {
                            net.keep_alive(conn_of(key), idle.clamp(KEEP_ALIVE_MIN, KEEP_ALIVE_MAX));
                        }
                    }
                    Deferred::OpenTunnel(key) => self.open_tunnel(key, net),
                    Deferred::Tunnel(key, step) => {
                        self.world.post(NodeId::FRONT, Parcel::Tunnel { peer: key, step });
                    }
                }
            }
        }
        self.carrying_out = false;
    }

    fn open_tunnel<N: Net>(&mut self, key: PeerKey, net: &mut N) {
        let Some(session) = self.sessions.get(key.slot, key.generation) else { return };
        let unknown = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let peer_address = net.peer_address(conn_of(key)).unwrap_or(unknown);
        let step = TunnelStep::Open { listener: session.listener(), peer_address };
        self.world.post(NodeId::FRONT, Parcel::Tunnel { peer: key, step });
    }

    fn due<N: Net>(&mut self, slot: u32, net: &mut N) {
        let Some((generation, session)) = self.sessions.at_mut(slot) else { return };
        let conn = ConnId { slot, generation };
        let now = self.world.now;
        if session.is_overdue(&self.settings, now) {
            return self.close_hard(conn, net);
        }
        let limit_us = self.world.limits.slow_consumer.as_micros() as u64;
        let too_slow = self
            .world
            .ports
            .get(slot, generation)
            .is_some_and(|port| port.over_since_us != 0 && port.over_since_us + limit_us <= now.mono_us);
        if too_slow && !session.is_closing() {
            return self.cut(conn, net);
        }
        self.serve(conn, net, |session, settings, call| session.tick(settings, call));
    }

    /// Ends a connection that does not read. Its queue goes back to the senders, so that the Close
    /// comes next behind what is in flight.
    fn cut<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        let world = &mut self.world;
        let Some(port) = world.ports.get(conn.slot, conn.generation) else { return };
        if self.sessions.get(conn.slot, conn.generation).is_none_or(Session::is_closing) {
            return;
        }
        world.metrics.slow_consumers_cut.add(1);
        let mut lost = Vec::new();
        port.outbox.drop_pending(&mut world.spares, |receipt| lost.push(*receipt));
        for receipt in lost {
            world.bounce(receipt.from, receipt.reference, Undeliverable::Full);
        }
        self.serve(conn, net, |session, settings, call| session.cut_slow_consumer(settings, call));
    }

    fn fail<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        self.world.metrics.panics.add(1);
        tracing::error!(slot = conn.slot, "a session failed; its connection is closed");
        let Some(port) = self.world.ports.get(conn.slot, conn.generation) else { return };
        if std::mem::replace(&mut port.failed, true) {
            return self.close_hard(conn, net);
        }
        self.serve(conn, net, |session, settings, call| session.failed(settings, call));
    }

    fn close_hard<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        let Some(port) = self.world.ports.get(conn.slot, conn.generation) else { return };
        if std::mem::replace(&mut port.closing, true) {
            return;
        }
        self.call(conn, |session, settings, call| session.gone(settings, call));
        net.close(conn);
    }

    fn close_all<N: Net>(&mut self, net: &mut N) {
        for conn in self.connections() {
            self.close_hard(conn, net);
        }
    }

    fn connections(&self) -> Vec<ConnId> {
        self.sessions.iter().map(|(slot, generation, _)| ConnId { slot, generation }).collect()
    }

    /// Calls the session, then does for its connection what follows.
    fn serve<N: Net>(
        &mut self,
        conn: ConnId,
        net: &mut N,
        f: impl FnOnce(&mut Session, &Settings, &mut Call<'_>),
    ) {
        self.call(conn, f);
        self.after(conn, net);
    }

    fn after<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        if !self.world.deferred.is_empty() {
            self.carry_out(net);
        }
        self.settle(conn.slot, conn.generation, net);
    }

    /// One call of one session. One that panics is closed by [`Shard::carry_out`].
    fn call(&mut self, conn: ConnId, f: impl FnOnce(&mut Session, &Settings, &mut Call<'_>)) {
        let ConnId { slot, generation } = conn;
        let Some(session) = self.sessions.get_mut(slot, generation) else { return };
        let settings = &*self.settings;
        let key = PeerKey { node: self.world.node, slot, generation };
        let mut call = Call::new(&mut self.world, key);
        // What lasts of a call is its appends to outboxes, and each of those is made whole: what can
        // fail, parsing and planning, comes before the first byte.
        if catch_unwind(AssertUnwindSafe(|| f(session, settings, &mut call))).is_err() {
            self.world.deferred.push(Deferred::Failed(key));
        }
    }

    /// Brings the ring in line with what the session and its port want now: reading or not,
    /// shutting down, closing, and the next deadline.
    fn settle<N: Net>(&mut self, slot: u32, generation: u32, net: &mut N) {
        let conn = ConnId { slot, generation };
        loop {
            let World { ports, limits, now, .. } = &mut self.world;
            let settings = &*self.settings;
            let Some(session) = self.sessions.get_mut(slot, generation) else { return };
            let Some(port) = ports.get(slot, generation) else { return };
            if port.closing {
                return;
            }
            let queued = port.outbox.queued_bytes();
            let closing = session.is_closing();
            if queued > limits.outbox_hard_bytes && port.over_since_us == 0 {
                port.over_since_us = now.mono_us.max(1);
            }
            if port.over_since_us != 0 && !closing {
                let limit_us = limits.slow_consumer.as_micros() as u64;
                self.wheel.arm(slot, port.over_since_us + limit_us);
            }
            if !closing && queued > limits.outbox_hard_bytes + most_reserve(limits, settings) {
                return self.cut(conn, net);
            }
            if closing && queued == 0 && session.may_shut_down() {
                if port.ended {
                    return self.close_hard(conn, net);
                }
                if !std::mem::replace(&mut port.shut, true) {
                    net.shutdown_write(conn);
                }
            }
            let may = port.held_for.is_none() && queued <= limits.outbox_hard_bytes;
            let wants = (may || closing) && session.wants_input(settings);
            let ended = port.ended;
            match (wants, port.reading) {
                (true, false) => {
                    port.reading = true;
                    if !ended {
                        net.receive(conn);
                    }
                    // What it could not use before comes first, and may fill the outbox again.
                    self.call(conn, |session, settings, call| session.resume(settings, call));
                    if !self.world.deferred.is_empty() {
                        self.carry_out(net);
                    }
                }
                (false, true) => {
                    port.reading = false;
                    session.pause();
                    if !ended {
                        net.stop_receiving(conn);
                    }
                }
                _ => break,
            }
        }
        if let Some(session) = self.sessions.get(slot, generation)
            && let Some(deadline_us) = session.deadline_us(&self.settings)
        {
            self.wheel.arm(slot, deadline_us);
        }
    }

    fn measure(&mut self) {
        let (mut bytes, mut messages) = (0, 0);
        for (_, port) in self.world.ports.iter() {
            bytes += port.outbox.queued_bytes();
            messages += port.outbox.queued_messages();
        }
        self.world.metrics.outbox_bytes.set(bytes as i64);
        self.world.metrics.outbox_messages.set(messages as i64);
    }
}

/// An echo may be as long as the longest message.
fn most_reserve(limits: &super::Limits, settings: &session::Settings) -> usize {
    limits.outbox_reserve_bytes.max(settings.limits.message_bytes_max)
}

fn conn_of(key: PeerKey) -> ConnId {
    ConnId { slot: key.slot, generation: key.generation }
}
