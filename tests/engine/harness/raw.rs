//! A WebSocket by hand, for frames that no library would send.
//!
//! ```text
//! | FIN RSV1-3 opcode | MASK length7 | length 16 or 64, BE | mask (4) | payload |
//! ```

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frame::Frame;
use super::within;

pub mod opcode {
    pub const CONTINUATION: u8 = 0x0;
    pub const TEXT: u8 = 0x1;
    pub const BINARY: u8 = 0x2;
    pub const CLOSE: u8 = 0x8;
    pub const PING: u8 = 0x9;
    pub const PONG: u8 = 0xA;
    /// Added to the opcode of a message's last fragment.
    pub const FIN: u8 = 0x80;
    pub const RSV1: u8 = 0x40;
    pub const RSV2: u8 = 0x20;
    pub const RSV3: u8 = 0x10;
}

const UPGRADE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The answer to the key above, as RFC 6455 section 1.3 computes it.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A masked frame with this first byte.
pub fn ws_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | length as u8),
        length @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// First byte and payload of the server's frame at the front of `buffer`, if it is all there.
pub fn take_server_frame(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (&[first, second], rest) = buffer.split_first_chunk::<2>()?;
    assert_eq!(second & 0x80, 0, "a server does not mask");
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
    let taken = buffer.len() - rest.len() + length;
    buffer.drain(..taken);
    Some((first, payload))
}

pub struct RawWs {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl RawWs {
    pub async fn open(addr: SocketAddr) -> RawWs {
        let stream = within("TCP connects", TcpStream::connect(addr)).await.expect("the port is open");
        RawWs::upgrade(stream, Vec::new()).await
    }

    /// Upgrades a connection on which requests may have gone before; `buffer` was read already.
    pub async fn upgrade(stream: TcpStream, buffer: Vec<u8>) -> RawWs {
        RawWs::upgrade_at("/", "", stream, buffer).await
    }

    /// `headers` are whole lines.
    pub async fn upgrade_at(target: &str, headers: &str, stream: TcpStream, buffer: Vec<u8>) -> RawWs {
        stream.set_nodelay(true).expect("a TCP socket");
        let mut raw = RawWs { stream, buffer };
        raw.send(format!("GET {target} HTTP/1.1\r\n{headers}{UPGRADE}").as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let accept = head.lines().filter_map(|line| line.split_once(':'));
        let mut accept = accept.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"));
        assert_eq!(accept.next().expect("an accept header").1.trim(), ACCEPT);
        raw
    }

    async fn head(&mut self) -> String {
        within("the head of the answer", async {
            loop {
                if let Some(end) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                    let head = self.buffer.drain(..end + 4).collect();
                    return String::from_utf8(head).expect("an ASCII head");
                }
                let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
                assert_ne!(read, 0, "closed in place of an answer");
            }
        })
        .await
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("the connection takes bytes");
    }

    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        within("the connection takes bytes", self.stream.write_all(bytes)).await
    }

    pub async fn send_frame(&mut self, frame: &Frame) {
        self.send(&ws_frame(opcode::FIN | opcode::BINARY, &frame.encode())).await;
    }

    /// First byte and payload of the next WebSocket frame, or the end of the stream.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        within("a WebSocket frame or the end", async {
            loop {
                if let Some(frame) = self.take_frame() {
                    return Some(frame);
                }
                if let Ok(0) | Err(_) = self.stream.read_buf(&mut self.buffer).await {
                    assert!(self.buffer.is_empty(), "the stream ends with a cut frame: {:02x?}", self.buffer);
                    return None;
                }
            }
        })
        .await
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        take_server_frame(&mut self.buffer)
    }

    /// The connection with what was read beyond the last frame.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// The next 0xAA frame, which is a whole unfragmented binary message; pings are passed over.
    pub async fn frame(&mut self) -> Frame {
        loop {
            let (first, payload) = self.next().await.expect("the connection is open");
            if first == opcode::FIN | opcode::PING {
                continue;
            }
            assert_eq!(first, opcode::FIN | opcode::BINARY, "{payload:02x?}");
            let (frame, length) = Frame::decode(&payload).expect("a message holds a whole frame");
            assert_eq!(length, payload.len(), "exactly one frame per WebSocket message");
            return frame;
        }
    }

    /// Reads a Close, passing over pings, and answers it; then the server ends the TCP connection.
    pub async fn closed(&mut self) -> (u16, String) {
        let (code, reason) = self.close_frame().await;
        // The server may have gone already: then there is nobody to answer.
        let _ = self.try_send(&ws_frame(opcode::FIN | opcode::CLOSE, &code.to_be_bytes())).await;
        assert_eq!(self.next().await, None, "nothing follows a Close");
        (code, reason)
    }

    pub async fn close_frame(&mut self) -> (u16, String) {
        loop {
            let (first, payload) = self.next().await.expect("a Close comes before the end");
            if first == opcode::FIN | opcode::PING {
                continue;
            }
            assert_eq!(first, opcode::FIN | opcode::CLOSE, "{payload:02x?}");
            let (code, reason) = payload.split_first_chunk::<2>().expect("a Close with a code");
            return (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8"));
        }
    }
}
