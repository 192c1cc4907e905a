//! A room on record, and what keeps records over a restart.

use std::error::Error;
use std::fmt;

use subtle::ConstantTimeEq;

use crate::base::Redacted;

/// What is known of a room whether anybody is in it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRecord {
    pub room_id: String,
    /// Whoever knows it may enter.
    pub token: Redacted<String>,
    /// Subject of the identity that created the room.
    pub created_by: String,
    /// From this second on the room takes no new peers.
    pub expires_at_unix_seconds: u64,
}

impl RoomRecord {
    /// In constant time, but for the length of the token, which is no secret.
    pub fn token_is(&self, token: &str) -> bool {
        bool::from(self.token.expose().as_bytes().ct_eq(token.as_bytes()))
    }

    pub fn is_expired(&self, now_unix_seconds: u64) -> bool {
        now_unix_seconds >= self.expires_at_unix_seconds
    }
}

/// Keeps room records. Every call may block for as long as a disk or a network does, so it is made
/// on a blocking thread. Calls from several threads at once are fine.
pub trait RoomStore: Send + Sync {
    /// Every record in the store, the expired ones among them.
    fn load(&self) -> Result<Vec<RoomRecord>, StoreError>;

    /// Returns only after the record is safe. A record of the same room id is replaced.
    fn put(&self, record: &RoomRecord) -> Result<(), StoreError>;

    /// All of them or none. Ids that are not in the store are passed over.
    fn delete(&self, room_ids: &[String]) -> Result<(), StoreError>;
}

/// Why a store did not do what it was asked. Names the place and the cause, never a token.
#[derive(Debug)]
pub enum StoreError {
    /// Cannot be opened, reached, read or written now.
    Unavailable { place: String, cause: Box<dyn Error + Send + Sync> },
    /// What is there is not a store of rooms, or a damaged one.
    Corrupt { place: String, cause: Box<dyn Error + Send + Sync> },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unavailable { place, cause } => {
                write!(f, "the room store {place} is not available: {cause}")
            }
            StoreError::Corrupt { place, cause } => {
                write!(f, "the room store {place} is damaged or holds something else: {cause}")
            }
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StoreError::Unavailable { cause, .. } | StoreError::Corrupt { cause, .. } => Some(cause.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RoomRecord {
        RoomRecord {
            room_id: "abc123de".to_owned(),
            token: Redacted::new("f7g8h9".to_owned()),
            created_by: "alice".to_owned(),
            expires_at_unix_seconds: 100,
        }
    }

    #[test]
    fn only_the_very_token_opens_a_room() {
        assert!(record().token_is("f7g8h9"));
        for token in ["", "f7g8h", "f7g8h90", "F7g8h9", "f7g8h8", "f7g8h9\0"] {
            assert!(!record().token_is(token), "{token}");
        }
    }

    #[test]
    fn a_room_expires_at_its_second_and_not_before() {
        assert!(!record().is_expired(99));
        assert!(record().is_expired(100));
        assert!(record().is_expired(u64::MAX));
    }

    #[test]
    fn no_token_shows_in_debug_output() {
        assert!(!format!("{:?}", record()).contains("f7g8h9"));
    }
}
