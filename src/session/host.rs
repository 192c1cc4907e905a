//! The shard as one of its sessions sees it.

use std::net::{IpAddr, SocketAddr};

use super::Refusal;
use crate::dialect::Surroundings;
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
pub trait Host: Surroundings {
    /// Where this connection's own output is appended; it is sent at the end of the turn.
    fn out(&mut self) -> &mut Vec<u8>;
    fn set_framing(&mut self, framing: Framing);
    fn tunnel(&mut self, step: TunnelOut<'_>);
    /// Asks to be told ([`Session::fenced`](super::Session::fenced)) when everything that this
    /// connection has sent to other shards has been delivered or has come back. False: it has.
    fn fence(&mut self) -> bool;

    /// A proxy has named the client of this connection: from now on that one's address counts. `Some`:
    /// it is not to be served.
    fn client_is(&mut self, client: SocketAddr) -> Option<Refusal>;
    /// Whether what comes from there may name another client.
    fn is_proxy(&self, ip: IpAddr) -> bool;

    /// Memory for WebSocket messages in pieces, shared by the connections of the shard.
    fn pool(&mut self) -> &mut websocket::Pool;
}
