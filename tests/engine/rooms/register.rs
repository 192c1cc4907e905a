//! Registering: the answer, every refusal, and what a second `register` does.

use serde_json::{Value, json};

use super::{alone, meeting};
use crate::harness::*;

const MISSING: &str = "Missing required fields during registration.";

#[tokio::test]
async fn a_register_is_confirmed_with_room_token_and_peer() {
    let meeting = meeting().await;
    let mut worker = Peer::open(meeting.addr()).await;
    let mut registration = meeting.registration("Worker-3108");
    registration["role"] = json!("worker");
    registration["metadata"] = json!({"tags": ["gpu"], "properties": {"gpu_memory_mb": 16384}});
    let answer = worker.registers(registration).await;
    let wanted = json!({
        "type": "registered_auth",
        "room_id": meeting.room.id,
        "token": meeting.room.token,
        "peer_id": "Worker-3108",
    });
    assert_eq!(answer, wanted);
    worker.is_quiet_and_alive().await;
}

#[tokio::test]
async fn role_and_metadata_are_shown_as_they_were_given() {
    let meeting = meeting().await;
    let metadata = json!({
        "tags": ["gpu", "training", "inference"],
        "properties": {
            "gpu_memory_mb": 16384,
            "cuda_version": "11.8",
            "supported_models": ["base", "centroid"],
            "nested": {"deep": [1, 2.5, null, true]},
        },
        "anything": "else",
    });
    let _worker = meeting.peer_with("Worker", "worker", metadata.clone()).await;
    let mut client = meeting.peer("Client").await;
    let peers = client.discover(json!({})).await;
    assert_eq!(peers.len(), 1);
    assert_eq!(
        (&peers[0]["role"], &peers[0]["metadata"]),
        (&json!("worker"), &metadata),
        "the server does not interpret metadata"
    );
}

#[tokio::test]
async fn without_role_and_metadata_a_peer_is_a_peer_with_none() {
    let meeting = meeting().await;
    let _old = meeting.peer("v1").await;
    let mut client = meeting.peer("Client").await;
    let peers = client.discover(json!({})).await;
    assert_eq!((&peers[0]["role"], &peers[0]["metadata"]), (&json!("peer"), &json!({})));
    assert_eq!(client.finds(json!({"role": "peer"})).await, ["v1"]);
}

#[tokio::test]
async fn a_missing_or_empty_field_is_told_and_the_socket_stays_open() {
    let meeting = meeting().await;
    let mut peer = Peer::open(meeting.addr()).await;
    for field in ["peer_id", "room_id", "id_token"] {
        let mut registration = meeting.registration("Worker");
        registration.as_object_mut().expect("an object").remove(field);
        assert_eq!(peer.is_refused(&registration, MISSING).await, "INVALID_MESSAGE", "{field}");
        for empty in [json!(""), Value::Null] {
            registration[field] = empty;
            assert_eq!(peer.is_refused(&registration, MISSING).await, "INVALID_MESSAGE", "{field}");
        }
        for wrong in [json!(5), json!(true), json!(["x"]), json!({"x": 1})] {
            registration[field] = wrong;
            peer.send(&registration).await;
            peer.refusal().await;
        }
    }
    assert_eq!(peer.is_refused(&json!({"type": "register"}), MISSING).await, "INVALID_MESSAGE");
    peer.registers(meeting.registration("Worker")).await;
}

#[tokio::test]
async fn without_the_rooms_token_a_stranger_is_refused() {
    let meeting = meeting().await;
    let stranger = Identity::sign_in(meeting.addr()).await;
    let mut peer = Peer::open(meeting.addr()).await;
    for token in [None, Some(json!("")), Some(Value::Null)] {
        let mut registration = meeting.room.registration("Worker", &stranger);
        match token {
            Some(token) => registration["token"] = token,
            None => drop(registration.as_object_mut().expect("an object").remove("token")),
        }
        peer.send(&registration).await;
        let refusal = peer.refusal().await;
        assert!(refusal["reason"] == MISSING || refusal["reason"] == "Invalid token", "{refusal}");
    }
    peer.registers(meeting.room.registration("Worker", &stranger)).await;
}

