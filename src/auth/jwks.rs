//! Public keys from a JWKS (RFC 7517), each bound to the one algorithm that it is for.

use std::fmt;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

use super::Refused;

/// Most keys that one JWKS may hold.
pub const JWKS_KEYS_MAX: usize = 256;

/// The signature keys of a JWKS.
#[derive(Clone, PartialEq)]
pub struct PublicKeys(Vec<PublicKey>);

#[derive(Clone)]
struct PublicKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        let is_same_key = match (self.key.kind(), other.key.kind()) {
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(other)) => one == other,
            (
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent { n: other_n, e: other_e },
            ) => (n, e) == (other_n, other_e),
            _ => false,
        };
        is_same_key && self.kid == other.kid && self.algorithm == other.algorithm
    }
}

/// Why a JWKS is of no use. Holds nothing of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwksError {
    /// Not JSON, or not an object with `keys`.
    NotAJwks,
    /// Holds a symmetric or a private key. Whoever may read the set could make tokens with it.
    HoldsASecret,
    /// Two keys with one `kid`: a token would not say which of them it means.
    SameKidTwice,
    /// More than [`JWKS_KEYS_MAX`].
    TooManyKeys,
    /// No key in it is for signatures of an algorithm that is spoken here.
    NoUsableKey,
}

impl PublicKeys {
    /// Reads the JSON of a JWKS. Keys for encryption and keys of unknown kinds are passed over, as
    /// RFC 7517 section 5 asks.
    pub fn from_json(text: &str) -> Result<PublicKeys, JwksError> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|_| JwksError::NotAJwks)?;
        let listed = value.get("keys").and_then(|keys| keys.as_array()).ok_or(JwksError::NotAJwks)?;
        if listed.len() > JWKS_KEYS_MAX {
            return Err(JwksError::TooManyKeys);
        }
        // RFC 7518 section 6: `k` is a symmetric key, `d` the private part of all others.
        if listed.iter().any(|key| key.get("k").is_some() || key.get("d").is_some()) {
            return Err(JwksError::HoldsASecret);
        }
        let set: JwkSet = serde_json::from_value(value).map_err(|_| JwksError::NotAJwks)?;
        let mut keys: Vec<PublicKey> = Vec::with_capacity(set.keys.len());
        for jwk in &set.keys {
            if !verifies_signatures(jwk) {
                continue;
            }
            let (Some(algorithm), Ok(key)) = (algorithm_of(jwk), DecodingKey::from_jwk(jwk)) else {
                continue;
            };
            let kid = jwk.common.key_id.clone();
            if kid.is_some() && keys.iter().any(|known| known.kid == kid) {
                return Err(JwksError::SameKidTwice);
            }
            keys.push(PublicKey { kid, algorithm, key });
        }
        if keys.is_empty() { Err(JwksError::NoUsableKey) } else { Ok(PublicKeys(keys)) }
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The key that a token's header names. A token without a `kid` fits only a set of one key.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, Refused> {
        let found = match (kid, self.0.as_slice()) {
            (None, [only]) => only,
            (None, _) => return Err(Refused::UnknownKey),
            (Some(kid), keys) => {
                keys.iter().find(|known| known.kid.as_deref() == Some(kid)).ok_or(Refused::UnknownKey)?
            }
        };
        if found.algorithm == algorithm { Ok(&found.key) } else { Err(Refused::WrongAlgorithm) }
    }
}

fn verifies_signatures(jwk: &Jwk) -> bool {
    let for_signatures =
        !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)));
    let may_verify =
        jwk.common.key_operations.as_ref().is_none_or(|allowed| allowed.contains(&KeyOperations::Verify));
    for_signatures && may_verify
}

