//! WebSocket, from a client's bytes to messages.

mod tungstenite;

use self::tungstenite::both_read_the_same;
use super::pieces;
use crate::sim::frames::write_client_frame;
use crate::wire::websocket::{CONTROL_BYTES_MAX, Decoder, Event, Limits, Pool, Step, Violation};

/// Most bytes of an input that is fed byte by byte as well.
const SINGLE_BYTES_MAX: usize = 4096;

/// What came out, a violation last.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Violation(Violation),
}

/// The first two bytes choose the limit and the cuts. The rest is what a client sends, once as it
/// is, and once as the payload of messages that are well-formed.
pub fn websocket(data: &[u8]) {
    let [limit, seed, stream @ ..] = data else { return };
    let limits = Limits { message_bytes_max: usize::from(*limit) * 16 };
    let seen = any_bytes_give_the_same_events_however_they_are_cut(stream, limits, *seed);
    both_read_the_same(stream, limits, &seen);
    a_message_comes_back_however_it_is_fragmented(stream, *seed);
}

fn any_bytes_give_the_same_events_however_they_are_cut(stream: &[u8], limits: Limits, seed: u8) -> Vec<Seen> {
    let mut pool = Pool::default();
    let whole = run([stream], limits, &mut pool);
    check_limits(&whole, limits);
    for piece_bytes_max in [3, 17, 300] {
        let cut = run(pieces(stream, piece_bytes_max, seed), limits, &mut pool);
        assert!(whole == cut, "whole: {whole:?}\nin pieces of up to {piece_bytes_max}: {cut:?}");
    }
    if stream.len() <= SINGLE_BYTES_MAX {
        assert!(whole == run(stream.chunks(1), limits, &mut pool), "byte by byte");
    }
    whole
}

fn check_limits(seen: &[Seen], limits: Limits) {
    for (index, event) in seen.iter().enumerate() {
        match event {
            Seen::Text(text) => assert!(text.len() <= limits.message_bytes_max),
            Seen::Binary(bytes) => assert!(bytes.len() <= limits.message_bytes_max),
            Seen::Ping(bytes) | Seen::Pong(bytes) => assert!(bytes.len() <= CONTROL_BYTES_MAX),
            Seen::Close(code, reason) => {
                let length = reason.len() + if code.is_some() { 2 } else { 0 };
                assert!(length <= CONTROL_BYTES_MAX);
            }
            Seen::Violation(_) => {}
        }
        let is_end = matches!(event, Seen::Close(..) | Seen::Violation(_));
        assert!(!is_end || index + 1 == seen.len(), "nothing comes behind the end");
    }
}

/// The payload in fragments with a ping between any two of them, and a Close behind it.
fn a_message_comes_back_however_it_is_fragmented(payload: &[u8], seed: u8) {
    let limits = Limits { message_bytes_max: payload.len() };
    let mut pool = Pool::default();
    for (opcode, piece_bytes_max) in [(0x1, 5), (0x2, 5), (0x1, 200), (0x2, 200), (0x1, 70_000)] {
        let mut stream = Vec::new();
        let mut pings = Vec::new();
        let mut fragments = pieces(payload, piece_bytes_max, seed).peekable();
        let mut opcode_or_none = opcode;
        loop {
            let fragment = fragments.next().unwrap_or_default();
            let fin = fragments.peek().is_none();
            write_client_frame(&mut stream, u8::from(fin) << 7 | opcode_or_none, fragment, seed);
            if fin {
                break;
            }
            opcode_or_none = 0x0;
            let ping = vec![seed; pings.len() % (CONTROL_BYTES_MAX + 1)];
            write_client_frame(&mut stream, 0x89, &ping, seed.wrapping_mul(3));
            pings.push(Seen::Ping(ping));
        }
        write_client_frame(&mut stream, 0x88, &1000u16.to_be_bytes(), seed);
        let expected = match std::str::from_utf8(payload) {
            Ok(text) if opcode == 0x1 => Seen::Text(text.to_owned()),
            Err(_) if opcode == 0x1 => Seen::Violation(Violation::InvalidUtf8),
            _ => Seen::Binary(payload.to_vec()),
        };
        let mut seen = run(pieces(&stream, 2 * piece_bytes_max, seed ^ 0x55), limits, &mut pool);
        if expected == Seen::Violation(Violation::InvalidUtf8) {
            // Told as soon as it is certain, so fewer pings may have come.
            assert_eq!(seen.pop(), Some(expected));
            assert!(pings.starts_with(&seen));
            continue;
        }
        assert_eq!(seen.pop(), Some(Seen::Close(Some(1000), String::new())));
        assert!(seen.pop() == Some(expected), "the message comes back as it was sent");
        assert!(seen == pings);
    }
}

fn run<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: Limits, pool: &mut Pool) -> Vec<Seen> {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut received = piece.to_vec();
        let mut at = 0;
        loop {
            match decoder.next(&mut received[at..], &limits, pool) {
                Ok(Step { consumed, event: Some(event) }) => {
                    seen.push(Seen::from(event));
                    at += consumed;
                    assert!(at <= received.len());
                }
                Ok(Step { consumed, event: None }) => {
                    assert_eq!(at + consumed, received.len(), "without an event all is consumed");
                    break;
                }
                Err(violation) => {
                    assert!(decoder.has_ended());
                    seen.push(Seen::Violation(violation));
                    break;
                }
            }
        }
    }
    seen
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Seen {
        match event {
            Event::Text(text) => Seen::Text(text.to_owned()),
            Event::Binary(bytes) => Seen::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Seen::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Seen::Pong(bytes.to_vec()),
            Event::Close(close) => Seen::Close(close.code.map(|code| code.get()), close.reason.to_owned()),
        }
    }
}
