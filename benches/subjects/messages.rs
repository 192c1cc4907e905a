//! What clients say, in the sizes that signaling has: a candidate, a message of 256 bytes, a whole
//! session description.

#![allow(dead_code, reason = "every benchmark takes from here what it needs")]

use sigmux::wire::frame::{HEADER_BYTES, write_frame};

pub const UUID: [u8; 16] = *b"0123456789abcdef";
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub const CONNECT: u8 = 0x01;
pub const HEARTBEAT: u8 = 0x04;
pub const OFFER: u8 = 0x10;
pub const CANDIDATE: u8 = 0x12;

/// Payload types of 0xAA frames.
pub const BINARY_PAYLOAD: u8 = 1;
pub const JSON_PAYLOAD: u8 = 2;

/// Opcodes of WebSocket, with FIN.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;

/// An offer of aiortc for a data channel, audio and video, and a candidate with the keys that
/// browsers put around it.
pub const OFFER_SDP: &str = include_str!("../../tests/vectors/offer.sdp");
pub const CANDIDATE_INIT: &str = concat!(
    r#"{"candidate":"candidate:1467250027 1 udp 2122260223 192.0.2.2 46243 typ host generation 0","#,
    r#""sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"k5dR"}"#
);

#[derive(Clone, Copy)]
pub enum Length {
    Candidate,
    /// So many bytes of the whole message, filled up with the beginning of the description.
    Bytes(usize),
    Description,
}

pub const LENGTHS: [(&str, Length); 3] =
    [("candidate", Length::Candidate), ("256_bytes", Length::Bytes(256)), ("sdp_4_kib", Length::Description)];

impl Length {
    pub fn is_candidate(self) -> bool {
        matches!(self, Length::Candidate)
    }

    /// Of a signal in `binary`.
    pub fn message_type(self) -> u8 {
        if self.is_candidate() { CANDIDATE } else { OFFER }
    }

    /// The message that `write` makes of a JSON string's inside.
    fn fill(self, write: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
        match self {
            Length::Candidate => write(&escaped(CANDIDATE_INIT)),
            Length::Description => write(&escaped(OFFER_SDP)),
            Length::Bytes(bytes) => {
                let message = write(&filler(bytes - write("").len()));
                assert_eq!(message.len(), bytes);
                message
            }
        }
    }
}

/// A 0xAA frame.
pub fn frame(message_type: u8, payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, message_type, &UUID, payload_type, |out| out.extend_from_slice(payload))
        .expect("a payload that fits");
    out
}

/// The frame of a signal to `target`, in flat JSON as serializers write it.
pub fn json_signal(length: Length, target: &str) -> Vec<u8> {
    length.fill(|data| {
        let payload = format!(r#"{{"target_client_id":"{target}","signal_data":"{data}"}}"#);
        frame(length.message_type(), JSON_PAYLOAD, payload.as_bytes())
    })
}

/// The same as it is to arrive: with the sender behind the other fields.
pub fn stamped(signal: &[u8], sender: &str) -> Vec<u8> {
    let payload = signal[HEADER_BYTES..].strip_suffix(b"}").expect("a JSON object");
    let stamp = format!(r#","sender_client_id":"{sender}"}}"#);
    frame(signal[1], JSON_PAYLOAD, &[payload, stamp.as_bytes()].concat())
}

/// The frame of a signal with a binary payload: `len8 peer, len16 data`. The peer is the target, and
/// on arrival the sender.
pub fn binary_signal(length: Length, peer: &str) -> Vec<u8> {
    length.fill(|data| {
        // There is nothing to escape: what JSON does is part of the data here.
        let payload =
            [&[peer.len() as u8], peer.as_bytes(), &(data.len() as u16).to_be_bytes(), data.as_bytes()];
        frame(length.message_type(), BINARY_PAYLOAD, &payload.concat())
    })
}

/// A text of `devices`.
pub fn device_signal(length: Length, target: &str) -> Vec<u8> {
    if length.is_candidate() {
        return format!(
            r#"{{"type":"ice","target":"{target}","candidate":{CANDIDATE_INIT},"sessionId":"s-1"}}"#
        )
        .into_bytes();
    }
    length.fill(|sdp| {
        format!(r#"{{"type":"offer","target":"{target}","sdp":"{sdp}","sessionId":"s-1"}}"#).into_bytes()
    })
}

/// A text of `rooms`.
pub fn room_signal(length: Length, sender: &str, target: &str) -> Vec<u8> {
    if length.is_candidate() {
        let text = format!(
            r#"{{"type":"candidate","sender":"{sender}","target":"{target}","candidate":{CANDIDATE_INIT}}}"#
        );
        return text.into_bytes();
    }
    length.fill(|sdp| {
        format!(r#"{{"type":"offer","sender":"{sender}","target":"{target}","sdp":"{sdp}"}}"#).into_bytes()
    })
}

/// The body of a `POST /signal`.
pub fn call_signal(length: Length, call: &str, session: &str) -> Vec<u8> {
    let kind = if length.is_candidate() { "CANDIDATE" } else { "OFFER" };
    length.fill(|body| {
        format!(r#"{{"call":"{call}","session":"{session}","body":"{body}","kind":"{kind}"}}"#).into_bytes()
    })
}

/// The argument of Socket.IO's event `signal`.
pub fn station_signal(length: Length, to: &str) -> Vec<u8> {
    if length.is_candidate() {
        return format!(r#"{{"type":"ice-candidate","to":"{to}","data":{CANDIDATE_INIT}}}"#).into_bytes();
    }
    length.fill(|sdp| {
        format!(r#"{{"type":"offer","to":"{to}","data":{{"type":"offer","sdp":"{sdp}"}}}}"#).into_bytes()
    })
}

/// A client's WebSocket message, written from the picture in RFC 6455.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head(first, payload.len());
    out[1] |= 0x80;
    out.extend_from_slice(&KEY);
    out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// A server's.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head(first, payload.len());
    out.extend_from_slice(payload);
    out
}

fn head(first: u8, length: usize) -> Vec<u8> {
    match u16::try_from(length).expect("a short message") {
        length @ 0..=125 => vec![first, length as u8],
        length => {
            let [high, low] = length.to_be_bytes();
            vec![first, 126, high, low]
        }
    }
}

/// A JSON string of the text, without its quotes.
fn escaped(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("text is JSON");
    quoted[1..quoted.len() - 1].to_owned()
}

/// Exactly so many bytes of a JSON string, with as many escapes as descriptions have.
fn filler(bytes: usize) -> String {
    let text = escaped(OFFER_SDP);
    // A line ends in \r\n, which must not be cut.
    let whole = text.get(..bytes).expect("shorter than the description").rfind("\\n").map_or(0, |at| at + 2);
    format!("{}{}", &text[..whole], "x".repeat(bytes - whole))
}
