//! The ring against the real kernel, over loopback.

mod echo;
mod life;
mod receiving;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;

const CONN: ConnId = ConnId { slot: 0, generation: 0 };

fn small() -> Settings {
    Settings { sq_entries: 64, cq_entries: 256, buffers_count: 16, buffer_bytes: 4096, busy_poll_us: 0 }
}

/// A ring whose ticks serve as a watchdog: a test that waits for something that never comes
/// fails, and does not hang.
fn ring(settings: Settings) -> Ring {
    let mut ring = Ring::new(settings).unwrap();
    ring.tick_every(WATCHDOG_TICK);
    ring
}

const WATCHDOG_TICK: Duration = Duration::from_millis(100);
const WATCHDOG_TICKS_MAX: usize = 150;

/// The next completion but for ticks, sleeping for it.
fn next(ring: &mut Ring) -> Completion {
    let mut ticks = 0;
    loop {
        match ring.next_completion() {
            Some(Completion::Tick) => ticks += 1,
            Some(completion) => return completion,
            None => ring.turn(true).unwrap(),
        }
        assert!(ticks < WATCHDOG_TICKS_MAX, "nothing happened for 15 s");
    }
}

/// Lets the kernel do what it can and returns what has happened, without waiting.
fn all_ready(ring: &mut Ring) -> Vec<Completion> {
    ring.turn(false).unwrap();
    std::iter::from_fn(|| ring.next_completion()).filter(|c| !matches!(c, Completion::Tick)).collect()
}

fn listen(ring: &mut Ring) -> SocketAddr {
    let listeners = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1, 512).unwrap();
    listeners.sockets.into_iter().for_each(|socket| {
        ring.add_listener(socket);
    });
    listeners.address
}

fn accept(ring: &mut Ring, address: SocketAddr) -> (OwnedFd, TcpStream) {
    let client = TcpStream::connect(address).unwrap();
    match next(ring) {
        Completion::Accepted { listener: 0, socket } => (socket, client),
        other => panic!("{other:?}"),
    }
}

/// A connection under [`CONN`] and its other end.
fn connected(ring: &mut Ring) -> TcpStream {
    let address = listen(ring);
    let (socket, client) = accept(ring, address);
    ring.open(socket, CONN);
    client
}

/// Two connected sockets without an address.
fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
}

/// Sockets on this port at the listener's side that some process still has open. By port, since
/// other tests open and close descriptors meanwhile.
fn open_on_port(port: u16) -> usize {
    let local = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns[1].ends_with(&local) && columns[9] != "0")
        .count()
}
