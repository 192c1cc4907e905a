//! Tokens of devices: HS256 by the operator's secret, with the id as `sub` or `userId`.
//!
//! A device's token may live for ever: `exp` is checked where it is there, and not asked for.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::{Refused, jwt};
use crate::base::Redacted;

/// Checks the tokens of devices. Built once, then read by every shard.
pub struct DeviceTokens(DecodingKey);

/// What a token that is in order says of its bearer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClaims {
    pub sub: Option<String>,
    /// Deployed issuers call the id so. A number counts as its digits.
    pub user_id: Option<String>,
    pub role: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<Id>,
    #[serde(rename = "userId")]
    user_id: Option<Id>,
    role: Option<String>,
    // RFC 7519 section 2: a NumericDate may have a fraction.
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

impl DeviceTokens {
    pub fn new(secret: Redacted<String>) -> DeviceTokens {
        DeviceTokens(DecodingKey::from_secret(secret.expose().as_bytes()))
    }

    /// What `token` proves at `unix_seconds`. There is no leeway: the server's clock is the truth.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::WrongAlgorithm`], [`Refused::BadSignature`],
    /// [`Refused::Expired`] and [`Refused::NotYetValid`].
    pub fn verify(&self, token: &str, unix_seconds: u64) -> Result<DeviceClaims, Refused> {
        if jwt::header(token)?.alg != Algorithm::HS256 {
            return Err(Refused::WrongAlgorithm);
        }
        let claims: Claims = jwt::claims_signed_by(token, &self.0, Algorithm::HS256)?;
        jwt::check_times(claims.exp.or(Some(f64::INFINITY)), claims.nbf, unix_seconds)?;
        let (sub, user_id) = (claims.sub.map(Id::text), claims.user_id.map(Id::text));
        Ok(DeviceClaims { sub, user_id, role: claims.role })
    }
}

impl DeviceClaims {
    /// Whether the bearer may call itself `id`. Where `sub` and `userId` differ, as they do where an
    /// account has a device, both are the bearer's.
    pub fn names(&self, id: &str) -> bool {
        self.sub.as_deref() == Some(id) || self.user_id.as_deref() == Some(id)
    }
}

impl Id {
    fn text(self) -> String {
        match self {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        }
    }
}

impl fmt::Debug for DeviceTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceTokens([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};

    use super::*;

    const SECRET: &str = "a secret of more than thirty-two bytes";

    fn tokens() -> DeviceTokens {
        DeviceTokens::new(Redacted::new(SECRET.to_owned()))
    }

    fn signed(algorithm: Algorithm, secret: &str, claims: &str) -> String {
        let claims: serde_json::Value = serde_json::from_str(claims).expect("claims are JSON");
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("HMAC signs anything")
    }

    fn verify(claims: &str, unix_seconds: u64) -> Result<DeviceClaims, Refused> {
        tokens().verify(&signed(Algorithm::HS256, SECRET, claims), unix_seconds)
    }

    #[test]
    fn a_token_without_expiry_holds_and_one_with_it_ends() {
        assert!(verify(r#"{"sub":"drone"}"#, u64::MAX).is_ok());
        assert!(verify(r#"{"sub":"drone","exp":2000}"#, 1999).is_ok());
        assert_eq!(verify(r#"{"sub":"drone","exp":2000}"#, 2000), Err(Refused::Expired));
        assert_eq!(verify(r#"{"sub":"drone","nbf":2000}"#, 1999), Err(Refused::NotYetValid));
        assert!(verify(r#"{"sub":"drone","nbf":2000}"#, 2000).is_ok());
    }

    #[test]
    fn either_name_in_a_token_is_its_bearers_and_no_other() {
        for (claims, ids) in [
            (r#"{"sub":"a"}"#, ["a", ""]),
            (r#"{"userId":"a"}"#, ["a", ""]),
            (r#"{"sub":"a","userId":"b"}"#, ["a", "b"]),
            (r#"{"userId":42}"#, ["42", ""]),
            (r#"{"role":"operator"}"#, ["", ""]),
        ] {
            let claims = verify(claims, 0).unwrap();
            for id in ["a", "b", "42", "operator", "c"] {
                assert_eq!(claims.names(id), ids.contains(&id), "{claims:?} {id}");
            }
        }
        assert_eq!(verify(r#"{"role":"operator"}"#, 0).unwrap().role.as_deref(), Some("operator"));
    }

    #[test]
    fn claims_of_a_wrong_type_are_refused() {
        for claims in [r#"{"sub":["a"]}"#, r#"{"role":["operator"]}"#, r#"{"sub":"a","exp":"never"}"#, "5"] {
            assert_eq!(verify(claims, 0), Err(Refused::Malformed), "{claims}");
        }
    }

    #[test]
    fn only_hs256_by_the_secret_is_believed() {
        let claims = r#"{"sub":"drone"}"#;
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = signed(algorithm, SECRET, claims);
            assert_eq!(tokens().verify(&token, 0), Err(Refused::WrongAlgorithm));
        }
        let token = signed(Algorithm::HS256, "another secret", claims);
        assert_eq!(tokens().verify(&token, 0), Err(Refused::BadSignature));
        // {"alg":"none"}.{"sub":"drone"} without a signature, and what is no token at all.
        for token in ["eyJhbGciOiJub25lIn0.eyJzdWIiOiJkcm9uZSJ9.", "", "a.b.c", "..", "drone"] {
            assert_eq!(tokens().verify(token, 0), Err(Refused::Malformed), "{token}");
        }
    }

    #[test]
    fn the_secret_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", tokens()).contains("secret of"));
    }
}
