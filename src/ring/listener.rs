//! Listening sockets: several for one address, and none for an address that someone else has.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, getpeername, getsockname, listen, socket_with, sockopt,
};

/// Sockets that listen on one address. The kernel spreads connections over them.
#[derive(Debug)]
pub struct Listeners {
    /// The address with the port that was really taken.
    pub address: SocketAddr,
    /// One for each shard.
    pub sockets: Vec<OwnedFd>,
}

/// Why nothing listens. No connection was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// Someone has the address, or all of it (`0.0.0.0`), or a part of it.
    InUse(SocketAddr),
    /// No interface of this machine has the address.
    NotAvailable(SocketAddr),
    /// A port below 1024 needs CAP_NET_BIND_SERVICE.
    Forbidden(SocketAddr),
    /// RLIMIT_NOFILE or the machine's limit is reached.
    OpenFiles(SocketAddr),
    Other(SocketAddr, Errno),
}

/// Listens on `address` with so many `sockets`; port 0 takes a free one for all of them.
/// `backlog` connections may wait at each (the kernel caps it at net.core.somaxconn).
///
/// SO_REUSEPORT would let a second process of the same user share the address in silence, and each
/// would get some of the connections. So the first socket binds and listens without it: that
/// fails if anyone has the address, whatever options they set. Listening is what decides between
/// two that start at once, since SO_REUSEADDR (needed to start while old connections are in
/// TIME_WAIT) lets both bind. The option is set afterwards, and the others join.
pub fn bind(address: SocketAddr, sockets: usize, backlog: i32) -> Result<Listeners, BindError> {
    let failed = |errno| BindError::of(address, errno);
    let first = bound(&address, false).map_err(failed)?;
    listen(&first, backlog).map_err(failed)?;
    sockopt::set_socket_reuseport(&first, true).map_err(failed)?;
    let taken = SocketAddr::try_from(getsockname(&first).map_err(failed)?).map_err(failed)?;

    let mut all = Vec::with_capacity(sockets.max(1));
    all.push(first);
    for _ in 1..sockets {
        let next = bound(&taken, true).map_err(failed)?;
        listen(&next, backlog).map_err(failed)?;
        all.push(next);
    }
    Ok(Listeners { address: taken, sockets: all })
}

/// Address of the other end of a connection; `None` if it has already gone.
pub fn peer_address(socket: &OwnedFd) -> Option<SocketAddr> {
    getpeername(socket).ok().flatten()?.try_into().ok()
}

impl BindError {
    fn of(address: SocketAddr, errno: Errno) -> BindError {
        match errno {
            Errno::ADDRINUSE => BindError::InUse(address),
            Errno::ADDRNOTAVAIL => BindError::NotAvailable(address),
            Errno::ACCESS | Errno::PERM => BindError::Forbidden(address),
            Errno::MFILE | Errno::NFILE => BindError::OpenFiles(address),
            other => BindError::Other(address, other),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::InUse(address) => write!(f, "{address}: address in use"),
            BindError::NotAvailable(address) => {
                write!(f, "{address}: no interface of this machine has this address")
            }
            BindError::Forbidden(address) => {
                write!(f, "{address}: not allowed; a port below 1024 needs CAP_NET_BIND_SERVICE")
            }
            BindError::OpenFiles(address) => {
                write!(f, "{address}: too many open files; raise RLIMIT_NOFILE (`ulimit -n`)")
            }
            BindError::Other(address, errno) => write!(f, "{address}: {errno}"),
        }
    }
}

impl Error for BindError {}

/// A bound socket whose options the accepted ones inherit. It blocks, as io_uring wants it: the
/// ring waits in the kernel, and with O_NONBLOCK it would give up instead.
fn bound(address: &SocketAddr, share_port: bool) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, whatever net.ipv6.bindv6only says.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Output is gathered by the turn already, so the kernel must not wait for more.
    sockopt::set_tcp_nodelay(&socket, true)?;
    if share_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    rustix::net::bind(&socket, address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn a_second_instance_is_refused() {
        let first = bind(LOOPBACK, 2, 16).unwrap();
        assert_ne!(first.address.port(), 0);
        assert_eq!(bind(first.address, 2, 16).unwrap_err(), BindError::InUse(first.address));
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, first.address.port()));
        assert_eq!(bind(all, 1, 16).unwrap_err(), BindError::InUse(all));
        assert!(BindError::InUse(all).to_string().contains("address in use"));
    }

    #[test]
    fn an_address_that_its_owner_would_share_is_refused_all_the_same() {
        let other = bound(&LOOPBACK, true).unwrap();
        listen(&other, 1).unwrap();
        let address = SocketAddr::try_from(getsockname(&other).unwrap()).unwrap();
        assert_eq!(bind(address, 2, 16).unwrap_err(), BindError::InUse(address));
    }

    #[test]
    fn of_two_that_start_at_once_one_wins() {
        let slower = bound(&LOOPBACK, false).unwrap();
        let address = SocketAddr::try_from(getsockname(&slower).unwrap()).unwrap();
        let _winner = bind(address, 2, 16).unwrap();
        assert_eq!(listen(&slower, 16), Err(Errno::ADDRINUSE));
    }

    #[test]
    fn connections_reach_every_socket() {
        let listeners = bind(LOOPBACK, 4, 128).unwrap();
        let clients: Vec<TcpStream> =
            (0..200).map(|_| TcpStream::connect(listeners.address).unwrap()).collect();
        let counts: Vec<usize> = listeners
            .sockets
            .into_iter()
            .map(|socket| {
                let socket = TcpListener::from(socket);
                socket.set_nonblocking(true).unwrap();
                std::iter::from_fn(|| socket.accept().ok()).count()
            })
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), clients.len());
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }

    #[test]
    fn connections_in_time_wait_are_no_obstacle() {
        let listeners = bind(LOOPBACK, 2, 16).unwrap();
        let address = listeners.address;
        let mut client = TcpStream::connect(address).unwrap();
        // The side that closes first keeps the connection in TIME_WAIT.
        let accepted = listeners
            .sockets
            .into_iter()
            .map(TcpListener::from)
            .inspect(|socket| socket.set_nonblocking(true).unwrap())
            .find_map(|socket| socket.accept().ok());
        drop(accepted.expect("it was accepted by one of the two"));
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        drop(client);
        assert!(bind(address, 2, 16).is_ok());
    }

    #[test]
    fn both_families_can_have_the_same_port() {
        let four = bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), 1, 16).unwrap();
        let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, four.address.port()));
        match bind(six, 1, 16) {
            Ok(six) => assert_eq!(six.address.port(), four.address.port()),
            // A machine without IPv6.
            Err(error) => assert!(matches!(error, BindError::Other(_, Errno::AFNOSUPPORT)), "{error}"),
        }
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let elsewhere = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0));
        assert_eq!(bind(elsewhere, 1, 16).unwrap_err(), BindError::NotAvailable(elsewhere));
    }
}
