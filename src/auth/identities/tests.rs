use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use super::super::Issuer;
use super::*;

/// Made once: keys take long to make.
fn issuer(at: usize) -> &'static (Issuer, Redacted<Vec<u8>>) {
    static ISSUERS: [OnceLock<(Issuer, Redacted<Vec<u8>>)>; 2] = [const { OnceLock::new() }; 2];
    ISSUERS[at].get_or_init(|| Issuer::generate("sigmux"))
}

fn trusted(at: usize) -> TrustedKeys {
    TrustedKeys {
        keys: issuer(at).0.public_keys().clone(),
        issuer: Some("sigmux".to_owned()),
        audience: None,
    }
}

fn by(sources: Vec<TrustedKeys>) -> Identities {
    Identities::new(IdentitySources { trusted: sources, ..IdentitySources::default() })
}

fn kid(at: usize) -> String {
    let jwks: Value = serde_json::from_str(issuer(at).0.jwks_json()).unwrap();
    jwks["keys"][0]["kid"].as_str().unwrap().to_owned()
}

/// A token with any claims by one of the keys.
fn signed(at: usize, kid: Option<&str>, claims: &Value) -> String {
    // The crate wants PKCS #1, which is the last member of PKCS #8; DER of a 2048-bit key has it
    // after 26 bytes.
    let key = EncodingKey::from_rsa_der(&issuer(at).1.expose()[26..]);
    let mut header = Header::new(Algorithm::RS256);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, &key).expect("an RSA key signs")
}

fn claims(change: Value) -> Value {
    let mut claims = json!({"sub": "alice", "iss": "sigmux", "exp": 2000, "token_use": "id"});
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn verdict(identities: &Identities, claims: &Value) -> Result<Identity, IdentityRefused> {
    identities.verify(Proof::Jwt(&signed(0, Some(&kid(0)), claims)), 1000)
}

fn alice() -> Identity {
    Identity { subject: "alice".to_owned(), rooms: RoomsGrant::None }
}

fn refused(refused: Refused) -> Result<Identity, IdentityRefused> {
    Err(IdentityRefused::Refused(refused))
}

#[test]
fn a_minted_id_token_is_an_identity_until_it_expires() {
    let token = issuer(0).0.mint_id_token("alice", 1000, 60);
    let identities = by(vec![trusted(0)]);
    for proof in [Proof::IdToken(&token), Proof::Jwt(&token)] {
        assert_eq!(identities.verify(proof, 1059), Ok(alice()));
        assert_eq!(identities.verify(proof, 1060), refused(Refused::Expired));
    }
    assert_eq!(identities.verify(Proof::ApiKey(&token), 1000), refused(Refused::BadCredentials));
}

#[test]
fn any_change_to_a_minted_token_is_noticed() {
    let token = issuer(0).0.mint_id_token("alice", 1000, 60);
    let identities = by(vec![trusted(0)]);
    for at in (0..token.len()).step_by(3) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("still ASCII");
        assert!(identities.verify(Proof::IdToken(&changed), 1000).is_err(), "byte {at}");
    }
}

#[test]
fn claims_are_required_and_checked() {
    let identities = by(vec![trusted(0)]);
    for (change, verdict_due) in [
        (json!({}), Ok(alice())),
        (json!({"nbf": 1000, "exp": 1000.5}), Ok(alice())),
        (json!({"aud": "anybody"}), Ok(alice())),
        (json!({"exp": null}), refused(Refused::NoExpiry)),
        (json!({"exp": 1000}), refused(Refused::Expired)),
        (json!({"exp": "2000"}), refused(Refused::Malformed)),
        (json!({"nbf": 1001}), refused(Refused::NotYetValid)),
        (json!({"iss": "other"}), refused(Refused::WrongIssuer)),
        (json!({"iss": null}), refused(Refused::WrongIssuer)),
        (json!({"sub": null}), refused(Refused::WrongSubject)),
        (json!({"sub": ""}), refused(Refused::WrongSubject)),
        (json!({"sub": 5}), refused(Refused::Malformed)),
    ] {
        assert_eq!(verdict(&identities, &claims(change.clone())), verdict_due, "{change}");
    }
}

