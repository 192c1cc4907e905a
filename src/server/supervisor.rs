//! What a supervisor such as systemd is told (sd_notify(3)): `Type=notify`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where to tell it: a path, or with an `@` in front a name without a file.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Everything listens.
pub(super) const READY: &str = "READY=1";
/// The server has been told to end.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Tells the supervisor, if there is one that wants to know. One that cannot be told is the
/// operator's to look after; here it changes nothing.
pub(super) fn tell(state: &str) {
    let Some(place) = std::env::var_os(VARIABLE) else { return };
    if let Err(error) = send(&place, state) {
        tracing::warn!(%error, "the supervisor cannot be told {state}");
    }
}

fn send(place: &OsStr, state: &str) -> io::Result<()> {
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A supervisor that does not read is not waited for.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}
