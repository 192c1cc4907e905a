//! A shard without its sockets: what happens to them comes in through methods, what it wants of
//! them goes out through [`Net`].

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::call::Call;
use super::net::Net;
use super::port::Admission;
use super::settings::Parts;
use super::wheel::Wheel;
use super::world::{Deferred, World};
use crate::base::{NodeId, Now, PeerKey, Slab, planted};
use crate::ring::ConnId;
use crate::session::{self, CannotSeal, Refusal, Session, Settings, Tls};

/// Connections over `connections_max` that are still told so, per shard; further ones are closed
/// without a word.
const REFUSING_MAX: usize = 64;
/// Connections to listeners for operators (metrics, health), per shard. They do not count against
/// `connections_max`, so that a full server can still be looked at.
const OPERATORS_MAX: usize = 64;

/// Trouble with accepting is told of so often, however often it comes.
const ACCEPT_TROUBLE_EVERY_US: u64 = 60_000_000;

pub struct Shard {
    pub(super) settings: Arc<Settings>,
    pub(super) world: World,
    pub(super) sessions: Slab<Session>,
    pub(super) wheel: Wheel,
    pub(super) refusing: usize,
    pub(super) operators: usize,
    pub(super) carrying_out: bool,
    /// By the ring's number of a listening socket, the listener that it belongs to.
    pub(super) listeners: Vec<u16>,
    /// Listeners that ended because the machine was short of something.
    pub(super) accept_again: Vec<u16>,
    pub(super) accept_trouble_told_us: Option<u64>,
    pub(super) drain_until_us: Option<u64>,
    /// The clients are gone, or their time is over: nobody is accepted any more, and everybody who
    /// is left is closed.
    pub(super) drain_is_ending: bool,
    pub(super) due: Vec<u32>,
    pub(super) gauges_due_us: u64,
    /// What the records of one receive hold.
    pub(super) plain: Vec<u8>,
    /// Of the terms that hold here.
    terms_version: u64,
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
            accept_trouble_told_us: None,
            drain_until_us: None,
            drain_is_ending: false,
            due: Vec::new(),
            gauges_due_us: 0,
            plain: Vec::new(),
            terms_version: 0,
        }
    }

    /// The reading of the clocks that everything until the next call goes by.
    pub fn begin_turn(&mut self, now: Now) {
        self.world.now = now;
        let version = self.world.shared.terms.version();
        if version != self.terms_version {
            self.terms_version = version;
            self.take_terms();
        }
    }

    /// Everything that happens from here on goes by the settings of the last reload. What was decided
    /// before stays: nobody is closed, and whoever has logged in stays so.
    fn take_terms(&mut self) {
        let terms = self.world.shared.terms.get();
        let Some(terms) = &*terms else { return };
        self.settings = Arc::clone(&terms.settings);
        self.world.limits = terms.limits.clone();
        // A deadline may have come nearer. One that has moved away is found out when it comes.
        for (slot, _, session) in self.sessions.iter() {
            if let Some(deadline_us) = session.deadline_us(&self.settings) {
                self.wheel.arm(slot, deadline_us);
            }
        }
    }

    pub fn accepted<N: Net>(&mut self, listening: u16, socket: N::Socket, net: &mut N) {
        let Some(&listener) = self.listeners.get(usize::from(listening)) else { return };
        self.world.metrics.connections_accepted.add(1);
        let peer =
            net.peer_address(&socket).map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
        let is_proxy = peer.is_some_and(|peer| self.world.shared.addresses.is_proxy(peer.ip()));
        let awaits_proxy = is_proxy && self.settings.listeners[usize::from(listener)].proxy_protocol;
        // A proxy's address says nothing of who its client is.
        let (admission, refusal) = self.admission(listener, peer.filter(|_| !is_proxy));
        if admission == Admission::Refused {
            self.world.metrics.connections_refused.add(1);
            if self.refusing >= REFUSING_MAX {
                return;
            }
            self.refusing += 1;
        }
        let world = &mut self.world;
        let (slot, generation) = self.sessions.insert(Session::new(listener, refusal, world.now));
        let terms = self.settings.listeners[usize::from(listener)].tls.as_ref();
        let tls = terms.map(|terms| Box::new(Tls::new(terms)));
        let port = world.ports.open(slot, generation, admission, tls);
        port.preface = awaits_proxy.then(Box::default);
        port.client = peer;
        port.counts_at_address = admission == Admission::Client && peer.is_some() && !is_proxy;
        world.metrics.connections.add(1);
        if admission != Admission::Operator {
            world.shared.clients_open.fetch_add(1, Ordering::AcqRel);
        }
        net.open(socket, ConnId { slot, generation });
        self.settle(slot, generation, net);
    }

    /// What a new connection counts against, and why it is not served. `at` is where it counts, if
    /// that is known.
    fn admission(&mut self, listener: u16, at: Option<SocketAddr>) -> (Admission, Option<Refusal>) {
        let world = &self.world;
        if self.settings.listeners[usize::from(listener)].for_operators {
            if self.operators < OPERATORS_MAX {
                self.operators += 1;
                return (Admission::Operator, None);
            }
            let refusal = if world.draining() { Refusal::Draining } else { Refusal::Full };
            return (Admission::Refused, Some(refusal));
        }
        if world.draining() {
            return (Admission::Refused, Some(Refusal::Draining));
        }
        if world.shared.connections.fetch_add(1, Ordering::Relaxed) >= world.limits.connections_max {
            world.shared.connections.fetch_sub(1, Ordering::Relaxed);
            return (Admission::Refused, Some(Refusal::Full));
        }
        if at.is_some_and(|at| world.shared.addresses.connect(at.ip(), world.now).is_err()) {
            world.shared.connections.fetch_sub(1, Ordering::Relaxed);
            world.metrics.connections_crowded.add(1);
            return (Admission::Refused, Some(Refusal::Crowded));
        }
        (Admission::Client, None)
    }

    /// The listener accepts no more: tried again with the next tick.
    pub fn accept_ended(&mut self, listener: u16, cause: &dyn std::fmt::Display) {
        if self.world.draining() {
            return;
        }
        let now_us = self.world.now.mono_us;
        if self.accept_trouble_told_us.is_none_or(|told_us| now_us >= told_us + ACCEPT_TROUBLE_EVERY_US) {
            self.accept_trouble_told_us = Some(now_us);
            tracing::warn!(listener, %cause, "cannot accept connections; trying again each tick");
        }
        self.accept_again.push(listener);
    }

    /// Bytes have arrived. They are borrowed from the sockets' owner, so what follows for the
    /// connection waits for [`Shard::after_received`], which is to be called next.
    pub fn received(&mut self, conn: ConnId, bytes: &mut [u8]) {
        self.world.metrics.bytes_received.add(bytes.len() as u64);
        self.received_in_order(conn, bytes);
    }

    /// A header of a proxy, then TLS, then what the session reads.
    pub(super) fn received_in_order(&mut self, conn: ConnId, bytes: &mut [u8]) {
        match self.world.ports.find(conn.slot, conn.generation) {
            Some(port) if port.preface.is_some() => self.received_preface(conn, bytes),
            Some(port) if port.tls.is_some() => self.received_sealed(conn, bytes),
            _ => self.call(conn, |session, settings, call| session.feed(settings, bytes, call)),
        }
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

    /// The ring stopped receiving as it had been told to, for want of a buffer, or after one.
    pub fn receive_stopped<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        let Some(session) = self.sessions.get(conn.slot, conn.generation) else { return };
        let Some(port) = self.world.ports.get(conn.slot, conn.generation) else { return };
        if port.reading && !port.ended {
            receive(session, conn, net);
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
        let (taken, rest) = port.sent(bytes, taken, spares, |received_us, messages| {
            metrics.delivered.add(u64::from(messages) << u32::from(planted!(ReceiptCountedTwice)));
            latency.record_us(now.mono_us.saturating_sub(received_us), u64::from(messages));
        });
        let has_more = rest.is_none() && !port.is_empty();
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
            // The connection is closing; its messages are answered when it is closed.
            return;
        }
        // A session that reads and goes on neither waits for output nor has a deadline that depends
        // on it, so there is nothing to settle.
        let goes_on = port.reading && !port.closing;
        if goes_on && self.sessions.get(conn.slot, conn.generation).is_some_and(Session::ignores_output) {
            return;
        }
        self.serve(conn, net, |session, _, call| session.output_taken(taken, call));
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
        self.announce_tick();
        self.drain_tick(net);
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
        let mut lost = Vec::new();
        for slot in touched.drain(..) {
            let Some(port) = self.world.ports.at(slot) else { continue };
            port.touched = false;
            let conn = ConnId { slot, generation: port.generation };
            match port.start_send(&mut self.world.spares) {
                // A connection that is closing gives them back: nobody will read them.
                Ok(Some(bytes)) => drop(net.send(conn, bytes, 0)),
                Ok(None) => {}
                Err(CannotSeal) => lost.push(conn),
            }
        }
        // The list's memory is used again; nothing was added meanwhile.
        self.world.touched = touched;
        for conn in lost {
            self.close_hard(conn, net);
        }
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

    pub fn wake_up(&self) {
        self.world.mesh.wake_up(self.world.node);
    }

    pub fn has_mail(&self) -> bool {
        self.world.mesh.depth(self.world.node) > 0
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
        if too_slow && !session.is_closing() && !planted!(SlowReaderKept) {
            return self.cut(conn, net);
        }
        self.serve(conn, net, |session, settings, call| session.tick(settings, call));
    }

    pub(super) fn connections(&self) -> Vec<ConnId> {
        self.sessions.iter().map(|(slot, generation, _)| ConnId { slot, generation }).collect()
    }

    /// Calls the session, then does for its connection what follows.
    pub(super) fn serve<N: Net>(
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
    pub(super) fn call(&mut self, conn: ConnId, f: impl FnOnce(&mut Session, &Settings, &mut Call<'_>)) {
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
    pub(super) fn settle<N: Net>(&mut self, slot: u32, generation: u32, net: &mut N) {
        let conn = ConnId { slot, generation };
        loop {
            let World { ports, limits, now, touched, .. } = &mut self.world;
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
            if closing && queued == 0 && session.may_shut_down() && port.has_said_goodbye(slot, touched) {
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
                        receive(session, conn, net);
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

/// HTTP that has to wait waits for as long as its client likes: there, what comes in at one time beyond
/// what has been credited is one buffer.
fn receive<N: Net>(session: &Session, conn: ConnId, net: &mut N) {
    if session.is_tunnel() { net.receive_once(conn) } else { net.receive(conn) }
}

/// An echo may be as long as the longest message.
fn most_reserve(limits: &super::Limits, settings: &session::Settings) -> usize {
    limits.outbox_reserve_bytes.max(settings.limits.message_bytes_max)
}

pub(super) fn conn_of(key: PeerKey) -> ConnId {
    ConnId { slot: key.slot, generation: key.generation }
}
