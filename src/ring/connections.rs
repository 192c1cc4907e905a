//! Open sockets, and what the kernel still does to each.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Names a connection as its shard does. The ring answers with the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}

/// What is under way. A connection is freed when it is closing and neither of the first two is.
pub(super) const RECEIVING: u8 = 1;
pub(super) const SENDING: u8 = 1 << 1;
/// The receive has been told to end, and has not yet.
pub(super) const STOPPING: u8 = 1 << 2;
/// Once it has ended, it is to start again.
pub(super) const RESUMING: u8 = 1 << 3;
pub(super) const CLOSING: u8 = 1 << 4;
/// It receives one buffer at a time.
pub(super) const ONCE: u8 = 1 << 5;

/// One slot. Tens of thousands of idle connections are ordinary, so it is kept small.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub socket: Option<OwnedFd>,
    generation: u32,
    /// Index into `Flights` while `SENDING`.
    pub flight: u32,
    pub state: u8,
}

const _: () = assert!(size_of::<Connection>() == 16);

impl Connection {
    pub fn has(&self, flag: u8) -> bool {
        self.state & flag != 0
    }

    /// The descriptor, for an operation to name. `-1`, which the kernel refuses with EBADF, if
    /// the slot is empty.
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// The table, indexed by the shard's slots, and so bounded by the shard's `connections_max`.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Connection>,
    open: usize,
}

impl Connections {
    /// # Panics
    /// If the slot has not been reported closed: the shard has mixed up its connections.
    pub fn open(&mut self, conn: ConnId, socket: OwnedFd) {
        let index = conn.slot as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Connection::default);
        }
        let slot = &mut self.slots[index];
        assert!(slot.socket.is_none(), "slot {} is still in use", conn.slot);
        *slot = Connection { socket: Some(socket), generation: conn.generation, flight: 0, state: 0 };
        self.open += 1;
    }

    /// The connection, if it is open and has that generation.
    pub fn get(&mut self, conn: ConnId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(conn.slot as usize)?;
        (slot.generation == conn.generation && slot.socket.is_some()).then_some(slot)
    }

    /// The same by the part of the generation that a completion carries.
    pub fn find(
        &mut self,
        slot: u32,
        generation_part: u32,
        part_mask: u32,
    ) -> Option<(ConnId, &mut Connection)> {
        let found = self.slots.get_mut(slot as usize)?;
        let generation = found.generation;
        let is_it = generation & part_mask == generation_part && found.socket.is_some();
        is_it.then_some((ConnId { slot, generation }, found))
    }

    /// Closes the descriptor and frees the slot.
    pub fn free(&mut self, conn: ConnId) {
        if let Some(slot) = self.get(conn) {
            slot.socket = None;
            slot.state = 0;
            self.open -= 1;
        }
    }

    pub fn open_count(&self) -> usize {
        self.open
    }
}

/// Bytes that the kernel is sending from. They move in and out whole, so no byte changes its
/// address; an idle connection has no place here.
#[derive(Debug, Default)]
pub(super) struct Flights {
    bytes: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Flights {
    pub fn board(&mut self, bytes: Vec<u8>) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.bytes[index as usize] = bytes;
                index
            }
            None => {
                self.bytes.push(bytes);
                self.bytes.len() as u32 - 1
            }
        }
    }

    pub fn land(&mut self, index: u32) -> Vec<u8> {
        self.free.push(index);
        std::mem::take(&mut self.bytes[index as usize])
    }

    /// Never frees what is in flight, for a ring whose operations would not end.
    pub fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> OwnedFd {
        rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn a_former_generation_finds_nobody() {
        let mut table = Connections::default();
        let old = ConnId { slot: 3, generation: 7 };
        table.open(old, socket());
        assert!(table.get(old).is_some());
        table.free(old);
        assert!(table.get(old).is_none());
        let new = ConnId { slot: 3, generation: 8 };
        table.open(new, socket());
        assert!(table.get(old).is_none() && table.get(new).is_some());
        assert!(table.find(3, 7, 0xFF).is_none() && table.find(3, 8, 0xFF).is_some());
        assert_eq!(table.open_count(), 1);
    }

    #[test]
    #[should_panic(expected = "still in use")]
    fn a_slot_has_one_tenant() {
        let mut table = Connections::default();
        table.open(ConnId { slot: 0, generation: 0 }, socket());
        table.open(ConnId { slot: 0, generation: 1 }, socket());
    }

    #[test]
    fn bytes_in_flight_keep_their_address() {
        let mut flights = Flights::default();
        let bytes = vec![1, 2, 3];
        let address = bytes.as_ptr();
        let index = flights.board(bytes);
        (0..100).for_each(|_| {
            flights.board(vec![0; 8]);
        });
        let back = flights.land(index);
        assert_eq!((back.as_ptr(), back.len()), (address, 3));
        assert_eq!(flights.board(Vec::new()), index);
    }
}
