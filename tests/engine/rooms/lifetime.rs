//! How long rooms and keys last: over restarts, and until they expire.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::alone;
use crate::harness::*;

fn kept_in(folder: &Path) -> Setup {
    alone().server("data_dir", format!("'{}'", folder.display()))
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(files_in(&path)),
            false => files.push(path),
        }
    }
    files
}

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn rooms_and_tokens_survive_a_stop_and_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = kept_in(folder.path());
    let mut known: Vec<(Identity, Room)> = Vec::new();
    for round in 0..3 {
        let mut server = setup.start().await;
        for (number, (identity, room)) in known.iter().enumerate() {
            let mut one = Peer::register(server.main(), room.registration("One", identity)).await;
            let mut two = Peer::register(server.main(), room.registration("Two", identity)).await;
            talk(&mut one, &mut two).await;
            let mut registration = room.registration("Three", identity);
            registration["token"] = json!("wrong0");
            let mut three = Peer::open(server.main()).await;
            three.is_refused(&registration, "Invalid token").await;
            // Who created it is known still.
            if number == 0 {
                registration.as_object_mut().expect("an object").remove("token");
                three.registers(registration).await;
            }
        }
        let identity = Identity::sign_in(server.main()).await;
        let room = identity.creates_room(server.main()).await;
        known.push((identity, room));
        if round % 2 == 0 {
            // At once after the answer: the record is safe by then.
            server.signal(rustix::process::Signal::KILL);
        } else {
            server.sigterm();
        }
        server.exit().await;
    }
}

#[tokio::test]
async fn with_a_store_in_memory_a_restart_forgets_the_rooms() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = kept_in(folder.path()).section("[rooms]\nstore = 'memory'");
    let meeting = Meeting::start(setup.clone()).await;
    let (owner, room) = (meeting.owner.clone(), meeting.room.clone());
    meeting.peer("Peer").await.is_quiet_and_alive().await;
    drop(meeting);
    let server = setup.start().await;
    let mut peer = Peer::open(server.main()).await;
    peer.is_refused(&room.registration("Peer", &owner), "Room not found").await;
}

#[tokio::test]
async fn the_issuers_key_is_kept_for_its_owner_alone_and_stays_the_same() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("made-at-first-need");
    let setup = kept_in(&folder);
    let keys = async |server: &Server| -> Value {
        let response = ask(server.main(), "GET", "/.well-known/jwks.json", &[], None).await;
        serde_json::from_str(response.text()).expect("a key set")
    };
    let server = setup.start().await;
    let identity = Identity::sign_in(server.main()).await;
    let first = keys(&server).await;
    assert_eq!(mode_of(&folder), 0o700);
    let files = files_in(&folder);
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().to_lowercase();
    let key_files: Vec<&PathBuf> =
        files.iter().filter(|it| name(it).contains("key") || name(it).contains("issuer")).collect();
    assert!(!key_files.is_empty(), "no key among {files:?}");
    for file in key_files {
        assert_eq!(mode_of(file), 0o600, "{}", file.display());
    }
    drop(server);

    let server = setup.start().await;
    assert_eq!(keys(&server).await, first);
    let response = identity.posts(server.main(), "/create-room", json!({})).await;
    assert_eq!(response.status, 200, "a token from before the restart is good");
    assert_signed_by(&Identity::sign_in(server.main()).await.id_token, &first);
}

#[tokio::test]
async fn two_servers_have_two_keys() {
    let one = alone().start().await;
    let two = alone().start().await;
    let mut sets = Vec::new();
    for server in [&one, &two] {
        let response = ask(server.main(), "GET", "/.well-known/jwks.json", &[], None).await;
        sets.push(serde_json::from_str::<Value>(response.text()).expect("a key set"));
    }
    assert_ne!(sets[0]["keys"][0]["n"], sets[1]["keys"][0]["n"]);
}

