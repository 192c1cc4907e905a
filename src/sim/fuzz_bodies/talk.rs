//! Clients that talk JSON in WebSocket messages to a simulated engine of two shards.

use super::json::{Members, depth, is_json};
use super::pieces;
use crate::session::Settings;
use crate::sim::frames::{take_server_frame, write_client_frame};
use crate::sim::{self, ClientId, Sim, Size};
use crate::wire::json::DEPTH_MAX;

const SHARDS: usize = 2;

/// Most bytes of one input's messages: far below what an outbox takes.
pub const INPUT_BYTES_MAX: usize = 32 * 1024;

/// About as many of one message are the most. Each takes turns of all shards.
const PIECES: usize = 16;

pub struct Talk {
    sim: Sim,
}

pub struct Talker {
    client: ClientId,
    /// Code and reason, once the server has closed the WebSocket.
    pub closed: Option<(u16, String)>,
}

/// One message of an input.
#[derive(Clone, Copy, Debug)]
pub enum Said<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// A JSON object's members in their order. Written down with serde_json.
pub struct Object<'a> {
    members: Vec<(Option<String>, &'a str)>,
}

/// The messages of an input, one in each line. What is no text is a binary message.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Said<'_>> {
    let bytes = &bytes[..bytes.len().min(INPUT_BYTES_MAX)];
    bytes.split(|byte| *byte == b'\n').map(|line| match std::str::from_utf8(line) {
        Ok(text) => Said::Text(text),
        Err(_) => Said::Binary(line),
    })
}

impl Talk {
    pub fn new(settings: Settings) -> Talk {
        let size = Size { shards: SHARDS, inbox_messages_max: 64, events_max: 256, seed: 1 };
        Talk { sim: Sim::new(&size, settings, &sim::limits()) }
    }

    pub fn open(&mut self, shard: usize) -> Talker {
        let client = self.sim.connect(shard);
        self.sim.write(
            client,
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        self.sim.settle();
        let head = self.sim.read(client);
        assert!(head.starts_with(b"HTTP/1.1 101 ") && head.ends_with(b"\r\n\r\n"));
        Talker { client, closed: None }
    }

    /// Sends one message, whose bytes arrive in pieces.
    pub fn say(&mut self, talker: &Talker, said: Said<'_>, cut: u8) {
        let mut frame = Vec::new();
        match said {
            Said::Text(text) => write_client_frame(&mut frame, 0x81, text.as_bytes(), cut),
            Said::Binary(bytes) => write_client_frame(&mut frame, 0x82, bytes, cut),
        }
        let piece_bytes_max = (1 + usize::from(cut) * 16).max(frame.len() / PIECES);
        for piece in pieces(&frame, piece_bytes_max, cut) {
            self.sim.write(talker.client, piece);
            self.sim.settle();
        }
    }

    /// The texts that have arrived, of which each is a JSON object.
    pub fn hear(&mut self, talker: &mut Talker) -> Vec<String> {
        let bytes = self.sim.read(talker.client);
        let mut rest = &bytes[..];
        let mut heard = Vec::new();
        while !rest.is_empty() {
            assert!(talker.closed.is_none(), "nothing comes behind a Close");
            match take_server_frame(&mut rest) {
                (0x81, text) => {
                    let text = String::from_utf8(text.to_vec()).expect("a text is UTF-8");
                    assert!(Object::parse(&text).is_some(), "the server sends {text}");
                    heard.push(text);
                }
                (0x88, close) => {
                    let code = close.get(..2).map_or(0, |code| u16::from(code[0]) << 8 | u16::from(code[1]));
                    let reason = String::from_utf8_lossy(close.get(2..).unwrap_or_default());
                    talker.closed = Some((code, reason.into_owned()));
                }
                (first_byte, _) => panic!("the server sends {first_byte:#x} unasked"),
            }
        }
        heard
    }

    /// Signals that were published as undeliverable since this was asked last.
    pub fn take_undeliverable(&mut self) -> usize {
        let events = std::iter::from_fn(|| self.sim.events.take());
        events.filter(|event| event.event_type == "signal_undeliverable").count()
    }

    /// A shard catches what a session breaks, and counts it.
    pub fn check_nothing_broke(&self) {
        for shard in 0..SHARDS {
            assert_eq!(self.sim.metrics(shard).panics.get(), 0, "a session panicked");
        }
    }
}

impl<'a> Object<'a> {
    /// `None` for what is no object, or too deep for the engine.
    pub fn parse(text: &'a str) -> Option<Object<'a>> {
        if !is_json(text.as_bytes()) || depth(text.as_bytes()) > DEPTH_MAX {
            return None;
        }
        let members: Members<'a> = serde_json::from_str(text).ok()?;
        let decoded = |key: &str| serde_json::from_str(key).ok();
        Some(Object {
            members: members.0.iter().map(|(key, value)| (decoded(key.get()), value.get())).collect(),
        })
    }

    /// The values of a key, as they are written.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.members.iter().filter(move |(key, _)| key.as_deref() == Some(name)).map(|(_, value)| *value)
    }

    /// The first value of a key, as it is written.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The same, unless it is `null`.
    pub fn given(&self, name: &str) -> Option<&'a str> {
        self.raw(name).filter(|value| *value != "null")
    }

    /// A string; `None` also where half of a surrogate pair stands in it.
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    pub fn has_twice(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.all(name).count() > 1)
    }

    /// Keys and values in their order.
    pub fn into_members(self) -> Vec<(Option<String>, &'a str)> {
        self.members
    }

    /// In their order.
    pub fn keys(&self) -> Vec<&str> {
        self.members.iter().map(|(key, _)| key.as_deref().unwrap_or_default()).collect()
    }
}

/// The `type` of a message from the server.
pub fn kind_of(text: &str) -> String {
    let object = Object::parse(text).expect("checked when it arrived");
    object.text("type").unwrap_or_else(|| panic!("{text} has no type"))
}
