//! Fixed tokens, compared in constant time.

use std::collections::BTreeMap;
use std::fmt;

use ahash::RandomState;
use hashbrown::HashMap;
use subtle::{Choice, ConstantTimeEq};

use super::Refused;
use crate::base::Redacted;

/// One line of `api_keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub client_id: String,
    pub token: Redacted<String>,
}

/// What is wrong with a line of `api_keys`. Never holds the line itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyError {
    NoColon,
    EmptyClientId,
    EmptyToken,
}

impl ApiKey {
    /// Reads `client_id:token`. The first colon splits, so a token may hold colons.
    pub fn parse(line: &str) -> Result<ApiKey, ApiKeyError> {
        let (client_id, token) = line.split_once(':').ok_or(ApiKeyError::NoColon)?;
        if client_id.is_empty() {
            return Err(ApiKeyError::EmptyClientId);
        }
        if token.is_empty() {
            return Err(ApiKeyError::EmptyToken);
        }
        Ok(ApiKey { client_id: client_id.to_owned(), token: Redacted::new(token.to_owned()) })
    }
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ApiKeyError::NoColon => "has no colon between client id and token",
            ApiKeyError::EmptyClientId => "has no client id before the colon",
            ApiKeyError::EmptyToken => "has no token after the colon",
        })
    }
}

impl std::error::Error for ApiKeyError {}

/// Every stored token is padded to the width of the longest, so that one comparison costs the
/// same whichever client it is for, and whether that client exists or not. What is left of a
/// difference is the look-up of the id: a few nanoseconds, which no network lets through.
pub(super) struct ApiKeys {
    by_client: HashMap<String, Padded, RandomState>,
    /// Compared where no such client exists. It equals nothing.
    dummy: Padded,
    width_bytes: usize,
}

/// A token in a box of fixed size. Two of the same width are compared in constant time.
pub(super) struct Padded {
    bytes: Box<[u8]>,
    length_bytes: u64,
}

impl ApiKeys {
    /// Of several keys for one client id the last counts; the configuration refuses them before.
    pub(super) fn new(keys: &[ApiKey]) -> ApiKeys {
        let width_bytes = keys.iter().map(|key| key.token.expose().len()).max().unwrap_or(0);
        // The operator chose the keys of this table, not a peer, so fixed seeds do no harm.
        let mut by_client = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        let unique: BTreeMap<&str, &ApiKey> = keys.iter().map(|key| (key.client_id.as_str(), key)).collect();
        for (client_id, key) in unique {
            by_client.insert(client_id.to_owned(), Padded::new(key.token.expose(), width_bytes));
        }
        let dummy = Padded { bytes: vec![0; width_bytes].into_boxed_slice(), length_bytes: u64::MAX };
        ApiKeys { by_client, dummy, width_bytes }
    }

    pub(super) fn verify(&self, client_id: &str, token: &str) -> Result<(), Refused> {
        let presented = Padded::new(token, self.width_bytes);
        let stored = self.by_client.get(client_id).unwrap_or(&self.dummy);
        if bool::from(presented.ct_eq(stored)) { Ok(()) } else { Err(Refused::BadCredentials) }
    }
}

impl Padded {
    /// What does not fit is cut off. The length tells it apart from a token that fits.
    pub(super) fn new(token: &str, width_bytes: usize) -> Padded {
        let mut bytes = vec![0; width_bytes].into_boxed_slice();
        let kept = token.len().min(width_bytes);
        bytes[..kept].copy_from_slice(&token.as_bytes()[..kept]);
        Padded { bytes, length_bytes: token.len() as u64 }
    }

    pub(super) fn ct_eq(&self, other: &Padded) -> Choice {
        self.bytes.ct_eq(&other.bytes) & self.length_bytes.ct_eq(&other.length_bytes)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("clients", &self.by_client.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(lines: &[&str]) -> ApiKeys {
        let parsed: Vec<_> = lines.iter().map(|line| ApiKey::parse(line).expect("a pair")).collect();
        ApiKeys::new(&parsed)
    }

    #[test]
    fn each_client_enters_with_its_own_token_only() {
        let keys = keys(&["one:first", "two:second token"]);
        assert_eq!(keys.verify("one", "first"), Ok(()));
        assert_eq!(keys.verify("two", "second token"), Ok(()));
        for (client_id, token) in [
            ("one", "second token"),
            ("one", "firsT"),
            ("one", "first "),
            ("one", "first\0"),
            ("one", "firs"),
            ("one", ""),
            ("two", "second token and more"),
            ("three", "first"),
            ("One", "first"),
            ("", ""),
        ] {
            assert_eq!(keys.verify(client_id, token), Err(Refused::BadCredentials), "{client_id} {token}");
        }
    }

    #[test]
    fn the_dummy_lets_nobody_in() {
        let keys = keys(&["one:abc"]);
        for token in ["", "\0", "\0\0\0", "abc"] {
            assert_eq!(keys.verify("nobody", token), Err(Refused::BadCredentials));
        }
        assert_eq!(ApiKeys::new(&[]).verify("nobody", ""), Err(Refused::BadCredentials));
    }

    #[test]
    fn a_token_may_hold_colons() {
        assert_eq!(keys(&["agent:a:b:c"]).verify("agent", "a:b:c"), Ok(()));
    }

    #[test]
    fn a_broken_pair_is_refused() {
        assert_eq!(ApiKey::parse("token-alone"), Err(ApiKeyError::NoColon));
        assert_eq!(ApiKey::parse(":token"), Err(ApiKeyError::EmptyClientId));
        assert_eq!(ApiKey::parse("agent:"), Err(ApiKeyError::EmptyToken));
    }
}
