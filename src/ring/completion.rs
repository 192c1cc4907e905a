//! What comes back from the kernel, and how it finds its connection again.
//!
//! ```text
//! user_data:  | kind 8 | generation, low 24 bits | slot or listener 32 |
//! ```
//!
//! Operations that are joined before their slot is reused could do without the generation. The
//! answer to a cancellation that failed is not joined, and needs it.

use std::fmt;
use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::{cqueue, squeue};
use rustix::io::Errno;

use super::buffers::BufferId;
use super::connections::{CLOSING, ConnId, ONCE, RECEIVING, RESUMING, SENDING, STOPPING};
use super::turn::Ring;

/// One thing that happened. `Debug` shows sizes and never bytes.
pub enum Completion {
    /// A connection came in. The shard opens it with a slot, or drops the socket.
    Accepted { listener: u16, socket: OwnedFd },
    /// The listener accepts no more until `accept` is called again; with `CANCELED`, it was
    /// stopped and its socket is closed. After EMFILE, ENFILE, ENOMEM or ENOBUFS the machine is
    /// short of something: try again at the next tick, not at once.
    AcceptEnded { listener: u16, error: Errno },
    /// `len` bytes, never 0, in a buffer that has to be recycled.
    Received { conn: ConnId, buffer: BufferId, len: usize },
    /// Comes once for each `receive`, behind all its data. None comes after `close`.
    ReceiveEnded { conn: ConnId, cause: EndCause },
    /// The send has ended. `result` says how many bytes from its offset on the kernel took: all
    /// of them but for a short send, which the shard continues. With an error, nothing is known
    /// to have been taken.
    Sent { conn: ConnId, buffer: Vec<u8>, result: Result<usize, Errno> },
    /// The last operation of a closing connection is back, its descriptor is closed, and its slot
    /// may be used again.
    Closed { conn: ConnId },
    /// The time given to `tick_every` has passed.
    Tick,
    /// Another thread rang.
    Bell,
}

/// Why a receive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The peer has finished writing.
    Eof,
    /// No buffer was free when data came. The data waits in the socket: receive again.
    NoBuffers,
    /// `stop_receiving` did it.
    Cancelled,
    /// It was for one buffer.
    Once,
    Error(Errno),
}

impl Ring {
    /// The next thing that happened, or `None` when all that the kernel has shown so far has been
    /// handled. Operations may be started between calls.
    pub fn next_completion(&mut self) -> Option<Completion> {
        loop {
            if let Some(follow_up) = self.follow_ups.pop_front() {
                return Some(follow_up);
            }
            let entry = self.next_entry()?;
            let (result, flags) = (entry.result(), entry.flags());
            let (kind, slot, generation) = unpack(entry.user_data());
            let completion = match kind {
                RECEIVE => self.on_receive(slot, generation, result, flags),
                SEND => self.on_send(slot, generation, result),
                ACCEPT => self.on_accept(slot as u16, result, flags),
                TICK => self.on_tick(result),
                BELL => Some(Completion::Bell),
                CANCEL_RECEIVE => self.on_cancel_failed(slot, generation, RECEIVE),
                CANCEL_SEND => self.on_cancel_failed(slot, generation, SEND),
                CANCEL_ACCEPT => {
                    self.on_cancel_accept_failed(slot as u16);
                    None
                }
                BELL_LOST => {
                    self.counters.bells_lost += 1;
                    None
                }
                // The end of the ring found nothing left to cancel.
                _ => None,
            };
            if completion.is_some() {
                return completion;
            }
        }
    }

