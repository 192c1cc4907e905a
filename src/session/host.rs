//! The shard as one of its sessions sees it.

use crate::base::{Now, PeerKey, RealmId};
use crate::dialect::{Delivery, Speaks, Undeliverable};
use crate::hub::{OnDuplicate, Route, Taken};
use crate::observe::{Event, ShardMetrics};
use crate::wire::websocket;

/// How messages to a peer lie on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Back to back.
    Stream,
    /// One per WebSocket message.
    WebSocket,
}

/// A session's step of its tunnel to the front.
pub enum TunnelOut<'a> {
    Open,
    Bytes(&'a [u8]),
    /// Bytes of the front's that the kernel has taken.
    Credit(u32),
    End,
    Reset,
}

/// What a session asks of the shard that it runs on, for the connection being served.
pub trait Host {
    fn now(&self) -> Now;
    fn key(&self) -> PeerKey;
    fn random_u128(&mut self) -> u128;
    fn metrics(&self) -> &ShardMetrics;
    fn publish(&mut self, event: Event);
    fn draining(&self) -> bool;

    /// Where this connection's own output is appended; it is sent at the end of the turn.
    fn out(&mut self) -> &mut Vec<u8>;
    /// False when this connection's output is over its limit, or when it feeds a full shard.
    fn may_go_on(&self) -> bool;
    fn set_framing(&mut self, framing: Framing);
    fn set_speaks(&mut self, speaks: Speaks);

    fn join(&mut self, realm: RealmId, id: &str, on_duplicate: OnDuplicate) -> Result<(), Taken>;
    fn leave(&mut self, realm: RealmId, id: &str);
    fn send(
        &mut self,
        realm: RealmId,
        to: &str,
        route: &mut Option<Box<Route>>,
        delivery: &Delivery<'_>,
    ) -> Result<(), Undeliverable>;

    fn tunnel(&mut self, step: TunnelOut<'_>);

    /// Memory for WebSocket messages in pieces, shared by the connections of the shard.
    fn pool(&mut self) -> &mut websocket::Pool;
}
