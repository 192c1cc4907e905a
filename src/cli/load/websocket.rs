//! The client's side of WebSocket (RFC 6455): the opening, masked frames out, plain frames in.
//!
//! `wire` reads what clients send, which is masked and judged strictly; here it is the other way
//! round. Keys for masking come from a seeded generator: they are there for proxies, which a
//! generator of load has none of.

use std::str;

use crate::wire::websocket::{Opcode, unmask};

use super::plan::Target;

/// The example of RFC 6455 section 1.3, and what a server has to make of it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Longest message that is taken; no relayed one comes near.
const MESSAGE_BYTES_MAX: u64 = 4 << 20;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

pub fn write_upgrade(out: &mut Vec<u8>, target: &Target, authorization: Option<&str>) {
    let Target { host, path, .. } = target;
    let authorization = authorization.map(|token| format!("Authorization: Bearer {token}\r\n"));
    out.extend_from_slice(
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{}\r\n",
            authorization.unwrap_or_default()
        )
        .as_bytes(),
    );
}

/// A server that has agreed to speak WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub struct Agreed {
    /// By `X-Sigmux-Shard`.
    pub shard: Option<u32>,
    pub head_bytes: usize,
}

/// `None`: the head is not there in full yet.
///
/// # Errors
/// What the server said instead.
pub fn read_upgrade(input: &[u8]) -> Result<Option<Agreed>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("an HTTP head without an end".to_owned()),
        Err(_) => return Err("no HTTP answer to the upgrade".to_owned()),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| str::from_utf8(header.value).ok())
    };
    match response.code {
        Some(101) if header("sec-websocket-accept") == Some(ACCEPT) => {
            let shard = header("x-sigmux-shard").and_then(|shard| shard.parse().ok());
            Ok(Some(Agreed { shard, head_bytes }))
        }
        Some(101) => Err("101 with a wrong Sec-WebSocket-Accept".to_owned()),
        code => Err(format!("HTTP {} in place of 101", code.unwrap_or_default())),
    }
}

/// Appends one masked frame whose payload `write_payload` appends, which must be `payload_bytes` long.
pub fn write_frame(
    out: &mut Vec<u8>,
    opcode: Opcode,
    key: [u8; 4],
    payload_bytes: usize,
    write_payload: impl FnOnce(&mut Vec<u8>),
) {
    out.push(0x80 | opcode as u8);
    match payload_bytes {
        0..=125 => out.push(0x80 | payload_bytes as u8),
        126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    let start = out.len();
    write_payload(out);
    debug_assert_eq!(out.len() - start, payload_bytes);
    unmask(&mut out[start..], key, 0);
}

/// One frame of a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    /// The last frame of its message.
    pub fin: bool,
    pub payload: &'a [u8],
    /// Header and payload.
    pub frame_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Message,
    Continuation,
    Close,
    Ping,
    Pong,
}

/// The frame at the front; `None` while it is not whole.
///
/// # Errors
/// What no server may send.
#[inline]
pub fn read_frame(input: &[u8]) -> Result<Option<Frame<'_>>, &'static str> {
    let &[first, second, ref rest @ ..] = input else { return Ok(None) };
    let kind = match first & 0x7f {
        0 => Kind::Continuation,
        1 | 2 => Kind::Message,
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        _ => return Err("a WebSocket frame with reserved bits or an unknown opcode"),
    };
    let (length, rest) = match second {
        0..=125 => (u64::from(second), rest),
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        _ => return Err("a masked WebSocket frame from a server"),
    };
    if length > MESSAGE_BYTES_MAX {
        return Err("a WebSocket message over 4 MiB");
    }
    let Some(payload) = rest.get(..length as usize) else { return Ok(None) };
    let frame_bytes = input.len() - rest.len() + payload.len();
    Ok(Some(Frame { kind, fin: first & 0x80 != 0, payload, frame_bytes }))
}

#[cfg(test)]
mod tests {
    use crate::wire::websocket::write_message;

    use super::*;

    #[test]
    fn frames_of_every_length_form_come_back_and_are_asked_for_until_whole() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            write_message(&mut bytes, Opcode::Binary, &vec![7; length]);
            let frame = read_frame(&bytes).expect("right").expect("whole");
            assert_eq!((frame.kind, frame.fin, frame.payload.len()), (Kind::Message, true, length));
            assert_eq!(frame.frame_bytes, bytes.len());
            for end in (0..bytes.len()).rev().take(20) {
                assert_eq!(read_frame(&bytes[..end]), Ok(None), "{end} of {length}");
            }
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        for bytes in
            [&[0x82, 0x80, 0, 0, 0, 0][..], &[0xc2, 0], &[0x83, 0], &[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert!(read_frame(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_to_the_upgrade_is_read() {
        let answer =
            format!("HTTP/1.1 101 x\r\nX-Sigmux-Shard: 3\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\nrest");
        let whole = answer.len() - 4;
        assert_eq!(read_upgrade(answer.as_bytes()), Ok(Some(Agreed { shard: Some(3), head_bytes: whole })));
        assert_eq!(read_upgrade(&answer.as_bytes()[..whole - 1]), Ok(None));
        let refused = read_upgrade(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").expect_err("no");
        assert!(refused.contains("503"), "{refused}");
        assert!(read_upgrade(b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: nonsense\r\n\r\n").is_err());
        assert!(read_upgrade(&[0xAA; 40]).is_err());
    }

    #[test]
    fn a_written_frame_is_masked() {
        let mut out = Vec::new();
        write_frame(&mut out, Opcode::Text, [1, 2, 3, 4], 200, |out| out.resize(out.len() + 200, b'a'));
        assert_eq!(out[..8], [0x81, 0xfe, 0, 200, 1, 2, 3, 4]);
        unmask(&mut out[8..], [1, 2, 3, 4], 0);
        assert_eq!(out[8..], [b'a'; 200]);
    }
}