    fn on_receive(&mut self, slot: u32, generation: u32, result: i32, flags: u32) -> Option<Completion> {
        let last = !cqueue::more(flags);
        let buffer = cqueue::buffer_select(flags).map(|id| self.buffers.take(id));
        if last {
            self.outstanding -= 1;
        }
        let Some((conn, state)) = self.connections.find(slot, generation, GENERATION_MASK) else {
            // A receive is joined before its slot is freed, so this cannot be. The buffer is kept.
            debug_assert!(false, "a receive outlived its connection");
            buffer.into_iter().for_each(|id| self.buffers.recycle(id));
            return None;
        };
        let before = state.state;
        if last {
            state.state &= !(RECEIVING | STOPPING | RESUMING);
        }

        if before & CLOSING != 0 {
            buffer.into_iter().for_each(|id| self.buffers.recycle(id));
            if last {
                self.free_if_idle(conn);
            }
            return None;
        }
        let stopped = before & STOPPING != 0 && before & RESUMING == 0;
        match (result, buffer) {
            (1.., Some(buffer)) => {
                if last && (stopped || before & ONCE != 0) {
                    let cause = if stopped { EndCause::Cancelled } else { EndCause::Once };
                    self.follow_ups.push_back(Completion::ReceiveEnded { conn, cause });
                } else if last {
                    // The kernel ended it for want of room for completions. Nothing is wrong.
                    self.receive(conn);
                }
                Some(Completion::Received { conn, buffer, len: result as usize })
            }
            (_, buffer) => {
                // Some kernels spend a buffer on the end of the stream.
                buffer.into_iter().for_each(|id| self.buffers.recycle(id));
                if !last {
                    return None;
                }
                let cause = match errno(result) {
                    None => EndCause::Eof,
                    Some(Errno::CANCELED) => EndCause::Cancelled,
                    Some(Errno::NOBUFS) => {
                        self.counters.buffers_missing += 1;
                        if stopped { EndCause::Cancelled } else { EndCause::NoBuffers }
                    }
                    Some(errno) => EndCause::Error(errno),
                };
                if cause == EndCause::Cancelled && before & RESUMING != 0 {
                    self.start_receive(conn, before & ONCE);
                    return None;
                }
                Some(Completion::ReceiveEnded { conn, cause })
            }
        }
    }

    fn on_send(&mut self, slot: u32, generation: u32, result: i32) -> Option<Completion> {
        self.outstanding -= 1;
        let Some((conn, state)) = self.connections.find(slot, generation, GENERATION_MASK) else {
            debug_assert!(false, "a send outlived its connection");
            return None;
        };
        state.state &= !SENDING;
        let flight = state.flight;
        let closing = state.has(CLOSING);
        let buffer = self.flights.land(flight);
        if closing {
            self.free_if_idle(conn);
        }
        let result = errno(result).map_or(Ok(result as usize), Err);
        Some(Completion::Sent { conn, buffer, result })
    }

    fn on_accept(&mut self, index: u16, result: i32, flags: u32) -> Option<Completion> {
        let last = !cqueue::more(flags);
        let socket = errno(result).is_none().then(|| {
            // SAFETY: the kernel has just made this descriptor for us, and this completion is the
            // only one that names it.
            unsafe { OwnedFd::from_raw_fd(result) }
        });
        if last {
            self.outstanding -= 1;
            self.on_accept_ended(index, errno(result));
        }
        socket.map(|socket| Completion::Accepted { listener: index, socket })
    }

    /// `error` is `None` where the kernel ended it for want of room for completions.
    fn on_accept_ended(&mut self, index: u16, error: Option<Errno>) {
        let Some(listener) = self.listeners.get_mut(usize::from(index)) else { return };
        listener.armed = false;
        if listener.stopping {
            listener.socket = None;
            let error = Errno::CANCELED;
            self.follow_ups.push_back(Completion::AcceptEnded { listener: index, error });
            return;
        }
        match error {
            // A peer that gave up while it was waiting says nothing about the listener.
            None | Some(Errno::CONNABORTED | Errno::INTR) => self.accept(index),
            Some(error) => self.follow_ups.push_back(Completion::AcceptEnded { listener: index, error }),
        }
    }

    fn on_tick(&mut self, result: i32) -> Option<Completion> {
        self.outstanding -= 1;
        self.ticking = false;
        let elapsed = errno(result) == Some(Errno::TIME);
        if elapsed {
            self.arm_tick();
        }
        elapsed.then_some(Completion::Tick)
    }

    /// A cancellation can miss its target while the kernel is between two rounds of it. Then the
    /// target is still under way, and the cancellation is repeated, once a turn.
    fn on_cancel_failed(&mut self, slot: u32, generation: u32, kind: u8) -> Option<Completion> {
        let (conn, state) = self.connections.find(slot, generation, GENERATION_MASK)?;
        let repeat = match kind {
            RECEIVE => state.has(RECEIVING) && state.has(STOPPING | CLOSING),
            _ => state.has(SENDING) && state.has(CLOSING),
        };
        if repeat {
            self.cancel(kind, conn);
        }
        None
    }

