//! The well-known crates at the same work: WebSocket messages from a stream, fields from JSON.

#![allow(dead_code, reason = "every benchmark takes from here what it needs")]

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use fastwebsockets::{FragmentCollector, OpCode, Role};
use futures_util::FutureExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use sigmux::wire::json::{Scanner, Span};
use sigmux::wire::websocket::{Decoder, Event, Limits, Pool};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::Message;
use tungstenite::protocol::WebSocketConfig;

/// A stream on which a client sends the same messages again and again. No read goes beyond the last of
/// them, so that none is read before its turn. What is written goes nowhere.
struct Received {
    bytes: Vec<u8>,
    at: usize,
}

impl Received {
    fn new(bytes: &[u8]) -> Received {
        Received { bytes: bytes.to_vec(), at: 0 }
    }

    fn receive(&mut self, bytes_max: usize) -> &[u8] {
        let start = self.at % self.bytes.len();
        self.at = (start + bytes_max).min(self.bytes.len());
        &self.bytes[start..self.at]
    }
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.receive(buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for Received {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Received {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(self.receive(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Received {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A WebSocket codec of a server that is sent the same messages again and again.
pub trait Decodes {
    /// Reads them once, and shows each.
    fn decode(&mut self, each: impl FnMut(&[u8]));
}

/// Ours takes bytes where they lie. It is given a copy of them each time, as the others are by their
/// stream, and as all are by the kernel.
pub struct Ours {
    received: Vec<u8>,
    buffer: Vec<u8>,
    decoder: Decoder,
    pool: Pool,
}

impl Ours {
    pub fn new(received: &[u8]) -> Ours {
        let (received, buffer) = (received.to_vec(), received.to_vec());
        Ours { received, buffer, decoder: Decoder::default(), pool: Pool::default() }
    }
}

impl Decodes for Ours {
    fn decode(&mut self, mut each: impl FnMut(&[u8])) {
        const LIMITS: Limits = Limits { message_bytes_max: 1 << 20 };
        self.buffer.copy_from_slice(&self.received);
        let mut at = 0;
        loop {
            let step = self.decoder.next(&mut self.buffer[at..], &LIMITS, &mut self.pool);
            let step = step.expect("what was sent is correct");
            match step.event {
                Some(Event::Binary(message)) => each(message),
                Some(Event::Text(text)) => each(text.as_bytes()),
                Some(_) => panic!("only messages were sent"),
                None => return,
            }
            at += step.consumed;
        }
    }
}

pub struct Tungstenite {
    websocket: tungstenite::WebSocket<Received>,
    messages: usize,
}

impl Tungstenite {
    /// `messages` is how many there are in `received`.
    pub fn new(received: &[u8], messages: usize) -> Tungstenite {
        // The library fills it with zeros before each read; its default of 128 KiB is for streams that
        // fill it.
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let role = tungstenite::protocol::Role::Server;
        let websocket = tungstenite::WebSocket::from_raw_socket(Received::new(received), role, Some(config));
        Tungstenite { websocket, messages }
    }
}

impl Decodes for Tungstenite {
    fn decode(&mut self, mut each: impl FnMut(&[u8])) {
        for _ in 0..self.messages {
            match self.websocket.read().expect("what was sent is correct") {
                Message::Binary(message) => each(&message),
                Message::Text(text) => each(text.as_bytes()),
                _ => panic!("only messages were sent"),
            }
        }
    }
}

/// The lowest of the sizes that the documentation of tungstenite names.
const READ_BUFFER_BYTES: usize = 4096;

pub struct FastWebsockets {
    websocket: FragmentCollector<Received>,
    messages: usize,
}

impl FastWebsockets {
    /// `messages` is how many there are in `received`.
    pub fn new(received: &[u8], messages: usize) -> FastWebsockets {
        let websocket = fastwebsockets::WebSocket::after_handshake(Received::new(received), Role::Server);
        FastWebsockets { websocket: FragmentCollector::new(websocket), messages }
    }
}

impl Decodes for FastWebsockets {
    fn decode(&mut self, mut each: impl FnMut(&[u8])) {
        for _ in 0..self.messages {
            let frame = self.websocket.read_frame().now_or_never().expect("the stream is always ready");
            let frame = frame.expect("what was sent is correct");
            assert!(matches!(frame.opcode, OpCode::Binary | OpCode::Text));
            each(&frame.payload);
        }
    }
}

/// What routing needs of a signal of `binary`, for serde_json.
#[derive(Deserialize)]
pub struct Signal<'a> {
    #[serde(borrow)]
    pub target_client_id: Cow<'a, str>,
    #[serde(borrow)]
    pub signal_data: &'a RawValue,
    #[serde(borrow)]
    pub sender_client_id: Option<&'a RawValue>,
}

/// The same with our scanner: target, data and sender, with their quotes.
pub fn scan(text: &[u8]) -> Option<[Option<Span>; 3]> {
    const NAMES: [&str; 3] = ["target_client_id", "signal_data", "sender_client_id"];
    let mut fields = [None; 3];
    let mut scanner = Scanner::new(text).ok()?;
    let mut object = scanner.enter_object().ok()?;
    while let Some(key) = scanner.next_key(&mut object).ok()? {
        let value = scanner.value().ok()?;
        for (field, name) in fields.iter_mut().zip(NAMES) {
            if key.is(text, name) {
                *field = Some(value.span);
            }
        }
    }
    scanner.end().ok()?;
    Some(fields)
}
