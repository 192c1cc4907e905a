//! What waits to be sent on one connection, and who has to be told if it never is.
//!
//! ```text
//! append ──► pending ──(nothing in flight)──► in flight ──(kernel took all)──► spares
//! ```
//!
//! One send is in flight per connection; everything that is appended meanwhile goes out with the
//! next one. An idle connection holds no buffer.

use std::collections::VecDeque;

use crate::base::PeerKey;
use crate::dialect::MessageRef;

/// Largest buffer that goes back to the spares; larger ones return to the allocator.
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// Most buffers among the spares of a shard.
const SPARES_MAX: usize = 128;

/// A relayed message in an outbox. It is delivered when the kernel has taken its last byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub from: PeerKey,
    pub reference: MessageRef,
    pub received_us: u64,
    /// Where the message ends in its batch.
    end: u32,
}

/// Bytes for one send, and the receipts of the messages among them.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    receipts: VecDeque<Receipt>,
}

#[derive(Debug, Default)]
pub struct Outbox {
    pending: Option<Box<Batch>>,
    /// Its bytes are lent to the ring.
    in_flight: Option<Box<Batch>>,
    in_flight_bytes: u32,
    taken_bytes: u32,
}

/// Buffers that no connection needs just now.
#[derive(Debug, Default)]
pub struct Spares {
    #[expect(clippy::vec_box, reason = "an outbox keeps one pointer; the boxes are what is reused")]
    batches: Vec<Box<Batch>>,
}

impl Outbox {
    pub fn out(&mut self, spares: &mut Spares) -> &mut Batch {
        self.pending.get_or_insert_with(|| spares.take())
    }

    /// Notes that what has been appended last is a relayed message.
    pub fn expect(&mut self, from: PeerKey, reference: MessageRef, received_us: u64) {
        if let Some(batch) = &mut self.pending {
            let end = batch.bytes.len() as u32;
            batch.receipts.push_back(Receipt { from, reference, received_us, end });
        }
    }

    /// Bytes that the kernel has not taken.
    pub fn queued_bytes(&self) -> usize {
        let pending = self.pending.as_ref().map_or(0, |batch| batch.bytes.len());
        pending + (self.in_flight_bytes - self.taken_bytes) as usize
    }

    pub fn queued_messages(&self) -> usize {
        let count = |batch: &Option<Box<Batch>>| batch.as_ref().map_or(0, |b| b.receipts.len());
        count(&self.pending) + count(&self.in_flight)
    }

    pub fn is_empty(&self) -> bool {
        self.in_flight.is_none() && self.pending.as_ref().is_none_or(|batch| batch.bytes.is_empty())
    }

    /// The bytes of the next send, if there are any and none are in flight.
    pub fn start_send(&mut self) -> Option<Vec<u8>> {
        if self.in_flight.is_some() {
            return None;
        }
        // The ring refuses to send nothing.
        let mut batch = self.pending.take_if(|batch| !batch.bytes.is_empty())?;
        let bytes = std::mem::take(&mut batch.bytes);
        (self.in_flight_bytes, self.taken_bytes) = (bytes.len() as u32, 0);
        self.in_flight = Some(batch);
        Some(bytes)
    }

    /// The kernel has taken `taken` further bytes of the send: calls `delivered` for each message
    /// that is complete by now. `Some(bytes, offset)`: the send was cut short, go on from there.
    pub fn sent(
        &mut self,
        bytes: Vec<u8>,
        taken: usize,
        spares: &mut Spares,
        mut delivered: impl FnMut(&Receipt),
    ) -> Option<(Vec<u8>, usize)> {
        let batch = self.in_flight.as_mut()?;
        self.taken_bytes += taken as u32;
        while let Some(first) = batch.receipts.front()
            && first.end <= self.taken_bytes
        {
            delivered(first);
            batch.receipts.pop_front();
        }
        if self.taken_bytes < self.in_flight_bytes {
            return Some((bytes, self.taken_bytes as usize));
        }
        (self.in_flight_bytes, self.taken_bytes) = (0, 0);
        if let Some(mut batch) = self.in_flight.take() {
            batch.bytes = bytes;
            spares.give(batch);
        }
        None
    }

    /// Throws away what is not in flight; its messages are handed over to be answered.
    pub fn drop_pending(&mut self, spares: &mut Spares, mut lost: impl FnMut(&Receipt)) {
        if let Some(batch) = self.pending.take() {
            batch.receipts.iter().for_each(&mut lost);
            spares.give(batch);
        }
    }

    /// As [`Outbox::drop_pending`], for everything: the connection is gone and its last send has
    /// come back.
    pub fn drop_all(&mut self, spares: &mut Spares, mut lost: impl FnMut(&Receipt)) {
        if let Some(batch) = self.in_flight.take() {
            batch.receipts.iter().for_each(&mut lost);
            spares.give(batch);
        }
        (self.in_flight_bytes, self.taken_bytes) = (0, 0);
        self.drop_pending(spares, lost);
    }
}

impl Spares {
    fn take(&mut self) -> Box<Batch> {
        self.batches.pop().unwrap_or_default()
    }

    fn give(&mut self, mut batch: Box<Batch>) {
        if self.batches.len() < SPARES_MAX && batch.bytes.capacity() <= SPARE_BYTES_MAX {
            batch.bytes.clear();
            batch.receipts.clear();
            self.batches.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeId;

    fn message(n: u8) -> (PeerKey, MessageRef) {
        let from = PeerKey { node: NodeId::shard(0), slot: u32::from(n), generation: 0 };
        (from, MessageRef::Frame { uuid: [n; 16], message_type: 0x10 })
    }

    fn number(receipt: &Receipt) -> u8 {
        match &receipt.reference {
            MessageRef::Frame { uuid, .. } => uuid[0],
            MessageRef::Text { .. } => unreachable!("the tests append frames"),
        }
    }

    fn append(outbox: &mut Outbox, spares: &mut Spares, n: u8, length: usize) {
        let (from, reference) = message(n);
        outbox.out(spares).bytes.extend(std::iter::repeat_n(n, length));
        outbox.expect(from, reference, 0);
    }

    #[test]
    fn a_message_counts_as_delivered_only_with_its_last_byte() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        append(&mut outbox, &mut spares, 1, 10);
        append(&mut outbox, &mut spares, 2, 10);
        let bytes = outbox.start_send().unwrap();
        append(&mut outbox, &mut spares, 3, 10);
        assert!(outbox.start_send().is_none(), "one send at a time");

        let mut delivered = Vec::new();
        let rest = outbox.sent(bytes, 19, &mut spares, |r| delivered.push(number(r)));
        let (bytes, offset) = rest.unwrap();
        assert_eq!((offset, &delivered[..]), (19, &[1][..]));
        assert_eq!(outbox.queued_bytes(), 11);

        let mut lost = Vec::new();
        drop(bytes);
        outbox.drop_all(&mut spares, |r| lost.push(number(r)));
        assert_eq!(lost, [2, 3]);
        assert!(outbox.is_empty());
        assert_eq!(outbox.queued_bytes(), 0);
    }
}
