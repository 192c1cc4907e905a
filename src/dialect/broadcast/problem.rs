//! The event `error`: why a message was refused, or did not arrive.

use std::sync::Arc;

use super::message::TYPES;
use crate::dialect::{Undeliverable, labels};
use crate::wire::json::{self, Kind, Value};

/// Longest piece of a client's own text that an error repeats.
const SHOWN_BYTES_MAX: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not a JSON object, or one that cannot be passed on.
    InvalidFormat,
    /// `type` is none of the three. `shown` is what it is in the error's words.
    InvalidType {
        shown: String,
    },
    TooManyMessages,
    /// A valid signal did not arrive.
    Undeliverable {
        target: Arc<str>,
        cause: Undeliverable,
    },
    /// Our fault.
    Internal,
}

impl Problem {
    /// Position in the metrics' row of errors.
    pub fn error(&self) -> u8 {
        let index = match self {
            Problem::InvalidFormat => 0,
            Problem::InvalidType { .. } => 1,
            Problem::TooManyMessages => 2,
            Problem::Undeliverable { cause: Undeliverable::NotConnected, .. } => 3,
            Problem::Undeliverable { .. } => 4,
            Problem::Internal => 5,
        };
        labels::BROADCAST_ERRORS + index
    }

    /// What the event carries.
    pub fn text(&self) -> String {
        let mut out = b"{\"message\":".to_vec();
        json::write_string(&mut out, &self.message());
        if let Problem::InvalidType { .. } = self {
            out.extend_from_slice(b",\"valid_types\":[");
            for (index, word) in TYPES.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json::write_string(&mut out, word);
            }
            out.push(b']');
        }
        out.push(b'}');
        String::from_utf8(out).expect("JSON strings of UTF-8 are UTF-8")
    }

    fn message(&self) -> String {
        match self {
            Problem::InvalidFormat => "Invalid message format".to_owned(),
            Problem::InvalidType { shown } => format!("Invalid message type: {}", cut(shown)),
            Problem::TooManyMessages => "Too many messages".to_owned(),
            Problem::Undeliverable { target, cause } => {
                let target = cut(target);
                match cause {
                    Undeliverable::NotConnected => format!("Peer {target} not found"),
                    Undeliverable::Full => format!("Peer {target} cannot take more now"),
                    Undeliverable::Draining => "Server is shutting down".to_owned(),
                    Undeliverable::TooLarge => format!("Message is too large for peer {target}"),
                    Undeliverable::Unconvertible => format!("Peer {target} cannot take this message"),
                }
            }
            Problem::Internal => "Internal server error".to_owned(),
        }
    }
}

/// A value in words: a string's text, anything else as it was written.
pub(super) fn shown(text: &str, value: Value) -> String {
    let raw = || String::from_utf8_lossy(value.span.of(text.as_bytes())).into_owned();
    match value.kind {
        Kind::String => match json::decode_value(text.as_bytes(), value.span) {
            Ok(word) => word.into_owned(),
            Err(json::LoneSurrogate) => raw(),
        },
        _ => raw(),
    }
}

fn cut(text: &str) -> &str {
    match text.char_indices().map(|(at, _)| at).find(|at| *at >= SHOWN_BYTES_MAX) {
        Some(end) => &text[..end],
        None => text,
    }
}