#[tokio::test]
async fn an_unknown_room_is_not_found() {
    let meeting = meeting().await;
    let mut peer = Peer::open(meeting.addr()).await;
    for id in ["abc123de", "ABCDEFGH", "x", "..", "0", &"x".repeat(1000), "Raum 🛰", "a\"b\\c"] {
        let mut registration = meeting.registration("Worker");
        registration["room_id"] = json!(id);
        assert_eq!(peer.is_refused(&registration, "Room not found").await, "ROOM_NOT_FOUND");
    }
    peer.registers(meeting.registration("Worker")).await;
}

#[tokio::test]
async fn a_wrong_room_token_is_invalid_also_from_the_creator() {
    let meeting = meeting().await;
    let (stranger, other) = meeting.another_room().await;
    let mut peer = Peer::open(meeting.addr()).await;
    let token = &meeting.room.token;
    let wrong = [
        "f7g8h9".to_owned(),
        token.to_uppercase() + "x",
        token[..5].to_owned(),
        format!("{token}0"),
        format!(" {token}"),
        other.token,
    ];
    for token in wrong {
        for identity in [&meeting.owner, &stranger] {
            let mut registration = meeting.room.registration("Worker", identity);
            registration["token"] = json!(token);
            peer.is_refused(&registration, "Invalid token").await;
        }
    }
    peer.registers(meeting.registration("Worker")).await;
}

#[tokio::test]
async fn a_bad_id_token_fails_to_authenticate() {
    let meeting = meeting().await;
    let elsewhere = alone().start().await;
    let foreign = Identity::sign_in(elsewhere.main()).await.id_token;
    let good = &meeting.owner.id_token;
    let (signed, _) = good.rsplit_once('.').expect("a signature");
    let mut peer = Peer::open(meeting.addr()).await;
    for token in [
        "nonsense",
        "a.b.c",
        &foreign,
        &format!("{signed}."),
        &format!("{good}x"),
        // The bare token is asked for here, unlike in a header.
        &Signer::rs256("made-up").token("somebody", json!({"iss": "sigmux"})),
        &Signer::es256("made-up").token("somebody", json!({"iss": "sigmux"})),
    ] {
        let mut registration = meeting.registration("Worker");
        registration["id_token"] = json!(token);
        peer.is_refused(&registration, "Authentication failed").await;
    }
    peer.registers(meeting.registration("Worker")).await;
}

