//! Where each request of a connection begins and ends, one behind the other.

use super::chunks::{Chunks, Taken};
use super::{BodyLength, HeadError, HeadLimits, parse_head};
use crate::wire::websocket;

/// Follows the requests of one connection. It holds no bytes: a head that is cut is given again,
/// whole.
#[derive(Default)]
pub struct Requests {
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Head,
    Body(u64),
    Chunked(Chunks),
}

/// What lies at the front of the bytes. Never nothing, where there are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The beginning of a head. Call again with all of these bytes, and more.
    CutHead,
    /// So many bytes are a whole head.
    Head {
        bytes: usize,
        /// It asks for a WebSocket and has no body. What follows belongs to another request only
        /// if the answer says so.
        asks_upgrade: bool,
    },
    /// So many bytes are of a body. `broken`: the byte behind them makes it none.
    Body { bytes: usize, broken: bool },
}

impl Requests {
    /// Whether the next byte belongs to a head.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Tells what `bytes`, of which there is at least one, begin with.
    ///
    /// # Errors
    /// A head that is not served. Nothing that follows it can be understood.
    pub fn next(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Step, HeadError> {
        match &mut self.state {
            State::Head => {
                let Some(head) = parse_head(bytes, limits)? else { return Ok(Step::CutHead) };
                let length = head.body_length()?;
                self.state = match length {
                    BodyLength::NONE => State::Head,
                    BodyLength::Bytes(bytes) => State::Body(bytes),
                    BodyLength::Chunked => State::Chunked(Chunks::default()),
                };
                let request = websocket::Request::new(head.method, head.minor_version, head.headers());
                let asks_upgrade = length == BodyLength::NONE && websocket::is_upgrade(&request);
                Ok(Step::Head { bytes: head.consumed, asks_upgrade })
            }
            State::Body(missing) => {
                let part = bytes.len().min(usize::try_from(*missing).unwrap_or(usize::MAX));
                *missing -= part as u64;
                if *missing == 0 {
                    self.state = State::Head;
                }
                Ok(Step::Body { bytes: part, broken: false })
            }
            State::Chunked(chunks) => Ok(match chunks.take(bytes) {
                Taken::All => Step::Body { bytes: bytes.len(), broken: false },
                Taken::Fault(bytes) => Step::Body { bytes, broken: true },
                Taken::Complete(bytes) => {
                    self.state = State::Head;
                    Step::Body { bytes, broken: false }
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 4096 };

    /// The places where heads begin, for input that comes in pieces of this size.
    fn begins(stream: &[u8], size: usize) -> Result<Vec<usize>, (usize, Option<HeadError>)> {
        let mut requests = Requests::default();
        let (mut found, mut at, mut from) = (Vec::new(), 0, 0);
        for piece in stream.chunks(size) {
            let end = at + piece.len();
            at = end;
            while from < end {
                let was_in_head = requests.is_in_head();
                match requests.next(&stream[from..end], LIMITS).map_err(|fault| (from, Some(fault)))? {
                    Step::CutHead => break,
                    Step::Head { bytes, .. } => {
                        assert!(was_in_head);
                        found.push(from);
                        from += bytes;
                    }
                    Step::Body { bytes, broken: true } => return Err((from + bytes, None)),
                    Step::Body { bytes, .. } => {
                        assert!(!was_in_head && bytes > 0);
                        from += bytes;
                    }
                }
            }
        }
        assert_eq!(from, stream.len(), "all of it was understood");
        Ok(found)
    }

    #[test]
    fn requests_of_every_kind_are_told_apart_however_they_are_cut() {
        let parts: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 27\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
              10;a=\"\"\r\nGET / HTTP/1.1\r\n\r\n1\r\n\r\r\n0\r\nA: b\r\n\r\n",
            b"\r\nHEAD / HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
            b"DELETE / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET /last HTTP/1.1\r\nHost: h\r\n\r\n",
        ];
        let stream = parts.concat();
        let ends = parts.iter().scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        });
        let expected: Vec<_> = std::iter::once(0).chain(ends).take(parts.len()).collect();
        for size in 1..=stream.len() {
            assert_eq!(begins(&stream, size), Ok(expected.clone()), "pieces of {size}");
        }
    }

    #[test]
    fn a_fault_is_told_in_its_request_and_not_before() {
        let good = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let both = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let stream = [&good[..], both].concat();
        let chunk = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx";
        for size in 1..=stream.len() {
            assert_eq!(begins(&stream, size), Err((good.len(), Some(HeadError::Length))));
            assert_eq!(begins(chunk, size), Err((chunk.len() - 1, None)));
        }
    }

    #[test]
    fn an_upgrade_is_one_without_a_body() {
        let ask = |headers: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c, WebSocket\r\n{headers}\r\n");
            Requests::default().next(head.as_bytes(), LIMITS)
        };
        assert!(matches!(ask(""), Ok(Step::Head { asks_upgrade: true, .. })));
        assert!(matches!(ask("Content-Length: 0\r\n"), Ok(Step::Head { asks_upgrade: true, .. })));
        assert!(matches!(ask("Content-Length: 1\r\n"), Ok(Step::Head { asks_upgrade: false, .. })));
        assert!(matches!(ask("Transfer-Encoding: chunked\r\n"), Ok(Step::Head { asks_upgrade: false, .. })));
    }
}
