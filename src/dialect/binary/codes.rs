//! The numbers and words of the protocol: message types, tags, error codes.

use crate::dialect::{MessageLabel, Undeliverable};

/// Dialect and name of each message type, by [`MessageType::label`]; last the unknown ones.
pub const MESSAGE_LABELS: &[(&str, &str)] = &[
    ("binary", "CONNECT"),
    ("binary", "CONNECT_ACK"),
    ("binary", "DISCONNECT"),
    ("binary", "HEARTBEAT"),
    ("binary", "HEARTBEAT_ACK"),
    ("binary", "SIGNAL_OFFER"),
    ("binary", "SIGNAL_ANSWER"),
    ("binary", "SIGNAL_ICE_CANDIDATE"),
    ("binary", "ERROR"),
    ("binary", "unknown"),
];

/// Dialect and code of each error, by [`Code::label`].
pub const ERROR_LABELS: &[(&str, &str)] = &[
    ("binary", "400"),
    ("binary", "401"),
    ("binary", "404"),
    ("binary", "409"),
    ("binary", "429"),
    ("binary", "500"),
    ("binary", "503"),
];

/// How an ERROR is counted, also one that [`write_bounce`](super::write_bounce) has made.
pub const ERROR_MESSAGE_LABEL: MessageLabel = MessageLabel(8);

/// How a message of an unknown type is counted.
pub(super) const UNKNOWN_LABEL: MessageLabel = MessageLabel(9);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum MessageType {
    Connect = 0x01,
    ConnectAck = 0x02,
    Disconnect = 0x03,
    Heartbeat = 0x04,
    HeartbeatAck = 0x05,
    SignalOffer = 0x10,
    SignalAnswer = 0x11,
    SignalIceCandidate = 0x12,
    Error = 0xFF,
}

impl MessageType {
    pub(super) const ALL: [MessageType; 9] = [
        MessageType::Connect,
        MessageType::ConnectAck,
        MessageType::Disconnect,
        MessageType::Heartbeat,
        MessageType::HeartbeatAck,
        MessageType::SignalOffer,
        MessageType::SignalAnswer,
        MessageType::SignalIceCandidate,
        MessageType::Error,
    ];

    pub(super) fn from_byte(byte: u8) -> Option<MessageType> {
        Some(match byte {
            0x01 => MessageType::Connect,
            0x02 => MessageType::ConnectAck,
            0x03 => MessageType::Disconnect,
            0x04 => MessageType::Heartbeat,
            0x05 => MessageType::HeartbeatAck,
            0x10 => MessageType::SignalOffer,
            0x11 => MessageType::SignalAnswer,
            0x12 => MessageType::SignalIceCandidate,
            0xFF => MessageType::Error,
            _ => return None,
        })
    }

    /// The key that wraps the fields in tagged payloads.
    pub(super) fn tag(self) -> &'static str {
        match self {
            MessageType::Connect => "Connect",
            MessageType::ConnectAck => "ConnectAck",
            MessageType::Disconnect => "Disconnect",
            MessageType::Heartbeat => "Heartbeat",
            MessageType::HeartbeatAck => "HeartbeatAck",
            MessageType::SignalOffer => "SignalOffer",
            MessageType::SignalAnswer => "SignalAnswer",
            MessageType::SignalIceCandidate => "SignalIceCandidate",
            MessageType::Error => "Error",
        }
    }

    pub(super) fn label(self) -> MessageLabel {
        MessageLabel(match self {
            MessageType::Connect => 0,
            MessageType::ConnectAck => 1,
            MessageType::Disconnect => 2,
            MessageType::Heartbeat => 3,
            MessageType::HeartbeatAck => 4,
            MessageType::SignalOffer => 5,
            MessageType::SignalAnswer => 6,
            MessageType::SignalIceCandidate => 7,
            MessageType::Error => ERROR_MESSAGE_LABEL.0,
        })
    }

    /// The name in metrics and events.
    pub(super) fn name(self) -> &'static str {
        MESSAGE_LABELS[usize::from(self.label().0)].1
    }
}

/// An error as a client sees it. The discriminants are the codes of tagged and of binary payloads,
/// which have one byte for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Unauthorized = 1,
    BadRequest = 2,
    /// A WebSocket text message, where only binary ones are served.
    TextMessage = 3,
    NotFound = 4,
    Internal = 5,
    Conflict = 6,
    RateLimited = 7,
    Unavailable = 8,
}

impl Code {
    pub(super) fn byte(self) -> u8 {
        self as u8
    }

    /// The code of the document, for flat and for text payloads.
    pub(super) fn number(self) -> u16 {
        match self {
            Code::BadRequest | Code::TextMessage => 400,
            Code::Unauthorized => 401,
            Code::NotFound => 404,
            Code::Conflict => 409,
            Code::RateLimited => 429,
            Code::Internal => 500,
            Code::Unavailable => 503,
        }
    }

    /// Position in [`ERROR_LABELS`].
    pub(super) fn label(self) -> u8 {
        match self {
            Code::BadRequest | Code::TextMessage => 0,
            Code::Unauthorized => 1,
            Code::NotFound => 2,
            Code::Conflict => 3,
            Code::RateLimited => 4,
            Code::Internal => 5,
            Code::Unavailable => 6,
        }
    }
}

/// Code and words for the sender of a message that did not arrive.
pub(super) fn undeliverable(cause: Undeliverable) -> (Code, &'static str) {
    match cause {
        Undeliverable::NotConnected => (Code::NotFound, "Target client not found"),
        Undeliverable::Full => (Code::Unavailable, "Target client cannot take more now"),
        Undeliverable::Draining => (Code::Unavailable, DRAINING),
        Undeliverable::TooLarge => (Code::BadRequest, "Signal does not fit the target client's payload type"),
        Undeliverable::Unconvertible => {
            (Code::BadRequest, "Signal cannot be expressed in the target client's payload type")
        }
    }
}

pub(super) const DRAINING: &str = "Server is shutting down";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_the_position_of_its_name() {
        for (position, message_type) in MessageType::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(message_type.label().0), position);
            assert_eq!(MessageType::from_byte(message_type as u8), Some(message_type));
        }
        assert_eq!(MESSAGE_LABELS[usize::from(UNKNOWN_LABEL.0)].1, "unknown");
        assert_eq!(MessageType::Error.name(), "ERROR");
        let known = (0..=255).filter(|&byte| MessageType::from_byte(byte).is_some()).count();
        assert_eq!(known, MessageType::ALL.len());
        for (byte, number) in (1..).zip([401, 400, 400, 404, 500, 409, 429, 503]) {
            let codes = [
                Code::Unauthorized,
                Code::BadRequest,
                Code::TextMessage,
                Code::NotFound,
                Code::Internal,
                Code::Conflict,
                Code::RateLimited,
                Code::Unavailable,
            ];
            let code = codes[byte as usize - 1];
            assert_eq!((code.byte(), code.number()), (byte, number));
            assert_eq!(ERROR_LABELS[usize::from(code.label())].1, number.to_string());
        }
    }
}
