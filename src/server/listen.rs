//! The listening sockets of all listeners, and what `--print-ports` says of them.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::Serialize;

use super::ServeError;
use crate::config::Settings;
use crate::ring::{self, BindError};

/// Connections that may wait at one socket. The kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// One bound address.
pub(super) struct Bound {
    /// Index of its listener in the settings.
    pub listener: usize,
    pub address: SocketAddr,
    /// One for each shard.
    pub sockets: Vec<OwnedFd>,
}

/// Binds everything, or nothing.
pub(super) fn bind_all(settings: &Settings, shards: usize) -> Result<Vec<Bound>, ServeError> {
    let mut bound: Vec<Bound> = Vec::new();
    for (listener, wanted) in settings.listeners.iter().enumerate() {
        let mut port = None;
        for address in &wanted.addresses {
            let mut socket = address.socket;
            // `localhost:0` means one port on both of its addresses, if it can be had.
            if socket.port() == 0
                && let Some(port) = port
            {
                socket.set_port(port);
            }
            let mut result = ring::bind(socket, shards, BACKLOG);
            if matches!(result, Err(BindError::InUse(_))) && socket != address.socket {
                result = ring::bind(address.socket, shards, BACKLOG);
            }
            match result {
                Ok(listeners) => {
                    port = Some(listeners.address.port());
                    bound.push(Bound { listener, address: listeners.address, sockets: listeners.sockets });
                }
                Err(error) if address.optional && is_absent(&error) => {
                    tracing::debug!(listener = wanted.name, %error, "this machine does not have the address");
                }
                Err(error) => return Err(ServeError::Bind { listener: wanted.name.clone(), error }),
            }
        }
    }
    Ok(bound)
}

/// No such address here: a machine without IPv6.
fn is_absent(error: &BindError) -> bool {
    match error {
        BindError::NotAvailable(_) => true,
        BindError::Other(_, errno) => *errno == ring::Errno::AFNOSUPPORT,
        _ => false,
    }
}

/// The line that `--print-ports` prints.
pub(super) fn ports_line(settings: &Settings, bound: &[(usize, SocketAddr)]) -> String {
    #[derive(Serialize)]
    struct Ports<'a> {
        listeners: Vec<Port<'a>>,
    }
    #[derive(Serialize)]
    struct Port<'a> {
        name: &'a str,
        bind: String,
        serves: Vec<&'static str>,
    }
    let listeners = bound
        .iter()
        .map(|(listener, address)| {
            let of = &settings.listeners[*listener];
            Port {
                name: &of.name,
                bind: address.to_string(),
                serves: of.serves.iter().map(|service| service.name()).collect(),
            }
        })
        .collect();
    serde_json::to_string(&Ports { listeners }).expect("strings and lists are always JSON")
}
