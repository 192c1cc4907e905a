//! One call of one session: the world as [`Host`], seen from that session's connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use super::port::Port;
use super::world::{Deferred, World};
use crate::auth::Certified;
use crate::base::{Now, PeerKey, RealmId};
use crate::dialect::{Delivery, Speaks, Surroundings, Undeliverable};
use crate::hub::{DialectId, OnDuplicate, Route, Taken};
use crate::mesh::TunnelStep;
use crate::observe::{Event, ShardMetrics};
use crate::session::{Framing, Host, Refusal, TunnelOut};
use crate::wire::websocket;

pub struct Call<'a> {
    pub world: &'a mut World,
    pub key: PeerKey,
    /// Where output goes of a connection that has no port any more.
    void: Vec<u8>,
}

impl<'a> Call<'a> {
    pub fn new(world: &'a mut World, key: PeerKey) -> Self {
        Call { world, key, void: Vec::new() }
    }

    fn port(&mut self) -> Option<&mut Port> {
        self.world.ports.get(self.key.slot, self.key.generation)
    }
}

impl Surroundings for Call<'_> {
    fn now(&self) -> Now {
        self.world.now
    }

    fn me(&self) -> PeerKey {
        self.key
    }

    fn random_u128(&mut self) -> u128 {
        self.world.entropy.next_u128()
    }

    fn draining(&self) -> bool {
        self.world.draining()
    }

    fn client(&self) -> Option<SocketAddr> {
        self.world.ports.find(self.key.slot, self.key.generation)?.client
    }

    fn may_log_in(&mut self) -> bool {
        let Some(client) = self.client() else { return true };
        let may = self.world.shared.addresses.may_log_in(client.ip(), self.world.now);
        self.world.metrics.logins_throttled.add(u64::from(!may));
        may
    }

    fn login_failed(&mut self) {
        let Some(client) = self.client() else { return };
        if self.world.shared.addresses.login_failed(client.ip(), self.world.now) {
            tracing::warn!(address = %client.ip(), "too many failed logins; further ones have to wait");
        }
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.world.metrics
    }

    fn wants_event(&self, event_type: &str) -> bool {
        self.world.wants_event(event_type)
    }

    fn publish(&mut self, event: Event) {
        self.world.publish_of(self.key, event);
    }

    fn has_room(&self) -> bool {
        self.world.has_room(self.key)
    }

    fn certified(&self, id: &str) -> Certified {
        let port = self.world.ports.find(self.key.slot, self.key.generation);
        port.and_then(|port| port.tls.as_ref()).map_or(Certified::NotAsked, |tls| tls.certifies(id))
    }

    fn set_speaks(&mut self, speaks: Speaks) {
        if let Some(port) = self.port() {
            port.speaks = speaks;
        }
    }

    fn join(
        &mut self,
        realm: RealmId,
        id: &str,
        dialect: DialectId,
        on_duplicate: OnDuplicate,
    ) -> Result<(), Taken> {
        self.world.join(self.key, realm, id, dialect, on_duplicate)
    }

    fn leave(&mut self, realm: RealmId, id: &str) {
        self.world.leave(self.key, realm, id);
    }

    fn attend(&mut self) {
        self.world.attend(self.key);
    }

    fn retire(&mut self) {
        self.world.retire(self.key);
    }

    fn ids(&self, realm: RealmId) -> Arc<[Box<str>]> {
        self.world.directory.ids(realm)
    }

    fn send(
        &mut self,
        realm: RealmId,
        to: &str,
        route: &mut Option<Box<Route>>,
        delivery: &Delivery<'_>,
    ) -> Result<(), Undeliverable> {
        self.world.send(realm, to, route, delivery)
    }
}

impl Host for Call<'_> {
    fn out(&mut self) -> &mut Vec<u8> {
        let World { ports, spares, touched, .. } = &mut *self.world;
        let Some(port) = ports.get(self.key.slot, self.key.generation) else {
            self.void.clear();
            return &mut self.void;
        };
        port.touch(self.key.slot, touched);
        &mut port.outbox.out(spares).bytes
    }

    fn set_framing(&mut self, framing: Framing) {
        if let Some(port) = self.port() {
            port.framing = framing;
        }
        if framing == Framing::Stream {
            self.world.deferred.push(Deferred::KeepAlive(self.key));
        }
    }

    fn tunnel(&mut self, step: TunnelOut<'_>) {
        let step = match step {
            TunnelOut::Open => {
                self.world.deferred.push(Deferred::OpenTunnel(self.key));
                return;
            }
            TunnelOut::Bytes(bytes) => TunnelStep::Bytes(Bytes::copy_from_slice(bytes)),
            TunnelOut::Credit(bytes) => TunnelStep::Credit(bytes),
            TunnelOut::End => TunnelStep::End,
            TunnelOut::Reset => TunnelStep::Reset,
        };
        self.world.deferred.push(Deferred::Tunnel(self.key, step));
    }

    fn fence(&mut self) -> bool {
        self.world.fence(self.key)
    }

    fn client_is(&mut self, client: SocketAddr) -> Option<Refusal> {
        self.world.client_is(self.key, client)
    }

    fn is_proxy(&self, ip: IpAddr) -> bool {
        self.world.shared.addresses.is_proxy(ip)
    }

    fn pool(&mut self) -> &mut websocket::Pool {
        &mut self.world.pool
    }
}
