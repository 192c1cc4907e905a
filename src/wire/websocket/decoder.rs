//! From received bytes to messages.
//!
//! A frame that lies whole in the input, and is a whole message or a control frame, is unmasked
//! where it lies and handed out borrowed. Everything else is gathered in a [`Partial`]: the
//! bytes of a cut header, the payload of a cut control frame, the message that is open.
//!
//! ```text
//! input:  … end of a cut frame │ whole frame │ whole frame │ beginning of the next …
//!             to the Partial      borrowed      borrowed     to a Partial of the pool
//! ```

use std::fmt;

use super::close::Close;
use super::header::{Expected, Header, Opcode};
use super::mask::unmask;
use super::partial::{Done, Kind, Partial};
use super::pool::Pool;
use super::violation::Violation;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of one message, all its fragments together.
    pub message_bytes_max: usize,
}

/// What the client sent. The payloads are the peer's secrets, so `Debug` shows their lengths.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete message of text.
    Text(&'a str),
    /// A complete message of bytes.
    Binary(&'a [u8]),
    /// To be answered with a Pong of the same payload (RFC 6455 section 5.5.2).
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The client sends nothing more; what follows in the input is swallowed.
    Close(Close<'a>),
}

/// The result of one [`Decoder::next`].
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes at the front of the input that are done with.
    pub consumed: usize,
    /// `None`: the whole input is consumed and more is needed.
    pub event: Option<Event<'a>>,
}

/// Assembles the messages of one connection. Two words long; heap is held only while a header,
/// a control frame or a message is in pieces, and it comes from a [`Pool`].
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    /// A Close or a violation has been reported.
    ended: bool,
}

impl Decoder {
    /// Takes bytes from the front of `input` up to the next event.
    ///
    /// Call it again with the rest of the input until there is no event: the call after an event
    /// is what gives the message's memory back to the pool, also when the rest is empty. The
    /// bytes consumed are overwritten by unmasking.
    ///
    /// After a [`Event::Close`] or a [`Violation`] everything is swallowed without an event.
    ///
    /// ```
    /// # use sigmux::wire::websocket::{Decoder, Event, Limits, Pool};
    /// # let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
    /// # let limits = Limits { message_bytes_max: 1024 };
    /// # let mut received = [0x82, 0x81, 0, 0, 0, 0, 7];
    /// let mut at = 0;
    /// loop {
    ///     let step = decoder.next(&mut received[at..], &limits, &mut pool)?;
    ///     at += step.consumed;
    ///     match step.event {
    ///         Some(event) => assert_eq!(event, Event::Binary(&[7])),
    ///         None => break,
    ///     }
    /// }
    /// # Ok::<(), sigmux::wire::websocket::Violation>(())
    /// ```
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Step<'a>, Violation> {
        self.give_back(pool);
        if self.ended {
            return Ok(Step { consumed: input.len(), event: None });
        }
        let Decoder { partial, ended } = self;
        let event = match advance(partial, input, limits, pool) {
            Ok((consumed, found)) => {
                found.event(partial.as_deref(), input).map(|event| Step { consumed, event })
            }
            Err(violation) => Err(violation),
        };
        *ended = matches!(event, Err(_) | Ok(Step { event: Some(Event::Close(_)), .. }));
        event
    }

    /// True once a Close or a violation has been reported.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn give_back(&mut self, pool: &mut Pool) {
        if let Some(done) = self.partial.take_if(|partial| self.ended || partial.is_idle()) {
            pool.put(done);
        }
    }
}

/// Where an event lies. Places instead of borrows, so that the loop can go on when there is none.
#[derive(Clone, Copy, Debug)]
enum Found {
    Nothing,
    /// A whole frame in the input, already unmasked.
    InInput {
        opcode: Opcode,
        start: usize,
        end: usize,
    },
    /// Something that came in pieces.
    InPartial(Done),
}

