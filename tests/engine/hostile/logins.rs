//! Who guesses is told to wait, in the words of each protocol, and nobody else is.

use serde_json::json;

use super::{connect_from, metric};
use crate::harness::*;

const GUESSER: [u8; 4] = [127, 0, 0, 3];
const OTHER: [u8; 4] = [127, 0, 0, 4];

fn setup() -> Setup {
    Setup::new().server("limit_loopback", true).server("failed_logins_per_minute", 5)
}

async fn client_from(server: &Server, source: [u8; 4]) -> Client {
    Client::over(connect_from(source, server.main()).await, server.main(), Via::Tcp).await
}

/// Uses the guesses of an address up, in frames.
async fn guess_in_frames(server: &Server, source: [u8; 4], guesses: usize) {
    for number in 0..guesses {
        let mut client = client_from(server, source).await;
        client.refused(&Form::FlatJson.connect("alice", &format!("guess-{number}")), 401).await;
    }
}

#[tokio::test]
async fn after_so_many_wrong_tokens_even_the_right_one_is_a_429_and_only_from_there() {
    let server = setup().start().await;
    guess_in_frames(&server, GUESSER, 5).await;
    let mut guesser = client_from(&server, GUESSER).await;
    for _ in 0..3 {
        let right = Form::FlatJson.connect("alice", &token_of("alice"));
        guesser.refused(&right, 429).await;
    }
    assert!(guesser.closed().await.is_none(), "three in a row end the connection");
    let mut other = client_from(&server, OTHER).await;
    other.connect(Form::FlatJson, "alice").await;
    other.is_quiet_and_alive().await;
    assert_eq!(metric(&server, "sigmux_logins_throttled_total").await, 3);
    assert!(server.logs().contains("too many failed logins"), "{}", server.logs());
    assert!(!server.logs().contains("guess-"), "no token is logged");
}

#[tokio::test]
async fn who_is_logged_in_already_goes_on() {
    let server = setup().start().await;
    let mut insider = client_from(&server, GUESSER).await;
    insider.connect(Form::FlatJson, "bob").await;
    guess_in_frames(&server, GUESSER, 5).await;
    insider.is_quiet_and_alive().await;
}

#[tokio::test]
async fn an_expired_token_is_no_guess() {
    let setup = Setup::new().server("limit_loopback", true).server("failed_logins_per_minute", 3);
    let secret = "0123456789012345678901234567890123456789";
    let server = setup
        .auth("auth_method = 'none'")
        .section(&format!("[devices]\njwt_secret = '{secret}'\nrequire_token = true"))
        .listener("main", &["devices"])
        .start()
        .await;
    let status_with = async |token: &str| {
        let mut http = Http::over(connect_from(GUESSER, server.main()).await);
        let request = format!(
            "GET /?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        http.send(request.as_bytes()).await;
        let answer = http.response(false).await.expect("an answer");
        (answer.status, answer.header("retry-after").map(String::from))
    };
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let sign = |claims: serde_json::Value| {
        jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("HMAC signs anything")
    };
    let (old, good) = (sign(json!({"sub": "d", "exp": 1})), sign(json!({"sub": "d"})));
    for _ in 0..10 {
        assert_eq!(status_with(&old).await.0, 401);
    }
    assert_eq!(status_with(&good).await.0, 101);
    for _ in 0..3 {
        assert_eq!(status_with("nonsense").await.0, 401);
    }
    for token in [&good, "nonsense"] {
        assert_eq!(status_with(token).await, (429, Some("60".to_owned())));
    }
    // Without a token nothing is looked at.
    assert_eq!(status_with("").await.0, 401);
}

#[tokio::test]
async fn guesses_at_rooms_over_http_and_websocket_count_together() {
    let server = setup().listener("main", &["rooms"]).section("[rooms]\nstore = 'memory'").start().await;
    let addr = server.main();
    let identity = Identity::sign_in(addr).await;
    let room = identity.creates_room(addr).await;
    let create_from = async |source, token: &str| {
        let mut http = Http::over(connect_from(source, addr).await);
        http.send(&http_request("POST", "/create-room", &[("Authorization", token)], Some("{}"))).await;
        http.response(false).await.expect("an answer")
    };
    for _ in 0..2 {
        assert_eq!(create_from(GUESSER, "wrong").await.status, 401);
    }
    let mut raw = RawWs::upgrade(connect_from(GUESSER, addr).await, Vec::new()).await;
    let mut register = async |token: &str| {
        let mut registration = room.registration("guesser", &identity);
        registration["token"] = json!(token);
        raw.send(&ws_frame(opcode::FIN | opcode::TEXT, registration.to_string().as_bytes())).await;
        let (_, answer) = raw.next().await.expect("the connection is open");
        serde_json::from_slice::<serde_json::Value>(&answer).expect("JSON")
    };
    for _ in 0..3 {
        assert_eq!(register("000000").await["reason"], "Invalid token");
    }
    let refused = register(&room.token).await;
    assert_eq!(
        (&refused["code"], &refused["reason"]),
        (&json!("RATE_LIMITED"), &json!("Too many failed attempts"))
    );
    let refused = create_from(GUESSER, &identity.id_token).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")));
    assert_eq!(create_from(OTHER, &identity.id_token).await.status, 200);
}

#[tokio::test]
async fn devices_that_share_a_port_are_told_before_they_are_closed() {
    let secret = "0123456789012345678901234567890123456789";
    let server = setup()
        .listener("main", &["binary", "devices"])
        .section(&format!("[devices]\njwt_secret = '{secret}'"))
        .start()
        .await;
    guess_in_frames(&server, GUESSER, 5).await;
    let stream = connect_from(GUESSER, server.main()).await;
    let mut raw = RawWs::upgrade_at("/?token=nonsense", "", stream, Vec::new()).await;
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, br#"{"type":"register","id":"d"}"#)).await;
    let (_, text) = raw.next().await.expect("an error");
    let error: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!((&error["type"], &error["message"]), (&json!("error"), &json!("Too many failed logins")));
    assert_eq!(raw.closed().await, (1008, "Too many failed logins".to_owned()));
}
