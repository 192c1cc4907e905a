//! One dialect's view of its connection: messages are framed as the connection needs them, and an
//! end that the dialect wishes for is noted.

use super::host::{Framing, Host};
use crate::dialect::{Context, Kind, Surroundings};
use crate::wire::websocket::{self, CloseCode, Opcode};

/// A dialect's wish to end the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub code: CloseCode,
    pub reason: &'static str,
}

pub(super) struct Speaker<'a> {
    host: &'a mut dyn Host,
    framing: Framing,
    ending: Option<Ending>,
}

impl<'a> Speaker<'a> {
    pub fn new(host: &'a mut dyn Host, framing: Framing) -> Self {
        Speaker { host, framing, ending: None }
    }

    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }
}

impl Context for Speaker<'_> {
    fn around(&mut self) -> &mut dyn Surroundings {
        self.host
    }

    fn reply(&mut self, kind: Kind, message: &[u8]) {
        let out = self.host.out();
        match (self.framing, kind) {
            (Framing::Stream, _) => out.extend_from_slice(message),
            (Framing::WebSocket, Kind::Binary) => websocket::write_message(out, Opcode::Binary, message),
            (Framing::WebSocket, Kind::Text) => websocket::write_message(out, Opcode::Text, message),
        }
    }

    fn ping(&mut self) {
        if self.framing == Framing::WebSocket {
            websocket::write_message(self.host.out(), Opcode::Ping, b"");
        }
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.ending.get_or_insert(Ending { code, reason });
    }

    fn may_go_on(&self) -> bool {
        self.ending.is_none() && self.host.has_room()
    }
}
