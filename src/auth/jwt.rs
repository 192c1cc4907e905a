//! Signed tokens: HS256 by the shared secret, everything else by public keys.
//!
//! The algorithm comes from the key that is found, never from the token alone: a token that says
//! HS256 meets the secret only, and one that says RS256 meets RSA keys only. So a public key can
//! never be taken for a secret.

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{PublicKeys, Refused};
use crate::base::Redacted;

/// Makes a token that lets `client_id` in from now on, for `token_expiry_seconds`.
pub fn mint(
    secret: &Redacted<String>,
    client_id: &str,
    unix_seconds: u64,
    token_expiry_seconds: u64,
) -> String {
    #[derive(Serialize)]
    struct Claims<'a> {
        sub: &'a str,
        iat: u64,
        exp: u64,
    }
    let exp = unix_seconds.saturating_add(token_expiry_seconds);
    let claims = Claims { sub: client_id, iat: unix_seconds, exp };
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .expect("HMAC takes a key of any length, and these claims are plain JSON")
}

pub(super) struct JwtVerifier {
    secret: Option<DecodingKey>,
    public_keys: Option<PublicKeys>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    // RFC 7519 section 2: a NumericDate may have a fraction.
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl JwtVerifier {
    pub(super) fn new(secret: Option<&Redacted<String>>, public_keys: Option<&PublicKeys>) -> JwtVerifier {
        JwtVerifier {
            secret: secret.map(|secret| DecodingKey::from_secret(secret.expose().as_bytes())),
            public_keys: public_keys.cloned(),
        }
    }

    pub(super) fn verify(&self, client_id: &str, token: &str, unix_seconds: u64) -> Result<(), Refused> {
        let header = header(token)?;
        let claims: Claims = claims_signed_by(token, self.key_for(&header)?, header.alg)?;
        if claims.sub.as_deref() != Some(client_id) {
            return Err(Refused::WrongSubject);
        }
        check_times(claims.exp, claims.nbf, unix_seconds)
    }

    fn key_for(&self, header: &Header) -> Result<&DecodingKey, Refused> {
        match header.alg {
            Algorithm::HS256 => self.secret.as_ref().ok_or(Refused::WrongAlgorithm),
            Algorithm::HS384 | Algorithm::HS512 => Err(Refused::WrongAlgorithm),
            other => {
                self.public_keys.as_ref().ok_or(Refused::WrongAlgorithm)?.find(header.kid.as_deref(), other)
            }
        }
    }
}

/// What the token says about itself; nothing of it is believed yet.
pub(super) fn header(token: &str) -> Result<Header, Refused> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Malformed)?;
    // RFC 7515 section 4.1.11: extensions marked critical must be understood, and none is.
    if header.crit.is_some() { Err(Refused::Malformed) } else { Ok(header) }
}

/// The claims, once the signature holds. `algorithm` is the one that `key` is for.
pub(super) fn claims_signed_by<C: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    algorithm: Algorithm,
) -> Result<C, Refused> {
    let decoded = jsonwebtoken::decode::<C>(token, key, &signature_only(algorithm));
    Ok(decoded.map_err(refused)?.claims)
}

/// RFC 7519 sections 4.1.4 and 4.1.5, without leeway: the server's clock is the truth.
pub(super) fn check_times(exp: Option<f64>, nbf: Option<f64>, unix_seconds: u64) -> Result<(), Refused> {
    let now = unix_seconds as f64;
    if now >= exp.ok_or(Refused::NoExpiry)? {
        return Err(Refused::Expired);
    }
    if nbf.is_some_and(|not_before| now < not_before) {
        return Err(Refused::NotYetValid);
    }
    Ok(())
}

