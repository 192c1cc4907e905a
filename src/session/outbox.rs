//! What waits to be sent on one connection, and who has to be told if it never is.
//!
//! ```text
//! append ──► pending ──(nothing in flight)──► in flight ──(kernel took all)──► spares
//! ```
//!
//! One send is in flight per connection; everything that is appended meanwhile goes out with the
//! next one. An idle connection holds no buffer. What is counted is plaintext, also where TLS seals a
//! batch on its way out.

use super::tls::{CannotSeal, Tls};
use crate::base::PeerKey;
use crate::dialect::MessageRef;

/// Largest buffer that goes back to the spares; larger ones return to the allocator.
const SPARE_BYTES_MAX: usize = 64 * 1024;
/// Most buffers among the spares of a shard.
const SPARES_MAX: usize = 128;

/// Bytes for one send, and what is known of the relayed messages among them. A message is delivered
/// when the kernel has taken its last byte.
///
/// ```text
/// runs       │ from a: 2 frames           │ from b: 1 other │
/// frames     │ end, type, uuid │ end, …   │                 │
/// others     │                            │ end, reference  │
/// ```
///
/// Many messages of one turn come from one sender, so that what they have in common is kept and
/// looked at once; what a frame is told by is copied without a look at what it holds.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    runs: Vec<Run>,
    frames: Vec<Frame>,
    others: Vec<(u32, MessageRef)>,
    delivered: Delivered,
}

/// Messages of one sender, behind one another, that came in one turn.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: PeerKey,
    received_us: u64,
    /// Where the last of them ends in the batch.
    end: u32,
    messages: u32,
    are_frames: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Where the message ends in the batch.
    end: u32,
    message_type: u8,
    uuid: [u8; 16],
}

/// How many at the front of each list are done with.
#[derive(Clone, Copy, Debug, Default)]
struct Delivered {
    runs: usize,
    frames: usize,
    others: usize,
}

impl Batch {
    fn expect(&mut self, from: PeerKey, reference: MessageRef, received_us: u64) {
        let end = self.bytes.len() as u32;
        let are_frames = match reference {
            MessageRef::Frame { uuid, message_type } => {
                self.frames.push(Frame { end, message_type, uuid });
                true
            }
            reference @ MessageRef::Text { .. } => {
                self.others.push((end, reference));
                false
            }
        };
        match self.runs.last_mut() {
            Some(run)
                if run.from == from && run.received_us == received_us && run.are_frames == are_frames =>
            {
                run.end = end;
                run.messages += 1;
            }
            _ => self.runs.push(Run { from, received_us, end, messages: 1, are_frames }),
        }
    }

    /// So many bytes are with the kernel: calls `delivered` with the time when messages were received
    /// and their number.
    fn taken(&mut self, bytes: u32, mut delivered: impl FnMut(u64, u32)) {
        while let Some(run) = self.runs.get_mut(self.delivered.runs) {
            let done = &mut self.delivered;
            let complete = if run.end <= bytes {
                run.messages
            } else if run.are_frames {
                let left = self.frames.get(done.frames..).unwrap_or_default();
                left.iter().take_while(|frame| frame.end <= bytes).count() as u32
            } else {
                let left = self.others.get(done.others..).unwrap_or_default();
                left.iter().take_while(|(end, _)| *end <= bytes).count() as u32
            };
            if complete > 0 {
                delivered(run.received_us, complete);
            }
            *(if run.are_frames { &mut done.frames } else { &mut done.others }) += complete as usize;
            run.messages -= complete;
            if run.messages > 0 {
                return;
            }
            done.runs += 1;
        }
    }

    fn messages(&self) -> usize {
        self.frames.len() + self.others.len() - self.delivered.frames - self.delivered.others
    }