impl Found {
    /// Borrows the event from where it lies.
    fn event<'a>(
        self,
        partial: Option<&'a Partial>,
        input: &'a [u8],
    ) -> Result<Option<Event<'a>>, Violation> {
        let (opcode, payload) = match (self, partial) {
            (Found::InInput { opcode, start, end }, _) => (opcode, &input[start..end]),
            (Found::InPartial(Done::Control(opcode)), Some(partial)) => (opcode, partial.control()),
            (Found::InPartial(Done::Message(Kind::Binary)), Some(partial)) => {
                (Opcode::Binary, partial.binary())
            }
            (Found::InPartial(Done::Message(Kind::Text)), Some(partial)) => {
                let text = partial.text().ok_or(Violation::InvalidUtf8)?;
                return Ok(Some(Event::Text(text)));
            }
            (Found::Nothing, _) | (Found::InPartial(_), None) => return Ok(None),
        };
        Ok(Some(match opcode {
            Opcode::Text => {
                Event::Text(simdutf8::basic::from_utf8(payload).map_err(|_| Violation::InvalidUtf8)?)
            }
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            Opcode::Close => Event::Close(Close::parse(payload)?),
            // A continuation is never handed out by itself.
            Opcode::Binary | Opcode::Continuation => Event::Binary(payload),
        }))
    }
}

/// Consumes frames until one of them ends an event or the input is used up.
fn advance(
    slot: &mut Option<Box<Partial>>,
    input: &mut [u8],
    limits: &Limits,
    pool: &mut Pool,
) -> Result<(usize, Found), Violation> {
    // Never beyond the input's end: every step adds what it took from `input[at..]`.
    let mut at = 0;
    loop {
        if let Some(partial) = slot.as_deref_mut() {
            let (taken, done) = partial.absorb(&mut input[at..])?;
            at += taken;
            if let Some(done) = done {
                return Ok((at, Found::InPartial(done)));
            }
            if partial.is_in_frame() {
                return Ok((at, Found::Nothing));
            }
        }
        let Some((header, taken)) = read_header(slot, &input[at..], limits, pool)? else {
            return Ok((input.len(), Found::Nothing));
        };
        at += taken;
        let Header { opcode, fin, key, payload_len } = header;
        let whole_event = fin && opcode != Opcode::Continuation;
        if whole_event && let Some(payload) = input[at..].get_mut(..payload_len) {
            unmask(payload, key, 0);
            let end = at + payload_len;
            return Ok((end, Found::InInput { opcode, start: at, end }));
        }
        slot.get_or_insert_with(|| pool.take()).begin(header);
    }
}

