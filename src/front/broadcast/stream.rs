//! The stream of a session's WebSocket: counts the frames that leave, and ends when the session's
//! [`Line`] says so or when the client takes nothing for too long.
//!
//! The library would wait for such a client without end, and would not even say that the session is
//! over, because its writer never lets go.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socketioxide::socket::Sid;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::clients::Clients;
use super::line::{Direction, Line, Stream};
use crate::front::Clock;

/// Fit for the library, which wants an `Unpin` stream.
pub(super) struct Watched<S> {
    stream: S,
    line: Arc<Line>,
    clients: Weak<Clients>,
    /// Of a session that was opened by polling, to end it with this stream.
    sid: Option<Sid>,
    frames: Frames,
    patience: Patience,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// When the last byte came from the client, on the steady clock.
    heard_us: u64,
}

/// How long a client may take.
#[derive(Clone)]
pub(super) struct Patience {
    /// To take a byte.
    pub(super) stall: Duration,
    /// To send one, while bytes are on their way to it: it answers pings.
    pub(super) silence: Duration,
    pub(super) clock: Clock,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    pub(super) fn new(
        stream: S,
        line: Arc<Line>,
        clients: Weak<Clients>,
        sid: Option<Sid>,
        patience: Patience,
    ) -> Watched<S> {
        let (frames, heard_us) = (Frames::default(), (patience.clock)().mono_us);
        Watched { stream, line, clients, sid, frames, patience, stalled: None, heard_us }
    }

    fn may_write(&mut self, cx: &Context<'_>) -> io::Result<()> {
        if self.line.stream(Direction::Write, cx.waker()) == Stream::Cut {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        // The library has given up on such a client, and its writer goes on for as long as a byte
        // leaves now and then.
        let silent_us = (self.patience.clock)().mono_us.saturating_sub(self.heard_us);
        if silent_us > self.patience.silence.as_micros() as u64 {
            return Err(self.cut());
        }
        Ok(())
    }

    fn cut(&self) -> io::Error {
        if let Some(clients) = self.clients.upgrade() {
            clients.cut_line(&self.line, self.sid);
        }
        ErrorKind::TimedOut.into()
    }

    /// Fails when the write that waits has done so for too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let stall = self.patience.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(self.cut())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.line.stream(Direction::Read, cx.waker()) {
            Stream::None | Stream::Open => {
                ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
                self.heard_us = (self.patience.clock)().mono_us;
                Poll::Ready(Ok(()))
            }
            Stream::Ending => Poll::Ready(Ok(())),
            Stream::Cut => Poll::Ready(Err(ErrorKind::ConnectionAborted.into())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.may_write(cx)?;
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(Ok(written)) => {
                self.stalled = None;
                let left = self.frames.feed(buf.get(..written).unwrap_or_default());
                if left > 0 {
                    self.line.taken(left);
                }
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait(cx).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.may_write(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> Drop for Watched<S> {
    /// A session whose upgrade has failed would answer each poll with nothing, and without an end:
    /// the library pings nobody who is upgrading.
    fn drop(&mut self) {
        if let (Some(sid), Some(clients)) = (self.sid, self.clients.upgrade()) {
            clients.close_polling(sid);
        }
    }
}

/// Finds the frames that carry packets of ours in what the library writes: binary ones, and texts
/// that begin with `4` and one of the packet types for events and acknowledgements.
#[derive(Default)]
struct Frames {
    /// Of the frame that is being written.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    payload: Option<Payload>,
}

struct Payload {
    is_text: bool,
    is_binary: bool,
    first: [u8; 2],
    seen: u64,
    bytes: u64,
}

/// A server masks nothing.
const HEAD_BYTES_MAX: usize = 10;

const TEXT: u8 = 1;
const BINARY: u8 = 2;

impl Frames {
    /// How many frames with packets of ours these bytes complete.
    fn feed(&mut self, mut bytes: &[u8]) -> usize {
        let mut complete = 0;
        while let Some((first, rest)) = bytes.split_first() {
            let payload = match &mut self.payload {
                Some(payload) => {
                    bytes = payload.feed(bytes);
                    payload
                }
                None => {
                    bytes = rest;
                    let Some(payload) = self.take_head(*first) else { continue };
                    self.payload.insert(payload)
                }
            };
            if payload.seen == payload.bytes {
                complete += usize::from(payload.is_ours());
                self.payload = None;
            }
        }
        complete
    }

    fn take_head(&mut self, byte: u8) -> Option<Payload> {
        self.head[self.head_bytes] = byte;
        self.head_bytes += 1;
        let short = self.head[1] & 0x7F;
        let wanted = match (self.head_bytes, short) {
            (1, _) => 2,
            (_, 126) => 4,
            (_, 127) => HEAD_BYTES_MAX,
            _ => 2,
        };
        if self.head_bytes < wanted {
            return None;
        }
        self.head_bytes = 0;
        let long = |range: std::ops::Range<usize>| {
            self.head[range].iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
        };
        let bytes = match short {
            126 => long(2..4),
            127 => long(2..HEAD_BYTES_MAX),
            short => u64::from(short),
        };
        let opcode = self.head[0] & 0x0F;
        Some(Payload { is_text: opcode == TEXT, is_binary: opcode == BINARY, first: [0; 2], seen: 0, bytes })
    }
}

impl Payload {
    /// Returns what is not of this frame.
    fn feed<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let length =
            usize::try_from(self.bytes - self.seen).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (own, rest) = bytes.split_at(length);
        for (at, byte) in (self.seen..2).zip(own) {
            self.first[at as usize] = *byte;
        }
        self.seen += length as u64;
        rest
    }

    fn is_ours(&self) -> bool {
        self.is_binary || (self.is_text && is_packet(&self.first))
    }
}

/// Whether an Engine.IO packet in text is one that a [`Line`] expects: a message (`4`) that holds an
/// event (`2`, `5`) or an acknowledgement (`3`, `6`).
pub(super) fn is_packet(text: &[u8]) -> bool {
    matches!(text, [b'4', b'2' | b'3' | b'5' | b'6', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => frame.push(short as u8),
            medium @ 126..65_536 => {
                frame.push(126);
                frame.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn packets_are_counted_however_their_bytes_are_cut() {
        let long = format!("42[\"signal\",\"{}\"]", "x".repeat(70_000));
        let medium = format!("43[\"{}\"]", "x".repeat(200));
        let mut written = Vec::new();
        for (opcode, payload) in [
            (1, &b"0{\"sid\":\"x\"}"[..]),
            (1, b"40{\"sid\":\"x\"}"),
            (1, long.as_bytes()),
            (1, b"2"),
            (9, b""),
            (1, medium.as_bytes()),
            (1, b"44{}"),
            (2, b""),
            (2, b"\x00\x01"),
            (1, b"41"),
            (1, b"451-[]"),
            (8, b"\x03\xe8"),
        ] {
            written.extend(frame(opcode, payload));
        }
        for size in [1, 2, 3, 7, 1000, written.len()] {
            let mut frames = Frames::default();
            let count: usize = written.chunks(size).map(|chunk| frames.feed(chunk)).sum();
            assert_eq!(count, 5, "in pieces of {size}");
        }
    }
}
