//! What the servers of the comparison share: the floors' relay, and the job of the Rust peers.

pub mod job;
pub mod relay;

use std::net::{Ipv4Addr, SocketAddr};

/// Connections that may wait to be accepted.
pub const BACKLOG: i32 = 4096;

/// The address by the one argument that all of these servers take: a port on loopback.
///
/// # Panics
/// Without a port, which the script that starts them always gives.
pub fn address() -> SocketAddr {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("usage: PROGRAM PORT")))
}