/// Reads a header from the input, or from what a former input left of it and the input. Tells
/// the bytes taken. Keeps those of a header that is still not whole: then the input is used up.
#[inline]
fn read_header(
    slot: &mut Option<Box<Partial>>,
    input: &[u8],
    limits: &Limits,
    pool: &mut Pool,
) -> Result<Option<(Header, usize)>, Violation> {
    let expected = match slot.as_deref_mut() {
        Some(partial) => {
            let expected = partial.expected(limits.message_bytes_max);
            if partial.holds_header() {
                return partial.finish_header(input, expected);
            }
            expected
        }
        None => Expected { open: false, room_bytes: limits.message_bytes_max },
    };
    let parsed = Header::parse(input, expected)?;
    if parsed.is_none() && !input.is_empty() {
        slot.get_or_insert_with(|| pool.take()).keep_header(input);
    }
    Ok(parsed)
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Event::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Event::Ping(bytes) => write!(f, "Ping({} bytes)", bytes.len()),
            Event::Pong(bytes) => write!(f, "Pong({} bytes)", bytes.len()),
            Event::Close(close) => close.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { message_bytes_max: 1000 };
    const KEY: [u8; 4] = [0x11, 0xc2, 0x73, 0x00];

    #[derive(Clone, Debug, PartialEq)]
    enum Seen {
        Text(String),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<u16>, String),
        Violation(Violation),
    }

    impl From<Event<'_>> for Seen {
        fn from(event: Event<'_>) -> Seen {
            match event {
                Event::Text(text) => Seen::Text(text.to_owned()),
                Event::Binary(bytes) => Seen::Binary(bytes.to_vec()),
                Event::Ping(bytes) => Seen::Ping(bytes.to_vec()),
                Event::Pong(bytes) => Seen::Pong(bytes.to_vec()),
                Event::Close(close) => Seen::Close(close.code.map(|c| c.get()), close.reason.to_owned()),
            }
        }
    }

    /// A client's frame, written from the RFC's picture and not with the module's own code.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        let len = payload.len();
        if len < 126 {
            out.push(0x80 + len as u8);
        } else if len < 65_536 {
            out.extend([0x80 + 126, (len >> 8) as u8, len as u8]);
        } else {
            out.push(0x80 + 127);
            out.extend((0..8).rev().map(|i| (len as u64 >> (8 * i)) as u8));
        }
        out.extend(KEY);
        out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ KEY[i % 4]));
        out
    }

    /// Feeds the pieces one after the other and lists what comes out, a violation last.
    fn run<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: Limits, pool: &mut Pool) -> Vec<Seen> {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let mut received = piece.to_vec();
            let mut at = 0;
            loop {
                match decoder.next(&mut received[at..], &limits, pool) {
                    Ok(Step { consumed, event: Some(event) }) => {
                        seen.push(event.into());
                        at += consumed;
                    }
                    Ok(Step { consumed, event: None }) => {
                        assert_eq!(at + consumed, received.len());
                        assert!(decoder.partial.as_ref().is_none_or(|partial| !partial.is_idle()));
                        break;
                    }
                    Err(violation) => {
                        seen.push(Seen::Violation(violation));
                        return seen;
                    }
                }
            }
        }
        seen
    }

    /// What comes out must be `expected` for the whole, for one-byte pieces, for pieces of every
    /// size, and for every choice of two cuts.
    fn assert_every_split(stream: &[u8], expected: &[Seen]) {
        let mut pool = Pool::default();
        assert_eq!(run([stream], LIMITS, &mut pool), expected, "whole");
        for size in 1..=stream.len() {
            assert_eq!(run(stream.chunks(size), LIMITS, &mut pool), expected, "pieces of {size}");
        }
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(run(pieces, LIMITS, &mut pool), expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_stream_of_all_kinds_gives_the_same_events_for_every_split() {
        let stream = [
            frame(0x81, "Hellö".as_bytes()),
            frame(0x82, &[0xaa; 130]),
            frame(0x81, b""),
            frame(0x82, b""),
            frame(0x89, b"are you there"),
            frame(0x8a, b""),
            // A text of four fragments, one of them empty, cut within a character, with control
            // frames in between.
            frame(0x01, "κόσμ\u{10437}".as_bytes().split_at(10).0),
            frame(0x89, b"p"),
            frame(0x00, b""),
            frame(0x8a, b"q"),
            frame(0x00, "κόσμ\u{10437}".as_bytes().split_at(10).1),
            frame(0x80, b"!"),
            // Binary fragments that are empty throughout.
            frame(0x02, b""),
            frame(0x80, b""),
            frame(0x88, b"\x03\xe8bye"),
            b"anything at all".to_vec(),
        ]
        .concat();
        let expected = [
            Seen::Text("Hellö".into()),
            Seen::Binary(vec![0xaa; 130]),
            Seen::Text("".into()),
            Seen::Binary(vec![]),
            Seen::Ping(b"are you there".into()),
            Seen::Pong(vec![]),
            Seen::Ping(b"p".into()),
            Seen::Pong(b"q".into()),
            Seen::Text("κόσμ\u{10437}!".into()),
            Seen::Binary(vec![]),
            Seen::Close(Some(1000), "bye".into()),
        ];
        assert_every_split(&stream, &expected);
    }

    #[test]
    fn every_violation_is_the_same_for_every_split() {
        let long = vec![b'x'; 600];
        let cases: &[(Violation, &[&[u8]])] = &[
            (Violation::ReservedBits, &[&frame(0xc1, b"a")]),
            (Violation::ReservedBits, &[&frame(0x99, b"a")]),
            (Violation::ReservedOpcode, &[&frame(0x83, b"a")]),
            (Violation::ReservedOpcode, &[&frame(0x8b, b"a")]),
            (Violation::FragmentedControl, &[&frame(0x09, b"a")]),
            (Violation::ControlTooLong, &[&frame(0x89, &[0; 126])]),
            (Violation::StrayContinuation, &[&frame(0x80, b"a")]),
            (Violation::StrayContinuation, &[&frame(0x01, b"a"), &frame(0x80, b"b"), &frame(0x00, b"c")]),
            (Violation::InterruptedMessage, &[&frame(0x01, b"a"), &frame(0x81, b"b")]),
            (Violation::InterruptedMessage, &[&frame(0x02, b"a"), &frame(0x02, b"b")]),
            (Violation::Unmasked, &[b"\x81\x01a"]),
            (Violation::LengthNotMinimal, &[b"\x81\xfe\x00\x01\0\0\0\0a"]),
            (Violation::LengthOverflow, &[b"\x81\xff\x80\0\0\0\0\0\0\0\0\0\0\0"]),
            (Violation::MessageTooBig, &[b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"]),
            (Violation::MessageTooBig, &[b"\x82\xfe\x03\xe9\0\0\0\0"]),
            (Violation::MessageTooBig, &[&frame(0x02, &long), &frame(0x89, b""), &frame(0x80, &long)]),
            (Violation::InvalidUtf8, &[&frame(0x81, b"ok\xff")]),
            (Violation::InvalidUtf8, &[&frame(0x81, b"cut \xe2\x82")]),
            (Violation::InvalidUtf8, &[&frame(0x01, b"cut \xe2\x82"), &frame(0x80, b"")]),
            (Violation::InvalidUtf8, &[&frame(0x01, b"cut \xe2\x82"), &frame(0x80, b"(")]),
            (Violation::InvalidUtf8, &[&frame(0x01, b"\xed\xa0"), &frame(0x09, b"")]),
            (Violation::CloseCutShort, &[&frame(0x88, b"\x03")]),
            (Violation::CloseCodeNotAllowed, &[&frame(0x88, b"\x03\xee")]),
            (Violation::InvalidUtf8, &[&frame(0x88, b"\x03\xe8\xce\xba\xff")]),
        ];
        for (violation, frames) in cases {
            let mut stream = frame(0x81, b"before");
            frames.iter().for_each(|bytes| stream.extend_from_slice(bytes));
            let mut expected = vec![Seen::Text("before".into())];
            if frames.iter().any(|bytes| bytes.first() == Some(&0x89)) && frames.len() > 1 {
                expected.push(Seen::Ping(vec![]));
            }
            if frames.len() == 3 && *violation == Violation::StrayContinuation {
                expected.push(Seen::Text("ab".into()));
            }
            expected.push(Seen::Violation(*violation));
            if stream.len() < 200 {
                assert_every_split(&stream, &expected);
            } else {
                let mut pool = Pool::default();
                for size in 1..=stream.len() {
                    assert_eq!(run(stream.chunks(size), LIMITS, &mut pool), expected);
                }
            }
        }
    }

    #[test]
    fn random_messages_in_random_fragments_and_pieces_arrive_as_they_were_sent() {
        let mut random = Lcg(42);
        let mut pool = Pool::default();
        let limits = Limits { message_bytes_max: 200_000 };
        for _ in 0..300 {
            let (mut stream, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..random.below(8) {
                let len = match random.below(12) {
                    0 => 65_530 + random.below(12),
                    1 => 120 + random.below(12),
                    _ => random.below(40),
                };
                let text: String = (0..len / 2).map(|i| ['a', 'é', '€', '𝄞'][(i + len) % 4]).collect();
                let is_text = random.below(2) == 0;
                let mut rest = text.as_bytes();
                let mut opcode = if is_text { 1 } else { 2 };
                loop {
                    let take = if random.below(3) > 0 { rest.len() } else { random.below(rest.len() + 1) };
                    let last = take == rest.len();
                    stream.extend(frame(opcode | if last { 0x80 } else { 0 }, &rest[..take]));
                    rest = &rest[take..];
                    opcode = 0;
                    if last {
                        break;
                    }
                    let ping = vec![7; random.below(126)];
                    stream.extend(frame(0x89, &ping));
                    expected.push(Seen::Ping(ping));
                }
                expected.push(match is_text {
                    true => Seen::Text(text),
                    false => Seen::Binary(text.into_bytes()),
                });
            }
            let mut pieces = Vec::new();
            let mut rest = stream.as_slice();
            while !rest.is_empty() {
                let most = [3, 20, 300, 40_000][random.below(4)];
                let (piece, after) = rest.split_at((1 + random.below(most)).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            assert_eq!(run(pieces, limits, &mut pool), expected);
        }
    }

    #[test]
    fn noise_gives_the_same_verdict_for_every_split() {
        let mut random = Lcg(7);
        let mut pool = Pool::default();
        for _ in 0..3000 {
            // Frames whose header bytes are wrong now and then, so that the noise gets deep.
            let mut stream = Vec::new();
            for _ in 0..4 {
                let first = [0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x88][random.below(7)];
                let payload: Vec<u8> = (0..random.below(6)).map(|_| random.below(256) as u8 & 0xef).collect();
                stream.extend(frame(first, &payload));
            }
            let at = random.below(stream.len());
            stream[at] = random.below(256) as u8;
            let whole = run([stream.as_slice()], LIMITS, &mut pool);
            for size in 1..8 {
                assert_eq!(run(stream.chunks(size), LIMITS, &mut pool), whole, "{stream:x?}");
            }
        }
    }

    #[test]
    fn a_whole_message_lies_in_the_input_and_needs_no_memory() {
        let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
        let mut received = [frame(0x82, b"borrowed"), frame(0x89, b"ping")].concat();
        let range = received.as_ptr_range();
        let mut at = 0;
        for expected in [&b"borrowed"[..], b"ping"] {
            let step = decoder.next(&mut received[at..], &LIMITS, &mut pool).unwrap();
            let (Some(Event::Binary(bytes)) | Some(Event::Ping(bytes))) = step.event else { panic!() };
            assert_eq!(bytes, expected);
            assert!(range.contains(&bytes.as_ptr()));
            at += step.consumed;
            assert!(decoder.partial.is_none());
        }
        assert_eq!(pool.len(), 0);
    }

    #[test]
    fn a_message_whose_header_alone_was_cut_is_not_copied() {
        let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
        let bytes = frame(0x81, b"no copy");
        decoder.next(&mut bytes[..3].to_vec(), &LIMITS, &mut pool).unwrap();
        let mut rest = bytes[3..].to_vec();
        let range = rest.as_ptr_range();
        let step = decoder.next(&mut rest, &LIMITS, &mut pool).unwrap();
        let Some(Event::Text(text)) = step.event else { panic!() };
        assert!(text == "no copy" && range.contains(&text.as_ptr()));
    }

    #[test]
    fn an_idle_connection_holds_two_words_and_its_buffer_is_used_again() {
        assert!(size_of::<Decoder>() <= 16);
        let mut pool = Pool::default();
        let bytes = frame(0x82, &[5; 300]);
        let mut buffers = Vec::new();
        for _ in 0..3 {
            let mut decoder = Decoder::default();
            let (mut head, mut tail) = (bytes[..100].to_vec(), bytes[100..].to_vec());
            assert_eq!(decoder.next(&mut head, &LIMITS, &mut pool).unwrap().event, None);
            assert!(decoder.partial.is_some());
            assert_eq!(pool.len(), 0);
            let step = decoder.next(&mut tail, &LIMITS, &mut pool).unwrap();
            let Some(Event::Binary(message)) = step.event else { panic!() };
            assert_eq!(message, [5; 300]);
            buffers.push(message.as_ptr());
            assert_eq!(decoder.next(&mut [], &LIMITS, &mut pool).unwrap().event, None);
            assert!(decoder.partial.is_none());
            assert_eq!(pool.len(), 1);
        }
        assert!(buffers.iter().all(|buffer| *buffer == buffers[0]));
    }

    #[test]
    fn memory_grows_with_what_arrived_and_not_with_what_was_declared() {
        let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
        let limits = Limits { message_bytes_max: 1 << 20 };
        let mut head = frame(0x82, &vec![0; 1 << 20]);
        head.truncate(100);
        decoder.next(&mut head, &limits, &mut pool).unwrap();
        let partial = decoder.partial.unwrap();
        assert!(partial.binary().len() < 100 && partial.binary_capacity() < 1024);
    }

    #[test]
    fn the_limit_counts_all_fragments_and_admits_exactly_itself() {
        let mut pool = Pool::default();
        for first in [0x01, 0x02] {
            let stream = [frame(first, &[b'a'; 400]), frame(0x00, &[b'b'; 500]), frame(0x80, &[b'c'; 100])];
            assert_eq!(run([stream.concat().as_slice()], LIMITS, &mut pool).len(), 1);
            let limits = Limits { message_bytes_max: 999 };
            let mut cut = stream.concat();
            // The last fragment's header is enough.
            cut.truncate(stream[0].len() + stream[1].len() + 2);
            let seen = run([cut.as_slice()], limits, &mut pool);
            assert_eq!(seen, [Seen::Violation(Violation::MessageTooBig)]);
        }
    }

    #[test]
    fn bad_text_in_a_cut_frame_fails_at_the_byte_that_is_bad() {
        let bytes = frame(0x81, b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80edited");
        // Six bytes of header, then the seventh byte of payload is beyond U+10FFFF.
        for len in 0..=bytes.len() {
            let seen = run([&bytes[..len]], LIMITS, &mut Pool::default());
            let bad = len >= 6 + 7;
            assert_eq!(seen, if bad { vec![Seen::Violation(Violation::InvalidUtf8)] } else { vec![] });
        }
    }

    #[test]
    fn after_a_close_or_a_violation_everything_is_swallowed() {
        for last in [frame(0x88, b""), frame(0x83, b"")] {
            let (mut decoder, mut pool) = (Decoder::default(), Pool::default());
            let mut first = [frame(0x01, b"open"), last].concat();
            let _ = decoder.next(&mut first, &LIMITS, &mut pool);
            let mut more = frame(0x81, b"late");
            let step = decoder.next(&mut more, &LIMITS, &mut pool).unwrap();
            assert_eq!(step, Step { consumed: 10, event: None });
            // What was open went back.
            assert!(decoder.partial.is_none());
            assert_eq!(pool.len(), 1);
        }
    }

    #[test]
    fn debug_output_hides_what_the_peer_sent() {
        let mut decoder = Decoder::default();
        let mut bytes = frame(0x01, b"hush");
        decoder.next(&mut bytes, &LIMITS, &mut Pool::default()).unwrap();
        let close = Close::parse(b"\x03\xe8hush").unwrap();
        let shown = format!("{decoder:?} {:?} {:?}", Event::Text("hush"), Event::Close(close));
        assert!(!shown.contains("hush"), "{shown}");
    }

    /// A small generator of the test's own: the run is the same every time.
    struct Lcg(u64);

    impl Lcg {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) as usize) % bound
        }
    }
}
