//! What a connection may do and how long it may take; the same for all connections of a listener.

use std::sync::Arc;
use std::time::Duration;

use super::tls::TlsTerms;
use crate::dialect::{self, Serves};
use crate::wire::websocket;

/// Shared by all shards.
pub struct Settings {
    pub listeners: Vec<Listener>,
    pub dialects: Arc<dialect::Settings>,
    pub limits: Limits,
}

/// What one listener serves. A listener of the engine; its sockets are the ring's.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    pub name: String,
    pub serves: Serves,
    pub echo: bool,
    /// Serves nobody but operators: their connections do not count against the clients' limit, and
    /// last to the end of a drain.
    pub for_operators: bool,
    /// Adds `X-Sigmux-Shard` to the 101, for tests.
    pub expose_shard: bool,
    /// Connections of trusted proxies begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Origins that browsers may come from. Empty, or with `*`: any.
    pub allowed_origins: Vec<String>,
    /// With a certificate, connections have to begin with TLS.
    pub tls: Option<TlsTerms>,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// A connection that has not shown what it is by then is closed.
    pub first_message: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    pub head_bytes_max: usize,
    pub message_bytes_max: usize,
    /// Silence after which a WebSocket is pinged; three of them end it. Zero: never.
    pub heartbeat_interval: Duration,
    /// Silence that ends any session. Zero: never.
    pub session_timeout: Duration,
    /// From the server's Close or half-close until the connection is closed hard.
    pub close: Duration,
    /// Bytes of a tunnel that may be on their way without having been credited.
    pub tunnel_window_bytes: usize,
}

impl Listener {
    pub fn serves_websockets(&self) -> bool {
        self.serves.any_websocket() || self.echo
    }
}

/// Whether a browser's page may open a WebSocket. Who sends no `Origin` is no browser.
pub fn allows_origin(allowed: &[String], origin: Option<&[u8]>) -> bool {
    let Some(origin) = origin else { return true };
    let is_origin = |known: &String| known == "*" || known.as_bytes().eq_ignore_ascii_case(origin);
    allowed.is_empty() || allowed.iter().any(is_origin)
}

impl Limits {
    pub(super) fn websocket(&self) -> websocket::Limits {
        websocket::Limits { message_bytes_max: self.message_bytes_max }
    }
}
