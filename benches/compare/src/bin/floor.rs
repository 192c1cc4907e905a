//! The floor: the bare relay on the engine's own ring, with the engine's own sizes.

use std::io::{Write, stdout};

use sigmux::ring::{self, Completion, ConnId, EndCause, Errno, Ring, Settings};
use sigmux_compare::relay::Relay;
use sigmux_compare::{BACKLOG, address};

/// What the ring knows of a slot.
#[derive(Default)]
struct Socket {
    generation: u32,
    sending: bool,
    /// Of the bytes under way, those that the kernel has taken.
    sent_bytes: usize,
}

struct Floor {
    ring: Ring,
    relay: Relay,
    sockets: Vec<Socket>,
}

fn main() {
    ring::raise_open_files();
    let listeners = ring::bind(address(), 1, BACKLOG).unwrap_or_else(|error| panic!("{error}"));
    let mut ring = Ring::new(Settings::default()).unwrap_or_else(|error| panic!("{error}"));
    for socket in listeners.sockets {
        ring.add_listener(socket);
    }
    // The script waits for this line.
    println!("listening");
    stdout().flush().expect("whoever started this reads it");
    let mut floor = Floor { ring, relay: Relay::default(), sockets: Vec::new() };
    loop {
        floor.ring.turn(true).expect("the ring goes on");
        while let Some(completion) = floor.ring.next_completion() {
            floor.handle(completion);
        }
        while let Some(slot) = floor.relay.next_dirty() {
            floor.flush(slot);
        }
    }
}

impl Floor {
    fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { socket, .. } => {
                let slot = self.relay.open();
                if self.sockets.len() <= slot as usize {
                    self.sockets.resize_with(slot as usize + 1, Socket::default);
                }
                let generation = self.sockets[slot as usize].generation.wrapping_add(1);
                self.sockets[slot as usize] = Socket { generation, ..Socket::default() };
                let conn = ConnId { slot, generation };
                self.ring.open(socket, conn);
                self.ring.receive(conn);
            }
            Completion::Received { conn, buffer, len } => {
                let goes_on = self.relay.received(conn.slot, self.ring.buffer(&buffer, len));
                self.ring.recycle(buffer);
                if !goes_on {
                    self.ring.close(conn);
                }
            }
            Completion::ReceiveEnded { conn, cause: EndCause::NoBuffers } => self.ring.receive(conn),
            Completion::ReceiveEnded { conn, .. } => self.ring.close(conn),
            Completion::Sent { conn, buffer, result } => self.sent(conn, buffer, result),
            Completion::Closed { conn } => self.relay.closed(conn.slot),
            Completion::AcceptEnded { listener, .. } => self.ring.accept(listener),
            Completion::Tick | Completion::Bell => {}
        }
    }

    fn sent(&mut self, conn: ConnId, buffer: Vec<u8>, result: Result<usize, Errno>) {
        let socket = &mut self.sockets[conn.slot as usize];
        socket.sending = false;
        match result {
            Ok(bytes) if socket.sent_bytes + bytes < buffer.len() => {
                socket.sent_bytes += bytes;
                socket.sending = self.ring.send(conn, buffer, socket.sent_bytes).is_ok();
            }
            Ok(_) => {
                self.relay.give_back(buffer);
                self.flush(conn.slot);
            }
            Err(_) => self.ring.close(conn),
        }
    }

    fn flush(&mut self, slot: u32) {
        let socket = &mut self.sockets[slot as usize];
        let conn = ConnId { slot, generation: socket.generation };
        if socket.sending {
            return;
        }
        if self.relay.has_out(slot) {
            socket.sent_bytes = 0;
            socket.sending = self.ring.send(conn, self.relay.take_out(slot), 0).is_ok();
        } else if self.relay.is_closing(slot) {
            self.ring.close(conn);
        }
    }
}
