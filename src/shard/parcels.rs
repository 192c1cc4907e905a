//! What comes from other nodes, and what one session's call means beyond its own connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::call::Call;
use super::core::{Shard, conn_of};
use super::net::Net;
use super::world::Deferred;
use crate::base::{NodeId, PeerKey};
use crate::dialect::{Opening, Undeliverable, untold};
use crate::mesh::{Parcel, Returned, TunnelStep};
use crate::session::{Host, Leftover, Session};

/// What TCP_KEEPIDLE takes.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(32_767);
/// Parcels taken from the inbox in one turn.
const PARCELS_A_TURN_MAX: usize = 4096;

impl Shard {
    /// Takes parcels from other nodes. True: more are left for the next turn.
    pub fn drain_inbox<N: Net>(&mut self, net: &mut N) -> bool {
        let mesh = Arc::clone(&self.world.mesh);
        for _ in 0..PARCELS_A_TURN_MAX {
            let Some(parcel) = mesh.take(self.world.node) else { return false };
            self.parcel(parcel, net);
        }
        true
    }

    pub(super) fn parcel<N: Net>(&mut self, parcel: Parcel, net: &mut N) {
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
            Parcel::Dismiss { peer } => self.world.deferred.push(Deferred::Dismiss(peer)),
            Parcel::Announce { text } => self.world.begin_announcement(text),
            Parcel::Tunnel { peer, step } => self.tunnel_step(peer, step, net),
        }
        if !self.world.deferred.is_empty() {
            self.carry_out(net);
        }
    }

    pub(super) fn tunnel_step<N: Net>(&mut self, peer: PeerKey, step: TunnelStep, net: &mut N) {
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
                let Returned { received_bytes, rest, upgrade } = &*returned;
                let authorization = upgrade.authorization.as_ref().map(|value| value.expose().as_bytes());
                let opening = Opening::of_request(&upgrade.path, upgrade.query.as_deref(), authorization);
                let client = upgrade.client;
                let leftover = Leftover::Returned { received_bytes: *received_bytes, rest, opening, client };
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
    pub(super) fn carry_out<N: Net>(&mut self, net: &mut N) {
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
                    Deferred::Dismiss(key) => {
                        self.serve(conn_of(key), net, |session, settings, call| {
                            session.dismissed(settings, call);
                        });
                    }
                    Deferred::Returned(key, reference, cause)
                        if self.sessions.get(key.slot, key.generation).is_none() =>
                    {
                        self.world.publish(untold(&reference, cause, self.world.now));
                    }
                    Deferred::Returned(key, reference, cause) => {
                        self.call(conn_of(key), |session, _, call| {
                            session.returned(&reference, cause, call);
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

    pub(super) fn open_tunnel<N: Net>(&mut self, key: PeerKey, net: &mut N) {
        let Some(session) = self.sessions.get(key.slot, key.generation) else { return };
        let unknown = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let port = self.world.ports.find(key.slot, key.generation);
        if port.is_some_and(|port| port.reading && !port.ended) {
            net.stop_receiving(conn_of(key));
            net.receive_once(conn_of(key));
        }
        let peer_address = port.and_then(|port| port.client).unwrap_or(unknown);
        let step = TunnelStep::Open { listener: session.listener(), peer_address };
        self.world.post(NodeId::FRONT, Parcel::Tunnel { peer: key, step });
    }
}