/// The key says which algorithm it is for; the token has no say in it.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let named = jwk.common.key_algorithm;
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => match named {
            None | Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
            Some(KeyAlgorithm::RS384) => Some(Algorithm::RS384),
            Some(KeyAlgorithm::RS512) => Some(Algorithm::RS512),
            Some(KeyAlgorithm::PS256) => Some(Algorithm::PS256),
            Some(KeyAlgorithm::PS384) => Some(Algorithm::PS384),
            Some(KeyAlgorithm::PS512) => Some(Algorithm::PS512),
            Some(_) => None,
        },
        AlgorithmParameters::EllipticCurve(parameters) => match (&parameters.curve, named) {
            (EllipticCurve::P256, None | Some(KeyAlgorithm::ES256)) => Some(Algorithm::ES256),
            (EllipticCurve::P384, None | Some(KeyAlgorithm::ES384)) => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(parameters) => match (&parameters.curve, named) {
            (EllipticCurve::Ed25519, None | Some(KeyAlgorithm::EdDSA)) => Some(Algorithm::EdDSA),
            _ => None,
        },
        _ => None,
    }
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| (&key.kid, key.algorithm))).finish()
    }
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JwksError::NotAJwks => f.write_str("is not a JWKS: a JSON object with an array `keys`"),
            JwksError::HoldsASecret => f.write_str("holds a symmetric or private key; it is for public keys"),
            JwksError::SameKidTwice => f.write_str("holds two keys with the same `kid`"),
            JwksError::TooManyKeys => write!(f, "holds more than {JWKS_KEYS_MAX} keys"),
            JwksError::NoUsableKey => {
                f.write_str("holds no public key for RS256 to PS512, ES256, ES384 or EdDSA signatures")
            }
        }
    }
}

impl std::error::Error for JwksError {}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str =
        r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(keys: &[&str]) -> Result<PublicKeys, JwksError> {
        PublicKeys::from_json(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
    }

    #[test]
    fn what_is_not_a_jwks_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert_eq!(PublicKeys::from_json(text).err(), Some(JwksError::NotAJwks), "{text}");
        }
    }

    #[test]
    fn symmetric_and_private_keys_are_refused_aloud() {
        let oct = r#"{"kty":"oct","k":"c2VjcmV0","kid":"s"}"#;
        assert_eq!(set(&[ED, oct]).err(), Some(JwksError::HoldsASecret));
        let private = ED.replace(r#""kid":"ed""#, r#""kid":"p","d":"c2VjcmV0""#);
        assert_eq!(set(&[ED, &private]).err(), Some(JwksError::HoldsASecret));
    }

    #[test]
    fn keys_for_other_ends_are_passed_over() {
        let encryption = ED.replace(r#""kid":"ed""#, r#""kid":"e2","use":"enc""#);
        let unknown = r#"{"kty":"new-kind","kid":"n"}"#;
        let keys = set(&[ED, &encryption, unknown]).expect("one key is usable");
        assert_eq!(keys.count(), 1);
        assert_eq!(set(&[unknown]).err(), Some(JwksError::NoUsableKey));
    }

    #[test]
    fn one_kid_names_one_key() {
        assert_eq!(set(&[ED, ED]).err(), Some(JwksError::SameKidTwice));
    }

    #[test]
    fn too_many_keys_are_refused() {
        let many = vec![ED; JWKS_KEYS_MAX + 1];
        assert_eq!(set(&many).err(), Some(JwksError::TooManyKeys));
    }

    #[test]
    fn the_key_decides_the_algorithm() {
        let keys = set(&[ED]).expect("a key");
        assert!(keys.find(Some("ed"), Algorithm::EdDSA).is_ok());
        assert!(keys.find(None, Algorithm::EdDSA).is_ok(), "a set of one key needs no kid");
        for other in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256] {
            assert_eq!(keys.find(Some("ed"), other).err(), Some(Refused::WrongAlgorithm));
        }
        assert_eq!(keys.find(Some("other"), Algorithm::EdDSA).err(), Some(Refused::UnknownKey));
    }
}
