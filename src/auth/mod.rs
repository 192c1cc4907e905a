//! Floor 1: verdicts on credentials.
//!
//! Owns the checked credentials, the comparison of API keys, the checks of a JWT, and the making
//! of one: clients that enter with their own id ([`Authenticator`]), and identities that may use
//! rooms ([`Identities`], [`Issuer`]). The invariant: nobody is let in as anybody else, and how
//! long a refusal takes says nothing about the stored tokens.
//!
//! Also reads the names of a certificate ([`CertificateNames`]), whose chain others have verified.
//! Must not know networks, files, clocks or logs: keys arrive as values and the time as an
//! argument.

mod api_keys;
mod certificate;
mod device_token;
mod identities;
mod issuer;
mod jwks;
mod jwt;

use std::fmt;

use crate::base::{Redacted, planted};
use api_keys::ApiKeys;
pub use api_keys::{ApiKey, ApiKeyError};
pub use certificate::{CertificateNames, Certified, NotACertificate, Validity};
pub use device_token::{DeviceClaims, DeviceTokens};
pub use identities::{
    IDENTITY_TOKEN_BYTES_MAX, Identities, Identity, IdentityRefused, IdentitySources, Proof, RemoteKeys,
    RoomsApiKey, RoomsGrant, TrustedKeys, TrustedRemote,
};
pub use issuer::{Issuer, IssuerKeyError};
pub use jwks::{JwksError, PublicKeys};
use jwt::JwtVerifier;
pub use jwt::mint;

/// How clients prove who they are, checked by the configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    /// A fixed token for each client id.
    Token(Vec<ApiKey>),
    /// A signed token: HS256 by the secret, anything else by a public key. Without either, every
    /// token is refused.
    Jwt { secret: Option<Redacted<String>>, public_keys: Option<PublicKeys> },
    /// A certificate that names the client id, on a listener that asks for one. No token is looked at.
    Certificate,
    /// Every client id is believed.
    None,
}

/// Why a client was not let in. For counters and events only: what the client is told is the
/// same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such client id, or another token than the one on file.
    BadCredentials,
    /// The client's certificate does not name the client id, or it has shown none where that is how
    /// clients log in.
    WrongCertificate,
    /// Not a JWT, an algorithm that nobody knows (`none` among them), claims of a wrong type, or
    /// extensions marked critical.
    Malformed,
    /// An algorithm that the chosen key is not for.
    WrongAlgorithm,
    /// Signed by a key that is not in the JWKS.
    UnknownKey,
    BadSignature,
    /// `sub` is missing or names another client, or somebody whom no token may name.
    WrongSubject,
    /// `exp` is missing.
    NoExpiry,
    Expired,
    /// `nbf` lies ahead.
    NotYetValid,
    /// `iss` is missing or names another issuer than the key's.
    WrongIssuer,
    /// `aud` is missing or for somebody else.
    WrongAudience,
    /// Not an id token, where one was due.
    WrongUse,
}

impl Refused {
    /// A fixed word for counters and events.
    pub fn reason(self) -> &'static str {
        match self {
            Refused::BadCredentials => "bad_credentials",
            Refused::WrongCertificate => "wrong_certificate",
            Refused::Malformed => "malformed_token",
            Refused::WrongAlgorithm => "wrong_algorithm",
            Refused::UnknownKey => "unknown_key",
            Refused::BadSignature => "bad_signature",
            Refused::WrongSubject => "wrong_subject",
            Refused::NoExpiry => "no_expiry",
            Refused::Expired => "expired",
            Refused::NotYetValid => "not_yet_valid",
            Refused::WrongIssuer => "wrong_issuer",
            Refused::WrongAudience => "wrong_audience",
            Refused::WrongUse => "wrong_use",
        }
    }

    /// Whether somebody may be trying what holds. A token that has expired did hold, and one by a key
    /// that is not known here may be by one that is about to be: their bearers come in numbers, and
    /// have guessed nothing.
    pub fn may_be_a_guess(self) -> bool {
        !matches!(self, Refused::Expired | Refused::NotYetValid | Refused::UnknownKey)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Refused {}

/// Decides who is let in. Built once, then read by every shard.
#[derive(Debug)]
pub struct Authenticator(Verifier);

#[derive(Debug)]
enum Verifier {
    Token(ApiKeys),
    Jwt(JwtVerifier),
    Certificate,
    None,
}

impl Authenticator {
    pub fn new(credentials: &Credentials) -> Authenticator {
        Authenticator(match credentials {
            Credentials::Token(keys) => Verifier::Token(ApiKeys::new(keys)),
            Credentials::Jwt { secret, public_keys } => {
                Verifier::Jwt(JwtVerifier::new(secret.as_ref(), public_keys.as_ref()))
            }
            Credentials::Certificate => Verifier::Certificate,
            Credentials::None => Verifier::None,
        })
    }

    /// Whether `token` proves that its bearer is `client_id`, whom a certificate, where one is asked
    /// for, has to name in any case. `unix_seconds` is the current time.
    pub fn verify(
        &self,
        client_id: &str,
        token: &str,
        certified: Certified,
        unix_seconds: u64,
    ) -> Result<(), Refused> {
        if certified == Certified::No {
            return Err(Refused::WrongCertificate);
        }
        match &self.0 {
            Verifier::Certificate if certified == Certified::Yes => Ok(()),
            Verifier::Certificate => Err(Refused::WrongCertificate),
            Verifier::Token(_) if planted!(CredentialsUnchecked) => Ok(()),
            Verifier::Token(keys) => keys.verify(client_id, token),
            Verifier::Jwt(verifier) => verifier.verify(client_id, token, unix_seconds),
            Verifier::None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_method_everyone_is_believed() {
        let authenticator = Authenticator::new(&Credentials::None);
        assert_eq!(authenticator.verify("anyone", "", Certified::NotAsked, 0), Ok(()));
    }

    #[test]
    fn the_shards_can_share_an_authenticator() {
        fn shared<T: Send + Sync>() {}
        shared::<Authenticator>();
    }

    #[test]
    fn no_secret_shows_in_debug_output() {
        let keys = vec![ApiKey::parse("agent:hush-hush").expect("a pair")];
        let secret = Some(Redacted::new("hush-hush".to_owned()));
        for credentials in [Credentials::Token(keys), Credentials::Jwt { secret, public_keys: None }] {
            let authenticator = Authenticator::new(&credentials);
            let shown = format!("{credentials:?} {authenticator:?}");
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}
