//! An offer, answer or candidate as its target gets it.
//!
//! ```text
//! {"type":"offer","from":"…","sdp":…,"sessionId":…,"timestamp":"…"}
//! ```
//!
//! Laid out in pieces, so that what passes is copied only into the target's outbox, and nothing is
//! allocated.

use super::message::MessageType;
use super::timestamp::{Timestamp, timestamp};
use crate::base::Now;

/// The pieces of one text that do not stand in it as they came.
pub(super) struct SignalText<'a> {
    head: &'static str,
    from: &'a [u8],
    body_key: &'static str,
    body: &'a [u8],
    session_key: &'static str,
    session_id: &'a [u8],
    timestamp: Timestamp,
}

impl<'a> SignalText<'a> {
    /// `from`, `body` and `session_id` are JSON values; what is not there is left out, as
    /// `JSON.stringify` does.
    pub(super) fn new(
        message_type: MessageType,
        from: &'a [u8],
        body: Option<&'a [u8]>,
        session_id: Option<&'a [u8]>,
        now: Now,
    ) -> SignalText<'a> {
        let (head, body_key) = match message_type {
            MessageType::Offer => ("{\"type\":\"offer\",\"from\":", ",\"sdp\":"),
            MessageType::Answer => ("{\"type\":\"answer\",\"from\":", ",\"sdp\":"),
            _ => ("{\"type\":\"ice\",\"from\":", ",\"candidate\":"),
        };
        SignalText {
            head,
            from,
            body_key: body.map_or("", |_| body_key),
            body: body.unwrap_or_default(),
            session_key: session_id.map_or("", |_| ",\"sessionId\":"),
            session_id: session_id.unwrap_or_default(),
            timestamp: timestamp(now),
        }
    }

    pub(super) fn parts(&self) -> [&[u8]; 9] {
        [
            self.head.as_bytes(),
            self.from,
            self.body_key.as_bytes(),
            self.body,
            self.session_key.as_bytes(),
            self.session_id,
            b",\"timestamp\":\"",
            &self.timestamp,
            b"\"}",
        ]
    }
}

/// `"session-<milliseconds>-<9 base-36 characters>"`, quotes included.
pub(super) struct MadeSessionId {
    bytes: [u8; MADE_BYTES_MAX],
    length: usize,
}

const PREFIX: &[u8] = b"\"session-";
const DIGITS_MAX: usize = 20;
const RANDOM_CHARACTERS: usize = 9;
const MADE_BYTES_MAX: usize = PREFIX.len() + DIGITS_MAX + 1 + RANDOM_CHARACTERS + 1;
const BASE_36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

impl MadeSessionId {
    pub(super) fn new(now: Now, random: u128) -> MadeSessionId {
        let mut made = MadeSessionId { bytes: [0; MADE_BYTES_MAX], length: 0 };
        made.push(PREFIX);
        let (mut digits, mut first, mut rest) = ([b'0'; DIGITS_MAX], DIGITS_MAX, now.unix_ms);
        while rest > 0 || first == DIGITS_MAX {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        made.push(&digits[first..]);
        made.push(b"-");
        // 36^9 is below 2^47.
        let mut random = random as u64;
        for _ in 0..RANDOM_CHARACTERS {
            made.push(&[BASE_36[(random % 36) as usize]]);
            random /= 36;
        }
        made.push(b"\"");
        made
    }

    pub(super) fn json(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Everything together is never longer than the array.
    fn push(&mut self, piece: &[u8]) {
        self.bytes[self.length..self.length + piece.len()].copy_from_slice(piece);
        self.length += piece.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_session_id_has_the_milliseconds_and_nine_characters() {
        for (unix_ms, random) in [(0, 0), (1_764_244_800_000, 1 << 99), (u64::MAX, u128::MAX)] {
            let made = MadeSessionId::new(Now { mono_us: 0, unix_ms }, random);
            let text: String = serde_json::from_slice(made.json()).unwrap();
            let (ms, random) = text.strip_prefix("session-").unwrap().split_once('-').unwrap();
            assert_eq!(ms, unix_ms.to_string());
            assert_eq!(random.len(), 9);
            assert!(random.bytes().all(|byte| BASE_36.contains(&byte)), "{random}");
        }
    }
}
