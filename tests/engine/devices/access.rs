//! The optional JWT: by query and by header, on a listener of its own and on a shared one.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::alone;
use crate::harness::*;

pub const SECRET: &str = "a secret of this test, long enough for HS256 by any rule";

pub fn sign(claims: &Value, secret: &str, algorithm: Algorithm) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .expect("it is signed")
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn token(claims: Value) -> String {
    let mut claims = claims;
    claims["exp"] = json!(now() + 600);
    sign(&claims, SECRET, Algorithm::HS256)
}

fn bad_tokens() -> Vec<(&'static str, String)> {
    let good = json!({"sub": "drone", "exp": now() + 600});
    let valid = sign(&good, SECRET, Algorithm::HS256);
    let (signed, _) = valid.rsplit_once('.').expect("a signature");
    vec![
        ("another secret", sign(&good, "not the secret of this server, but long enough", Algorithm::HS256)),
        ("another algorithm", sign(&good, SECRET, Algorithm::HS512)),
        ("expired", sign(&json!({"sub": "drone", "exp": now() - 3600}), SECRET, Algorithm::HS256)),
        ("no signature", format!("{signed}.")),
        ("nonsense", "nonsense".to_owned()),
    ]
}

/// The three ways in which a client may show its token.
async fn open(server: &Server, way: usize, token: &str) -> Result<Device, u16> {
    let (path, headers) = match way {
        0 => (format!("/?token={token}"), vec![]),
        1 => (format!("/drones/?x=1&token={token}&y"), vec![]),
        _ => ("/".to_owned(), vec![("authorization", format!("Bearer {token}"))]),
    };
    TextClient::try_open(server.main(), &path, &headers).await.map(Device::over)
}

fn shared() -> Setup {
    Setup::new().listener("main", &["binary", "rooms", "broadcast", "calls", "devices"])
}

#[tokio::test]
async fn a_good_token_lets_its_own_id_in_by_query_and_by_header() {
    for setup in [alone(), shared()] {
        let setup = setup.env("JWT_SECRET", SECRET).section("[devices]\nrequire_token = true");
        let server = setup.start().await;
        for way in 0..3 {
            for claims in [json!({"sub": "drone"}), json!({"userId": "drone", "role": "x"})] {
                let token = token(claims);
                let mut drone = open(&server, way, &token).await.expect("the upgrade is granted");
                drone.takes("drone").await;
                drone.is_quiet_and_alive().await;
                drone.leave().await;
            }
        }
    }
}

#[tokio::test]
async fn with_a_token_no_other_id_can_be_taken() {
    let server = alone().env("JWT_SECRET", SECRET).start().await;
    let mut victim = Device::register(server.main(), "victim").await;
    for claims in [json!({"sub": "drone"}), json!({"userId": "drone"})] {
        let token = token(claims);
        let mut drone = open(&server, 0, &token).await.expect("the upgrade is granted");
        for id in ["victim", "another", "Drone", "drone "] {
            drone.send(json!({"type": "register", "id": id})).await;
            drone.error().await;
        }
        victim.is_quiet_and_alive().await;
        assert_eq!(victim.list().await, [""; 0]);
        drone.takes("drone").await;
        // Nor a second one.
        drone.send(json!({"type": "register", "id": "victim"})).await;
        drone.error().await;
        assert_eq!(victim.list().await, ["drone"]);
        drone.leave().await;
    }
}

#[tokio::test]
async fn a_bad_token_is_a_401_before_the_upgrade_where_only_devices_are_served() {
    for section in ["", "[devices]\nrequire_token = true"] {
        let server = alone().env("JWT_SECRET", SECRET).section(section).start().await;
        for (name, token) in bad_tokens() {
            for way in 0..3 {
                assert_eq!(open(&server, way, &token).await.err(), Some(401), "{name}, way {way}");
            }
        }
    }
}

#[tokio::test]
async fn a_missing_token_is_a_401_only_where_it_is_required() {
    let server = alone().env("JWT_SECRET", SECRET).section("[devices]\nrequire_token = true").start().await;
    assert_eq!(TextClient::try_open(server.main(), "/", &[]).await.err(), Some(401));
    assert_eq!(TextClient::try_open(server.main(), "/?x=token", &[]).await.err(), Some(401));
}

#[tokio::test]
async fn a_secret_alone_requires_nothing() {
    for setup in [alone(), shared()] {
        let server = setup.env("JWT_SECRET", SECRET).start().await;
        let mut drone = Device::register(server.main(), "any-id").await;
        drone.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn on_a_shared_listener_a_bad_token_closes_with_1008_unauthorized() {
    let server = shared().env("JWT_SECRET", SECRET).start().await;
    for (name, token) in bad_tokens() {
        for way in 0..3 {
            let mut drone = open(&server, way, &token).await.expect("the upgrade is granted");
            drone.send(json!({"type": "register", "id": "drone"})).await;
            assert_eq!(drone.closed().await, (1008, "Unauthorized".into()), "{name}, way {way}");
        }
    }
}

#[tokio::test]
async fn on_a_shared_listener_a_missing_token_closes_with_1008_where_it_is_required() {
    let server = shared().env("JWT_SECRET", SECRET).section("[devices]\nrequire_token = true").start().await;
    for message in [r#"{"type":"register","id":"drone"}"#, r#"{"type":"ping"}"#, r#"{"type":"list"}"#] {
        let mut drone = Device::open(server.main()).await;
        drone.send_text(message).await;
        assert_eq!(drone.closed().await, (1008, "Unauthorized".into()), "{message}");
    }
    // Other dialects have credentials of their own.
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    alice.is_quiet_and_alive().await;
}

#[tokio::test]
async fn neither_tokens_nor_what_is_passed_on_reaches_the_log() {
    let setup = alone().env("JWT_SECRET", SECRET).section("[logging]\nlevel = 'trace'");
    let server = setup.start().await;
    let token = token(json!({"sub": "drone"}));
    let mut drone = open(&server, 0, &token).await.expect("the upgrade is granted");
    drone.takes("drone").await;
    drone.send(json!({"type": "offer", "target": "drone", "sdp": "v=0 a-private-sdp"})).await;
    drone.json().await;
    drone.send(json!({"type": "ice", "target": "drone", "candidate": "a-private-candidate"})).await;
    drone.json().await;
    drone.send_text(r#"{"type":"offer","target":"nobody","sdp":"v=0 a-private-sdp"}"#).await;
    drone.error().await;
    drone.send_text(r#"{"type":"offer","sdp":"v=0 a-private-sdp"#).await;
    drone.error().await;
    drone.leave().await;
    assert_eq!(open(&server, 0, "a-bad-token").await.err(), Some(401));
    let logs = server.logs();
    assert!(!logs.is_empty());
    for secret in [token.as_str(), "a-private", "a-bad-token", SECRET] {
        assert!(!logs.contains(secret), "the log has {secret}");
    }
}
