//! The HTTP API: sign-in, rooms, keys, health, metrics, CORS.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{alone, meeting};
use crate::harness::*;

fn assert_is_word(text: &str, length: usize) {
    assert_eq!(text.len(), length, "{text}");
    assert!(text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit()), "{text}");
}

/// `2025-11-03T10:30:00Z`, with or without a fraction.
fn assert_is_utc(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no timestamp: {value}"));
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert!(shape.starts_with("0000-00-00T00:00:00") && shape.ends_with('Z'), "{text}");
    assert!(text >= "2025", "{text} is not now");
}

#[tokio::test]
async fn a_sign_in_gives_a_name_and_a_token_that_the_published_keys_confirm() {
    let server = alone().listener("api", &["rooms-api"]).start().await;
    for addr in [server.main(), server.addr("api")] {
        let before = unix_seconds();
        let identity = Identity::sign_in(addr).await;
        let set = ask(addr, "GET", "/.well-known/jwks.json", &[], None).await;
        assert_eq!(set.status, 200);
        let set: Value = serde_json::from_str(set.text()).expect("a key set");
        assert_signed_by(&identity.id_token, &set);
        let (_, claims) = unsealed(&identity.id_token);
        assert!(claims["exp"].as_u64().expect("a number") > before + 60, "{claims}");
        assert!(claims["sub"].as_str().is_some_and(|it| !it.is_empty()), "{claims}");
        assert!(claims["iss"].is_string(), "{claims}");
        let values = claims.as_object().expect("an object").values();
        assert!(values.clone().any(|it| *it == json!(identity.username)), "{claims}");
    }
}

#[tokio::test]
async fn every_sign_in_is_another_user() {
    let server = alone().start().await;
    let mut names = HashSet::new();
    for _ in 0..20 {
        let identity = Identity::sign_in(server.main()).await;
        let (_, claims) = unsealed(&identity.id_token);
        assert!(names.insert(identity.username.clone()));
        assert!(claims["sub"] == json!(identity.username) || names.insert(claims["sub"].to_string()));
    }
}

