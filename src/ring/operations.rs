//! Starting and ending operations.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{opcode, squeue};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, sockopt};

use super::buffers::BUFFER_GROUP;
use super::completion::{
    ACCEPT, CANCEL_ACCEPT, CANCEL_RECEIVE, CANCEL_SEND, Completion, RECEIVE, SEND, TICK, pack, pack_conn,
    quiet,
};
use super::connections::{CLOSING, ConnId, ONCE, RECEIVING, RESUMING, SENDING, STOPPING};
use super::doorbell::BellTarget;
use super::turn::{Listening, Ring};

impl Ring {
    /// Takes over a listening socket and starts accepting. Returns the listener's number in this
    /// ring, counted from 0.
    ///
    /// # Panics
    /// With more than 65,536 listeners.
    pub fn add_listener(&mut self, socket: OwnedFd) -> u16 {
        let index = u16::try_from(self.listeners.len()).expect("listeners are counted in a u16");
        self.listeners.push(Listening { socket: Some(socket), armed: false, stopping: false });
        self.accept(index);
        index
    }

    /// Accepts again after `AcceptEnded`. Does nothing if it is accepting, or was stopped.
    pub fn accept(&mut self, listener: u16) {
        let Some(listening) = self.listeners.get_mut(usize::from(listener)) else { return };
        let Some(socket) = listening.socket.as_ref().filter(|_| !listening.armed && !listening.stopping)
        else {
            return;
        };
        listening.armed = true;
        let entry = opcode::AcceptMulti::new(Fd(socket.as_raw_fd()))
            .flags(SocketFlags::CLOEXEC.bits() as i32)
            .build()
            .user_data(pack(ACCEPT, u32::from(listener)));
        self.outstanding += 1;
        // SAFETY: the entry carries no address, and the socket is closed only after the accept
        // has ended.
        unsafe { self.push(entry) };
    }

    /// Accepts no more. `AcceptEnded` with `CANCELED` tells when the socket has been closed;
    /// connections that came in until then are still reported.
    pub fn stop_accepting(&mut self, listener: u16) {
        let Some(listening) = self.listeners.get_mut(usize::from(listener)) else { return };
        if listening.stopping {
            return;
        }
        listening.stopping = true;
        if listening.armed {
            self.cancel_accept(listener);
        } else {
            listening.socket = None;
            self.follow_ups.push_back(Completion::AcceptEnded { listener, error: Errno::CANCELED });
        }
    }

    /// Takes over a socket under the shard's name for it. Nothing is received yet.
    ///
    /// # Panics
    /// If the slot's former connection has not been reported `Closed`.
    pub fn open(&mut self, socket: OwnedFd, conn: ConnId) {
        self.connections.open(conn, socket);
    }

    /// Connections that are open, those that are closing included.
    pub fn open_count(&self) -> usize {
        self.connections.open_count()
    }

