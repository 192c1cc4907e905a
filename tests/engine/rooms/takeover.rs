//! The same peer id twice: within a room the newer wins, across rooms both stay.

use serde_json::json;

use super::meeting;
use crate::harness::*;

#[tokio::test]
async fn in_one_room_the_newer_wins_and_the_older_is_closed_with_1008() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    for round in 0..10 {
        let mut older = meeting.peer("Worker").await;
        let mut newer = meeting.peer("Worker").await;
        assert_eq!(older.closed().await.0, 1008, "round {round}");
        assert_eq!(client.finds(json!({})).await, ["Worker"]);
        talk(&mut client, &mut newer).await;
        newer.is_quiet_and_alive().await;
        newer.leave().await;
    }
}

#[tokio::test]
async fn the_newer_ones_role_and_metadata_hold() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut older = meeting.peer_with("Worker", "worker", json!({"tags": ["old"]})).await;
    let mut newer = meeting.peer_with("Worker", "trainer", json!({"tags": ["new"]})).await;
    older.closed().await;
    let peers = client.discover(json!({})).await;
    assert_eq!(peers.len(), 1);
    assert_eq!((&peers[0]["role"], &peers[0]["metadata"]), (&json!("trainer"), &json!({"tags": ["new"]})));
    newer.is_quiet_and_alive().await;
}

#[tokio::test]
async fn in_another_room_the_same_id_is_somebody_else() {
    let meeting = meeting().await;
    let (identity, room) = meeting.another_room().await;
    let mut here = meeting.peer("Worker").await;
    let mut there = Peer::register(meeting.addr(), room.registration("Worker", &identity)).await;
    let mut client_here = meeting.peer("Client").await;
    let mut client_there = Peer::register(meeting.addr(), room.registration("Client", &identity)).await;
    here.is_quiet_and_alive().await;
    for _ in 0..3 {
        talk(&mut client_here, &mut here).await;
        talk(&mut client_there, &mut there).await;
    }
    // One leaves; the other is not affected.
    here.leave().await;
    until("it has left", async || client_here.finds(json!({})).await.is_empty().then_some(())).await;
    talk(&mut client_there, &mut there).await;
    assert_eq!(client_there.finds(json!({})).await, ["Worker"]);
}

#[tokio::test]
async fn a_late_close_of_the_older_never_removes_the_newer() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    for round in 0..40 {
        let newer = meeting.peer("Worker").await;
        let mut older = std::mem::replace(&mut worker, newer);
        if round % 2 == 0 {
            assert_eq!(older.closed().await.0, 1008);
        }
        // Dropped here at the latest, with or without having read its Close.
        drop(older);
        client.tells("Worker", &round.to_string()).await;
        assert_eq!(worker.hears("Client").await, round);
    }
    assert_eq!(client.finds(json!({})).await, ["Worker"]);
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_refused_newcomer_takes_nothing_over() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    let mut thief = Peer::open(meeting.addr()).await;
    let mut registration = meeting.registration("Worker");
    registration["token"] = json!("wrong0");
    thief.is_refused(&registration, "Invalid token").await;
    let mut registration = meeting.registration("Worker");
    registration["id_token"] = json!("wrong");
    thief.is_refused(&registration, "Authentication failed").await;
    talk(&mut client, &mut worker).await;
}

/// Twenty connections want one id at the same moment: one is left, and it is the one that is found.
#[tokio::test]
async fn of_many_that_register_at_once_exactly_one_is_left() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut registering = Vec::new();
    for _ in 0..20 {
        let (addr, registration) = (meeting.addr(), meeting.registration("Worker"));
        registering.push(tokio::spawn(Peer::register(addr, registration)));
    }
    let mut workers = Vec::new();
    for worker in registering {
        workers.push(worker.await.expect("it registers"));
    }
    client.tells("Worker", "\"who is left?\"").await;
    let (mut left, mut closed) = (0, 0);
    for worker in &mut workers {
        match worker.line.next().await {
            Said::Text(text) => {
                assert!(text.contains("who is left?"), "{text}");
                left += 1;
            }
            Said::Closed(Some((1008, _))) => closed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((left, closed), (1, 19));
    assert_eq!(client.finds(json!({})).await, ["Worker"]);
}
