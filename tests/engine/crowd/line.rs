//! One connection that costs next to nothing while it is idle: a socket and a future.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{opcode, ws_frame};

const UPGRADE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What one read takes at most. No memory is kept for it between messages.
const READ_BYTES: usize = 128 * 1024;

/// A WebSocket, or HTTP before it is one.
pub struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Hears of the bytes of each read.
    meter: Box<dyn FnMut(usize) + Send>,
}

impl Line {
    pub async fn open(addr: SocketAddr, meter: impl FnMut(usize) + Send + 'static) -> Line {
        let stream = TcpStream::connect(addr).await.expect("the port is open");
        stream.set_nodelay(true).expect("a TCP socket");
        Line { stream, buffer: Vec::new(), meter: Box::new(meter) }
    }

    pub async fn upgrade(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\n{UPGRADE}").as_bytes()).await;
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    pub async fn say(&mut self, text: &str) {
        self.send(&ws_frame(opcode::FIN | opcode::TEXT, text.as_bytes())).await;
    }

    /// The next WebSocket text; `None` at the end of the stream.
    pub async fn text(&mut self) -> Option<String> {
        loop {
            if let Some((first, payload)) = self.take_frame() {
                assert_eq!(first, opcode::FIN | opcode::TEXT, "{} bytes", payload.len());
                return Some(String::from_utf8(payload).expect("UTF-8"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The body of the answer to one request.
    pub async fn ask(&mut self, request: &str) -> String {
        self.send(request.as_bytes()).await;
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.expect("a length").1.parse().expect("a number");
        while self.buffer.len() < length {
            assert!(self.more().await, "the stream ends within a body");
        }
        String::from_utf8(self.buffer.drain(..length).collect()).expect("UTF-8")
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the connection takes bytes");
    }

    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                let head = self.buffer.drain(..end + 4).collect();
                return String::from_utf8(head).expect("an ASCII head");
            }
            assert!(self.more().await, "closed in place of an answer");
        }
    }

    /// False at the end of the stream.
    async fn more(&mut self) -> bool {
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        loop {
            if self.stream.readable().await.is_err() {
                return false;
            }
            self.buffer.reserve(READ_BYTES);
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return false,
                Ok(bytes) => {
                    (self.meter)(bytes);
                    return true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&[first, second], rest) = self.buffer.split_first_chunk::<2>()?;
        let (length, rest) = match second {
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*length) as usize, rest)
            }
            length => (usize::from(length), rest),
        };
        let payload = rest.get(..length)?.to_vec();
        let taken = self.buffer.len() - rest.len() + length;
        self.buffer.drain(..taken);
        Some((first, payload))
    }
}