#[test]
fn the_audience_must_be_among_the_tokens_when_one_is_expected() {
    let expected = TrustedKeys { audience: Some("app".to_owned()), ..trusted(0) };
    let identities = by(vec![expected]);
    for aud in [json!("app"), json!(["other", "app"])] {
        assert_eq!(verdict(&identities, &claims(json!({"aud": aud}))), Ok(alice()), "{aud}");
    }
    for aud in [json!(null), json!("App"), json!(["other"]), json!([])] {
        let verdict = verdict(&identities, &claims(json!({"aud": aud})));
        assert_eq!(verdict, refused(Refused::WrongAudience), "{aud}");
    }
}

#[test]
fn an_access_token_is_no_id_token() {
    let identities = by(vec![trusted(0)]);
    let access = signed(0, Some(&kid(0)), &claims(json!({"token_use": "access"})));
    assert_eq!(identities.verify(Proof::IdToken(&access), 1000), refused(Refused::WrongUse));
    assert_eq!(identities.verify(Proof::Jwt(&access), 1000), Ok(alice()));
    let silent = signed(0, Some(&kid(0)), &claims(json!({"token_use": null})));
    assert_eq!(identities.verify(Proof::IdToken(&silent), 1000), Ok(alice()));
}

#[test]
fn the_rooms_claim_grants_the_rooms_it_lists() {
    let identities = by(vec![trusted(0)]);
    let grant = |rooms: Value| verdict(&identities, &claims(json!({"rooms": rooms}))).unwrap().rooms;
    let listed = grant(json!(["abc123de", 5, "fgh456ij"]));
    assert!(listed.covers("abc123de") && listed.covers("fgh456ij"));
    assert!(!listed.covers("5") && !listed.covers("") && !listed.covers("ABC123DE"));
    for other in [json!("abc123de"), json!({"abc123de": true}), json!(null), json!(7)] {
        assert_eq!(grant(other.clone()), RoomsGrant::None, "{other}");
    }
}

#[test]
fn no_token_is_taken_for_an_api_key() {
    let token = claims(json!({"sub": "api-key:backend"}));
    assert_eq!(verdict(&by(vec![trusted(0)]), &token), refused(Refused::WrongSubject));
}

#[test]
fn each_issuer_is_held_to_its_own_name() {
    let other = TrustedKeys { issuer: Some("other".to_owned()), ..trusted(1) };
    let identities = by(vec![trusted(0), other]);
    let by_other = |iss: &str| {
        let token = signed(1, Some(&kid(1)), &claims(json!({"iss": iss})));
        identities.verify(Proof::Jwt(&token), 1000)
    };
    assert_eq!(by_other("other"), Ok(alice()));
    assert_eq!(by_other("sigmux"), refused(Refused::WrongIssuer));
}

#[test]
fn two_issuers_with_one_key_id_are_told_apart_by_the_signature() {
    let set = |at: usize| {
        let jwks = issuer(at).0.jwks_json().replace(&kid(at), "1");
        TrustedKeys { keys: PublicKeys::from_json(&jwks).unwrap(), issuer: None, audience: None }
    };
    for identities in [by(vec![set(0), set(1)]), by(vec![set(1), set(0)])] {
        for at in [0, 1] {
            for kid in [Some("1"), None] {
                let token = signed(at, kid, &claims(json!({})));
                assert_eq!(identities.verify(Proof::Jwt(&token), 1000), Ok(alice()));
            }
        }
    }
    let only = by(vec![set(0)]);
    let foreign = signed(1, Some("1"), &claims(json!({})));
    assert_eq!(only.verify(Proof::Jwt(&foreign), 1000), refused(Refused::BadSignature));
}

#[test]
fn the_key_says_the_algorithm_and_not_the_token() {
    let identities = by(vec![trusted(0)]);
    let jwks: Value = serde_json::from_str(issuer(0).0.jwks_json()).unwrap();
    let modulus = jwks["keys"][0]["n"].as_str().unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid(0));
    for secret in [modulus.as_bytes(), issuer(0).0.jwks_json().as_bytes()] {
        let key = EncodingKey::from_secret(secret);
        let token = jsonwebtoken::encode(&header, &claims(json!({})), &key).unwrap();
        assert_eq!(identities.verify(Proof::Jwt(&token), 1000), refused(Refused::WrongAlgorithm));
    }
    let genuine = issuer(0).0.mint_id_token("alice", 1000, 60);
    let parts: Vec<&str> = genuine.split('.').collect();
    for (alg, due) in
        [("PS256", Refused::WrongAlgorithm), ("none", Refused::Malformed), ("RS384", Refused::WrongAlgorithm)]
    {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": kid(0)}).to_string());
        for signature in [parts[2], ""] {
            let token = format!("{header}.{}.{signature}", parts[1]);
            assert_eq!(identities.verify(Proof::IdToken(&token), 1000), refused(due), "{alg}");
        }
    }
}

