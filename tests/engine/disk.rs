//! What the disk does to the engine: kills in between, no room, no folder.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Resource;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::*;

fn kept_in(folder: &Path) -> Setup {
    Setup::new().listener("main", &["rooms"]).server("data_dir", format!("'{}'", folder.display()))
}

async fn active_rooms(server: &Server) -> u64 {
    let metrics = ask(server.main(), "GET", "/metrics", &[], None).await;
    json_of(&metrics)["active_rooms"].as_u64().expect("a number")
}

/// Rooms are created by several clients at once until the process is killed. What was acknowledged
/// is there afterwards; what was not is there whole or not at all.
#[tokio::test]
async fn each_acknowledged_room_survives_kills_while_rooms_are_made() {
    const ROUNDS: u64 = 4;
    const CREATORS: usize = 4;
    let folder = tempfile::tempdir().expect("a folder");
    let setup = kept_in(folder.path());
    let mut server = setup.start().await;
    let owner = Identity::sign_in(server.main()).await;
    let mut known: Vec<Room> = Vec::new();
    for round in 0..ROUNDS {
        let creators: Vec<_> = (0..CREATORS)
            .map(|_| {
                let (owner, addr) = (owner.clone(), server.main());
                tokio::spawn(async move {
                    let mut made = Vec::new();
                    while let Some(room) = try_create(addr, &owner).await {
                        made.push(room);
                    }
                    made
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + 70 * round)).await;
        server.signal(rustix::process::Signal::KILL);
        server.exit().await;
        let before = known.len();
        for creator in creators {
            known.extend(creator.await.expect("it ends with its server"));
        }
        assert!(known.len() > before, "the kill came before the first room");
        server = setup.start().await;
        for room in &known {
            Peer::register(server.main(), room.registration("Peer", &owner)).await;
        }
    }
    // Rooms that nobody was told of are as good as others, or they would not have been read.
    assert!(active_rooms(&server).await >= known.len() as u64);
}

/// `None` when the server has gone.
async fn try_create(addr: std::net::SocketAddr, owner: &Identity) -> Option<Room> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(addr).await.ok()?;
    let bearer = format!("Bearer {}", owner.id_token);
    let headers = [("Authorization", bearer.as_str()), ("Connection", "close")];
    stream.write_all(&http_request("POST", "/create-room", &headers, Some(""))).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    Some(Room::of(&serde_json::from_str(body).ok()?))
}

/// Whenever it dies while it starts for the first time, the next start finds nothing half-written.
#[tokio::test]
async fn kills_during_the_first_start_leave_nothing_half_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.toml");
    for millisecond in (0..400).step_by(16) {
        let data = folder.path().join(format!("data-{millisecond}"));
        let setup = kept_in(&data);
        std::fs::write(&config, setup.toml()).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_sigmux"))
            .args(["serve", "-c"])
            .arg(&config)
            .env_clear()
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        tokio::time::sleep(Duration::from_millis(millisecond)).await;
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        if millisecond % 64 == 0 {
            let server = setup.start().await;
            let owner = Identity::sign_in(server.main()).await;
            owner.creates_room(server.main()).await;
        }
    }
}

/// A limit on the size of files is what a test can have in place of a disk that is full, without
/// being root: a write fails all the same.
#[tokio::test]
async fn a_full_disk_refuses_new_rooms_and_loses_no_old_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = kept_in(folder.path());
    let mut server = setup.start().await;
    let owner = Identity::sign_in(server.main()).await;
    let before = owner.creates_room(server.main()).await;
    let mut peer = Peer::register(server.main(), before.registration("Peer", &owner)).await;
    let rooms = active_rooms(&server).await;

    server.limit(Resource::Fsize, Some(0));
    for _ in 0..20 {
        let response = owner.posts(server.main(), "/create-room", json!({})).await;
        assert_eq!(response.status, 503, "{}", response.text());
        assert!(json_of(&response)["detail"].as_str().is_some_and(|it| !it.is_empty()));
    }
    assert_eq!(active_rooms(&server).await, rooms, "no room is there that nobody was told of");
    // What does not need the disk goes on.
    peer.is_quiet_and_alive().await;
    let mut other = Peer::register(server.main(), before.registration("Other", &owner)).await;
    talk(&mut peer, &mut other).await;
    let logs = server.logs();
    assert!(logs.contains("a room could not be stored") && logs.contains("rooms.redb"), "{logs}");
    // A room that cannot be deleted for good stays, and who asked is told.
    let deleting = json!({"room_id": before.id});
    assert_eq!(owner.posts(server.main(), "/delete-peers-and-room", deleting.clone()).await.status, 503);
    talk(&mut peer, &mut other).await;

    server.limit(Resource::Fsize, None);
    let after = owner.creates_room(server.main()).await;
    server.signal(rustix::process::Signal::KILL);
    server.exit().await;
    let server = setup.start().await;
    for room in [&before, &after] {
        Peer::register(server.main(), room.registration("Peer", &owner)).await;
    }
    assert_eq!(active_rooms(&server).await, 2);
    assert_eq!(owner.posts(server.main(), "/delete-peers-and-room", deleting).await.status, 200);
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::write(folder.path().join("sigmux.toml"), kept_in(&data).toml()).expect("written");
    let args = ["serve", "-c", "sigmux.toml"];
    let output = tool_under("-f 0", folder.path(), &args, &[]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("issuer-key.der"), "{told}");
    // Nothing is left over that would be in the way of the next start.
    kept_in(&data).start().await;
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_made_or_written_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_the_way = folder.path().join("in-the-way");
    std::fs::write(&in_the_way, "a file").expect("written");
    for data in [in_the_way.clone(), in_the_way.join("data"), "/proc/sigmux-data".into()] {
        std::fs::write(folder.path().join("sigmux.toml"), kept_in(&data).toml()).expect("written");
        let output = tool(folder.path(), &["serve", "-c", "sigmux.toml"], &[]).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(data.to_str().expect("a plain path")), "{told}");
    }
    assert_eq!(std::fs::read(&in_the_way).expect("it stays"), b"a file");
}

/// Events that cannot be written are counted and told once, and nothing waits for them.
#[tokio::test]
async fn a_full_disk_costs_events_and_nobody_notices() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.jsonl");
    let sinks = format!("[events]\nsinks = ['file']\nfile = '{}'", file.display());
    let server = Setup::new().section(&sinks).start().await;
    Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await.leave().await;
    until("the first events are written", async || (lines(&file) == 2).then_some(())).await;
    server.limit(Resource::Fsize, Some(0));
    let started = Instant::now();
    for _ in 0..30 {
        Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await.leave().await;
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    until("all are counted", async || {
        (server.metric("sigmux_events_dropped_total").await == 60.0).then_some(())
    })
    .await;
    assert_eq!(server.logs().matches("an event sink fails").count(), 1, "{}", server.logs());
    server.limit(Resource::Fsize, None);
    Client::login(server.main(), Via::WebSocket, Form::FlatJson, "carol").await.leave().await;
    until("later ones are written", async || (lines(&file) == 4).then_some(())).await;
    let last = std::fs::read_to_string(&file).expect("it is there");
    let last: Value = serde_json::from_str(last.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["client_id"], "carol");
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}
