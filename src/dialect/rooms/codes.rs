//! Message types and error codes, and what they are called in the metrics.

use crate::dialect::{MessageLabel, Undeliverable, labels};
use crate::hub::rooms::Whereabouts;

/// Message types by their label, both directions.
pub const MESSAGE_LABELS: &[(&str, &str)] = &[
    ("rooms", "register"),
    ("rooms", "registered_auth"),
    ("rooms", "discover_peers"),
    ("rooms", "peer_list"),
    ("rooms", "peer_message"),
    ("rooms", "offer"),
    ("rooms", "answer"),
    ("rooms", "candidate"),
    ("rooms", "error"),
    ("rooms", "update_metadata"),
    ("rooms", "metadata_updated"),
    ("rooms", "query"),
    ("rooms", "available_peers"),
    ("rooms", "ping"),
    ("rooms", "pong"),
    ("rooms", "unknown"),
];

/// Errors by their label.
pub const ERROR_LABELS: &[(&str, &str)] = &[
    ("rooms", "NOT_IN_ROOM"),
    ("rooms", "ROOM_NOT_FOUND"),
    ("rooms", "PEER_NOT_IN_ROOM"),
    ("rooms", "PEER_NOT_FOUND"),
    ("rooms", "INVALID_MESSAGE"),
    ("rooms", "DELIVERY_FAILED"),
    ("rooms", "UNKNOWN_MESSAGE_TYPE"),
    ("rooms", "INVALID_JSON"),
    ("rooms", "RATE_LIMITED"),
    ("rooms", "INVALID_TOKEN"),
    ("rooms", "ROOM_EXPIRED"),
    ("rooms", "AUTHENTICATION_FAILED"),
    ("rooms", "UNAVAILABLE"),
    ("rooms", "INTERNAL_ERROR"),
];

/// In the order of [`MESSAGE_LABELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageType {
    Register,
    RegisteredAuth,
    DiscoverPeers,
    PeerList,
    PeerMessage,
    Offer,
    Answer,
    Candidate,
    Error,
    UpdateMetadata,
    MetadataUpdated,
    Query,
    AvailablePeers,
    Ping,
    Pong,
    Unknown,
}

/// In the order of [`ERROR_LABELS`]. The first eight are the document's; new clients tell errors
/// apart by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    NotInRoom,
    RoomNotFound,
    PeerNotInRoom,
    PeerNotFound,
    InvalidMessage,
    DeliveryFailed,
    UnknownMessageType,
    InvalidJson,
    RateLimited,
    InvalidToken,
    RoomExpired,
    AuthenticationFailed,
    Unavailable,
    Internal,
}

/// What clients send.
const FROM_CLIENTS: [MessageType; 11] = [
    MessageType::PeerMessage,
    MessageType::Candidate,
    MessageType::Offer,
    MessageType::Answer,
    MessageType::Ping,
    MessageType::Pong,
    MessageType::Register,
    MessageType::DiscoverPeers,
    MessageType::UpdateMetadata,
    MessageType::Query,
    MessageType::Error,
];

impl MessageType {
    pub(super) fn from_word(word: &str) -> Option<MessageType> {
        FROM_CLIENTS.into_iter().find(|known| known.word() == word)
    }

    pub(super) const fn label(self) -> MessageLabel {
        MessageLabel(labels::ROOMS_MESSAGES + self as u8)
    }

    /// The type that [`MessageType::label`] has said.
    fn from_label(label: MessageLabel) -> Option<MessageType> {
        FROM_CLIENTS.into_iter().find(|known| known.label() == label)
    }

    pub(super) const fn word(self) -> &'static str {
        MESSAGE_LABELS[self as usize].1
    }
}

impl Code {
    pub(super) const fn word(self) -> &'static str {
        ERROR_LABELS[self as usize].1
    }

    /// For [`Surroundings::count_error`](crate::dialect::Surroundings::count_error).
    pub(super) const fn label(self) -> u8 {
        labels::ROOMS_ERRORS + self as u8
    }
}

/// Whether a client hears that such a message of its own did not arrive. Deployed workers exit on
/// any error while they negotiate, so of that only those hear who want to.
pub(super) fn is_reported(label: MessageLabel, reports_all: bool) -> bool {
    reports_all || MessageType::from_label(label) == Some(MessageType::PeerMessage)
}

/// Code and words for it. `target` is where the registry sees the target, if it was asked.
pub(super) fn undeliverable(cause: Undeliverable, target: Option<Whereabouts>) -> (Code, &'static str) {
    match (cause, target) {
        (Undeliverable::NotConnected, Some(Whereabouts::Elsewhere)) => {
            (Code::PeerNotInRoom, "Target peer is not in the same room")
        }
        (Undeliverable::NotConnected, _) => (Code::PeerNotFound, "Target peer is not found"),
        (Undeliverable::Full, _) => (Code::DeliveryFailed, "Target peer cannot take more messages now"),
        (Undeliverable::Draining, _) => (Code::DeliveryFailed, "The server is shutting down"),
        // Within the dialect nothing is said anew.
        (Undeliverable::TooLarge | Undeliverable::Unconvertible, _) => {
            (Code::DeliveryFailed, "The message cannot be delivered")
        }
    }
}

const _: () = assert!(MESSAGE_LABELS.len() == MessageType::Unknown as usize + 1);
const _: () = assert!(ERROR_LABELS.len() == Code::Internal as usize + 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_that_clients_send_is_known_by_its_word_and_its_label() {
        for known in FROM_CLIENTS {
            assert_eq!(MessageType::from_word(known.word()), Some(known));
            assert_eq!(MessageType::from_label(known.label()), Some(known));
        }
        for word in ["registered_auth", "peer_list", "unknown", "", "Offer", "metadata_updated"] {
            assert_eq!(MessageType::from_word(word), None, "{word}");
        }
    }
}
