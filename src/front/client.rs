//! Where the client of a request is, and what it may do there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, Request};

use super::run::Clock;
use crate::base::Now;
use crate::hub::{Action, Addresses};
use crate::observe::ShardMetrics;
use crate::wire::forwarded;

/// The address of a request's client, as an extension of the request. The port is 0 where a proxy has
/// named the client, since it does not tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub SocketAddr);

impl Client {
    /// Of a request that came over a connection of `holder`. A proxy that is trusted may name another
    /// one.
    pub(super) fn of(headers: &HeaderMap, holder: SocketAddr, addresses: &Addresses) -> Client {
        let holder = SocketAddr::new(holder.ip().to_canonical(), holder.port());
        if !addresses.is_proxy(holder.ip()) {
            return Client(holder);
        }
        let lines = headers.get_all("x-forwarded-for").iter().map(|value| value.as_bytes());
        let named = forwarded::client(lines, |ip| addresses.is_proxy(ip));
        Client(named.map_or(holder, |ip| SocketAddr::new(ip, 0)))
    }

    pub(super) fn ip(self) -> IpAddr {
        self.0.ip()
    }

    /// Where nobody says, as in tests of one service, there is no limit.
    pub(super) fn of_request<B>(request: &Request<B>) -> Option<Client> {
        request.extensions().get().copied()
    }
}

/// What one service asks of the table of addresses. Counts what it refuses: to be used on the
/// front's thread only.
#[derive(Clone)]
pub struct Doorkeeper {
    pub addresses: Arc<Addresses>,
    pub metrics: Arc<ShardMetrics>,
    pub clock: Clock,
}

impl Doorkeeper {
    /// Counts an action; false when it comes too soon.
    pub(super) fn admit(&self, client: Option<Client>, action: Action) -> bool {
        let admitted = client.is_none_or(|client| self.addresses.admit(client.ip(), action, self.now()));
        self.metrics.requests_throttled.add(u64::from(!admitted));
        admitted
    }

    /// Whether credentials are looked at.
    pub(super) fn may_log_in(&self, client: Option<Client>) -> bool {
        let may = client.is_none_or(|client| self.addresses.may_log_in(client.ip(), self.now()));
        self.metrics.logins_throttled.add(u64::from(!may));
        may
    }

    pub(super) fn login_failed(&self, client: Option<Client>) {
        let Some(client) = client else { return };
        if self.addresses.login_failed(client.ip(), self.now()) {
            tracing::warn!(address = %client.ip(), "too many failed logins; further ones have to wait");
        }
    }

    /// Whether the address may have one more client of Socket.IO.
    pub(super) fn may_join(&self, client: Option<Client>) -> bool {
        client.is_none_or(|client| self.addresses.may_join_station(client.ip(), self.now()))
    }

    pub(super) fn joined(&self, client: Option<Client>) {
        if let Some(client) = client {
            self.addresses.join_station(client.ip(), self.now());
        }
    }

    pub(super) fn left(&self, client: Option<Client>) {
        if let Some(client) = client {
            self.addresses.leave_station(client.ip(), self.now());
        }
    }

    fn now(&self) -> Now {
        (self.clock)()
    }

    /// That lets everybody in.
    #[cfg(test)]
    pub(super) fn of_nobody(clock: Clock) -> Doorkeeper {
        let addresses = Arc::new(Addresses::new(crate::hub::AddressLimits::default(), 1));
        Doorkeeper { addresses, metrics: Arc::default(), clock }
    }
}
