//! What a tunnel hands to hyper: whole heads that have been judged, and bodies to their ends.
//!
//! ```text
//! shard ──► cut (a head without its end) ──judged──► ready ──► hyper
//!                                        ──upgrade─► held, until that request is answered
//!                                        ──fault───► a stand-in, for which the refusal is answered
//! ```
//!
//! hyper forgives what other parsers do not (a line that ends in LF alone, two ways of telling a
//! length), and a request that is understood in two ways is two requests. So it sees no byte of a
//! head that [`Requests`] has not passed, and no byte behind one that it has refused.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::http::{HeadError, HeadLimits, Requests, Step, is_for_head};

/// A request that hyper takes, in place of one that is refused. It is told by its number.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";
/// The same for one that gets no body.
const STAND_IN_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";
/// No byte of a chunked body outside of its data.
const NO_CHUNK: &[u8] = b"\0";

pub(super) struct Intake {
    limits: HeadLimits,
    requests: Requests,
    /// The beginning of a head.
    cut: BytesMut,
    /// For hyper to read.
    ready: VecDeque<Bytes>,
    /// Behind a request for a WebSocket: frames, if it is granted.
    held: VecDeque<Bytes>,
    /// Heads that were made ready.
    heads: u64,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Requests,
    /// The request of this number asks for a WebSocket.
    Upgrade(u64),
    /// No longer HTTP.
    Plain,
    /// The request of this number is refused; what follows is thrown away.
    Refused(u64, HeadError),
    /// A body is broken; what follows is thrown away.
    Broken,
}

impl Intake {
    pub(super) fn new(head_bytes_max: usize) -> Intake {
        Intake {
            limits: HeadLimits { head_bytes_max },
            requests: Requests::default(),
            cut: BytesMut::new(),
            ready: VecDeque::new(),
            held: VecDeque::new(),
            heads: 0,
            mode: Mode::Requests,
        }
    }

    /// Takes what the client has sent, and tells how many bytes of it are thrown away.
    pub(super) fn take(&mut self, bytes: Bytes) -> usize {
        match self.mode {
            Mode::Requests => self.follow(bytes),
            Mode::Upgrade(_) => {
                self.held.push_back(bytes);
                0
            }
            Mode::Plain => {
                self.ready.push_back(bytes);
                0
            }
            Mode::Refused(..) | Mode::Broken => bytes.len(),
        }
    }

    /// The request of this number, counted from 0, has its response. Tells the bytes that are
    /// thrown away.
    pub(super) fn answered(&mut self, number: u64, is_switching: bool) -> usize {
        if self.mode != Mode::Upgrade(number) {
            return 0;
        }
        self.mode = if is_switching { Mode::Plain } else { Mode::Requests };
        std::mem::take(&mut self.held).into_iter().map(|bytes| self.take(bytes)).sum()
    }

    /// Why the request of this number is a stand-in.
    pub(super) fn refusal(&self, number: u64) -> Option<HeadError> {
        match self.mode {
            Mode::Refused(refused, error) if refused == number => Some(error),
            _ => None,
        }
    }

