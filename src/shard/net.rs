//! The sockets as a shard uses them: the ring in production, queues in a simulation.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::ring::{self, ConnId, Ring};

/// Operations on connections. What they lead to comes back through the methods of
/// [`Shard`](super::Shard).
pub trait Net {
    type Socket;

    fn open(&mut self, socket: Self::Socket, conn: ConnId);
    /// Receives until told otherwise.
    fn receive(&mut self, conn: ConnId);
    /// Receives one buffer at most, then stops by itself.
    fn receive_once(&mut self, conn: ConnId);
    fn stop_receiving(&mut self, conn: ConnId);
    /// Sends `bytes[offset..]`; one send at a time.
    ///
    /// # Errors
    /// Gives the bytes back when the connection is closing.
    fn send(&mut self, conn: ConnId, bytes: Vec<u8>, offset: usize) -> Result<(), Vec<u8>>;
    fn shutdown_write(&mut self, conn: ConnId);
    /// Cancels what is under way; `closed` comes last.
    fn close(&mut self, conn: ConnId);
    fn keep_alive(&mut self, conn: ConnId, idle: Duration);
    /// Address of the other end; `None` if it has already gone.
    fn peer_address(&mut self, socket: &Self::Socket) -> Option<SocketAddr>;
    /// Accepts again after the machine ran short of something.
    fn accept(&mut self, listener: u16);
    fn stop_accepting(&mut self, listener: u16);
}

impl Net for Ring {
    type Socket = OwnedFd;

    fn open(&mut self, socket: OwnedFd, conn: ConnId) {
        Ring::open(self, socket, conn);
    }

    fn receive(&mut self, conn: ConnId) {
        Ring::receive(self, conn);
    }

    fn receive_once(&mut self, conn: ConnId) {
        Ring::receive_once(self, conn);
    }

    fn stop_receiving(&mut self, conn: ConnId) {
        Ring::stop_receiving(self, conn);
    }

    fn send(&mut self, conn: ConnId, bytes: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        Ring::send(self, conn, bytes, offset)
    }

    fn shutdown_write(&mut self, conn: ConnId) {
        Ring::shutdown_write(self, conn);
    }

    fn close(&mut self, conn: ConnId) {
        Ring::close(self, conn);
    }

    fn keep_alive(&mut self, conn: ConnId, idle: Duration) {
        // Without it a dead peer is noticed later, by the session's timeout.
        let _ = Ring::keep_alive(self, conn, idle);
    }

    fn peer_address(&mut self, socket: &OwnedFd) -> Option<SocketAddr> {
        ring::peer_address(socket)
    }

    fn accept(&mut self, listener: u16) {
        Ring::accept(self, listener);
    }

    fn stop_accepting(&mut self, listener: u16) {
        Ring::stop_accepting(self, listener);
    }
}
