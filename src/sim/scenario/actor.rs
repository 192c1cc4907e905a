//! One client: its connection, what it has asked for, and what it makes of the server's bytes.

use std::collections::{BTreeMap, VecDeque};

use super::history::Address;
use super::speech::binary::{self, Form};
use super::speech::{Arrival, calls, devices, rooms};
use crate::sim::frames::write_client_frame;
use crate::sim::{ClientId, Dice};

/// In which dialect, and how it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Binary {
        form: Form,
        on_websocket: bool,
    },
    Rooms,
    Devices,
    Calls,
    /// Nothing that the server understands.
    Noise,
}

/// How far a client has come, as it knows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Open,
    /// It has said that it goes, or has sent what ends a connection; since when.
    Leaving(u64),
    /// It is gone without a word.
    Vanished(u64),
    /// The server has ended it.
    Over,
}

/// Something that a client has asked to be called, or to take part in.
#[derive(Clone, Debug)]
pub struct Claim {
    pub address: Address,
    /// Its place among all claims of a run, in the order in which they were written.
    pub attempt: u64,
    pub state: ClaimState,
    /// By a token that is none.
    pub is_false: bool,
    /// In which listening, and when, its answer was heard.
    pub acked_at: Option<u64>,
    pub acked_us: Option<u64>,
    /// Of one that was given up: the first message that was sent when that was known.
    pub former_from: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    Asked,
    Held,
    Refused,
    /// Given up for another.
    Former,
}

pub struct Actor {
    pub client: ClientId,
    pub speech: Speech,
    pub fate: Fate,
    pub claims: Vec<Claim>,
    /// Questions that have no answer yet, by the answer's type: each by the number that the next
    /// message was to carry.
    pub asked: BTreeMap<&'static str, VecDeque<u64>>,
    /// Bad messages that it has sent, and how many it was told of.
    pub bad_sent: u32,
    pub bad_told: u32,
    /// It may be refused what it sends: it has sent things before its join was answered, or has been
    /// taken out of its room.
    pub is_hasty: bool,
    /// When it sent its last message to another.
    pub sent_us: u64,
    pub is_stalled: bool,
    /// It was once, so that its Close may have been cut off.
    pub was_stalled: bool,
    /// It answers no pings.
    pub is_mute: bool,
    /// The code of the server's Close.
    pub close: Option<(u16, String)>,
    received: Vec<u8>,
    /// The server's answer to the upgrade has come.
    is_upgraded: bool,
    /// The session of a call, as it joined.
    pub session: String,
    masks: Dice,
}

/// What the bytes of a connection have brought.
#[derive(Default)]
pub struct Heard {
    pub arrivals: Vec<Arrival>,
    pub pings: usize,
    /// For `calls`: which call each event was for.
    pub calls: Vec<String>,
}

impl Actor {
    pub fn new(client: ClientId, speech: Speech, seed: u64) -> Actor {
        Actor {
            client,
            speech,
            fate: Fate::Open,
            claims: Vec::new(),
            asked: BTreeMap::new(),
            bad_sent: 0,
            bad_told: 0,
            is_hasty: false,
            sent_us: 0,
            is_stalled: false,
            was_stalled: false,
            is_mute: false,
            close: None,
            received: Vec::new(),
            is_upgraded: matches!(speech, Speech::Binary { on_websocket: false, .. }),
            session: String::new(),
            masks: Dice::new(seed),
        }
    }

    /// Nothing has happened to it, and it reads what comes.
    pub fn is_well(&self) -> bool {
        self.fate == Fate::Open && !self.is_stalled
    }

    pub fn is_on_websocket(&self) -> bool {
        !matches!(self.speech, Speech::Binary { on_websocket: false, .. })
    }

    /// What it is called now, as far as it knows.
    pub fn held(&self) -> Option<&Claim> {
        self.claims.iter().rev().find(|claim| claim.state == ClaimState::Held)
    }

    /// What it may be called when the next thing that it sends is carried out.
    pub fn possible(&self) -> impl Iterator<Item = &Claim> {
        let held = self.held().map_or(0, |held| held.attempt);
        self.claims.iter().filter(move |claim| {
            claim.state == ClaimState::Held || (claim.state == ClaimState::Asked && claim.attempt >= held)
        })
    }

    /// The request for a WebSocket; nothing on a plain stream.
    pub fn upgrade(&self) -> &'static [u8] {
        match self.speech {
            Speech::Binary { on_websocket: false, .. } => b"",
            Speech::Calls => {
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
            _ => {
                b"GET /any HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            }
        }
    }

    /// One message as it goes onto the wire, in up to so many fragments.
    pub fn wrap(&mut self, message: &[u8], fragments: usize) -> Vec<u8> {
        let opcode = match self.speech {
            Speech::Binary { on_websocket: false, .. } => return message.to_vec(),
            Speech::Binary { .. } => 0x2,
            _ => 0x1,
        };
        let mut out = Vec::new();
        let piece_bytes = (message.len() / fragments.max(1)).max(1);
        let mut pieces = message.chunks(piece_bytes).peekable();
        let mut first_byte = opcode;
        loop {
            let piece = pieces.next().unwrap_or_default();
            let is_last = pieces.peek().is_none();
            self.control(u8::from(is_last) << 7 | first_byte, piece, &mut out);
            if is_last {
                return out;
            }
            first_byte = 0x0;
        }
    }

    /// One frame by its first byte.
    pub fn control(&mut self, first_byte: u8, payload: &[u8], out: &mut Vec<u8>) {
        write_client_frame(out, first_byte, payload, self.masks.next_u64() as u8);
    }

    /// Takes bytes from the server.
    ///
    /// # Errors
    /// What no client of this dialect would understand.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<Heard, String> {
        let mut heard = Heard::default();
        if self.speech == Speech::Noise {
            return Ok(heard);
        }
        self.received.extend_from_slice(bytes);
        if !self.is_upgraded && !self.hear_head()? {
            return Ok(heard);
        }
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        loop {
            let used = match self.is_on_websocket() {
                true => self.hear_websocket(rest, &mut heard)?,
                false => self.hear_stream(rest, &mut heard)?,
            };
            if used == 0 {
                break;
            }
            rest = &rest[used..];
        }
        self.received = rest.to_vec();
        Ok(heard)
    }

