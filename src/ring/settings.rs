//! The sizes of one ring.

/// Sizes of one shard's ring. Raw values from the configuration; [`Settings::check`] is run by
/// `Ring::new`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Submissions that one turn can hold before it has to enter the kernel early.
    pub sq_entries: u32,
    /// Completions that can wait to be reaped before the kernel has to allocate for them.
    pub cq_entries: u32,
    /// Receive buffers, shared by all connections of the ring. A power of two.
    pub buffers_count: u16,
    /// Bytes of one receive buffer; the most that one receive brings.
    pub buffer_bytes: u32,
    /// How long the shard may spin before it sleeps; 0 = not at all. The ring reads no clock: it
    /// only prepares the kernel's side of spinning when this is not 0.
    pub busy_poll_us: u32,
}

/// The kernel's own limit for submissions (IORING_MAX_ENTRIES) and for provided buffers.
const ENTRIES_MAX: u32 = 32_768;
/// The kernel allows twice as many completions as submissions.
const COMPLETIONS_MAX: u32 = 2 * ENTRIES_MAX;
/// Below this, one TLS record or a few batched frames would not fit one receive.
const BUFFER_BYTES_MIN: u32 = 512;
const BUFFER_BYTES_MAX: u32 = 1 << 20;

impl Default for Settings {
    /// Locked memory, which RLIMIT_MEMLOCK counts (8 MiB for ordinary users):
    /// 1,024 submissions × (64 + 4 bytes) + 8,192 completions × 16 bytes + 256 buffer entries ×
    /// 16 bytes = 200 KiB, so about 40 rings fit.
    ///
    /// The buffers themselves are pageable, and present from the start: 256 × 32 KiB = 8 MiB.
    /// Fewer than 64 for 64 busy connections cost 17–28 % in measurements, and 32 KiB instead of
    /// 2 KiB won 15–40 % on bulk.
    fn default() -> Self {
        Settings {
            sq_entries: 1024,
            cq_entries: 8192,
            buffers_count: 256,
            buffer_bytes: 32 * 1024,
            busy_poll_us: 0,
        }
    }
}

impl Settings {
    /// Says which setting is out of its range, and the range.
    pub fn check(&self) -> Result<(), &'static str> {
        if !(8..=ENTRIES_MAX).contains(&self.sq_entries) {
            return Err("sq_entries must be 8 to 32768");
        }
        if self.cq_entries < self.sq_entries || self.cq_entries > COMPLETIONS_MAX {
            return Err("cq_entries must be sq_entries to 65536");
        }
        if !self.buffers_count.is_power_of_two() || u32::from(self.buffers_count) > ENTRIES_MAX {
            return Err("buffers_count must be a power of two, at most 32768");
        }
        if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&self.buffer_bytes) {
            return Err("buffer_bytes must be 512 to 1048576");
        }
        Ok(())
    }

    /// Bytes that count against RLIMIT_MEMLOCK, by the sum in [`Settings::default`]. The kernel
    /// rounds both queues up to powers of two.
    pub fn locked_bytes(&self) -> u64 {
        let submissions = u64::from(self.sq_entries.next_power_of_two());
        let completions = u64::from(self.cq_entries.next_power_of_two());
        submissions * (64 + 4) + completions * 16 + u64::from(self.buffers_count) * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_leaves_room_for_forty_rings() {
        let settings = Settings::default();
        assert_eq!(settings.check(), Ok(()));
        assert!(settings.locked_bytes() * 40 <= 8 << 20);
    }

    #[test]
    fn sizes_that_the_kernel_would_refuse_are_named() {
        let good = Settings::default();
        for (bad, word) in [
            (Settings { sq_entries: 4, ..good }, "sq_entries"),
            (Settings { cq_entries: 512, ..good }, "cq_entries"),
            (Settings { buffers_count: 100, ..good }, "buffers_count"),
            (Settings { buffers_count: 0, ..good }, "buffers_count"),
            (Settings { buffer_bytes: 100, ..good }, "buffer_bytes"),
        ] {
            assert!(bad.check().unwrap_err().starts_with(word), "{bad:?}");
        }
    }
}
