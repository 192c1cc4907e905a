//! One dialect's view of the world: the host, with messages framed as this connection needs them.

use super::host::{Framing, Host};
use crate::base::{Now, PeerKey, RealmId};
use crate::dialect::{Context, Delivery, Kind, MessageLabel, Speaks, Undeliverable};
use crate::hub::{OnDuplicate, Route, Taken};
use crate::observe::Event;
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
    joined_us: &'a mut u64,
}

impl<'a> Speaker<'a> {
    /// `joined_us` is where the session keeps the time of its login; 0 while it has none.
    pub fn new(host: &'a mut dyn Host, framing: Framing, joined_us: &'a mut u64) -> Self {
        Speaker { host, framing, ending: None, joined_us }
    }

    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }
}

impl Context for Speaker<'_> {
    fn now(&self) -> Now {
        self.host.now()
    }

    fn me(&self) -> PeerKey {
        self.host.key()
    }

    fn random_u128(&mut self) -> u128 {
        self.host.random_u128()
    }

    fn reply(&mut self, kind: Kind, message: &[u8]) {
        let out = self.host.out();
        match (self.framing, kind) {
            (Framing::Stream, _) => out.extend_from_slice(message),
            (Framing::WebSocket, Kind::Binary) => websocket::write_message(out, Opcode::Binary, message),
            (Framing::WebSocket, Kind::Text) => websocket::write_message(out, Opcode::Text, message),
        }
    }

    fn set_speaks(&mut self, speaks: Speaks) {
        self.host.set_speaks(speaks);
    }

    fn join(&mut self, realm: RealmId, id: &str, on_duplicate: OnDuplicate) -> Result<(), Taken> {
        self.host.join(realm, id, on_duplicate)?;
        if *self.joined_us == 0 {
            // 0 means "not joined", and the process's clock may stand at 0 in a simulation.
            *self.joined_us = self.host.now().mono_us.max(1);
            self.host.metrics().sessions.add(1);
        }
        Ok(())
    }

    fn leave(&mut self, realm: RealmId, id: &str) {
        self.host.leave(realm, id);
        if *self.joined_us != 0 {
            let lasted_us = self.host.now().mono_us.saturating_sub(*self.joined_us);
            *self.joined_us = 0;
            let metrics = self.host.metrics();
            metrics.sessions.add(-1);
            metrics.sessions_ended.add(1);
            metrics.session_milliseconds.add(lasted_us / 1000);
        }
    }

    fn send(
        &mut self,
        realm: RealmId,
        to: &str,
        route: &mut Option<Box<Route>>,
        delivery: &Delivery<'_>,
    ) -> Result<(), Undeliverable> {
        self.host.send(realm, to, route, delivery)
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.ending.get_or_insert(Ending { code, reason });
    }

    fn may_go_on(&self) -> bool {
        self.ending.is_none() && self.host.may_go_on()
    }

    fn draining(&self) -> bool {
        self.host.draining()
    }

    fn count_received(&mut self, label: MessageLabel) {
        self.host.metrics().messages_received[usize::from(label.0)].add(1);
    }

    fn count_sent(&mut self, label: MessageLabel) {
        self.host.metrics().messages_sent[usize::from(label.0)].add(1);
    }

    fn count_error(&mut self, index: u8) {
        self.host.metrics().errors[usize::from(index)].add(1);
    }

    fn publish(&mut self, event: Event) {
        self.host.publish(event);
    }
}
