//! The same bytes, read by another implementation.

use std::io::{self, Read, Write};

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::Seen;
use crate::wire::websocket::{CONTROL_BYTES_MAX, Limits, Violation};

/// What the other one says when the client's close code is none.
const BAD_CLOSE_CODE: &str = "Protocol violation";

/// The one code that the registry has and the other one takes for reserved.
const BAD_GATEWAY: u16 = 1014;

/// How the other one's reading ended.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It waits for more bytes, or has seen a Close.
    Fine,
    Refused,
}

/// Both find the same messages, and what one refuses the other refuses. The other one tells some
/// things later: it looks at a frame when all of it is there.
pub(super) fn both_read_the_same(stream: &[u8], limits: Limits, ours: &[Seen]) {
    let (theirs, verdict) = read(stream, limits);
    let Some((Seen::Violation(violation), before)) = ours.split_last() else {
        if let Some(Seen::Close(Some(BAD_GATEWAY), _)) = ours.last() {
            return assert_eq!(theirs[..theirs.len() - 1], ours[..ours.len() - 1]);
        }
        assert_eq!((&theirs[..], verdict), (ours, Verdict::Fine), "ours on the right");
        return;
    };
    match violation {
        // It does not look for these. What follows is another stream to the two.
        Violation::LengthNotMinimal | Violation::ControlTooLong => {
            assert!(theirs.starts_with(before), "theirs {theirs:?}, ours {ours:?}");
        }
        _ => {
            let rest_of_any_frame = vec![0; limits.message_bytes_max + 2 * CONTROL_BYTES_MAX];
            let (theirs, verdict) = read(&[stream, &rest_of_any_frame].concat(), limits);
            let closed = Seen::Close(Some(1002), BAD_CLOSE_CODE.to_owned());
            let has_refused = match theirs.split_last() {
                Some((last, theirs)) if *last == closed => theirs == before,
                _ => theirs == before && verdict == Verdict::Refused,
            };
            assert!(has_refused, "theirs {theirs:?} {verdict:?}, ours {ours:?}");
        }
    }
}

fn read(stream: &[u8], limits: Limits) -> (Vec<Seen>, Verdict) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_message_size(Some(limits.message_bytes_max))
        .max_frame_size(Some(limits.message_bytes_max.max(CONTROL_BYTES_MAX)));
    let mut socket = WebSocket::from_raw_socket(Received(stream), Role::Server, Some(config));
    let mut seen = Vec::new();
    let verdict = loop {
        let event = match socket.read() {
            Ok(Message::Text(text)) => Seen::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Seen::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Seen::Pong(bytes.to_vec()),
            Ok(Message::Close(close)) => {
                let (code, reason) =
                    close.map_or((None, String::new()), |close| (Some(close.code), close.reason.to_string()));
                seen.push(Seen::Close(code.map(CloseCode::into), reason));
                break Verdict::Fine;
            }
            Ok(Message::Frame(_)) => panic!("frames are not handed out"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break Verdict::Fine,
            Err(_) => break Verdict::Refused,
        };
        seen.push(event);
    };
    (seen, verdict)
}

/// A socket on which nothing more comes for now. What is written to it is of no interest.
struct Received<'a>(&'a [u8]);

impl Read for Received<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            some => some,
        }
    }
}

impl Write for Received<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
