//! The ring itself: its one system call, its spinning, and its end.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;

use super::buffers::{BufferId, Buffers};
use super::completion::{CANCEL_ALL, Completion, REAPED_MAX, pack, quiet};
use super::connections::{Connections, Flights};
use super::doorbell::BellTarget;
use super::refusal::SetupError;
use super::settings::Settings;
use super::setup;

/// One io_uring with its receive buffers and sockets. It stays on the thread that made it.
///
/// A turn: `turn` submits what was started and waits; `next_completion` until `None`; start what
/// follows from it; `turn` again.
pub struct Ring {
    /// First, so that it is dropped first.
    pub(super) uring: IoUring,
    pub(super) buffers: Buffers,
    pub(super) connections: Connections,
    pub(super) flights: Flights,
    pub(super) listeners: Vec<Listening>,
    /// Completions that follow from others, or from a call that had nothing to wait for.
    pub(super) follow_ups: VecDeque<Completion>,
    /// The batch of completions being handled, and the next of it.
    pub(super) reaped: Vec<cqueue::Entry>,
    pub(super) reaped_next: usize,
    /// Operations that will post a last completion and have not. A ring with none outstanding
    /// writes to no memory.
    pub(super) outstanding: usize,
    /// Entries that found the submission queue full and the kernel unable to take it. A
    /// connection has at most four under way, which bounds it.
    backlog: VecDeque<squeue::Entry>,
    /// Keeps the descriptors of other rings open until the entries that name them are submitted.
    pub(super) bells: Vec<BellTarget>,
    /// Boxed, since a queued entry names its address.
    pub(super) tick: Box<Timespec>,
    pub(super) ticking: bool,
    pub(super) counters: Counters,
    /// The kernel shows in shared memory that it has deferred work.
    has_work_flag: bool,
    /// SINGLE_ISSUER: the kernel refuses other threads, so the type is neither Send nor Sync.
    on_this_thread: PhantomData<*const ()>,
}

/// Counts of what is no error but tells of sizes that do not fit. They only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Receives that ended because no buffer was free: `buffers_count` is too low.
    pub buffers_missing: u64,
    /// Turns that began with the kernel holding back completions: `cq_entries` is too low.
    pub completions_held_back: u64,
    /// Bells that the kernel refused to pass on.
    pub bells_lost: u64,
}

/// A listening socket of this ring.
pub(super) struct Listening {
    pub socket: Option<OwnedFd>,
    pub armed: bool,
    pub stopping: bool,
}

impl Ring {
    /// Makes a ring for the calling thread. The error says what to change on the machine.
    pub fn new(settings: Settings) -> Result<Ring, SetupError> {
        let (uring, buffers) = setup::create(&settings)?;
        Ok(Ring {
            uring,
            buffers,
            connections: Connections::default(),
            flights: Flights::default(),
            listeners: Vec::new(),
            follow_ups: VecDeque::new(),
            reaped: Vec::with_capacity(REAPED_MAX),
            reaped_next: 0,
            outstanding: 0,
            backlog: VecDeque::new(),
            bells: Vec::new(),
            tick: Box::new(Timespec::new()),
            ticking: false,
            counters: Counters::default(),
            has_work_flag: settings.busy_poll_us > 0,
            on_this_thread: PhantomData,
        })
    }

    /// Submits everything that was started and lets the kernel finish what it can, in one system
    /// call; with `wait`, sleeps until something has happened. Returns at once if something has
    /// already. A signal ends the sleep.
    ///
    /// # Errors
    /// Only such as end the ring: the kernel has lost completions, or the descriptor is bad.
    pub fn turn(&mut self, wait: bool) -> Result<(), Errno> {
        self.buffers.publish();
        let want = u32::from(wait && !self.has_ready());
        self.drain_backlog()?;
        self.enter(want, ENTER_GETEVENTS)
    }

