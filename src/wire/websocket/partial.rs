//! What a connection holds while something is in pieces.

use std::fmt;

use super::header::{Expected, HEADER_BYTES_MAX, Header, Opcode};
use super::mask::unmask;
use super::utf8::Text;
use super::violation::Violation;

/// The beginning of a header, the payload of a cut control frame, and the message that is open,
/// each growing with what has arrived and never with what was declared. Control frames may stand
/// between the fragments of a message (RFC 6455 section 5.4), so all three can be there at once.
#[derive(Default)]
pub(super) struct Partial {
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The frame whose payload has not all arrived.
    frame: Option<Frame>,
    /// The data message whose last fragment has not ended.
    open: Option<Kind>,
    control: Vec<u8>,
    binary: Vec<u8>,
    text: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

/// What the last piece has completed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    Control(Opcode),
    Message(Kind),
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// Turned so that its first byte is the one for the next byte of payload.
    key: [u8; 4],
    missing: usize,
}

impl Partial {
    /// Nothing is in pieces; what was completed may still be read.
    pub(super) fn is_idle(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.open.is_none()
    }

    /// Empties it and keeps at most `capacity_max` bytes of memory for text and for binary.
    pub(super) fn clear(&mut self, capacity_max: usize) {
        self.header_len = 0;
        self.frame = None;
        self.open = None;
        self.control.clear();
        self.binary.clear();
        self.binary.shrink_to(capacity_max);
        self.text.clear(capacity_max);
    }

    pub(super) fn expected(&self, message_bytes_max: usize) -> Expected {
        let arrived = match self.open {
            Some(Kind::Text) => self.text.len(),
            Some(Kind::Binary) => self.binary.len(),
            None => 0,
        };
        // The limit may have been lowered by a reload since the message began.
        let room_bytes = message_bytes_max.saturating_sub(arrived);
        Expected { open: self.open.is_some(), room_bytes }
    }

    pub(super) fn holds_header(&self) -> bool {
        self.header_len > 0
    }

    /// Appends to the cut header as much of `input` as a header can have; tells how much.
    pub(super) fn keep_header(&mut self, input: &[u8]) -> usize {
        let free = self.header.get_mut(usize::from(self.header_len)..).unwrap_or_default();
        let added = free.len().min(input.len());
        free[..added].copy_from_slice(&input[..added]);
        self.header_len += added as u8;
        added
    }

    /// Completes the cut header from `input` and tells how many bytes that took. `None`: it is
    /// still cut, and the whole input has been kept.
    pub(super) fn finish_header(
        &mut self,
        input: &[u8],
        expected: Expected,
    ) -> Result<Option<(Header, usize)>, Violation> {
        let held = usize::from(self.header_len);
        let added = self.keep_header(input);
        let bytes = self.header.get(..held + added).unwrap_or_default();
        let Some((header, header_len)) = Header::parse(bytes, expected)? else { return Ok(None) };
        self.header_len = 0;
        // What was held was no header yet, so it is shorter than one.
        Ok(Some((header, header_len - held)))
    }

    pub(super) fn begin(&mut self, header: Header) {
        let Header { opcode, fin, key, payload_len } = header;
        match opcode {
            Opcode::Text => self.open = Some(Kind::Text),
            Opcode::Binary => self.open = Some(Kind::Binary),
            Opcode::Continuation => {}
            // The message that is open may have kept one that was handed out before.
            Opcode::Close | Opcode::Ping | Opcode::Pong => self.control.clear(),
        }
        self.frame = Some(Frame { opcode, fin, key, missing: payload_len });
    }

    pub(super) fn is_in_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Takes payload of the frame that is being read from the front of `input`, which it
    /// unmasks, and tells how much.
    pub(super) fn absorb(&mut self, input: &mut [u8]) -> Result<(usize, Option<Done>), Violation> {
        let Some(frame) = &mut self.frame else { return Ok((0, None)) };
        let taken = frame.missing.min(input.len());
        let piece = &mut input[..taken];
        unmask(piece, frame.key, 0);
        frame.key.rotate_left(taken % 4);
        frame.missing -= taken;
        let Frame { opcode, fin, missing, .. } = *frame;

        if opcode.is_control() {
            self.control.extend_from_slice(piece);
        } else if self.open == Some(Kind::Text) {
            self.text.push(piece).map_err(|_| Violation::InvalidUtf8)?;
        } else {
            self.binary.extend_from_slice(piece);
        }
        if missing > 0 {
            return Ok((taken, None));
        }
        self.frame = None;
        if opcode.is_control() {
            return Ok((taken, Some(Done::Control(opcode))));
        }
        Ok((taken, self.open.take_if(|_| fin).map(Done::Message)))
    }

    pub(super) fn control(&self) -> &[u8] {
        &self.control
    }

    pub(super) fn binary(&self) -> &[u8] {
        &self.binary
    }

    #[cfg(test)]
    pub(super) fn binary_capacity(&self) -> usize {
        self.binary.capacity()
    }

    /// `None` when the text ends within a character.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.complete()
    }
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial")
            .field("open", &self.open)
            .field("bytes", &(self.binary.len() + self.text.len()))
            .finish_non_exhaustive()
    }
}