#[test]
fn what_is_not_a_token_is_refused() {
    let identities = by(vec![trusted(0)]);
    let long = "a".repeat(IDENTITY_TOKEN_BYTES_MAX + 1);
    for token in ["", "..", "a.b.c", "\u{1F600}.\0.x", &long] {
        assert_eq!(identities.verify(Proof::IdToken(token), 1000), refused(Refused::Malformed));
    }
}

#[test]
fn an_api_key_is_known_by_its_whole_text_and_enters_its_own_rooms() {
    let key = |name: &str, key: &str, rooms: &[&str]| RoomsApiKey {
        name: name.to_owned(),
        key: Redacted::new(key.to_owned()),
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
    };
    let api_keys = vec![key("backend", "secret-one", &["abc123de"]), key("bench", "secret-number-two", &[])];
    let identities = Identities::new(IdentitySources { api_keys, ..IdentitySources::default() });
    let backend = identities.verify(Proof::ApiKey("secret-one"), 0).unwrap();
    assert_eq!(backend.subject, "api-key:backend");
    assert!(backend.rooms.covers("abc123de") && !backend.rooms.covers("other"));
    let bench = identities.verify(Proof::ApiKey("secret-number-two"), 0).unwrap();
    assert_eq!(bench, Identity { subject: "api-key:bench".to_owned(), rooms: RoomsGrant::None });
    for other in ["", "secret-on", "secret-one\0", "secret-onE", "secret-number-two-and-more"] {
        assert_eq!(identities.verify(Proof::ApiKey(other), 0), refused(Refused::BadCredentials), "{other}");
    }
    assert_eq!(by(vec![]).verify(Proof::ApiKey(""), 0), refused(Refused::BadCredentials));
    assert!(!format!("{identities:?}").contains("secret"));
}

#[test]
fn an_unknown_key_may_be_fetched_where_there_is_a_place_to_fetch_from() {
    static WISHES: AtomicUsize = AtomicUsize::new(0);
    let keys = Arc::new(RemoteKeys::new(Box::new(|| {
        WISHES.fetch_add(1, Ordering::Relaxed);
    })));
    let remote = TrustedRemote { keys: Arc::clone(&keys), issuer: Some("sigmux".to_owned()), audience: None };
    let identities = Identities::new(IdentitySources {
        trusted: vec![trusted(1)],
        remote: Some(remote),
        ..IdentitySources::default()
    });
    let token = issuer(0).0.mint_id_token("alice", 1000, 60);

    let before = identities.remote_generation();
    assert_eq!(identities.verify(Proof::IdToken(&token), 1000), Err(IdentityRefused::UnknownKey));
    identities.want_refresh();
    assert_eq!(WISHES.load(Ordering::Relaxed), 1);
    keys.not_replaced();
    assert_ne!(identities.remote_generation(), before);
    assert_eq!(identities.verify(Proof::IdToken(&token), 1000), Err(IdentityRefused::UnknownKey));

    let before = identities.remote_generation();
    keys.replace(issuer(0).0.public_keys().clone());
    assert_ne!(identities.remote_generation(), before);
    assert_eq!(identities.verify(Proof::IdToken(&token), 1000), Ok(alice()));
    assert_eq!(identities.verify(Proof::IdToken(&token), 1060), refused(Refused::Expired));

    keys.replace(issuer(1).0.public_keys().clone());
    assert_eq!(identities.verify(Proof::IdToken(&token), 1000), Err(IdentityRefused::UnknownKey));
    let nowhere_to_fetch = by(vec![trusted(1)]);
    assert_eq!(nowhere_to_fetch.verify(Proof::IdToken(&token), 1000), refused(Refused::UnknownKey));
}

#[test]
fn a_set_that_is_being_replaced_is_read_from_every_thread() {
    let keys = Arc::new(RemoteKeys::new(Box::new(|| ())));
    keys.replace(issuer(0).0.public_keys().clone());
    let remote = TrustedRemote { keys: Arc::clone(&keys), issuer: None, audience: None };
    let identities = Identities::new(IdentitySources { remote: Some(remote), ..IdentitySources::default() });
    let token = issuer(0).0.mint_id_token("alice", 1000, 60);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(identities.verify(Proof::IdToken(&token), 1000), Ok(alice()));
                }
            });
        }
        (0..50).for_each(|_| keys.replace(issuer(0).0.public_keys().clone()));
    });
}