    /// Whether the 101 has come whole. A refusal is the end.
    fn hear_head(&mut self) -> Result<bool, String> {
        let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(false);
        };
        if !self.received.starts_with(b"HTTP/1.1 101 ") {
            // The server has no room, or its shard has slept over the time for a head.
            let refusals: [&[u8]; 2] = [b"HTTP/1.1 503 ", b"HTTP/1.1 408 "];
            if !refusals.iter().any(|refusal| self.received.starts_with(refusal)) {
                return Err(format!(
                    "a handshake that is answered {}",
                    String::from_utf8_lossy(&self.received)
                ));
            }
            self.received.clear();
            self.fate = Fate::Leaving(0);
            return Ok(false);
        }
        self.received.drain(..end + 4);
        self.is_upgraded = true;
        Ok(true)
    }

    fn hear_stream(&mut self, bytes: &[u8], heard: &mut Heard) -> Result<usize, String> {
        let Some(whole) = binary::frame_bytes(bytes)? else { return Ok(0) };
        heard.arrivals.push(binary::read(&bytes[..whole])?);
        Ok(whole)
    }

    /// One frame of the server's, which are whole messages without a mask.
    fn hear_websocket(&mut self, bytes: &[u8], heard: &mut Heard) -> Result<usize, String> {
        let [first_byte, length, ..] = *bytes else { return Ok(0) };
        let (start, length) = match length {
            127 if bytes.len() >= 10 => {
                let length =
                    bytes[2..10].iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                (10, length)
            }
            126 if bytes.len() >= 4 => (4, usize::from(bytes[2]) << 8 | usize::from(bytes[3])),
            126 | 127 => return Ok(0),
            length @ 0..126 => (2, usize::from(length)),
            _ => return Err("a frame with a mask".to_owned()),
        };
        let Some(payload) = bytes.get(start..start + length) else { return Ok(0) };
        if self.close.is_some() {
            return Err(format!("a frame {first_byte:#x} behind the Close"));
        }
        match first_byte {
            0x81 | 0x82 => self.hear_message(first_byte == 0x81, payload, heard)?,
            0x88 => {
                let code = payload.get(..2).map_or(1005, |code| u16::from(code[0]) << 8 | u16::from(code[1]));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                self.close = Some((code, reason));
            }
            0x89 => heard.pings += 1,
            0x8A => {}
            other => return Err(format!("a frame {other:#x}")),
        }
        Ok(start + length)
    }

    fn hear_message(&mut self, is_text: bool, payload: &[u8], heard: &mut Heard) -> Result<(), String> {
        let text = || std::str::from_utf8(payload).map_err(|_| "a text that is no UTF-8".to_owned());
        let is_binary = matches!(self.speech, Speech::Binary { .. });
        if is_text == is_binary {
            return Err(format!("a message of the wrong kind: {}", String::from_utf8_lossy(payload)));
        }
        let arrival = match self.speech {
            Speech::Binary { .. } => {
                if binary::frame_bytes(payload)? != Some(payload.len()) {
                    return Err("not one frame in a message".to_owned());
                }
                binary::read(payload)?
            }
            Speech::Rooms => rooms::read(text()?)?,
            Speech::Devices => devices::read(text()?)?,
            Speech::Calls => {
                let (arrival, call) = calls::read(text()?)?;
                heard.calls.push(call);
                arrival
            }
            Speech::Noise => return Ok(()),
        };
        heard.arrivals.push(arrival);
        Ok(())
    }

    /// The oldest claim that has no answer.
    pub fn open_claim(&mut self) -> Option<&mut Claim> {
        self.claims.iter_mut().find(|claim| claim.state == ClaimState::Asked)
    }

    pub fn ask(&mut self, answer: &'static str, next_serial: u64) {
        self.asked.entry(answer).or_default().push_back(next_serial);
    }

    /// What it sent before the message of this number, the server has read. `None` if nobody has
    /// asked.
    pub fn answered(&mut self, answer: &'static str) -> Option<u64> {
        self.asked.get_mut(answer)?.pop_front()
    }

    pub fn questions(&self) -> usize {
        self.asked.values().map(VecDeque::len).sum()
    }
}

/// Seats and their sessions, as their holders know them.
#[derive(Debug)]
pub struct Caller {
    pub call: String,
    pub session: String,
    pub joined_us: u64,
    /// When its seat was taken or renewed last for certain.
    pub renewed_us: u64,
    /// When a connection of it may have renewed the seat last.
    pub kept_us: u64,
}

/// Requests of `calls` on their way.
#[derive(Debug)]
pub enum Asked {
    Seat { call: String, began_us: u64 },
    Signal { session: usize, serial: u64, began_us: u64 },
}

pub type Requests = VecDeque<(u64, Asked)>;
