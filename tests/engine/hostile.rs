//! Clients that mean harm: what they are refused, and that nobody else notices them.

mod addresses;
mod attack;
mod floods;
mod honest;
mod logins;
mod memory;
mod origins;
mod proxies;
mod sloths;

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use crate::harness::*;

/// Connects from this address of the machine: all of 127.0.0.0/8 are.
async fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((source, 0))).expect("an address of this machine");
    within("TCP connects", socket.connect(to)).await.expect("the port is open")
}

/// One count of the page of metrics.
async fn metric(server: &Server, name: &str) -> u64 {
    server.metric(name).await as u64
}