    /// Has the kernel probe a connection that has been silent for `idle`, and give it up after
    /// three probes 10 seconds apart.
    pub fn keep_alive(&mut self, conn: ConnId, idle: Duration) -> Result<(), Errno> {
        let Some(socket) = self.connections.get(conn).and_then(|state| state.socket.as_ref()) else {
            return Ok(());
        };
        sockopt::set_tcp_keepidle(socket, idle)?;
        sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10))?;
        sockopt::set_tcp_keepcnt(socket, 3)?;
        sockopt::set_socket_keepalive(socket, true)
    }

    /// Receives until the stream ends, an error, `stop_receiving` or `close`. Does nothing while
    /// it is receiving; while it is being stopped, it goes on without a `ReceiveEnded`.
    pub fn receive(&mut self, conn: ConnId) {
        self.start_receive(conn, 0);
    }

    /// As `receive`, but ends with [`EndCause::Once`](super::EndCause::Once) behind the first data. One
    /// `receive` may bring all buffers of the ring before it can be stopped, this brings one.
    pub fn receive_once(&mut self, conn: ConnId) {
        self.start_receive(conn, ONCE);
    }

    pub(super) fn start_receive(&mut self, conn: ConnId, once: u8) {
        let Some(state) = self.connections.get(conn) else { return };
        if state.has(CLOSING) {
            return;
        }
        state.state = state.state & !ONCE | once;
        if state.has(RECEIVING) {
            if state.has(STOPPING) {
                state.state |= RESUMING;
            }
            return;
        }
        state.state |= RECEIVING;
        let socket = Fd(state.raw_fd());
        let entry = match once {
            0 => opcode::RecvMulti::new(socket, BUFFER_GROUP).build(),
            // As much as the buffer has room for that the kernel chooses.
            _ => opcode::Recv::new(socket, std::ptr::null_mut(), 0)
                .buf_group(BUFFER_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        let entry = entry.user_data(pack_conn(RECEIVE, conn));
        self.outstanding += 1;
        // SAFETY: the operation writes to buffers of the group alone, which stay mapped until all
        // outstanding operations have ended; the socket stays open as long as it is RECEIVING.
        unsafe { self.push(entry) };
    }

    /// Stops receiving. What the kernel has already taken from the socket still comes, then
    /// `ReceiveEnded`; the rest waits in the socket. Does nothing if it is not receiving.
    pub fn stop_receiving(&mut self, conn: ConnId) {
        let Some(state) = self.connections.get(conn) else { return };
        state.state &= !RESUMING;
        if state.has(RECEIVING) && !state.has(STOPPING | CLOSING) {
            state.state |= STOPPING;
            self.cancel(RECEIVE, conn);
        }
    }

    /// Sends `bytes[offset..]`. The bytes come back with `Sent`.
    ///
    /// # Errors
    /// Gives the bytes back at once if the connection is closing or gone, a send of it is under
    /// way, or there is nothing behind `offset`.
    pub fn send(&mut self, conn: ConnId, bytes: Vec<u8>, offset: usize) -> Result<(), Vec<u8>> {
        let Some(state) = self.connections.get(conn) else { return Err(bytes) };
        let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) else { return Err(bytes) };
        if state.has(SENDING | CLOSING) {
            return Err(bytes);
        }
        let len = rest.len().min(SEND_BYTES_MAX) as u32;
        let entry = opcode::Send::new(Fd(state.raw_fd()), rest.as_ptr(), len)
            .flags(SEND_FLAGS)
            .build()
            .user_data(pack_conn(SEND, conn));
        state.state |= SENDING;
        state.flight = self.flights.board(bytes);
        self.outstanding += 1;
        // SAFETY: the bytes are on the heap and `flights` owns them, unchanged and at the same
        // address, until the send's only completion; the socket stays open as long as it is
        // SENDING.
        unsafe { self.push(entry) };
        Ok(())
    }

    /// Ends the stream towards the peer, behind what was sent. False if a send is under way, since
    /// it would be cut off, or the connection is gone.
    pub fn shutdown_write(&mut self, conn: ConnId) -> bool {
        match self.connections.get(conn) {
            Some(state) if !state.has(SENDING | CLOSING) => {
                // ENOTCONN: the peer has reset it, and the receive will tell.
                let _ = state.socket.as_ref().map(|socket| rustix::net::shutdown(socket, Shutdown::Write));
                true
            }
            _ => false,
        }
    }

    /// Cancels what is under way. A send's bytes come back with `Sent`, received bytes are thrown
    /// away, and `Closed` comes last, in any case. Closing twice, or what is gone, does nothing.
    pub fn close(&mut self, conn: ConnId) {
        let Some(state) = self.connections.get(conn) else { return };
        if state.has(CLOSING) {
            return;
        }
        state.state |= CLOSING;
        let cancel_receive = state.has(RECEIVING) && !state.has(STOPPING);
        let cancel_send = state.has(SENDING);
        if cancel_receive {
            self.cancel(RECEIVE, conn);
        }
        if cancel_send {
            self.cancel(SEND, conn);
        }
        self.free_if_idle(conn);
    }

    /// Reports `Tick` again and again, `every` apart. Called again, changes the pace from the next
    /// tick on. One coarse tick serves a whole shard: short timers in the wait cost 1.3–1.5×.
    pub fn tick_every(&mut self, every: Duration) {
        *self.tick = Timespec::from(every);
        if !self.ticking {
            self.arm_tick();
        }
    }

    pub(super) fn arm_tick(&mut self) {
        self.ticking = true;
        self.outstanding += 1;
        let entry = opcode::Timeout::new(&*self.tick).build().user_data(pack(TICK, 0));
        // SAFETY: the time stands in a box that lives as long as the ring, and the kernel reads it
        // when the entry is submitted, not later (IORING_FEAT_SUBMIT_STABLE).
        unsafe { self.push(entry) };
    }

    /// Wakes the thread of another ring with the next turn. It sees one `Bell` for each.
    pub fn ring_bell(&mut self, target: &BellTarget) {
        self.bells.push(target.clone());
        // SAFETY: the entry carries no address, and `bells` keeps the descriptor open until the
        // entry is submitted.
        unsafe { self.push(target.bell()) };
    }

    /// Cancels the receive or the send of a connection. Success is quiet: the target's own last
    /// completion tells. By its `user_data`, since the kernel finds that in a hash table, while a
    /// search by descriptor walks over everything that is armed.
    pub(super) fn cancel(&mut self, kind: u8, conn: ConnId) {
        let answer = if kind == RECEIVE { CANCEL_RECEIVE } else { CANCEL_SEND };
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(pack_conn(kind, conn))).build();
        // SAFETY: the entry carries no address.
        unsafe { self.push(quiet(entry.user_data(pack_conn(answer, conn)))) };
    }

    pub(super) fn cancel_accept(&mut self, listener: u16) {
        let target = CancelBuilder::user_data(pack(ACCEPT, u32::from(listener)));
        let entry = opcode::AsyncCancel2::new(target).build();
        // SAFETY: the entry carries no address.
        unsafe { self.push(quiet(entry.user_data(pack(CANCEL_ACCEPT, u32::from(listener))))) };
    }

    /// The last step of closing: cancel → join → free.
    pub(super) fn free_if_idle(&mut self, conn: ConnId) {
        let idle = self
            .connections
            .get(conn)
            .is_some_and(|state| state.has(CLOSING) && !state.has(RECEIVING | SENDING));
        if idle {
            self.connections.free(conn);
            self.follow_ups.push_back(Completion::Closed { conn });
        }
    }
}

/// NOSIGNAL: a peer that has gone is an error here, not a SIGPIPE. WAITALL: the kernel itself goes
/// on after a short send, though it may still return short.
const SEND_FLAGS: i32 = (SendFlags::NOSIGNAL.bits() | RecvFlags::WAITALL.bits()) as i32;
/// What the kernel sends at most in one operation; the rest is a short send.
const SEND_BYTES_MAX: usize = 0x7FFF_F000;
