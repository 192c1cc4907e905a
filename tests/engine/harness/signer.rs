//! JSON Web Tokens and key sets, made and checked by hand from RFC 7515 and RFC 7517.
//!
//! ```text
//! token     = base64url(header) "." base64url(claims) "." base64url(signature)
//! RSA key   = {"kty":"RSA","n":…,"e":…}      EC key = {"kty":"EC","crv":"P-256","x":…,"y":…}
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A private key with the name under which its public half is published.
pub struct Signer {
    pub kid: String,
    key: Key,
}

enum Key {
    Rsa(Box<rsa::KeyPair>),
    Ec(EcdsaKeyPair),
}

impl Signer {
    pub fn rs256(kid: &str) -> Signer {
        let key = rsa::KeyPair::generate(KeySize::Rsa2048).expect("a key");
        Signer { kid: kid.into(), key: Key::Rsa(Box::new(key)) }
    }

    pub fn es256(kid: &str) -> Signer {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Signer { kid: kid.into(), key: Key::Ec(key) }
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Rsa(_) => "RS256",
            Key::Ec(_) => "ES256",
        }
    }

    pub fn public_key(&self) -> Value {
        let mut key = match &self.key {
            Key::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": encoded(public.modulus().big_endian_without_leading_zero()),
                    "e": encoded(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
        };
        key["kid"] = json!(self.kid);
        key["alg"] = json!(self.algorithm());
        key["use"] = json!("sig");
        key
    }

    /// A token with exactly these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.kid});
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
                    .expect("a signature");
                signature
            }
            Key::Ec(pair) => pair.sign(&random, signed.as_bytes()).expect("a signature").as_ref().to_vec(),
        };
        format!("{signed}.{}", encoded(signature))
    }

    /// A token of this user that lives ten minutes, with these further claims.
    pub fn token(&self, sub: &str, further: Value) -> String {
        let mut claims = json!({"sub": sub, "iat": unix_seconds(), "exp": unix_seconds() + 600});
        for (name, value) in further.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        self.sign(&claims)
    }
}

pub fn key_set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|it| it.public_key()).collect();
    json!({"keys": keys}).to_string()
}

/// Header and claims of a token, without a look at its signature.
pub fn unsealed(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(decoded);
    let mut next = || serde_json::from_slice(&parts.next().expect("three parts")).expect("JSON");
    (next(), next())
}

/// # Panics
/// When `token` was not signed by the RSA key in `set` that it names.
pub fn assert_signed_by(token: &str, set: &Value) {
    let (header, _) = unsealed(token);
    assert_eq!(header["alg"], "RS256", "{header}");
    let keys = set["keys"].as_array().expect("a key set");
    let key = keys.iter().find(|it| it["kid"] == header["kid"]).expect("the token names a published key");
    assert_eq!(key["kty"], "RSA", "{key}");
    for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
        assert!(key.get(private).is_none(), "{private} is published");
    }
    let part = |name: &str| decoded(key[name].as_str().expect("a string"));
    let public = RsaPublicKeyComponents { n: part("n"), e: part("e") };
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    public
        .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decoded(signature))
        .expect("the signature is good");
}

pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url without padding")
}