    /// Submits everything, then watches for a completion without sleeping while `keep_on` returns
    /// true. Says whether there is one. The caller's `keep_on` looks at its clock and its inbox;
    /// afterwards, the caller announces its sleep, looks at its inbox once more, and calls
    /// [`Ring::turn`].
    ///
    /// With `busy_poll_us` = 0 in the settings this costs a system call a round.
    pub fn spin(&mut self, mut keep_on: impl FnMut() -> bool) -> Result<bool, Errno> {
        self.turn(false)?;
        loop {
            if self.has_ready() {
                return Ok(true);
            }
            if !keep_on() {
                return Ok(false);
            }
            if !self.has_work_flag || self.uring.submission().taskrun() {
                self.enter(0, ENTER_GETEVENTS)?;
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Whether [`Ring::next_completion`] has something to return without a system call.
    pub fn has_ready(&mut self) -> bool {
        !self.follow_ups.is_empty()
            || self.reaped_next < self.reaped.len()
            || !self.uring.completion().is_empty()
    }

    /// What a receive brought. The bytes may be changed in place.
    ///
    /// # Panics
    /// If the buffer is not of this ring.
    pub fn buffer(&mut self, buffer: &BufferId, len: usize) -> &mut [u8] {
        self.buffers.bytes(buffer, len)
    }

    /// Gives a buffer back. The kernel sees it with the next turn.
    pub fn recycle(&mut self, buffer: BufferId) {
        self.buffers.recycle(buffer);
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Descriptor by which other threads ring this ring.
    ///
    /// # Errors
    /// EMFILE or ENFILE: it is a second descriptor of the ring.
    pub fn bell_target(&self) -> Result<BellTarget, Errno> {
        // SAFETY: the ring's descriptor is open as long as `self`, and the borrow ends here.
        let fd = unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) };
        BellTarget::duplicate(fd)
    }

    /// Queues an entry; nothing is lost when the queue is full.
    ///
    /// # Safety
    /// Every address in the entry must stay valid until the operation's last completion. The
    /// operation must be counted in `outstanding` if it has such an address.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: the caller vouches for the entry.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: hand the queue to the kernel early. If that fails, the next turn reports it.
            let _ = self.enter(0, 0);
            // SAFETY: as above.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    fn drain_backlog(&mut self) -> Result<(), Errno> {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: `push` has taken the caller's word for the entry.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                self.backlog.pop_front();
                continue;
            }
            self.enter(0, ENTER_GETEVENTS)?;
            if self.uring.submission().is_full() {
                break;
            }
        }
        Ok(())
    }

    /// The one system call.
    fn enter(&mut self, want: u32, flags: u32) -> Result<(), Errno> {
        let queue = self.uring.submission();
        let (count, overflown) = (queue.len() as u32, queue.cq_overflow());
        drop(queue);
        if overflown {
            self.counters.completions_held_back += 1;
        }
        // SAFETY: no argument is passed beside plain numbers, and every queued entry was vouched
        // for in `push`.
        let entered = unsafe { self.uring.submitter().enter::<u64>(count, want, flags, None) };
        match entered.map_err(|error| setup::errno_of(&error)) {
            Ok(_) => {
                if !self.bells.is_empty() && self.uring.submission().is_empty() && self.backlog.is_empty() {
                    self.bells.clear();
                }
                Ok(())
            }
            // A signal; completions to be reaped first; no memory for a request just now. All
            // that was queued is still queued.
            Err(Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Ends every operation and takes in the last completions. False if some would not end.
    pub(super) fn quiesce(&mut self) -> bool {
        self.listeners.iter_mut().for_each(|listener| listener.stopping = true);
        let (mut fewest, mut fruitless) = (self.outstanding, 0);
        while fruitless < QUIESCE_ROUNDS_MAX {
            // What is dropped here are sockets that nobody will serve and bytes that nobody will
            // read. The loop keeps `outstanding` by the ordinary rules, re-arming included, so it
            // is run before each cancellation.
            while self.next_completion().is_some() {}
            if self.outstanding == 0 && self.backlog.is_empty() {
                return true;
            }
            if self.outstanding < fewest {
                (fewest, fruitless) = (self.outstanding, 0);
            } else {
                fruitless += 1;
            }
            let all = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
            // SAFETY: the entry carries no address.
            unsafe { self.push(quiet(all.user_data(pack(CANCEL_ALL, 0)))) };
            if self.drain_backlog().is_err() {
                return false;
            }
            let pause = Timespec::new().nsec(QUIESCE_ROUND_NS);
            let args = SubmitArgs::new().timespec(&pause);
            match self.uring.submitter().submit_with_args(1, &args).map_err(|e| setup::errno_of(&e)) {
                Ok(_) | Err(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => {}
                Err(_) => return false,
            }
        }
        false
    }
}

impl Drop for Ring {
    /// Closing the descriptor would cancel too, but some time later, while this memory may already
    /// serve something else. So the operations are joined first. If one does not end, the
    /// memory that it may still touch is never freed.
    fn drop(&mut self) {
        if self.quiesce() {
            // Other threads may hold the ring's descriptor as their bell's target, which keeps the
            // ring itself alive. It must not keep an address of ours.
            let _ = self.uring.submitter().unregister_buf_ring(super::buffers::BUFFER_GROUP);
        } else {
            self.buffers.leak();
            self.flights.leak();
        }
    }
}

/// IORING_ENTER_GETEVENTS: run deferred work and show its completions. The crate keeps its own
/// constant to itself, and sets it only where it waits.
const ENTER_GETEVENTS: u32 = 1;

/// 50 rounds of 20 ms in which no operation ended: a second of patience.
const QUIESCE_ROUNDS_MAX: usize = 50;
const QUIESCE_ROUND_NS: u32 = 20_000_000;