    /// Calls `lost` for each message that is not delivered, in their order.
    fn lose(&mut self, mut lost: impl FnMut(PeerKey, MessageRef)) {
        let mut frames = self.frames.drain(..).skip(self.delivered.frames);
        let mut others = self.others.drain(..).skip(self.delivered.others);
        for run in self.runs.drain(..).skip(self.delivered.runs) {
            for _ in 0..run.messages {
                let reference = if run.are_frames {
                    frames
                        .next()
                        .map(|Frame { uuid, message_type, .. }| MessageRef::Frame { uuid, message_type })
                } else {
                    others.next().map(|(_, reference)| reference)
                };
                reference.into_iter().for_each(|reference| lost(run.from, reference));
            }
        }
    }
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
            batch.expect(from, reference, received_us);
        }
    }

    /// Bytes that the kernel has not taken.
    pub fn queued_bytes(&self) -> usize {
        let pending = self.pending.as_ref().map_or(0, |batch| batch.bytes.len());
        pending + (self.in_flight_bytes - self.taken_bytes) as usize
    }

    pub fn queued_messages(&self) -> usize {
        let count = |batch: &Option<Box<Batch>>| batch.as_ref().map_or(0, |batch| batch.messages());
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

    /// The kernel has taken `taken` further bytes of the send: calls `delivered` with the time when
    /// messages that are complete by now were received, and their number. `Some(bytes, offset)`: the
    /// send was cut short, go on from there.
    pub fn sent(
        &mut self,
        bytes: Vec<u8>,
        taken: usize,
        spares: &mut Spares,
        delivered: impl FnMut(u64, u32),
    ) -> Option<(Vec<u8>, usize)> {
        self.in_flight.as_ref()?;
        self.account(self.taken_bytes + taken as u32, delivered);
        if self.taken_bytes < self.in_flight_bytes {
            return Some((bytes, self.taken_bytes as usize));
        }
        self.land(bytes, spares);
        None
    }

    /// As [`Outbox::start_send`], over TLS: handshake messages and alerts go first, and the batch
    /// waits until the handshake is complete.
    ///
    /// # Errors
    /// Nothing can be sealed any more. The batch is still there.
    pub fn start_sealed_send(
        &mut self,
        tls: &mut Tls,
        spares: &mut Spares,
    ) -> Result<Option<Vec<u8>>, CannotSeal> {
        if self.in_flight.is_some() {
            return Ok(None);
        }
        let is_open = !tls.is_opening() && !tls.is_broken();
        let plain = self.pending.take_if(|batch| is_open && !batch.bytes.is_empty());
        let Some(mut batch) = plain.or_else(|| tls.has_output().then(|| spares.take())) else {
            return Ok(None);
        };
        let mut sealed = spares.take();
        if let Err(error) = tls.seal(&batch.bytes, &mut sealed.bytes) {
            self.pending = Some(batch);
            return Err(error);
        }
        (self.in_flight_bytes, self.taken_bytes) = (batch.bytes.len() as u32, 0);
        std::mem::swap(&mut batch.bytes, &mut sealed.bytes);
        spares.give(sealed);
        let bytes = std::mem::take(&mut batch.bytes);
        self.in_flight = Some(batch);
        Ok(Some(bytes))
    }

    /// As [`Outbox::sent`], over TLS. Also tells how many bytes of plaintext have been delivered with
    /// this.
    pub fn sent_sealed(
        &mut self,
        tls: &mut Tls,
        bytes: Vec<u8>,
        taken: usize,
        spares: &mut Spares,
        delivered: impl FnMut(u64, u32),
    ) -> (usize, Option<(Vec<u8>, usize)>) {
        let before = self.taken_bytes;
        let (plain_taken, rest) = tls.taken(taken);
        self.account(plain_taken as u32, delivered);
        let delivered_bytes = (self.taken_bytes - before) as usize;
        if let Some(offset) = rest {
            return (delivered_bytes, Some((bytes, offset)));
        }
        self.land(bytes, spares);
        (delivered_bytes, None)
    }

    /// So much of the batch in flight is with the kernel.
    fn account(&mut self, taken_bytes: u32, delivered: impl FnMut(u64, u32)) {
        self.taken_bytes = taken_bytes;
        if let Some(batch) = &mut self.in_flight {
            batch.taken(taken_bytes, delivered);
        }
    }

    /// All of the batch in flight is with the kernel; `bytes` is its buffer.
    fn land(&mut self, bytes: Vec<u8>, spares: &mut Spares) {
        (self.in_flight_bytes, self.taken_bytes) = (0, 0);
        if let Some(mut batch) = self.in_flight.take() {
            batch.bytes = bytes;
            spares.give(batch);
        }
    }

    /// Throws away what is not in flight; its messages are handed over to be answered.
    pub fn drop_pending(&mut self, spares: &mut Spares, mut lost: impl FnMut(PeerKey, MessageRef)) {
        if let Some(mut batch) = self.pending.take() {
            batch.lose(&mut lost);
            spares.give(batch);
        }
    }

    /// As [`Outbox::drop_pending`], for everything: the connection is gone and its last send has
    /// come back.
    pub fn drop_all(&mut self, spares: &mut Spares, mut lost: impl FnMut(PeerKey, MessageRef)) {
        if let Some(mut batch) = self.in_flight.take() {
            batch.lose(&mut lost);
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
            batch.runs.clear();
            batch.frames.clear();
            batch.others.clear();
            batch.delivered = Delivered::default();
            self.batches.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeId;
    use crate::dialect::MessageLabel;

    fn peer(n: u8) -> PeerKey {
        PeerKey { node: NodeId::shard(0), slot: u32::from(n), generation: 0 }
    }

    fn frame(n: u8) -> MessageRef {
        MessageRef::Frame { uuid: [n; 16], message_type: 0x10 }
    }

    fn text(n: u8) -> MessageRef {
        MessageRef::Text { label: MessageLabel(n), target: "b".into() }
    }

    fn append(outbox: &mut Outbox, spares: &mut Spares, from: u8, reference: MessageRef, received_us: u64) {
        outbox.out(spares).bytes.extend([0; 10]);
        outbox.expect(peer(from), reference, received_us);
    }

    #[test]
    fn a_message_counts_as_delivered_only_with_its_last_byte() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        append(&mut outbox, &mut spares, 1, frame(1), 5);
        append(&mut outbox, &mut spares, 1, frame(2), 5);
        let bytes = outbox.start_send().unwrap();
        append(&mut outbox, &mut spares, 1, frame(3), 5);
        assert!(outbox.start_send().is_none(), "one send at a time");

        let mut delivered = Vec::new();
        let rest = outbox.sent(bytes, 19, &mut spares, |us, messages| delivered.push((us, messages)));
        let (bytes, offset) = rest.unwrap();
        assert_eq!((offset, &delivered[..]), (19, &[(5, 1)][..]));
        assert_eq!(outbox.queued_bytes(), 11);
        assert_eq!(outbox.queued_messages(), 2);

        let mut lost = Vec::new();
        drop(bytes);
        outbox.drop_all(&mut spares, |from, reference| lost.push((from, reference)));
        assert_eq!(lost, [(peer(1), frame(2)), (peer(1), frame(3))]);
        assert!(outbox.is_empty());
        assert_eq!(outbox.queued_bytes(), 0);
    }

    /// Whatever mixture of senders, turns and kinds a batch holds, and wherever it is cut: each message
    /// is either delivered or lost, under its own sender and in its order.
    #[test]
    fn wherever_a_batch_is_cut_each_message_is_delivered_or_lost_once() {
        let messages: Vec<(u8, MessageRef, u64)> = (0..40_u8)
            .map(|n| (n / 7 % 3, if n / 3 % 2 == 0 { frame(n) } else { text(n) }, u64::from(n / 10)))
            .collect();
        let all_bytes = messages.len() * 10;
        let mut spares = Spares::default();
        for first in 0..=all_bytes {
            for second in [0, 1, 9, 10, 11, 95] {
                let second = second.min(all_bytes - first);
                let mut outbox = Outbox::default();
                for (from, reference, received_us) in &messages {
                    append(&mut outbox, &mut spares, *from, reference.clone(), *received_us);
                }
                let mut delivered = Vec::new();
                let mut bytes = outbox.start_send().unwrap();
                for taken in [first, second] {
                    let note = |us, count| delivered.extend(std::iter::repeat_n(us, count as usize));
                    match outbox.sent(bytes, taken, &mut spares, note) {
                        Some((rest, _)) => bytes = rest,
                        None => break,
                    }
                }
                let whole = (first + second) / 10;
                let times: Vec<u64> = messages.iter().map(|(_, _, us)| *us).take(whole).collect();
                assert_eq!(delivered, times);
                assert_eq!(outbox.queued_messages(), messages.len() - whole);
                let mut lost = Vec::new();
                outbox.drop_all(&mut spares, |from, reference| lost.push((from, reference)));
                let expected: Vec<_> = messages
                    .iter()
                    .skip(whole)
                    .map(|(from, reference, _)| (peer(*from), reference.clone()))
                    .collect();
                assert_eq!(lost, expected);
            }
        }
    }
}
