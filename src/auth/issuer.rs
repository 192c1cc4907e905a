//! The embedded issuer of identities: one RSA key that signs, and its public half as a JWKS.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::PublicKeys;
use crate::base::Redacted;

/// RFC 7518 section 3.3 asks for 2048 bits at least; more would cost each sign-in several times as
/// much.
const KEY_SIZE: KeySize = KeySize::Rsa2048;
const BITS_MIN: usize = 2048;

/// Signs id tokens (RS256). Shared by reference; signing takes about a millisecond, so it belongs
/// on a blocking thread.
pub struct Issuer {
    key: KeyPair,
    name: String,
    /// RFC 7638: the same for the same key, wherever it is computed.
    kid: String,
    jwks: String,
    public_keys: PublicKeys,
}

/// A private key that cannot sign here. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerKeyError {
    /// Not an RSA key as PKCS #8 in DER.
    NotAnRsaKey,
    /// Fewer than 2048 bits.
    TooShort,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    kid: &'a str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iss: &'a str,
    iat: u64,
    exp: u64,
    token_use: &'static str,
}

impl Issuer {
    /// Makes a new key, and gives it out as PKCS #8 in DER too, to be kept. Takes a good part of a
    /// second. `name` is the `iss` of its tokens.
    pub fn generate(name: &str) -> (Issuer, Redacted<Vec<u8>>) {
        let key = KeyPair::generate(KEY_SIZE).expect("the library makes keys of its own sizes");
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("a key that was just made has a DER form");
        let der = Redacted::new(der.as_ref().to_vec());
        (Issuer::new(key, name), der)
    }

    /// From what [`Issuer::generate`] gave out.
    pub fn from_der(der: &Redacted<Vec<u8>>, name: &str) -> Result<Issuer, IssuerKeyError> {
        let key = KeyPair::from_pkcs8(der.expose()).map_err(|_| IssuerKeyError::NotAnRsaKey)?;
        if key.public_modulus_len() * 8 < BITS_MIN {
            return Err(IssuerKeyError::TooShort);
        }
        Ok(Issuer::new(key, name))
    }

    fn new(key: KeyPair, name: &str) -> Issuer {
        let public = key.public_key();
        let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        let kid = thumbprint(&e, &n);
        let jwks = format!(
            r#"{{"keys":[{{"alg":"RS256","e":"{e}","kid":"{kid}","kty":"RSA","n":"{n}","use":"sig"}}]}}"#
        );
        let public_keys = PublicKeys::from_json(&jwks).expect("this set is well formed and has one RSA key");
        Issuer { key, name: name.to_owned(), kid, jwks, public_keys }
    }

    /// An id token for `username`, from now on for `lifetime_seconds`. It has no `aud`: its only
    /// audience is its issuer.
    pub fn mint_id_token(&self, username: &str, unix_seconds: u64, lifetime_seconds: u64) -> String {
        let header = Header { alg: "RS256", kid: &self.kid, typ: "JWT" };
        let claims = Claims {
            sub: username,
            iss: &self.name,
            iat: unix_seconds,
            exp: unix_seconds.saturating_add(lifetime_seconds),
            token_use: "id",
        };
        let mut token = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .expect("the key is long enough for SHA-256, and the buffer is as long as its modulus");
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// For `/.well-known/jwks.json`.
    pub fn jwks_json(&self) -> &str {
        &self.jwks
    }

    /// The `iss` of its tokens.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn public_keys(&self) -> &PublicKeys {
        &self.public_keys
    }
}

/// RFC 7638 section 3: these members, in this order, without spaces.
fn thumbprint(e: &str, n: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes()))
}

fn part(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("strings and numbers are plain JSON"))
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl fmt::Display for IssuerKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IssuerKeyError::NotAnRsaKey => "is not an RSA private key (PKCS #8, DER)",
            IssuerKeyError::TooShort => "is an RSA key of fewer than 2048 bits",
        })
    }
}

impl std::error::Error for IssuerKeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_kept_signs_as_before() {
        let (issuer, der) = Issuer::generate("sigmux");
        let again = Issuer::from_der(&der, "sigmux").expect("its own key");
        assert_eq!(issuer.jwks_json(), again.jwks_json());
        // RSASSA-PKCS1-v1_5 has no randomness in it.
        assert_eq!(issuer.mint_id_token("a\"b", 5, 10), again.mint_id_token("a\"b", 5, 10));
    }

    #[test]
    fn a_minted_token_says_who_for_how_long_by_whom_and_by_which_key() {
        let (issuer, _) = Issuer::generate("sigmux");
        let token = issuer.mint_id_token("some-user", 1000, 3600);
        let parts: Vec<serde_json::Value> = token
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        let jwks: serde_json::Value = serde_json::from_str(issuer.jwks_json()).unwrap();
        let kid = &jwks["keys"][0]["kid"];
        assert_eq!(parts[0], serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": kid}));
        let claims = serde_json::json!({
            "sub": "some-user", "iss": "sigmux", "iat": 1000, "exp": 4600, "token_use": "id"
        });
        assert_eq!(parts[1], claims);
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_7638() {
        // The key and the thumbprint of section 3.1, whose set has one key with the exponent AQAB.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP\
                 ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY\
                 368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0f\
                 M4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        assert_eq!(thumbprint("AQAB", n), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn what_is_not_a_key_is_refused_and_no_key_shows() {
        let (issuer, der) = Issuer::generate("sigmux");
        let cut = Redacted::new(der.expose()[..der.expose().len() - 1].to_vec());
        for bytes in [Redacted::new(vec![]), Redacted::new(b"not a key".to_vec()), cut] {
            assert_eq!(Issuer::from_der(&bytes, "sigmux").err(), Some(IssuerKeyError::NotAnRsaKey));
        }
        let shown = format!("{issuer:?} {der:?}");
        assert!(shown.len() < 200, "{shown}");
    }
}
