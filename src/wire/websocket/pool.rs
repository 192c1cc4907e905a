//! Buffers for messages in pieces, shared by the connections of one shard.

use super::partial::Partial;

/// Most buffers that wait for use. Few connections are in the middle of a message at once.
const SPARES_MAX: usize = 32;
/// Most bytes of capacity that a waiting buffer keeps of its text and of its binary part. A
/// frame of 65,535 bytes fits; what a larger message needed goes back to the allocator.
const SPARE_BYTES_MAX: usize = 128 * 1024;

/// Lends a decoder the memory for a message that did not arrive in one piece, so that a steady
/// load allocates nothing. It keeps at most 32 buffers, all of them empty. A decoder that
/// is dropped in the middle of a message frees its buffer.
#[derive(Debug, Default)]
pub struct Pool {
    // Boxed, since a decoder keeps one pointer and the buffer moves in and out of it.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is reused")]
    spares: Vec<Box<Partial>>,
}

impl Pool {
    pub(super) fn take(&mut self) -> Box<Partial> {
        self.spares.pop().unwrap_or_default()
    }

    pub(super) fn put(&mut self, mut partial: Box<Partial>) {
        if self.spares.len() < SPARES_MAX {
            partial.clear(SPARE_BYTES_MAX);
            self.spares.push(partial);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.spares.len()
    }
}
