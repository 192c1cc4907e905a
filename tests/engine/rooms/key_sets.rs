//! Keys behind an address: fetched, kept, and fetched again when a key's name is unknown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::alone;
use crate::harness::*;

fn with_keys_of(keys: &KeyServer) -> Setup {
    alone().section(&format!("[rooms]\njwks_url = '{}'\njwks_refresh_seconds = 1", keys.url()))
}

fn by_jwt(room: &Room, peer_id: &str, jwt: &str) -> Value {
    json!({"type": "register", "peer_id": peer_id, "room_id": room.id, "token": room.token, "jwt": jwt})
}

/// Whether this token lets in; if not, it failed to authenticate.
async fn lets_in(meeting: &Meeting, jwt: &str) -> bool {
    let mut peer = Peer::open(meeting.addr()).await;
    peer.send(&by_jwt(&meeting.room, "Guest", jwt)).await;
    let answer = peer.json().await;
    if answer["type"] == "registered_auth" {
        return true;
    }
    assert_eq!(answer["reason"], "Authentication failed", "{answer}");
    false
}

#[tokio::test]
async fn keys_behind_an_address_let_in_whoever_they_signed() {
    let (rsa, ec) = (Signer::rs256("rsa"), Signer::es256("ec"));
    let keys = KeyServer::start(Some(key_set(&[&rsa, &ec]))).await;
    let meeting = Meeting::start(with_keys_of(&keys)).await;
    for signer in [&rsa, &ec] {
        let token = signer.token("somebody", json!({}));
        until("the keys are there", async || lets_in(&meeting, &token).await.then_some(())).await;
    }
    assert!(!lets_in(&meeting, &Signer::es256("ec").token("somebody", json!({}))).await);
    assert!(keys.asked() >= 1);
}

#[tokio::test]
async fn an_unknown_key_makes_the_set_be_fetched_again() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let keys = KeyServer::start(Some(key_set(&[&old]))).await;
    let meeting = Meeting::start(with_keys_of(&keys)).await;
    let old_token = old.token("somebody", json!({}));
    until("the first set is there", async || lets_in(&meeting, &old_token).await.then_some(())).await;
    let new_token = new.token("somebody", json!({}));
    keys.publish(key_set(&[&new, &old]));
    until("the second set is there", async || lets_in(&meeting, &new_token).await.then_some(())).await;
    assert!(lets_in(&meeting, &old_token).await);
}

/// Nobody can make the server hammer the provider by making up names of keys.
#[tokio::test]
async fn unknown_keys_make_the_set_be_fetched_once_in_the_configured_time_at_most() {
    let known = Signer::es256("known");
    let keys = KeyServer::start(Some(key_set(&[&known]))).await;
    let meeting = Meeting::start(with_keys_of(&keys)).await;
    let token = known.token("somebody", json!({}));
    until("the set is there", async || lets_in(&meeting, &token).await.then_some(())).await;
    let (before, started) = (keys.asked(), Instant::now());
    let mut tried = 0;
    while started.elapsed() < Duration::from_millis(1500) || tried < 50 {
        assert!(!lets_in(&meeting, &Signer::es256(&format!("made-up-{tried}")).token("x", json!({}))).await);
        tried += 1;
    }
    let fetched = (keys.asked() - before) as u64;
    assert!(fetched <= started.elapsed().as_secs() + 2, "{fetched} fetches for {tried} tokens");
    assert!(lets_in(&meeting, &token).await);
}

/// While one register waits for a provider that does not answer, nobody else waits.
#[tokio::test]
async fn a_provider_that_does_not_answer_holds_up_nobody_else() {
    let silent = KeyServer::start(None).await;
    let meeting = Meeting::start(with_keys_of(&silent)).await;
    let token = Signer::es256("unknown").token("somebody", json!({}));
    let mut waiting = Peer::open(meeting.addr()).await;
    waiting.send(&by_jwt(&meeting.room, "Waiting", &token)).await;
    let mut one = meeting.peer("One").await;
    let mut two = meeting.peer("Two").await;
    for _ in 0..20 {
        talk(&mut one, &mut two).await;
    }
    meeting.another_room().await;
    assert_eq!(one.finds(json!({})).await, ["Two"]);
}

#[tokio::test]
async fn nonsense_behind_the_address_lets_nobody_in_and_does_no_harm() {
    let known = Signer::es256("known");
    let token = known.token("somebody", json!({}));
    let keys = KeyServer::start(Some("no JSON at all".into())).await;
    let meeting = Meeting::start(with_keys_of(&keys)).await;
    assert!(!lets_in(&meeting, &token).await);
    for nonsense in ["{}", "[]", r#"{"keys":5}"#, r#"{"keys":[{"kty":"EC","kid":"known"}]}"#, ""] {
        keys.publish(nonsense.into());
        assert!(!lets_in(&meeting, &token).await);
    }
    meeting.peer("Peer").await.is_quiet_and_alive().await;
    keys.publish(key_set(&[&known]));
    until("the keys are there", async || lets_in(&meeting, &token).await.then_some(())).await;
}
