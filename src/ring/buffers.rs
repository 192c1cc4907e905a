//! Receive buffers that the kernel picks from, shared by all connections of a ring.
//!
//! ```text
//! ring of entries, one page or more:   | addr u64 | len u32 | id u16 | tail u16 |   (first entry)
//!                                      | addr u64 | len u32 | id u16 | -        |   (others)
//! buffers, pageable:                   | buffer 0 | buffer 1 | …
//! ```
//!
//! A buffer is the kernel's from `publish` until a completion names it, then ours until
//! `recycle`. An idle connection holds none.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The only group of provided buffers of a ring.
pub(super) const BUFFER_GROUP: u16 = 0;

/// Names a receive buffer that the ring has lent out. It is not `Copy`: giving it back consumes
/// it. One that is dropped instead is lost to the ring until the ring ends.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a buffer that is not recycled is lost to the ring"]
pub struct BufferId(u16);

pub(super) struct Buffers {
    ring: Mapping,
    data: Mapping,
    count: u16,
    buffer_bytes: u32,
    /// Entries ever added, wrapping; what the kernel sees after `publish`.
    tail: u16,
    published: u16,
    /// One bit for each buffer that a completion has named and nobody has recycled.
    lent: Box<[u64]>,
}

impl Buffers {
    /// Maps `count` buffers (a power of two) and queues them all for the kernel.
    pub fn map(count: u16, buffer_bytes: u32) -> Result<Buffers, Errno> {
        let mut buffers = Buffers {
            ring: Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?,
            data: Mapping::new(usize::from(count) * buffer_bytes as usize)?,
            count,
            buffer_bytes,
            tail: 0,
            published: 0,
            lent: vec![0; usize::from(count).div_ceil(64)].into_boxed_slice(),
        };
        for id in 0..count {
            buffers.provide(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    pub fn ring_address(&self) -> u64 {
        self.ring.base.as_ptr() as u64
    }

    /// Takes over a buffer that a completion has named.
    pub fn take(&mut self, id: u16) -> BufferId {
        assert!(id < self.count, "the kernel named a buffer that it was never given");
        self.lent[usize::from(id) / 64] |= 1 << (id % 64);
        BufferId(id)
    }

    /// The first `len` bytes of a lent buffer.
    ///
    /// # Panics
    /// If the buffer is not lent by this ring, which takes an id of another ring.
    pub fn bytes(&mut self, id: &BufferId, len: usize) -> &mut [u8] {
        assert!(self.is_lent(id.0), "a buffer of another ring");
        let len = len.min(self.buffer_bytes as usize);
        // SAFETY: `id` is below `count` (`is_lent` checks it), so the range lies in the mapping,
        // which starts zeroed and is therefore initialised. The lent bit says that the kernel has
        // given the buffer up, and the exclusive borrow of `self` that nobody else here has it.
        unsafe { std::slice::from_raw_parts_mut(self.data.base.as_ptr().add(self.offset(id.0)), len) }
    }

    /// Queues a buffer to go back to the kernel at the next `publish`.
    pub fn recycle(&mut self, id: BufferId) {
        assert!(self.is_lent(id.0), "a buffer of another ring");
        self.lent[usize::from(id.0) / 64] &= !(1 << (id.0 % 64));
        self.provide(id.0);
    }

    /// Shows the kernel what was queued since the last time: one store, however many.
    pub fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        // SAFETY: the ring's address is that of its first entry, whose last field is the tail.
        // It is aligned for u16, the mapping lives as long as `self`, and only atomic accesses
        // are made to it.
        let tail = unsafe { &*BufRingEntry::tail(self.ring.base.as_ptr().cast()).cast::<AtomicU16>() };
        // Release: the kernel must see the entries before it sees the tail behind them.
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    /// Gives up ownership of the memory: it stays mapped until the process ends. For a ring whose
    /// operations would not end, where the kernel may still write.
    pub fn leak(&mut self) {
        self.ring.leaked = true;
        self.data.leaked = true;
    }

    fn is_lent(&self, id: u16) -> bool {
        id < self.count && self.lent[usize::from(id) / 64] & (1 << (id % 64)) != 0
    }

    fn offset(&self, id: u16) -> usize {
        usize::from(id) * self.buffer_bytes as usize
    }

    /// Writes the entry behind the tail. There is always room: the ring has one entry for each
    /// buffer, and a buffer is in it at most once.
    fn provide(&mut self, id: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index` is below `count` and `id` too, so both addresses lie in their mappings.
        // The kernel reads no entry at or behind the published tail, and the setters leave alone
        // the field in the first entry that holds the tail.
        unsafe {
            let address = self.data.base.as_ptr().add(self.offset(id));
            let entry = self.ring.base.as_ptr().cast::<BufRingEntry>().add(index);
            (*entry).set_addr(address as u64);
            (*entry).set_len(self.buffer_bytes);
            (*entry).set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }
}

/// Anonymous zeroed memory on whole pages, all of it present from the start. The kernel goes round
/// the buffers, so a busy shard would touch every page sooner or later, and pay for each in the
/// middle of a message; this way what the process uses does not depend on its past.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    leaked: bool,
}

impl Mapping {
    fn new(bytes: usize) -> Result<Mapping, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let base =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Mapping { base, bytes, leaked: false })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: exactly the mapping made in `new`. No reference into it outlives its owner, and
        // `Ring` leaks it where the kernel might still write.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lent_buffers_do_not_overlap() {
        let mut buffers = Buffers::map(4, 512).unwrap();
        let ids: Vec<BufferId> = (0..4).map(|id| buffers.take(id)).collect();
        for (mark, id) in ids.iter().enumerate() {
            buffers.bytes(id, 512).fill(mark as u8);
        }
        for (mark, id) in ids.iter().enumerate() {
            assert!(buffers.bytes(id, 512).iter().all(|&byte| byte == mark as u8));
        }
        assert_eq!(buffers.bytes(&ids[0], 100_000).len(), 512);
    }

    #[test]
    #[should_panic(expected = "another ring")]
    fn a_buffer_that_is_not_lent_cannot_be_read() {
        let mut one = Buffers::map(4, 512).unwrap();
        let mut other = Buffers::map(4, 512).unwrap();
        let id = one.take(2);
        let _ = other.bytes(&id, 1);
    }

    #[test]
    fn the_tail_moves_once_a_batch() {
        let mut buffers = Buffers::map(4, 512).unwrap();
        assert_eq!(buffers.published, 4);
        for id in 0..3 {
            let lent = buffers.take(id);
            buffers.recycle(lent);
        }
        assert_eq!((buffers.tail, buffers.published), (7, 4));
        buffers.publish();
        assert_eq!(buffers.published, 7);
    }
}
