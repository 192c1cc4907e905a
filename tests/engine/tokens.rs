//! `auth_method = "jwt"` and `sigmux token`.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::harness::*;

const SECRET: &str = "a secret of this test, long enough for HS256 by any rule";

fn with_jwt() -> Setup {
    Setup::new().auth(&format!("auth_method = 'jwt'\ntoken_secret = '{SECRET}'\ntoken_expiry = 600"))
}

#[tokio::test]
async fn a_minted_token_logs_its_client_in() {
    let setup = with_jwt();
    let server = setup.start().await;
    let token = mint(&setup, "alice").await;
    for form in [Form::FlatJson, Form::TaggedJson, Form::Text, Form::FlatCbor, Form::TaggedCbor, Form::Binary]
    {
        if form == Form::Binary && token.len() > 255 {
            continue;
        }
        let mut client = Client::open(server.main(), Via::WebSocket).await;
        let connect = form.connect("alice", &token);
        client.send(&connect).await;
        let ack = client.frame().await;
        assert_eq!(ack.uuid, connect.uuid);
        form.read_ack(&ack);
    }
}

#[tokio::test]
async fn a_minted_token_names_its_client_and_lives_for_token_expiry() {
    let token = mint(&with_jwt(), "alice").await;
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let decode = |part: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    assert_eq!(decode(parts[0])["alg"], "HS256");
    let claims = decode(parts[1]);
    assert_eq!(claims["sub"], "alice");
    let left = claims["exp"].as_u64().expect("a time") - now();
    assert!((590..=600).contains(&left), "{left} seconds left");
}

#[tokio::test]
async fn a_token_of_another_issuer_client_or_time_is_a_401() {
    let server = with_jwt().start().await;
    let good = json!({"sub": "alice", "exp": now() + 600});
    let sign = |claims: &Value, secret: &str, algorithm| {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
            .expect("it is signed")
    };
    let valid = sign(&good, SECRET, Algorithm::HS256);
    let (signed, _) = valid.rsplit_once('.').expect("a signature");
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(br#"{"alg":"none","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(good.to_string())
    );
    let bad = [
        ("another secret", sign(&good, "not the secret of this server, but long enough", Algorithm::HS256)),
        ("another client", sign(&json!({"sub": "bob", "exp": now() + 600}), SECRET, Algorithm::HS256)),
        ("no client", sign(&json!({"exp": now() + 600}), SECRET, Algorithm::HS256)),
        ("no end", sign(&json!({"sub": "alice"}), SECRET, Algorithm::HS256)),
        ("an end in the past", sign(&json!({"sub": "alice", "exp": now() - 3600}), SECRET, Algorithm::HS256)),
        (
            "an end that is no number",
            sign(&json!({"sub": "alice", "exp": "never"}), SECRET, Algorithm::HS256),
        ),
        ("another algorithm", sign(&good, SECRET, Algorithm::HS512)),
        ("no algorithm", none),
        ("no signature", format!("{signed}.")),
        ("two parts", signed.to_owned()),
        ("no token", "nonsense".to_owned()),
        ("the secret itself", SECRET.to_owned()),
    ];
    for (name, token) in bad {
        let mut client = Client::open(server.main(), Via::WebSocket).await;
        let connect = Form::FlatJson.connect("alice", &token);
        client.send(&connect).await;
        let answer = client.frame().await;
        assert_eq!(answer.kind, ERROR, "{name} was let in");
        assert_eq!((Form::FlatJson.read_error(&answer).0, answer.uuid), (401, connect.uuid), "{name}");
    }
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.send(&Form::FlatJson.connect("alice", &valid)).await;
    Form::FlatJson.read_ack(&client.frame().await);
}

/// The pairs of `api_keys` are no way in beside the JWT.
#[tokio::test]
async fn with_jwt_an_api_key_is_a_401() {
    let setup = Setup::new().auth(&format!(
        "auth_method = 'jwt'\ntoken_secret = '{SECRET}'\napi_keys = ['alice:token-of-alice']"
    ));
    let server = setup.start().await;
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.refused(&Form::FlatJson.connect("alice", "token-of-alice"), 401).await;
}

async fn mint(setup: &Setup, id: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("mint.toml"), setup.toml()).expect("the configuration is written");
    let output = tool(directory.path(), &["token", "--client-id", id, "-c", "mint.toml"], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let token = String::from_utf8(output.stdout).expect("a JWT is ASCII");
    assert_eq!(token.lines().count(), 1, "stdout is for what was asked for");
    token.trim_end().to_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
