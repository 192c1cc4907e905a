//! The audit log: who came and from where, who was refused, what operators did, and no secret.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

pub struct Trail {
    folder: TempDir,
}

impl Trail {
    pub fn new() -> Trail {
        Trail { folder: tempfile::tempdir().expect("a folder") }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("made/audit.jsonl")
    }

    pub fn setup(&self) -> Setup {
        Setup::new().section(&format!("[audit]\nfile = '{}'", self.file().display()))
    }

    fn entries(&self) -> Vec<Value> {
        entries(&self.file())
    }

    /// Waits for an entry of this type that names this client.
    pub async fn entry(&self, event_type: &str, client_id: &str) -> Value {
        let is_it = |entry: &Value| entry["event_type"] == event_type && entry["client_id"] == client_id;
        until(&format!("{event_type} of {client_id:?}"), async || self.entries().into_iter().find(is_it))
            .await
    }
}

fn entries(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn is_here(entry: &Value) -> bool {
    entry["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:"))
}

#[tokio::test]
async fn logins_refusals_and_evictions_are_on_record_with_their_address() {
    let trail = Trail::new();
    let mut server = trail.setup().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let mut mallory = Client::open(server.main(), Via::Tcp).await;
    mallory.refused(&Form::FlatJson.connect("mallory", "a bad token"), 401).await;
    alice.refused(&alice.form.signal(OFFER, "nobody", "v=0 a secret SDP"), 404).await;
    // A newer connection takes the id over.
    let newer = Client::login(server.main(), Via::Tcp, Form::Text, "alice").await;
    alice.error(409).await;

    let login = trail.entry("client_connected", "alice").await;
    assert!(is_here(&login) && login["dialect"] == "binary", "{login}");
    let refusal = trail.entry("client_rejected", "mallory").await;
    assert!(is_here(&refusal) && refusal["reason"] == "bad_credentials", "{refusal}");
    let eviction = trail.entry("client_disconnected", "alice").await;
    assert!(is_here(&eviction) && eviction["reason"] == "replaced", "{eviction}");
    drop((alice, mallory, newer));
    server.sigterm();
    assert_eq!(server.exit().await.code(), Some(0));

    let entries = trail.entries();
    let kinds: Vec<&str> = entries.iter().map(|it| it["event_type"].as_str().expect("a type")).collect();
    assert_eq!(kinds.first(), Some(&"server_started"));
    assert!(!kinds.contains(&"signal_undeliverable"), "messages are no matter of the audit");
    for act in ["server_leaving", "server_draining", "server_ended"] {
        assert_eq!(kinds.iter().filter(|kind| **kind == act).count(), 1, "{act} in {kinds:?}");
    }
    assert_eq!(kinds.last(), Some(&"server_ended"));
    for entry in &entries {
        let time = entry["timestamp"].as_str().expect("a time");
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    }
    let text = std::fs::read_to_string(trail.file()).expect("it is there");
    for secret in ["a bad token", &token_of("alice"), "secret SDP"] {
        assert!(!text.contains(secret));
    }
    let mode = std::fs::metadata(trail.file()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

#[tokio::test]
async fn every_protocol_and_what_is_done_to_rooms_is_on_record() {
    let trail = Trail::new();
    let all = &["binary", "rooms", "broadcast", "calls", "devices"];
    let setup = trail.setup().section("[devices]\nrequire_token = true\njwt_secret = 'hush hush hush'");
    let server = setup.listener("main", all).listener("devices", &["devices"]).start().await;
    let addr = server.main();
    let owner = Identity::sign_in(addr).await;
    assert!(is_here(&trail.entry("anonymous_sign_in", &owner.username).await));
    let room = owner.creates_room(addr).await;
    let created = trail.entry("room_created", &owner.username).await;
    assert!(is_here(&created) && created["room_id"] == room.id.as_str(), "{created}");
    let mut peer = Peer::register(addr, room.registration("Peer", &owner)).await;
    let joined = trail.entry("client_connected", "Peer").await;
    assert!(is_here(&joined) && joined["dialect"] == "rooms", "{joined}");

    let stranger = json!({"peer_id": "Peer"});
    assert_eq!(post_json(addr, "/delete-peer", &[], &stranger).await.status, 401);
    let refused = trail.entry("client_rejected", "").await;
    assert!(is_here(&refused) && refused["request"] == "delete_peer", "{refused}");
    assert_eq!(owner.posts(addr, "/delete-peer", stranger).await.status, 200);
    assert_eq!(peer.closed().await.0, 1000);
    assert!(is_here(&trail.entry("peer_deleted", &owner.username).await));
    let deleting = json!({"room_id": room.id});
    assert_eq!(owner.posts(addr, "/delete-peers-and-room", deleting).await.status, 200);
    let deleted = trail.entry("room_deleted", &owner.username).await;
    assert!(is_here(&deleted) && deleted["room_id"] == room.id.as_str(), "{deleted}");

    for transport in Transport::BOTH {
        let station = Station::connect(addr, transport).await;
        let joined = trail.entry("client_connected", &station.id).await;
        assert!(is_here(&joined) && joined["dialect"] == "broadcast", "{joined}");
        let id = station.id.clone();
        station.leave().await;
        assert!(is_here(&trail.entry("client_disconnected", &id).await));
    }
    // A token is due: on the shard's own WebSocket, and on one that follows a request.
    assert_eq!(TextClient::try_open(server.addr("devices"), "/", &[]).await.err(), Some(401));
    let unauthorized = async |count: usize| {
        until("the refusal is on record", async || {
            let of = |entry: &Value| entry["reason"] == "unauthorized" && is_here(entry);
            (trail.entries().iter().filter(|entry| of(entry)).count() == count).then_some(())
        })
        .await;
    };
    unauthorized(1).await;
    let mut kept = Http::open(server.addr("devices")).await;
    assert_eq!(kept.get("/").await.status, 404);
    kept.send(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert_eq!(kept.response(false).await.expect("an answer").status, 401);
    unauthorized(2).await;

    let seat = Seat::take(addr, "a-secret-call").await;
    let caller = seat.connect(addr).await;
    until("the caller is on record", async || {
        trail.entries().iter().any(|it| it["dialect"] == "calls" && is_here(it)).then_some(())
    })
    .await;
    caller.vanish().await;
    let text = std::fs::read_to_string(trail.file()).expect("it is there");
    for secret in ["a-secret-call", &seat.session, &room.token, &owner.id_token, "hush"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn reloads_are_on_record_by_the_names_of_keys() {
    let trail = Trail::new();
    let setup = trail.setup();
    let server = setup.start().await;
    let changed = setup.clone().auth("auth_method = 'token'\napi_keys = ['a:hush']").shards(1);
    assert!(server.reload(&changed).await);
    let entry = trail.entry("config_reloaded", "").await;
    assert_eq!(
        (&entry["changed"], &entry["needs_restart"]),
        (&json!("auth.api_keys"), &json!("server.shards"))
    );
    assert!(!server.reload(&changed.clone().server("message_rate", "'many'")).await);
    let entry = trail.entry("config_refused", "").await;
    assert!(entry["reason"].as_str().is_some_and(|reason| reason.contains("message_rate")), "{entry}");
    assert!(!std::fs::read_to_string(trail.file()).expect("it is there").contains("hush"));
}

#[tokio::test]
async fn a_trail_that_was_moved_away_goes_on_in_a_fresh_file() {
    let trail = Trail::new();
    let server = trail.setup().start().await;
    Client::login(server.main(), Via::Tcp, Form::Text, "alice").await.leave().await;
    trail.entry("client_disconnected", "alice").await;
    let old = trail.folder.path().join("old");
    std::fs::rename(trail.file(), &old).expect("moved");
    Client::login(server.main(), Via::Tcp, Form::Text, "bob").await.leave().await;
    trail.entry("client_disconnected", "bob").await;
    assert!(trail.entries().iter().all(|entry| entry["client_id"] != "alice"));
    assert!(entries(&old).iter().all(|entry| entry["client_id"] != "bob"));
}

#[tokio::test]
async fn a_trail_that_cannot_be_written_is_told_once_and_counted_and_holds_nobody_up() {
    let trail = Trail::new();
    let in_the_way = trail.folder.path().join("made");
    std::fs::write(&in_the_way, "").expect("written");
    let server = trail.setup().start().await;
    let mut bystanders = Bystanders::login(&server).await;
    for _ in 0..20 {
        Client::login(server.main(), Via::Tcp, Form::Text, "alice").await.leave().await;
        bystanders.talk().await;
    }
    // The start, two bystanders, and each time two.
    until("all are counted", async || {
        (server.metric("sigmux_audit_dropped_total").await == 43.0).then_some(())
    })
    .await;
    let logs = server.logs();
    assert_eq!(logs.matches("sink=\"audit\"").count(), 1, "{logs}");
    assert!(logs.contains("made/audit.jsonl"), "{logs}");
    std::fs::remove_file(&in_the_way).expect("removed");
    Client::login(server.main(), Via::Tcp, Form::Text, "carol").await.leave().await;
    trail.entry("client_disconnected", "carol").await;
}

/// Without the section there is nothing of all this.
#[tokio::test]
async fn without_a_file_there_is_no_audit_log() {
    let server = Setup::new().start().await;
    Client::login(server.main(), Via::Tcp, Form::Text, "alice").await.leave().await;
    assert_eq!(server.metric("sigmux_audit_entries_total").await, 0.0);
    assert!(!server.folder().join("sigmux-data/audit.jsonl").exists());
}
