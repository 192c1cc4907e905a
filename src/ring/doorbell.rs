//! Waking a thread that sleeps: a shard in its ring, the front on an eventfd.
//!
//! Waking costs the one who rings about 6.5 µs, a queue to someone awake 5 ns. So a bell is rung
//! only for a sleeper and once a batch; who sleeps is for the mesh to know.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::completion::{BELL, BELL_LOST, errno, pack, quiet};
use super::setup::errno_of;

/// A second descriptor of a ring, by which others ring it.
///
/// It keeps the ring itself alive after its shard has ended; a bell then reaches nobody and harms
/// nobody. The number can never come to mean another file while someone may still ring it.
#[derive(Clone, Debug)]
pub struct BellTarget(Arc<OwnedFd>);

impl BellTarget {
    pub(super) fn duplicate(ring: BorrowedFd<'_>) -> Result<BellTarget, Errno> {
        Ok(BellTarget(Arc::new(fcntl_dupfd_cloexec(ring, 0)?)))
    }

    /// Posts a `Bell` to the target. Nothing comes back here, unless it fails. The descriptor must
    /// stay open until the entry is submitted.
    pub(super) fn bell(&self) -> squeue::Entry {
        let entry = opcode::MsgRingData::new(Fd(self.0.as_raw_fd()), 0, pack(BELL, 0), None).build();
        quiet(entry.user_data(pack(BELL_LOST, 0)))
    }
}

/// Rings shards from a thread that has no ring of its own. One system call for each bell.
pub struct Doorbell {
    uring: IoUring,
}

impl Doorbell {
    /// # Errors
    /// As those of a ring: by the time one is made, the rings of the shards have succeeded.
    pub fn new() -> Result<Doorbell, Errno> {
        let uring = IoUring::new(DOORBELL_ENTRIES).map_err(|error| errno_of(&error))?;
        Ok(Doorbell { uring })
    }

    /// Wakes the target's thread at once.
    ///
    /// # Errors
    /// The bell was not passed on; the target finds what waits for it at its next tick.
    pub fn ring(&mut self, target: &BellTarget) -> Result<(), Errno> {
        // SAFETY: the entry carries no address, and the target is borrowed until it is submitted.
        unsafe { self.uring.submission().push(&target.bell()) }.map_err(|_| Errno::BUSY)?;
        loop {
            match self.uring.submit().map_err(|error| errno_of(&error)) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        // A bell that rang leaves no completion.
        match self.uring.completion().next() {
            Some(entry) => errno(entry.result()).map_or(Ok(()), Err),
            None => Ok(()),
        }
    }
}

/// One bell at a time, and one to spare.
const DOORBELL_ENTRIES: u32 = 2;

/// Wakes the front, whose runtime waits for this descriptor to become readable.
#[derive(Debug)]
pub struct FrontBell(OwnedFd);

impl FrontBell {
    pub fn new() -> Result<FrontBell, Errno> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(FrontBell)
    }

    /// Rings. A bell that nobody has heard yet swallows the next one.
    pub fn ring(&self) {
        // EAGAIN: the counter is full, so the descriptor is readable already. Nothing else can
        // happen to an open eventfd.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Silences the bell, before the inbox is looked at. Says whether it had rung.
    pub fn hear(&self) -> bool {
        rustix::io::read(&self.0, &mut [0u8; 8]).is_ok()
    }
}

impl AsFd for FrontBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for FrontBell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_hears_many_bells_once() {
        let bell = FrontBell::new().unwrap();
        assert!(!bell.hear());
        (0..3).for_each(|_| bell.ring());
        assert!(bell.hear());
        assert!(!bell.hear());
    }

    #[test]
    fn a_bell_for_something_else_than_a_ring_is_refused() {
        let other = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let target = BellTarget(Arc::new(other));
        let mut doorbell = Doorbell::new().unwrap();
        assert_eq!(doorbell.ring(&target), Err(Errno::BADFD));
        assert_eq!(doorbell.ring(&target), Err(Errno::BADFD));
    }
}