    fn on_cancel_accept_failed(&mut self, index: u16) {
        let still_armed = self
            .listeners
            .get(usize::from(index))
            .is_some_and(|listener| listener.armed && listener.stopping);
        if still_armed {
            self.cancel_accept(index);
        }
    }

    /// Copies completions out in batches, so that the kernel gets its room back at once.
    fn next_entry(&mut self) -> Option<cqueue::Entry> {
        if self.reaped_next == self.reaped.len() {
            self.reaped.clear();
            self.reaped_next = 0;
            self.reaped.extend(self.uring.completion().take(REAPED_MAX));
        }
        let entry = self.reaped.get(self.reaped_next)?.clone();
        self.reaped_next += 1;
        Some(entry)
    }
}

/// Completions copied out at a time: 1 KiB, 16 cache lines.
pub(super) const REAPED_MAX: usize = 64;

pub(super) const ACCEPT: u8 = 1;
pub(super) const RECEIVE: u8 = 2;
pub(super) const SEND: u8 = 3;
pub(super) const CANCEL_RECEIVE: u8 = 4;
pub(super) const CANCEL_SEND: u8 = 5;
pub(super) const CANCEL_ACCEPT: u8 = 6;
pub(super) const CANCEL_ALL: u8 = 7;
pub(super) const TICK: u8 = 8;
pub(super) const BELL: u8 = 9;
pub(super) const BELL_LOST: u8 = 10;

/// The part of a generation that a completion carries.
const GENERATION_MASK: u32 = (1 << 24) - 1;

/// `user_data` of an operation on a connection.
pub(super) fn pack_conn(kind: u8, conn: ConnId) -> u64 {
    u64::from(kind) << 56 | u64::from(conn.generation & GENERATION_MASK) << 32 | u64::from(conn.slot)
}

/// `user_data` of any other operation.
pub(super) fn pack(kind: u8, index: u32) -> u64 {
    u64::from(kind) << 56 | u64::from(index)
}

fn unpack(user_data: u64) -> (u8, u32, u32) {
    ((user_data >> 56) as u8, user_data as u32, (user_data >> 32) as u32 & GENERATION_MASK)
}

/// The error in a completion's result, where it is one.
pub(super) fn errno(result: i32) -> Option<Errno> {
    (result < 0).then(|| Errno::from_raw_os_error(result.wrapping_neg()))
}

/// Marks an operation whose success is no news.
pub(super) fn quiet(entry: squeue::Entry) -> squeue::Entry {
    entry.flags(squeue::Flags::SKIP_SUCCESS)
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Completion::Accepted { listener, .. } => write!(f, "Accepted(listener {listener})"),
            Completion::AcceptEnded { listener, error } => {
                write!(f, "AcceptEnded(listener {listener}, {error})")
            }
            Completion::Received { conn, len, .. } => write!(f, "Received({conn:?}, {len} bytes)"),
            Completion::ReceiveEnded { conn, cause } => write!(f, "ReceiveEnded({conn:?}, {cause:?})"),
            Completion::Sent { conn, buffer, result } => {
                write!(f, "Sent({conn:?}, {result:?} of {} bytes)", buffer.len())
            }
            Completion::Closed { conn } => write!(f, "Closed({conn:?})"),
            Completion::Tick => f.write_str("Tick"),
            Completion::Bell => f.write_str("Bell"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_brings_back_kind_slot_and_generation() {
        let conn = ConnId { slot: u32::MAX, generation: 0xAB12_3456 };
        assert_eq!(unpack(pack_conn(SEND, conn)), (SEND, u32::MAX, 0x12_3456));
        assert_eq!(unpack(pack(ACCEPT, 7)), (ACCEPT, 7, 0));
    }

    #[test]
    fn debug_shows_no_payload() {
        let conn = ConnId { slot: 1, generation: 2 };
        let sent = Completion::Sent { conn, buffer: b"secret".to_vec(), result: Ok(6) };
        let text = format!("{sent:?}");
        assert!(text.contains("6 bytes") && !text.contains("secret") && !text.contains("115"), "{text}");
    }
}