/// The claims are checked here and not by the crate, since it would read the machine's clock.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn refused(error: jsonwebtoken::errors::Error) -> Refused {
    match error.kind() {
        ErrorKind::InvalidSignature => Refused::BadSignature,
        ErrorKind::InvalidAlgorithm => Refused::WrongAlgorithm,
        _ => Refused::Malformed,
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("secret", &self.secret.is_some())
            .field("public_keys", &self.public_keys)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const SECRET: &str = "a secret of more than thirty-two bytes";

    /// Public keys whose private halves are thrown away, and a token by each of them with the
    /// claims `{"sub":"agent","exp":2000}`.
    const JWKS: &str = include_str!("vectors/jwks.json");
    const RS256: &str = include_str!("vectors/rs256.jwt");
    const ES256: &str = include_str!("vectors/es256.jwt");
    const EDDSA: &str = include_str!("vectors/eddsa.jwt");

    fn by_secret() -> JwtVerifier {
        JwtVerifier::new(Some(&Redacted::new(SECRET.to_owned())), None)
    }

    fn by_public_keys() -> JwtVerifier {
        JwtVerifier::new(None, Some(&PublicKeys::from_json(JWKS).expect("the vectors hold a JWKS")))
    }

    fn signed(algorithm: Algorithm, secret: &[u8], claims: &str) -> String {
        let claims: serde_json::Value = serde_json::from_str(claims).expect("claims are JSON");
        let key = EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("HMAC signs anything")
    }

    fn hs256(claims: &str) -> String {
        signed(Algorithm::HS256, SECRET.as_bytes(), claims)
    }

    fn unsigned(header: &str, claims: &str) -> String {
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_minted_token_admits_its_client_until_it_expires() {
        let token = mint(&Redacted::new(SECRET.to_owned()), "agent", 1000, 60);
        assert_eq!(by_secret().verify("agent", &token, 1000), Ok(()));
        assert_eq!(by_secret().verify("agent", &token, 1059), Ok(()));
        assert_eq!(by_secret().verify("agent", &token, 1060), Err(Refused::Expired));
        assert_eq!(by_secret().verify("agent-2", &token, 1000), Err(Refused::WrongSubject));
    }

    #[test]
    fn a_token_of_another_secret_is_refused() {
        let token = mint(&Redacted::new("another secret".to_owned()), "agent", 1000, 60);
        assert_eq!(by_secret().verify("agent", &token, 1000), Err(Refused::BadSignature));
    }

    #[test]
    fn any_change_to_a_token_is_noticed() {
        let token = mint(&Redacted::new(SECRET.to_owned()), "agent", 1000, 60);
        let parts: Vec<&str> = token.split('.').collect();
        let longer_life = URL_SAFE_NO_PAD.encode(r#"{"sub":"agent","iat":1000,"exp":9999}"#);
        let forged = format!("{}.{longer_life}.{}", parts[0], parts[2]);
        assert_eq!(by_secret().verify("agent", &forged, 1000), Err(Refused::BadSignature));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("still ASCII");
            assert!(by_secret().verify("agent", &changed, 1000).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_algorithm_none_is_refused() {
        let claims = r#"{"sub":"agent","exp":2000}"#;
        for name in ["none", "None", "NONE", ""] {
            let token = unsigned(&format!(r#"{{"alg":"{name}"}}"#), claims);
            assert_eq!(by_secret().verify("agent", &token, 1000), Err(Refused::Malformed));
            assert_eq!(by_public_keys().verify("agent", &token, 1000), Err(Refused::Malformed));
        }
        let emptied = unsigned(r#"{"alg":"HS256"}"#, claims);
        assert_eq!(by_secret().verify("agent", &emptied, 1000), Err(Refused::BadSignature));
    }

    #[test]
    fn each_kind_of_public_key_admits() {
        for token in [RS256, ES256, EDDSA] {
            assert_eq!(by_public_keys().verify("agent", token.trim(), 1999), Ok(()));
            assert_eq!(by_public_keys().verify("agent", token.trim(), 2000), Err(Refused::Expired));
            assert_eq!(by_public_keys().verify("other", token.trim(), 1999), Err(Refused::WrongSubject));
            assert_eq!(by_secret().verify("agent", token.trim(), 1999), Err(Refused::WrongAlgorithm));
        }
    }

    #[test]
    fn a_public_key_is_never_taken_for_a_secret() {
        let set: serde_json::Value = serde_json::from_str(JWKS).expect("JSON");
        let modulus = set["keys"][0]["n"].as_str().expect("an RSA key comes first");
        let raw_modulus = URL_SAFE_NO_PAD.decode(modulus).expect("base64");
        for secret in [modulus.as_bytes(), raw_modulus.as_slice(), JWKS.as_bytes()] {
            let mut header = Header::new(Algorithm::HS256);
            header.kid = Some("rsa".to_owned());
            let claims = serde_json::json!({"sub": "agent", "exp": 2000});
            let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret))
                .expect("HMAC signs anything");
            assert_eq!(by_public_keys().verify("agent", &token, 1000), Err(Refused::WrongAlgorithm));
        }
    }

    #[test]
    fn with_a_secret_and_public_keys_each_signs_in_its_own_way() {
        let keys = PublicKeys::from_json(JWKS).expect("the vectors hold a JWKS");
        let both = JwtVerifier::new(Some(&Redacted::new(SECRET.to_owned())), Some(&keys));
        assert_eq!(both.verify("agent", &hs256(r#"{"sub":"agent","exp":2000}"#), 1000), Ok(()));
        assert_eq!(both.verify("agent", ES256.trim(), 1000), Ok(()));
    }

    #[test]
    fn a_key_that_is_not_in_the_set_is_refused() {
        let parts: Vec<&str> = ES256.trim().split('.').collect();
        for (header, refused) in [
            (r#"{"alg":"ES256","kid":"gone"}"#, Refused::UnknownKey),
            (r#"{"alg":"ES256"}"#, Refused::UnknownKey),
            (r#"{"alg":"ES256","kid":"rsa"}"#, Refused::WrongAlgorithm),
            (r#"{"alg":"PS256","kid":"rsa"}"#, Refused::WrongAlgorithm),
        ] {
            let token = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), parts[1], parts[2]);
            assert_eq!(by_public_keys().verify("agent", &token, 1000), Err(refused), "{header}");
        }
    }

    #[test]
    fn only_hs256_meets_the_secret() {
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = signed(algorithm, SECRET.as_bytes(), r#"{"sub":"agent","exp":2000}"#);
            assert_eq!(by_secret().verify("agent", &token, 1000), Err(Refused::WrongAlgorithm));
        }
    }

    #[test]
    fn claims_are_required_and_checked() {
        for (claims, verdict) in [
            (r#"{"sub":"agent","exp":1000.5}"#, Ok(())),
            (r#"{"sub":"agent","exp":2000,"nbf":1000}"#, Ok(())),
            (r#"{"sub":"agent","exp":2000,"aud":["other"],"iss":"x"}"#, Ok(())),
            (r#"{"sub":"agent"}"#, Err(Refused::NoExpiry)),
            (r#"{"sub":"agent","exp":null}"#, Err(Refused::NoExpiry)),
            (r#"{"sub":"agent","exp":"2000"}"#, Err(Refused::Malformed)),
            (r#"{"sub":"agent","exp":1000}"#, Err(Refused::Expired)),
            (r#"{"sub":"agent","exp":-1}"#, Err(Refused::Expired)),
            (r#"{"sub":"agent","exp":2000,"nbf":1001}"#, Err(Refused::NotYetValid)),
            (r#"{"exp":2000}"#, Err(Refused::WrongSubject)),
            (r#"{"sub":"Agent","exp":2000}"#, Err(Refused::WrongSubject)),
            (r#"{"sub":["agent"],"exp":2000}"#, Err(Refused::Malformed)),
        ] {
            assert_eq!(by_secret().verify("agent", &hs256(claims), 1000), verdict, "{claims}");
        }
    }

    #[test]
    fn critical_extensions_are_refused() {
        let mut header = Header::new(Algorithm::HS256);
        header.crit = Some(vec!["b64".to_owned()]);
        let claims = serde_json::json!({"sub": "agent", "exp": 2000});
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&header, &claims, &key).expect("HMAC signs anything");
        assert_eq!(by_secret().verify("agent", &token, 1000), Err(Refused::Malformed));
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        for token in ["", ".", "..", "...", "a.b.c", "test_token_1", "\u{1F600}.\0.x"] {
            assert_eq!(by_secret().verify("agent", token, 1000), Err(Refused::Malformed), "{token}");
        }
    }

    #[test]
    fn without_any_key_every_token_is_refused() {
        let nobody = JwtVerifier::new(None, None);
        for token in [hs256(r#"{"sub":"agent","exp":2000}"#).as_str(), RS256.trim()] {
            assert_eq!(nobody.verify("agent", token, 1000), Err(Refused::WrongAlgorithm));
        }
    }
}
