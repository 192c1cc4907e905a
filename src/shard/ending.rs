//! How connections end, and how the shard does.
//!
//! A connection is closed by cancel → join → free: [`Shard::close_hard`] gives up what its session
//! held and cancels, and when its last operation is back, [`Shard::closed`] answers what was still in
//! its outbox and frees its slot.

use std::sync::atomic::Ordering;

use super::core::Shard;
use super::net::Net;
use super::port::Admission;
use super::wheel::TICK;
use crate::base::planted;
use crate::dialect::Undeliverable;
use crate::observe::TlsFailure;
use crate::ring::ConnId;
use crate::session::{Listener, Session};

impl Shard {
    /// Begins to shut down, once: the clients are told, and everything is closed within the time
    /// for draining.
    pub fn begin_drain<N: Net>(&mut self, net: &mut N) {
        if self.drain_until_us.is_some() {
            return;
        }
        // Two ticks are what it takes to say goodbye.
        self.drain_until_us = Some(self.world.now.plus(self.world.limits.drain.max(2 * TICK)));
        self.stop_accepting(net, |listener| !listener.for_operators);
        for conn in self.connections() {
            let port = self.world.ports.get(conn.slot, conn.generation);
            if port.is_some_and(|port| port.admission != Admission::Operator) {
                self.serve(conn, net, |session, settings, call| session.drain(settings, call));
            }
        }
    }

    /// Ends the drain when the clients of all shards are gone, or when its time is over.
    pub(super) fn drain_tick<N: Net>(&mut self, net: &mut N) {
        let Some(until_us) = self.drain_until_us else { return };
        let clients_open = self.world.shared.clients_open.load(Ordering::Acquire);
        let is_done = clients_open == 0 && self.world.outlets.waiting() == 0;
        if !is_done && self.world.now.mono_us < until_us {
            return;
        }
        if !std::mem::replace(&mut self.drain_is_ending, true) {
            self.stop_accepting(net, |_| true);
        }
        self.close_all(net);
    }

    pub fn wants_drain(&self) -> bool {
        self.drain_until_us.is_none() && self.world.draining()
    }

    /// Nothing is left to do here, or for the other shards.
    pub fn is_drained(&self) -> bool {
        self.drain_is_ending && self.sessions.is_empty()
    }

    fn stop_accepting<N: Net>(&self, net: &mut N, which: impl Fn(&Listener) -> bool) {
        for (listening, &listener) in self.listeners.iter().enumerate() {
            if which(&self.settings.listeners[usize::from(listener)]) {
                net.stop_accepting(listening as u16);
            }
        }
    }

    /// Nobody lives here any more: parcels for this shard need not wait. The drain's time is over, so
    /// that of a message that is still on its way nobody is told; its loss is published.
    pub fn end(&mut self) {
        self.world.end();
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
        let Some(mut port) = world.ports.remove(slot, generation) else { return };
        match port.admission {
            Admission::Client => {
                world.shared.connections.fetch_sub(1, Ordering::Relaxed);
            }
            Admission::Operator => self.operators -= 1,
            Admission::Refused => self.refusing -= 1,
        }
        if port.admission != Admission::Operator {
            world.shared.clients_open.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(client) = port.client.filter(|_| port.counts_at_address) {
            world.shared.addresses.disconnect(client.ip(), world.now);
        }
        if port.tls.is_some_and(|tls| tls.is_opening()) {
            world.metrics.tls_failures[TlsFailure::Unfinished as usize].add(1);
        }
        let mut lost = Vec::new();
        port.outbox.drop_all(&mut world.spares, |from, reference| lost.push((from, reference)));
        for (from, reference) in lost {
            world.bounce(from, reference, Undeliverable::NotConnected);
        }
    }

    /// Ends a connection that does not read. Its queue goes back to the senders, so that the Close
    /// comes next behind what is in flight.
    pub(super) fn cut<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        let world = &mut self.world;
        let Some(port) = world.ports.get(conn.slot, conn.generation) else { return };
        if self.sessions.get(conn.slot, conn.generation).is_none_or(Session::is_closing) {
            return;
        }
        world.metrics.slow_consumers_cut.add(1);
        let mut lost = Vec::new();
        port.outbox.drop_pending(&mut world.spares, |from, reference| lost.push((from, reference)));
        for (from, reference) in lost {
            if planted!(CutQueueDropped) {
                continue;
            }
            world.bounce(from, reference, Undeliverable::Full);
        }
        self.serve(conn, net, |session, settings, call| session.cut_slow_consumer(settings, call));
    }

    pub(super) fn fail<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        self.world.metrics.panics.add(1);
        tracing::error!(slot = conn.slot, "a session failed; its connection is closed");
        let Some(port) = self.world.ports.get(conn.slot, conn.generation) else { return };
        if std::mem::replace(&mut port.failed, true) {
            return self.close_hard(conn, net);
        }
        self.serve(conn, net, |session, settings, call| session.failed(settings, call));
    }

    pub(super) fn close_hard<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        let Some(port) = self.world.ports.get(conn.slot, conn.generation) else { return };
        if std::mem::replace(&mut port.closing, true) {
            return;
        }
        self.call(conn, |session, settings, call| session.gone(settings, call));
        net.close(conn);
    }

    pub(super) fn close_all<N: Net>(&mut self, net: &mut N) {
        for conn in self.connections() {
            self.close_hard(conn, net);
        }
    }

    /// Lets the session of a connection fail, as a defect of ours would.
    #[cfg(test)]
    pub(crate) fn break_session<N: Net>(&mut self, conn: ConnId, net: &mut N) {
        self.serve(conn, net, |_, _, _| panic!("a defect, planted by a test"));
    }
}