    /// Nothing more will be ready, whatever the client sends.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.mode, Mode::Refused(..) | Mode::Broken)
    }

    /// Bytes wait for an answer, not for the client.
    pub(super) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether anything has come that hyper has not read.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.held.is_empty() && self.cut.is_empty()
    }

    /// Bytes of a head whose end has not come. They are never more than a head may have.
    pub(super) fn cut_bytes(&self) -> usize {
        self.cut.len()
    }

    /// Moves what fits to `out`; tells how much.
    pub(super) fn read(&mut self, mut room: usize, mut out: impl FnMut(&[u8])) -> usize {
        let before = room;
        while room > 0
            && let Some(first) = self.ready.front_mut()
        {
            let part = first.len().min(room);
            out(&first[..part]);
            first.advance(part);
            room -= part;
            if first.is_empty() {
                self.ready.pop_front();
            }
        }
        before - room
    }

    /// Everything that was not read.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Bytes> {
        let cut = std::mem::take(&mut self.cut).freeze();
        let waiting = std::mem::take(&mut self.ready).into_iter().chain(std::mem::take(&mut self.held));
        waiting.chain(std::iter::once(cut))
    }

    fn follow(&mut self, bytes: Bytes) -> usize {
        let mut bytes = bytes;
        if !self.cut.is_empty() {
            // A head ends with a line end; without one it is only looked at when it is too long.
            let may_end = memchr::memchr(b'\n', &bytes).is_some()
                || self.cut.len() + bytes.len() >= self.limits.head_bytes_max;
            self.cut.extend_from_slice(&bytes);
            if !may_end {
                return 0;
            }
            bytes = std::mem::take(&mut self.cut).freeze();
        }
        while !bytes.is_empty() {
            match self.requests.next(&bytes, self.limits) {
                Ok(Step::CutHead) => {
                    self.cut.extend_from_slice(&bytes);
                    return 0;
                }
                Ok(Step::Head { bytes: head_bytes, asks_upgrade }) => {
                    self.ready.push_back(bytes.split_to(head_bytes));
                    self.heads += 1;
                    if asks_upgrade {
                        self.mode = Mode::Upgrade(self.heads - 1);
                        if !bytes.is_empty() {
                            self.held.push_back(bytes);
                        }
                        return 0;
                    }
                }
                Ok(Step::Body { bytes: body_bytes, broken }) => {
                    if body_bytes > 0 {
                        self.ready.push_back(bytes.split_to(body_bytes));
                    }
                    if broken {
                        self.ready.push_back(Bytes::from_static(NO_CHUNK));
                        self.mode = Mode::Broken;
                        return bytes.len();
                    }
                }
                Err(error) => {
                    let stand_in = if is_for_head(&bytes) { STAND_IN_HEAD } else { STAND_IN };
                    self.ready.push_back(Bytes::from_static(stand_in));
                    self.mode = Mode::Refused(self.heads, error);
                    return bytes.len();
                }
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    const ASK: &str = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";

    struct Fed {
        intake: Intake,
        thrown: usize,
    }

    impl Fed {
        fn with(text: &str, size: usize) -> Fed {
            let mut fed = Fed { intake: Intake::new(1024), thrown: 0 };
            fed.feed(text, size);
            fed
        }

        fn feed(&mut self, text: &str, size: usize) {
            for piece in text.as_bytes().chunks(size) {
                self.thrown += self.intake.take(Bytes::copy_from_slice(piece));
            }
        }

        fn read(&mut self) -> String {
            let mut read = Vec::new();
            while self.intake.read(5, |bytes| read.extend_from_slice(bytes)) > 0 {}
            String::from_utf8(read).expect("text")
        }
    }

    #[test]
    fn a_head_is_handed_out_whole_or_not_at_all() {
        for cut in 1..GET.len() {
            let mut fed = Fed::with(&GET[..cut], 7);
            assert_eq!(fed.read(), "", "{cut}");
            assert_eq!(fed.intake.cut_bytes(), cut);
            assert!(!fed.intake.is_empty());
            fed.feed(&GET[cut..], 1);
            assert_eq!(fed.read(), GET);
            assert!(fed.intake.is_empty());
        }
    }

    #[test]
    fn nothing_of_a_refused_request_is_handed_out_and_nothing_behind_it() {
        let bad = "GET / HTTP/1.1\nHost: h\r\n\r\n";
        for size in [1, 3, 1000] {
            let mut fed = Fed::with(&format!("{GET}{bad}{GET}"), size);
            assert_eq!(fed.read(), format!("{GET}{}", std::str::from_utf8(STAND_IN).unwrap()), "{size}");
            assert_eq!(fed.intake.refusal(0), None);
            assert_eq!(fed.intake.refusal(1), Some(HeadError::Malformed));
            assert!(fed.intake.has_ended());
            fed.feed(GET, size);
            assert_eq!(fed.read(), "");
        }
    }

    #[test]
    fn a_broken_body_is_broken_for_hyper_too() {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        for size in [1, 4, 1000] {
            let mut fed = Fed::with(&format!("{head}5 \r\nhello\r\n0\r\n\r\n"), size);
            assert_eq!(fed.read(), format!("{head}5 \0"), "{size}");
            assert_eq!(fed.thrown, "\r\nhello\r\n0\r\n\r\n".len());
            assert!(fed.intake.has_ended());
        }
    }

    #[test]
    fn what_is_behind_an_upgrade_waits_for_its_answer() {
        for size in [1, 9, 1000] {
            let mut fed = Fed::with(&format!("{GET}{ASK}\u{1}{GET}"), size);
            assert_eq!(fed.read(), format!("{GET}{ASK}"));
            assert!(fed.intake.is_held());
            assert_eq!(fed.intake.answered(0, false), 0, "another request was answered");
            assert!(fed.intake.is_held());
            assert_eq!(fed.intake.answered(1, true), 0);
            assert_eq!(fed.read(), format!("\u{1}{GET}"), "frames pass as they are");

            let mut fed = Fed::with(&format!("{ASK}{GET}GET"), size);
            fed.read();
            assert_eq!(fed.intake.answered(0, false), 0);
            assert_eq!(fed.read(), GET, "requests are judged as ever");
            assert_eq!(fed.intake.cut_bytes(), 3);

            let mut fed = Fed::with(&format!("{ASK}\u{1}{GET}"), size);
            fed.read();
            assert_eq!(fed.intake.answered(0, false), 1 + GET.len());
            assert_eq!(fed.intake.refusal(1), Some(HeadError::Malformed));
        }
    }

    #[test]
    fn what_was_not_read_is_given_back_in_its_order() {
        let mut fed = Fed::with(&format!("{ASK}frames"), 1000);
        let given: Vec<u8> = fed.intake.drain().flatten().collect();
        assert_eq!(given, format!("{ASK}frames").as_bytes());
        assert!(fed.intake.is_empty());
    }
}
