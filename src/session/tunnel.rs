//! A connection whose HTTP the front serves: plain bytes pass both ways, bounded by credits.

use std::net::IpAddr;

use super::host::{Host, TunnelOut};
use super::{Step, Then};
use crate::dialect::Opening;

#[derive(Default)]
pub(super) struct Tunnel {
    sent_bytes: u64,
    credited_bytes: u64,
    peer_ended: bool,
    end_sent: bool,
    returning: Option<Returning>,
}

/// The front has given the connection back; bytes that were on their way to it come back too.
pub(super) struct Returning {
    accounted_bytes: u64,
    /// Bytes that HTTP did not use.
    pub(super) rest: Vec<u8>,
    /// What the WebSocket was asked for with.
    pub(super) opening: Opening,
    pub(super) client: Option<IpAddr>,
}

/// What the front gives back with the connection.
pub enum Leftover<'a> {
    /// The 101 has been sent. The front had received so many bytes, of which HTTP did not use `rest`.
    /// `client` is whom a proxy asks for, if that is another than the tunnel's.
    Returned { received_bytes: u64, rest: &'a [u8], opening: Opening, client: Option<IpAddr> },
    /// These were on their way to the front.
    Unused(&'a [u8]),
}

impl Tunnel {
    pub fn open(host: &mut dyn Host) -> Tunnel {
        host.tunnel(TunnelOut::Open);
        Tunnel::default()
    }

    pub fn wants_input(&self, window_bytes: usize) -> bool {
        self.returning.is_some() || self.room(window_bytes) > 0
    }

    pub fn step(&mut self, bytes: &[u8], window_bytes: usize, host: &mut dyn Host) -> Step {
        // A connection on its way back keeps what arrives for the WebSocket that it becomes.
        let used = if self.returning.is_some() { 0 } else { self.room(window_bytes).min(bytes.len()) };
        if used > 0 {
            host.tunnel(TunnelOut::Bytes(&bytes[..used]));
            self.sent_bytes += used as u64;
        }
        if self.peer_ended && used == bytes.len() && !std::mem::replace(&mut self.end_sent, true) {
            host.tunnel(TunnelOut::End);
        }
        Step { used, then: Then::Wait }
    }

    pub fn credit(&mut self, bytes: usize) {
        self.credited_bytes = (self.credited_bytes + bytes as u64).min(self.sent_bytes);
    }

    /// The client has shut its side; the front hears of it behind the last byte.
    pub fn peer_ended(&mut self) {
        self.peer_ended = true;
    }

    /// `Some` when everything that was sent is accounted for.
    pub fn give_back(&mut self, leftover: Leftover<'_>) -> Option<Returning> {
        match (leftover, &mut self.returning) {
            (Leftover::Returned { received_bytes, rest, opening, client }, returning @ None) => {
                let (accounted_bytes, rest) = (received_bytes, rest.to_vec());
                *returning = Some(Returning { accounted_bytes, rest, opening, client });
            }
            (Leftover::Unused(bytes), Some(returning)) => {
                returning.accounted_bytes += bytes.len() as u64;
                returning.rest.extend_from_slice(bytes);
            }
            // The front gives a tunnel back once, and nothing before that.
            (Leftover::Returned { .. }, Some(_)) | (Leftover::Unused(_), None) => return None,
        }
        let sent_bytes = self.sent_bytes;
        self.returning.take_if(|returning| returning.accounted_bytes >= sent_bytes)
    }

    /// The connection is over; the front, unless it ended it itself, has to hear of it.
    pub fn ended(&mut self, host: &mut dyn Host) {
        host.tunnel(TunnelOut::Reset);
    }

    fn room(&self, window_bytes: usize) -> usize {
        window_bytes.saturating_sub((self.sent_bytes - self.credited_bytes) as usize)
    }
}