/// Deployed clients post without a body.
#[tokio::test]
async fn a_sign_in_needs_no_body() {
    let server = alone().start().await;
    for body in [None, Some(""), Some("{}"), Some(r#"{"further":1}"#)] {
        for headers in [&[("X", "y")][..], &[("Content-Type", "application/json; charset=utf-8")]] {
            let headers = match body {
                None => [headers, &[("Content-Length", "0")]].concat(),
                Some(_) => headers.to_vec(),
            };
            let response = ask(server.main(), "POST", "/anonymous-signin", &headers, body).await;
            assert_eq!(response.status, 200, "{body:?} {headers:?}");
        }
    }
}

#[tokio::test]
async fn a_room_has_an_id_of_8_and_a_token_of_6_characters() {
    let server = alone().listener("api", &["rooms-api"]).start().await;
    let identity = Identity::sign_in(server.addr("api")).await;
    let (mut ids, mut tokens) = (HashSet::new(), HashSet::new());
    for round in 0..50 {
        let addr = if round % 2 == 0 { server.addr("api") } else { server.main() };
        let room = identity.creates_room(addr).await;
        assert_is_word(&room.id, 8);
        assert_is_word(&room.token, 6);
        assert!(ids.insert(room.id));
        tokens.insert(room.token);
    }
    assert!(tokens.len() > 45, "tokens repeat: {tokens:?}");
}

#[tokio::test]
async fn creating_a_room_answers_with_room_id_and_token_alone() {
    let server = alone().start().await;
    let identity = Identity::sign_in(server.main()).await;
    let response = identity.posts(server.main(), "/create-room", json!({})).await;
    assert_eq!(keys_of(&json_of(&response)), ["room_id", "token"]);
    let response = post_json(server.main(), "/anonymous-signin", &[], &json!({})).await;
    assert_eq!(keys_of(&json_of(&response)), ["id_token", "username"]);
}

#[tokio::test]
async fn the_authorization_works_with_and_without_bearer() {
    let server = alone().start().await;
    let token = Identity::sign_in(server.main()).await.id_token;
    for value in [format!("Bearer {token}"), token.clone()] {
        for name in ["Authorization", "authorization"] {
            let response = ask(server.main(), "POST", "/create-room", &[(name, &value)], Some("")).await;
            assert_eq!(response.status, 200, "{name}");
        }
    }
}

#[tokio::test]
async fn without_authorization_a_room_is_a_422_with_detail() {
    let server = alone().start().await;
    for body in [None, Some(""), Some("{}")] {
        let response = ask(server.main(), "POST", "/create-room", &[], body).await;
        assert_eq!(response.status, 422);
        assert!(!json_of(&response)["detail"].is_null(), "{}", response.text());
    }
}

#[tokio::test]
async fn with_a_bad_token_a_room_is_a_401_with_detail() {
    let server = alone().start().await;
    let good = Identity::sign_in(server.main()).await.id_token;
    let other = alone().start().await;
    let foreign = Identity::sign_in(other.main()).await.id_token;
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let (header, claims) = signed.split_once('.').expect("two parts");
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    for token in [
        "nonsense".to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        foreign,
        format!("{signed}."),
        format!("{unsigned}.{claims}."),
        format!("{unsigned}.{claims}.{signature}"),
        format!("{header}.{}.{signature}", &claims[..claims.len() - 4]),
        Signer::rs256("made-up").token("somebody", json!({"iss": "sigmux"})),
        format!("{good} {good}"),
        format!("{good}x"),
    ] {
        for value in [token.clone(), format!("Bearer {token}"), format!("Basic {token}")] {
            let headers = [("Authorization", value.as_str())];
            let response = ask(server.main(), "POST", "/create-room", &headers, Some("")).await;
            assert_eq!(response.status, 401, "{value}");
            assert!(!json_of(&response)["detail"].is_null(), "{}", response.text());
            assert!(!response.text().contains(&token), "the answer repeats the token");
        }
    }
}

#[tokio::test]
async fn an_expired_token_is_a_401() {
    let server = alone().section("[rooms]\nid_token_seconds = 1").start().await;
    let identity = Identity::sign_in(server.main()).await;
    until("the token has expired", async || {
        let response = identity.posts(server.main(), "/create-room", json!({})).await;
        assert!(response.status == 200 || response.status == 401, "{}", response.status);
        (response.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn health_tells_status_time_and_version() {
    let server = alone().listener("api", &["rooms-api"]).start().await;
    for addr in [server.main(), server.addr("api")] {
        let response = ask(addr, "GET", "/health", &[], None).await;
        assert_eq!(response.status, 200);
        let health = json_of(&response);
        assert_eq!((&health["status"], &health["version"]), (&json!("healthy"), &json!("2.0.0")), "{health}");
        assert_is_utc(&health["timestamp"]);
    }
}

#[tokio::test]
async fn metrics_are_json_with_the_documented_keys_and_follow_what_happens() {
    let meeting = Meeting::start(alone().listener("api", &["rooms-api"])).await;
    let metrics = async || -> Value {
        let response = ask(meeting.server.addr("api"), "GET", "/metrics", &[], None).await;
        assert_eq!(response.status, 200);
        json_of(&response)
    };
    let empty = metrics().await;
    assert_is_utc(&empty["timestamp"]);
    for key in ["active_connections", "total_connections", "total_messages"] {
        assert_eq!(empty[key], 0, "{key} in {empty}");
    }
    assert_eq!((&empty["peers_by_role"], &empty["rooms_created"]), (&json!({}), &json!(1)), "{empty}");

    meeting.another_room().await;
    let mut one = meeting.peer_with("one", "worker", json!({})).await;
    let mut two = meeting.peer_with("two", "worker", json!({})).await;
    let three = meeting.peer_with("three", "client", json!({})).await;
    let four = meeting.peer("four").await;
    talk(&mut one, &mut two).await;
    let full = until("four peers are shown", async || {
        let seen = metrics().await;
        (seen["active_connections"] == 4).then_some(seen)
    })
    .await;
    assert_eq!(full["peers_by_role"], json!({"worker": 2, "client": 1, "peer": 1}), "{full}");
    assert_eq!((&full["rooms_created"], &full["total_connections"]), (&json!(2), &json!(4)), "{full}");
    assert!(full["active_rooms"].as_u64().is_some_and(|it| it == 1 || it == 2), "{full}");
    assert!(full["total_messages"].as_u64().is_some_and(|it| it >= 2), "{full}");

    three.leave().await;
    four.leave().await;
    let rest = until("two peers are shown", async || {
        let seen = metrics().await;
        (seen["active_connections"] == 2).then_some(seen)
    })
    .await;
    assert_eq!(rest["peers_by_role"], json!({"worker": 2}), "{rest}");
    assert_eq!(rest["total_connections"], 4, "{rest}");
    // The same path on the port for operators is for Prometheus.
    let response = ask(meeting.server.metrics(), "GET", "/metrics", &[], None).await;
    assert!(response.header("content-type").expect("a content type").starts_with("text/plain"));
}

#[tokio::test]
async fn every_answer_lets_any_origin_read_it() {
    let meeting = meeting().await;
    let origin = ("Origin", "https://app.example.org");
    let bad = ("Authorization", "Bearer nonsense");
    for (method, path, headers, status) in [
        ("POST", "/anonymous-signin", vec![origin], 200),
        ("POST", "/create-room", vec![origin], 422),
        ("POST", "/create-room", vec![origin, bad], 401),
        ("POST", "/delete-peer", vec![origin, bad], 401),
        ("POST", "/delete-peers-and-room", vec![origin, bad], 401),
        ("GET", "/health", vec![origin], 200),
        ("GET", "/metrics", vec![origin], 200),
        ("GET", "/.well-known/jwks.json", vec![origin], 200),
    ] {
        let body = (method == "POST").then_some(r#"{"peer_id":"x"}"#);
        let response = ask(meeting.addr(), method, path, &headers, body).await;
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"), "{path}");
    }
}

/// A browser takes `*` for all headers but `Authorization`, which has to be named.
#[tokio::test]
async fn a_preflight_allows_post_with_authorization_and_content_type() {
    let server = alone().listener("api", &["rooms-api"]).start().await;
    for addr in [server.main(), server.addr("api")] {
        for path in ["/anonymous-signin", "/create-room", "/delete-peer", "/delete-peers-and-room"] {
            let headers = [
                ("Origin", "https://app.example.org"),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "authorization,content-type"),
            ];
            let response = ask(addr, "OPTIONS", path, &headers, None).await;
            assert!(response.status == 200 || response.status == 204, "{path}: {}", response.status);
            assert_eq!(response.header("access-control-allow-origin"), Some("*"), "{path}");
            let methods = response.header("access-control-allow-methods").expect("methods");
            assert!(methods.contains("POST"), "{methods}");
            let allowed = response.header("access-control-allow-headers").expect("headers").to_lowercase();
            assert!(allowed.contains("authorization"), "{allowed}");
            assert!(allowed.contains("content-type") || allowed.contains('*'), "{allowed}");
        }
    }
}

#[tokio::test]
async fn another_method_is_a_405_and_another_path_a_404() {
    let server = alone().listener("api", &["rooms-api"]).start().await;
    for addr in [server.main(), server.addr("api")] {
        for (method, path, status) in [
            ("GET", "/create-room", 405),
            ("GET", "/anonymous-signin", 405),
            ("DELETE", "/delete-peer", 405),
            ("GET", "/delete-peers-and-room", 405),
            ("POST", "/health", 405),
            ("POST", "/metrics", 405),
            ("GET", "/nothing", 404),
            ("POST", "/create-room/x", 404),
            ("GET", "/docs", 404),
        ] {
            let body = (method == "POST").then_some("{}");
            let response = ask(addr, method, path, &[], body).await;
            assert_eq!(response.status, status, "{method} {path}");
        }
    }
}