#[tokio::test]
async fn an_expired_room_takes_no_new_peers_and_keeps_those_that_are_connected() {
    const TTL: Duration = Duration::from_secs(3);
    for store in ["embedded", "memory"] {
        let section = format!("[rooms]\nttl_seconds = {}\nstore = '{store}'", TTL.as_secs());
        let server = alone().section(&section).start().await;
        let owner = Identity::sign_in(server.main()).await;
        let started = Instant::now();
        let room = owner.creates_room(server.main()).await;
        let mut one = Peer::register(server.main(), room.registration("One", &owner)).await;
        let mut two = Peer::register(server.main(), room.registration("Two", &owner)).await;
        let reason = until("the room has expired", async || {
            // Another socket each time: who is connected may stay.
            let mut late = Peer::open(server.main()).await;
            late.send(&room.registration("Late", &owner)).await;
            let answer = late.json().await;
            (answer["type"] == "error").then(|| answer["reason"].as_str().expect("a reason").to_owned())
        })
        .await;
        assert!(reason == "Room expired" || reason == "Room not found", "{reason}");
        // Its end is kept in whole seconds.
        assert!(started.elapsed() > TTL - Duration::from_secs(1), "after {:?}", started.elapsed());
        // Also for its creator, and for a peer that was in it.
        let mut again = Peer::open(server.main()).await;
        for id in ["One", "Other"] {
            again.send(&room.registration(id, &owner)).await;
            let answer = again.refusal().await;
            assert!(["Room expired", "Room not found"].iter().any(|it| answer["reason"] == *it), "{answer}");
        }
        for _ in 0..5 {
            talk(&mut one, &mut two).await;
        }
        assert!(one.finds(json!({})).await.contains(&"Two".to_owned()));
        two.send(&json!({"type": "update_metadata", "peer_id": "Two", "metadata": {"tags": ["x"]}})).await;
        assert_eq!(two.json().await["type"], "metadata_updated");
        // A younger room is not affected.
        let younger = owner.creates_room(server.main()).await;
        Peer::register(server.main(), younger.registration("One", &owner)).await.is_quiet_and_alive().await;
    }
}

/// A peer that comes late hears why, and some seconds later there is nothing left to know it by.
#[tokio::test]
async fn an_expired_room_says_so_and_is_then_gone() {
    let server = alone().section("[rooms]\nttl_seconds = 1").start().await;
    let owner = Identity::sign_in(server.main()).await;
    let room = owner.creates_room(server.main()).await;
    let refusal = async |but: &str| {
        until("another refusal", async || {
            // Another socket each time: who is connected may stay.
            let mut late = Peer::open(server.main()).await;
            late.send(&room.registration("Late", &owner)).await;
            let answer = late.json().await;
            (answer["type"] == "error" && answer["reason"] != but).then_some(answer)
        })
        .await
    };
    let expired = refusal("").await;
    let since = Instant::now();
    assert_eq!((&expired["reason"], &expired["code"]), (&json!("Room expired"), &json!("ROOM_EXPIRED")));
    let gone = refusal("Room expired").await;
    assert_eq!((&gone["reason"], &gone["code"]), (&json!("Room not found"), &json!("ROOM_NOT_FOUND")));
    assert!(since.elapsed() > Duration::from_secs(3), "forgotten after {:?}", since.elapsed());
}

#[tokio::test]
async fn an_empty_room_waits_for_its_peers() {
    let meeting = super::meeting().await;
    for _ in 0..5 {
        let peer = meeting.peer("Peer").await;
        peer.leave().await;
    }
    meeting.peer("Peer").await.is_quiet_and_alive().await;
}

/// Creating answers only after the record is safe, for each of many that create at the same time.
#[tokio::test]
async fn of_many_rooms_created_at_once_none_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = kept_in(folder.path());
    let mut server = setup.start().await;
    let owner = Identity::sign_in(server.main()).await;
    let mut creating = Vec::new();
    for _ in 0..30 {
        let (owner, addr) = (owner.clone(), server.main());
        creating.push(tokio::spawn(async move { owner.creates_room(addr).await }));
    }
    let mut rooms = Vec::new();
    for room in creating {
        rooms.push(room.await.expect("it is created"));
    }
    server.signal(rustix::process::Signal::KILL);
    server.exit().await;
    let server = setup.start().await;
    for room in rooms {
        Peer::register(server.main(), room.registration("Peer", &owner)).await;
    }
}
