//! The outgoing half of a connection. It stands apart from the session, so that a session which is
//! being fed can write to the ports of others, and to its own.

use std::net::SocketAddr;

use super::preface::Preface;
use crate::base::{NodeId, planted};
use crate::dialect::Speaks;
use crate::session::{CannotSeal, Framing, Outbox, Spares, Tls};

/// One connection's way out, and what the shard has told the ring about it.
pub struct Port {
    pub generation: u32,
    pub outbox: Outbox,
    /// Where the connection speaks TLS, or may yet.
    pub tls: Option<Box<Tls>>,
    pub speaks: Speaks,
    pub framing: Framing,
    /// The node whose inbox was full when this connection sent there.
    pub held_for: Option<NodeId>,
    /// In the list of ports to be flushed at the end of the turn.
    pub touched: bool,
    /// The ring has been told to receive.
    pub reading: bool,
    /// The peer has finished writing.
    pub ended: bool,
    /// The write side has been shut.
    pub shut: bool,
    /// The ring has been told to close.
    pub closing: bool,
    pub admission: Admission,
    /// A proxy has to say first who its client is.
    pub preface: Option<Box<Preface>>,
    /// As a proxy names it, else who holds the other end of the socket.
    pub client: Option<SocketAddr>,
    /// It counts among the connections of that address.
    pub counts_at_address: bool,
    /// Its session has panicked once.
    pub failed: bool,
    /// Its outbox has been above the soft limit since it was last empty.
    pub over_soft: bool,
    /// The nodes to which it has sent messages since it was last fenced, a bit each.
    pub sent_to: u128,
    /// Fences that have not come back.
    pub fences: u8,
    /// Since when it has held an id; 0: it holds none.
    pub joined_us: u64,
    /// Since when its outbox has been full; 0: it is not.
    pub over_since_us: u64,
}

/// What a connection counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// `connections_max`.
    Client,
    /// A limit of its own, so that a full server can still be looked at.
    Operator,
    /// It is told that it is not served.
    Refused,
}

/// Ports by slot. A slot's port stays, with its generation, until the next tenant comes.
#[derive(Default)]
pub struct Ports {
    slots: Vec<Option<Port>>,
}

impl Port {
    fn new(generation: u32, admission: Admission, tls: Option<Box<Tls>>) -> Port {
        Port {
            generation,
            outbox: Outbox::default(),
            tls,
            speaks: Speaks::Nothing,
            framing: Framing::Stream,
            held_for: None,
            touched: false,
            reading: false,
            ended: false,
            shut: false,
            closing: false,
            admission,
            preface: None,
            client: None,
            counts_at_address: false,
            failed: false,
            over_soft: false,
            sent_to: 0,
            fences: 0,
            joined_us: 0,
            over_since_us: 0,
        }
    }
}

impl Port {
    /// Has the port flushed at the end of the turn.
    pub fn touch(&mut self, slot: u32, touched: &mut Vec<u32>) {
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(slot);
        }
    }

    /// The bytes of the next send, if there are any and none are in flight.
    ///
    /// # Errors
    /// TLS can send nothing any more; the connection is lost.
    pub fn start_send(&mut self, spares: &mut Spares) -> Result<Option<Vec<u8>>, CannotSeal> {
        match &mut self.tls {
            None => Ok(self.outbox.start_send()),
            Some(tls) => self.outbox.start_sealed_send(tls, spares),
        }
    }

    /// The kernel has taken `taken` further bytes of the send. Tells how many bytes of the outbox that
    /// makes, and, where the send was cut short, with what it goes on.
    pub fn sent(
        &mut self,
        bytes: Vec<u8>,
        taken: usize,
        spares: &mut Spares,
        delivered: impl FnMut(u64, u32),
    ) -> (usize, Option<(Vec<u8>, usize)>) {
        match &mut self.tls {
            None => (taken, self.outbox.sent(bytes, taken, spares, delivered)),
            Some(tls) => self.outbox.sent_sealed(tls, bytes, taken, spares, delivered),
        }
    }

    /// Nothing waits to be sent, and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.outbox.is_empty() && !self.tls.as_ref().is_some_and(|tls| tls.has_output())
    }

    /// Everything has left, and the end of TLS behind it; that one goes out only now.
    pub fn has_said_goodbye(&mut self, slot: u32, touched: &mut Vec<u32>) -> bool {
        let Some(tls) = &mut self.tls else { return true };
        tls.close_notify();
        let is_empty = self.is_empty();
        if !is_empty {
            self.touch(slot, touched);
        }
        is_empty
    }
}

impl Ports {
    pub fn open(
        &mut self,
        slot: u32,
        generation: u32,
        admission: Admission,
        tls: Option<Box<Tls>>,
    ) -> &mut Port {
        let index = slot as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index].insert(Port::new(generation, admission, tls))
    }

    pub fn get(&mut self, slot: u32, generation: u32) -> Option<&mut Port> {
        self.at(slot).filter(|port| port.generation == generation || planted!(GenerationUnchecked))
    }

    pub fn find(&self, slot: u32, generation: u32) -> Option<&Port> {
        self.slots.get(slot as usize)?.as_ref().filter(|port| port.generation == generation)
    }

    /// The port of a slot's present tenant.
    pub fn at(&mut self, slot: u32) -> Option<&mut Port> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// One more than the highest slot that was ever used.
    pub fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    pub fn remove(&mut self, slot: u32, generation: u32) -> Option<Port> {
        self.slots.get_mut(slot as usize)?.take_if(|port| port.generation == generation)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Port)> {
        self.slots.iter().enumerate().filter_map(|(slot, port)| port.as_ref().map(|p| (slot as u32, p)))
    }
}
