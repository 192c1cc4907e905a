//! One client: what it says, and what it understands.

use serde_json::Value;

use crate::sim::ClientId;
use crate::sim::frames::{take_server_frame, write_client_frame};
use crate::wire::frame::{streaming, write_frame};

const CONNECT: u8 = 0x01;
const CONNECT_ACK: u8 = 0x02;
const OFFER: u8 = 0x10;
const ERROR: u8 = 0xFF;
const JSON: u8 = 2;

/// Enough that a few hundred reach the limits of an outbox.
const SDP_BYTES: usize = 700;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// On a plain stream.
    Binary,
    /// In a WebSocket.
    Devices,
}

pub(super) struct Client {
    pub connection: ClientId,
    pub speaks: Speaks,
    pub id: String,
    pub is_stalled: bool,
    /// Has hung up.
    pub is_gone: bool,
    /// Has been told to go.
    pub is_closed: bool,
    pub is_welcome: bool,
    /// Numbers of what it has heard, in their order.
    pub signals: Vec<usize>,
    /// Numbers of its own that were answered with an error, where the protocol tells them.
    pub errors: Vec<Option<usize>>,
    unread: Vec<u8>,
    is_upgraded: bool,
}

pub(super) enum Heard {
    Welcome,
    Signal { number: usize, sender: String },
    Error(Option<usize>),
}

impl Speaks {
    pub fn prefix(self) -> &'static str {
        match self {
            Speaks::Binary => "agent",
            Speaks::Devices => "drone",
        }
    }

    pub fn hello(self, id: &str) -> Vec<u8> {
        match self {
            Speaks::Binary => frame(CONNECT, 0, &format!(r#"{{"client_id":"{id}","auth_token":"t"}}"#)),
            Speaks::Devices => {
                let mut out = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                    .to_vec();
                let text = format!(r#"{{"type":"register","id":"{id}"}}"#);
                write_client_frame(&mut out, 0x81, text.as_bytes(), 7);
                out
            }
        }
    }

    /// Its SDP begins with its number.
    pub fn offer(self, number: usize, to: &str) -> Vec<u8> {
        let sdp = format!("{number} {}", "x".repeat(SDP_BYTES));
        match self {
            Speaks::Binary => {
                frame(OFFER, number, &format!(r#"{{"target_client_id":"{to}","signal_data":"{sdp}"}}"#))
            }
            Speaks::Devices => {
                let text = format!(r#"{{"type":"offer","target":"{to}","sdp":"{sdp}","sessionId":"s"}}"#);
                let mut out = Vec::new();
                write_client_frame(&mut out, 0x81, text.as_bytes(), number as u8);
                out
            }
        }
    }
}

impl Client {
    pub fn new(connection: ClientId, speaks: Speaks, id: String) -> Client {
        Client {
            connection,
            speaks,
            id,
            is_stalled: false,
            is_gone: false,
            is_closed: false,
            is_welcome: false,
            signals: Vec::new(),
            errors: Vec::new(),
            unread: Vec::new(),
            is_upgraded: false,
        }
    }

    /// Bytes come in whole sends, and a send holds whole messages.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<Heard> {
        self.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        let mut heard = Vec::new();
        if self.speaks == Speaks::Devices && !self.is_upgraded && !rest.is_empty() {
            let head = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
            assert!(rest.starts_with(b"HTTP/1.1 101 "));
            (self.is_upgraded, rest) = (true, &rest[head + 4..]);
        }
        while !rest.is_empty() {
            let is_told_to_go = self.is_closed;
            let event = match self.speaks {
                Speaks::Binary => self.hear_frame(&mut rest),
                Speaks::Devices => self.hear_text(&mut rest),
            };
            // A stream has no Close: what it has sent before may still be answered.
            let is_answer = matches!(event, Some(Heard::Error(Some(_))));
            assert!(!is_told_to_go || is_answer, "nothing else comes behind the end");
            if let Some(Heard::Signal { number, .. }) = &event {
                self.signals.push(*number);
            }
            heard.extend(event);
        }
        heard
    }

    fn hear_frame(&mut self, rest: &mut &[u8]) -> Option<Heard> {
        let frame = streaming(rest).unwrap_or_else(|_| panic!("{} bytes are no frame", rest.len()));
        *rest = &rest[frame.frame_bytes()..];
        let fields: Value = serde_json::from_slice(frame.payload).expect("JSON is answered in JSON");
        match frame.message_type {
            CONNECT_ACK => Some(Heard::Welcome),
            OFFER => {
                let sender = fields["sender_client_id"].as_str().expect("it is stamped").to_owned();
                Some(Heard::Signal { number: number_of(&fields["signal_data"]), sender })
            }
            // Somebody else has its id now.
            ERROR if frame.uuid == &[0; 16] => {
                self.is_closed = true;
                None
            }
            ERROR => {
                let (number, _) = frame.uuid.split_first_chunk().expect("16 bytes");
                Some(Heard::Error(Some(u64::from_be_bytes(*number) as usize - 1)))
            }
            other => panic!("{other:#x} is nothing that anybody has asked for"),
        }
    }

    fn hear_text(&mut self, rest: &mut &[u8]) -> Option<Heard> {
        let (first_byte, payload) = take_server_frame(rest);
        if first_byte == 0x88 {
            self.is_closed = true;
            return None;
        }
        let message: Value = serde_json::from_slice(payload).expect("a text is JSON");
        match message["type"].as_str() {
            Some("registered") => Some(Heard::Welcome),
            Some("offer") => {
                let sender = message["from"].as_str().expect("it has a sender").to_owned();
                Some(Heard::Signal { number: number_of(&message["sdp"]), sender })
            }
            Some("error") => Some(Heard::Error(None)),
            Some("client_list_update") => None,
            _ => panic!("{message} is nothing that anybody has asked for"),
        }
    }
}

fn frame(message_type: u8, number: usize, payload: &str) -> Vec<u8> {
    let mut uuid = [1; 16];
    // Nil is the server's own.
    uuid[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    let mut out = Vec::new();
    write_frame(&mut out, message_type, &uuid, JSON, |out| out.extend_from_slice(payload.as_bytes()))
        .expect("short payloads");
    out
}

fn number_of(sdp: &Value) -> usize {
    let number = sdp.as_str().and_then(|sdp| sdp.split_once(' ')).map(|(number, _)| number);
    number.and_then(|number| number.parse().ok()).expect("every SDP begins with its number")
}