/// Whoever was refused has no part in the room.
#[tokio::test]
async fn a_refused_peer_is_in_no_room() {
    let meeting = meeting().await;
    let mut inside = meeting.peer("Inside").await;
    let mut outside = Peer::open(meeting.addr()).await;
    let mut registration = meeting.registration("Outside");
    registration["token"] = json!("wrong0");
    outside.is_refused(&registration, "Invalid token").await;
    outside.errs(r#"{"type":"discover_peers","from_peer_id":"Outside"}"#, "NOT_IN_ROOM").await;
    outside.errs(r#"{"type":"offer","sender":"Outside","target":"Inside","sdp":"v=0"}"#, "NOT_IN_ROOM").await;
    assert_eq!(inside.finds(json!({})).await, [""; 0]);
    inside.is_quiet_and_alive().await;
}

#[tokio::test]
async fn anybody_with_id_token_and_room_token_may_enter() {
    let meeting = meeting().await;
    let mut owner = meeting.peer("Owner").await;
    let guest = Identity::sign_in(meeting.addr()).await;
    let mut guest = Peer::register(meeting.addr(), meeting.room.registration("Guest", &guest)).await;
    talk(&mut owner, &mut guest).await;
}

#[tokio::test]
async fn ids_may_be_any_text() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    for id in ["a \"quoted\" \\ one", "Дрон-№7-🛰", "with/slash", "x", "null"] {
        let mut peer = meeting.peer(id).await;
        assert_eq!(client.finds(json!({})).await, [id]);
        talk(&mut client, &mut peer).await;
        peer.leave().await;
        until("the peer is gone", async || client.finds(json!({})).await.is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn registering_again_on_the_same_socket_changes_nothing() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    let first = worker.registers(meeting.registration("Worker")).await;
    let second = worker.registers(meeting.registration("Worker")).await;
    assert_eq!(first, second);
    assert_eq!(client.finds(json!({})).await, ["Worker"]);
    talk(&mut client, &mut worker).await;
    worker.is_quiet_and_alive().await;
    worker.leave().await;
    until("no ghost is left", async || client.finds(json!({})).await.is_empty().then_some(())).await;
}

/// Whatever a second register with another id does, nothing of the socket outlives it.
#[tokio::test]
async fn a_register_under_a_second_id_or_room_leaves_no_ghost() {
    let meeting = meeting().await;
    let (_, other) = meeting.another_room().await;
    let mut here = meeting.peer("Here").await;
    let mut there = Peer::register(meeting.addr(), other.registration("There", &meeting.owner)).await;
    for second in [meeting.registration("Second"), other.registration("Second", &meeting.owner)] {
        let mut peer = meeting.peer("First").await;
        peer.send(&second).await;
        let answer = peer.json().await;
        assert!(answer["type"] == "registered_auth" || answer["type"] == "error", "{answer}");
        let found = here.finds(json!({})).await.len() + there.finds(json!({})).await.len();
        assert_eq!(found, 1, "one socket is one peer in one room");
        peer.leave().await;
        until("no ghost is left", async || {
            let found = here.finds(json!({})).await.len() + there.finds(json!({})).await.len();
            (found == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_refused_second_register_leaves_the_first() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    let mut registration = meeting.registration("Worker");
    registration["token"] = json!("wrong0");
    worker.is_refused(&registration, "Invalid token").await;
    assert_eq!(client.finds(json!({})).await, ["Worker"]);
    talk(&mut client, &mut worker).await;
}

/// A client does not have to wait for the answer before it goes on.
#[tokio::test]
async fn what_is_sent_right_behind_a_register_is_done_after_it() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    for round in 0..20 {
        let mut worker = Peer::open(meeting.addr()).await;
        worker.id = format!("Worker-{round}");
        worker.send(&meeting.registration(&worker.id)).await;
        worker.tells("Client", &round.to_string()).await;
        assert_eq!(worker.json().await["type"], "registered_auth");
        assert_eq!(client.hears(&worker.id).await, round);
        worker.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn a_peer_that_leaves_is_gone_and_its_room_stays() {
    let meeting = meeting().await;
    for round in 0..3 {
        let mut client = meeting.peer("Client").await;
        let worker = meeting.peer("Worker").await;
        assert_eq!(client.finds(json!({})).await, ["Worker"]);
        match round {
            0 => drop(worker),
            _ => worker.leave().await,
        }
        until("the worker is gone", async || client.finds(json!({})).await.is_empty().then_some(())).await;
        client.tells("Worker", "1").await;
        client.error("PEER_NOT_FOUND").await;
        // The room is empty after this, and takes peers all the same.
        client.leave().await;
    }
}

/// Messages of the first version: no role, no metadata, `query` to find others.
#[tokio::test]
async fn a_v1_client_works_unchanged_beside_a_v2_client() {
    let meeting = meeting().await;
    let mut v1 = meeting.peer("Client-1489").await;
    let mut v2 = meeting.peer_with("Worker-3108", "worker", json!({"tags": ["gpu"]})).await;
    v1.send(&json!({"type": "query"})).await;
    let answer = v1.json().await;
    assert_eq!(keys_of(&answer), ["peers", "type"]);
    assert_eq!(answer["type"], "available_peers");
    let peers = answer["peers"].as_array().expect("a list");
    let others: Vec<&Value> = peers.iter().filter(|it| **it != json!("Client-1489")).collect();
    assert_eq!(others, [&json!("Worker-3108")]);

    let offer = r#"{"type":"offer","sender":"Client-1489","target":"Worker-3108","sdp":"v=0\r\no=- 1"}"#;
    v1.send_text(offer).await;
    assert_eq!(v2.text().await, offer);
    let answer = r#"{"type":"answer","sender":"Worker-3108","target":"Client-1489","sdp":"v=0\r\no=- 2"}"#;
    v2.send_text(answer).await;
    assert_eq!(v1.text().await, answer);
}

#[tokio::test]
async fn query_lists_the_own_room_alone() {
    let meeting = meeting().await;
    let (identity, room) = meeting.another_room().await;
    let _other = Peer::register(meeting.addr(), room.registration("Elsewhere", &identity)).await;
    let mut asker = meeting.peer("Asker").await;
    asker.send(&json!({"type": "query"})).await;
    let answer = asker.json().await;
    let peers = answer["peers"].as_array().expect("a list");
    assert!(peers.iter().all(|it| *it == json!("Asker")), "{answer}");
}
