//! SIGHUP: the configuration is read again. Who is connected stays; what comes later goes by the new
//! one, or by the old one if the new one is wrong.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::harness::*;

const SECRET: &str = "a secret of this test, long enough for HS256 by any rule";
const OTHER_SECRET: &str = "another secret of this test, long enough for HS256, too";

fn keys(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(id, token)| format!("'{id}:{token}'")).collect();
    format!("auth_method = 'token'\napi_keys = [{}]", pairs.join(", "))
}

/// The answer to a login: 0 or the documented code of its error.
async fn login(server: &Server, id: &str, token: &str) -> u64 {
    let mut client = Client::open(server.main(), Via::WebSocket).await;
    client.send(&Form::FlatJson.connect(id, token)).await;
    let frame = client.frame().await;
    if frame.kind == ERROR { Form::FlatJson.read_error(&frame).0 } else { 0 }
}

#[tokio::test]
async fn a_reload_lets_in_by_the_new_credentials_and_drops_nobody() {
    let setup = Setup::new();
    let server = setup.start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let mut not_in_yet = Client::open(server.main(), Via::Tcp).await;
    let fresh = keys(&[("alice", "fresh-secret"), ("bob", "bobs-secret")]);
    assert!(server.reload(&setup.clone().auth(&fresh)).await);

    bystanders.talk().await;
    alice.is_quiet_and_alive().await;
    assert_eq!(login(&server, "bystander-1", &token_of("bystander-1")).await, 401);
    not_in_yet.refused(&Form::FlatJson.connect("bob", &token_of("bob")), 401).await;
    not_in_yet.send(&Form::FlatJson.connect("bob", "bobs-secret")).await;
    Form::FlatJson.read_ack(&not_in_yet.frame().await);
    // The id passes to whoever has its new token.
    assert_eq!(login(&server, "alice", "fresh-secret").await, 0);
    alice.error(409).await;
    bystanders.talk().await;
    let logs = server.logs();
    assert!(logs.contains("reloaded: changed auth.api_keys"), "{logs}");
    for secret in ["fresh-secret", "bobs-secret", &token_of("alice")] {
        assert!(!logs.contains(secret), "{logs}");
    }
}

#[tokio::test]
async fn the_method_the_secret_and_the_keys_of_logins_change() {
    let setup = Setup::new();
    let jwt = |secret: &str| setup.clone().auth(&format!("auth_method = 'jwt'\ntoken_secret = '{secret}'"));
    let server = setup.start().await;
    let (old, new) = (mint(&jwt(SECRET)).await, mint(&jwt(OTHER_SECRET)).await);
    assert_eq!(login(&server, "alice", &old).await, 401);
    assert!(server.reload(&jwt(SECRET)).await);
    assert_eq!((login(&server, "alice", &old).await, login(&server, "alice", &new).await), (0, 401));
    assert!(server.reload(&jwt(OTHER_SECRET)).await);
    assert_eq!((login(&server, "alice", &old).await, login(&server, "alice", &new).await), (401, 0));
    // The file is read again, although its name is the same.
    let by_file = setup.clone().auth("auth_method = 'jwt'\njwks_path = 'keys.json'");
    let (one, two) = (Signer::es256("one"), Signer::es256("two"));
    let tokens = [&one, &two].map(|signer| signer.token("alice", json!({})));
    for (signer, codes) in [(&one, [0, 401]), (&two, [401, 0])] {
        assert!(server.reload(&by_file.clone().file("keys.json", &key_set(&[signer]))).await);
        for (token, code) in tokens.iter().zip(codes) {
            assert_eq!(login(&server, "alice", token).await, code, "{}", signer.kid);
        }
    }
    assert!(server.reload(&setup.clone().open_to_all()).await);
    assert_eq!(login(&server, "alice", "").await, 0);
}

#[tokio::test]
async fn a_bad_configuration_is_refused_whole_and_the_old_one_stays() {
    let setup = Setup::new();
    let server = setup.start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let new_keys = setup.clone().auth(&keys(&[("alice", "hush-hush")]));
    let bad = [
        (new_keys.clone().server("message_rate", "'many'"), "sigmux.toml:"),
        (new_keys.clone().server("mesage_rate", 5), "did you mean `message_rate`"),
        (new_keys.clone().section("[rooms]\njwks_path = 'nowhere.json'"), "nowhere.json"),
        (new_keys.clone().section("[calls]\norigin = \"a\\u0007b\""), "origin"),
        (new_keys.clone().section("[["), "not TOML"),
    ];
    for (setup, told) in &bad {
        assert!(!server.reload(setup).await, "{told}");
        let logs = server.logs();
        let refusal = logs.lines().rev().find(|line| line.contains("reload refused, the old settings stay"));
        assert!(refusal.is_some_and(|line| line.contains(told)), "no {told} in {logs}");
        assert_eq!(login(&server, "alice", "hush-hush").await, 401, "{told}");
        assert_eq!(login(&server, "alice", &token_of("alice")).await, 0, "{told}");
        bystanders.talk().await;
    }
    assert_eq!(server.metric("sigmux_config_reloads_total{result=\"refused\"}").await, bad.len() as f64);
    let before = server.metric("sigmux_config_last_reload_success_timestamp_seconds").await;
    assert!(server.reload(&new_keys).await);
    assert_eq!(login(&server, "alice", "hush-hush").await, 0);
    assert!(server.metric("sigmux_config_last_reload_success_timestamp_seconds").await > before);
    assert!(!server.logs().contains("hush-hush"));
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_holds() {
    let setup = Setup::new();
    let server = setup.start().await;
    let changed = setup
        .clone()
        .shards(1)
        .server("data_dir", "'elsewhere'")
        .server("message_rate", 1)
        .listener("main", &["devices"])
        .listener("second", &["rooms"])
        .section("[binary]\nrealm = 'other'")
        .section("[rooms]\nstore = 'memory'");
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    assert!(server.reload(&changed).await);
    let logs = server.logs();
    let warning = logs.lines().find(|line| line.contains("needs a restart")).expect("a warning");
    for key in
        ["server.shards", "server.data_dir", "listener", "listener.serves", "binary.realm", "rooms.store"]
    {
        assert!(warning.contains(key), "{warning}");
    }
    assert!(!warning.contains("message_rate"), "{warning}");
    assert!(!server.folder().join("elsewhere").exists());
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    let offer = alice.signal(OFFER, "bob", "still one realm").await;
    bob.delivered(&offer).await;
    alice.refused(&alice.form.heartbeat(1), 429).await;
}

#[tokio::test]
async fn limits_hold_for_those_who_are_connected_too() {
    let setup = Setup::new().server("max_connections", 2);
    let server = setup.start().await;
    let (mut alice, mut bob) =
        across_shards(&server, (Form::FlatJson, "alice"), (Form::FlatJson, "bob")).await;
    assert_eq!(Http::open(server.main()).await.get("/").await.status, 503);
    assert!(server.reload(&setup.clone().server("max_connections", 3).server("message_rate", 2)).await);
    for client in [&mut alice, &mut bob] {
        until("the rate is felt", async || {
            client.send(&client.form.heartbeat(1)).await;
            (client.frame().await.kind == ERROR).then_some(())
        })
        .await;
    }
    let carol = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "carol").await;
    assert_eq!(Http::open(server.main()).await.get("/").await.status, 503);
    assert!(server.reload(&setup.clone().server("session_timeout", "'300ms'")).await);
    // Its end was an hour away, and the wheel of the shard knew no nearer one.
    for mut client in [alice, bob, carol] {
        let Some((code, reason)) = client.closed().await else { panic!("a Close was awaited") };
        assert_eq!((code, reason.as_str()), (1008, "Session timeout"));
    }
}

#[tokio::test]
async fn devices_get_another_secret_other_roles_and_must_show_a_token() {
    let serving = Setup::new().listener("main", &["devices"]);
    let with = |secret: &str, rest: &str| {
        serving.clone().section(&format!("[devices]\njwt_secret = '{secret}'\n{rest}"))
    };
    let token = |id: &str, secret: &str| {
        let claims = json!({"sub": id, "role": "operator", "exp": unix_seconds() + 600});
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .expect("it is signed")
    };
    let open = async |server: &Server, query: String| {
        TextClient::try_open(server.main(), &format!("/{query}"), &[]).await.map(Device::over)
    };
    let setup = with(SECRET, "");
    let server = setup.start().await;
    let mut operator = open(&server, format!("?token={}", token("operator", SECRET))).await.expect("let in");
    operator.takes("operator").await;
    let mut drone = Device::register(server.main(), "drone").await;
    let strict = "require_token = true\nroles.operator = { may_send = ['list'] }";
    assert!(server.reload(&with(OTHER_SECRET, strict)).await);

    drone.is_quiet_and_alive().await;
    operator.refused(r#"{"type":"offer","target":"drone","sdp":"v=0"}"#, "Not allowed").await;
    for (query, refused) in [
        (String::new(), true),
        (format!("?token={}", token("late", SECRET)), true),
        (format!("?token={}", token("late", OTHER_SECRET)), false),
    ] {
        assert_eq!(open(&server, query).await.err(), refused.then_some(401));
    }
}

#[tokio::test]
async fn dot_env_is_read_again() {
    let setup = Setup::new().listener("main", &["devices"]).section("[devices]\nrequire_token = true");
    let server = setup.clone().file(".env", &format!("JWT_SECRET=\"{SECRET}\"\n")).start().await;
    let token = |secret: &str| {
        let claims = json!({"sub": "drone", "exp": unix_seconds() + 600});
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))
            .expect("it is signed")
    };
    let refused = async |secret: &str| {
        TextClient::try_open(server.main(), &format!("/?token={}", token(secret)), &[]).await.err()
    };
    assert_eq!((refused(SECRET).await, refused(OTHER_SECRET).await), (None, Some(401)));
    let with_other = setup.clone().file(".env", &format!("JWT_SECRET=\"{OTHER_SECRET}\"\n"));
    assert!(server.reload(&with_other).await);
    assert_eq!((refused(SECRET).await, refused(OTHER_SECRET).await), (Some(401), None));
}

/// On a connection that has been there before as on a new one.
#[tokio::test]
async fn rooms_take_other_keys_and_rules() {
    let serving = Setup::new().listener("main", &["rooms"]);
    let meeting = Meeting::start(serving.clone()).await;
    let mut kept = Http::open(meeting.addr()).await;
    let body = json!({"peer_id": "nobody"}).to_string();
    let delete = http_request("POST", "/delete-peer", &[], Some(&body));
    kept.send(&delete).await;
    assert_eq!(kept.response(false).await.expect("an answer").status, 401);
    let mut peer = meeting.peer("Peer").await;
    let by_key = json!({"type": "register", "peer_id": "Service", "room_id": meeting.room.id,
        "token": meeting.room.token, "api_key": "the-key"});
    let mut service = Peer::open(meeting.addr()).await;
    service.is_refused(&by_key, "Authentication failed").await;

    let relaxed =
        "[rooms]\nopen_delete = true\napi_keys = ['service:the-key']\nttl_seconds = 1\nrooms_max = 2";
    assert!(meeting.server.reload(&serving.clone().section(relaxed)).await);
    kept.send(&delete).await;
    let answer = kept.response(false).await.expect("an answer");
    assert_eq!((answer.status, json_of(&answer)), (200, json!({"status": "peer not found"})));
    service.registers(by_key).await;
    talk(&mut peer, &mut service).await;
    // One is left of two, for a second; the first room lasts as long as it was made for.
    let short = meeting.owner.creates_room(meeting.addr()).await;
    assert_eq!(meeting.owner.posts(meeting.addr(), "/create-room", json!({})).await.status, 503);
    until("the short room has expired", async || {
        let mut late = Peer::open(meeting.addr()).await;
        late.send(&short.registration("Late", &meeting.owner)).await;
        (late.json().await["type"] == "error").then_some(())
    })
    .await;
    meeting.peer("Another").await.is_quiet_and_alive().await;
    assert!(!meeting.server.logs().contains("the-key"));
}

#[tokio::test]
async fn keys_are_fetched_from_another_address() {
    let (one, two) = (Signer::es256("one"), Signer::es256("two"));
    let servers =
        [KeyServer::start(Some(key_set(&[&one]))).await, KeyServer::start(Some(key_set(&[&two]))).await];
    let serving = Setup::new().listener("main", &["rooms"]);
    let at = |keys: &KeyServer| {
        serving.clone().section(&format!("[rooms]\njwks_url = '{}'\njwks_refresh_seconds = 1", keys.url()))
    };
    let meeting = Meeting::start(at(&servers[0])).await;
    let lets_in = async |signer: &Signer| {
        let token = signer.token("somebody", json!({}));
        let mut peer = Peer::open(meeting.addr()).await;
        peer.send(&json!({"type": "register", "peer_id": "Guest", "room_id": meeting.room.id,
            "token": meeting.room.token, "jwt": token}))
            .await;
        peer.json().await["type"] == "registered_auth"
    };
    until("the first keys are there", async || lets_in(&one).await.then_some(())).await;
    assert!(!lets_in(&two).await);
    assert!(meeting.server.reload(&at(&servers[1])).await);
    until("the second keys are there", async || lets_in(&two).await.then_some(())).await;
    assert!(!lets_in(&one).await);
    // Nothing about keys changes, and they stay.
    let asked = servers[1].asked();
    assert!(meeting.server.reload(&at(&servers[1]).server("message_rate", 500)).await);
    assert!(lets_in(&two).await);
    assert_eq!(servers[1].asked(), asked);
}

#[tokio::test]
async fn calls_get_more_seats_another_origin_and_longer_bodies() {
    let serving = Setup::new().listener("main", &["calls"]);
    let server = serving.clone().section("[calls]\nseat_count = 1\nmax_body_bytes = 512").start().await;
    let mut kept = Http::open(server.main()).await;
    let first = Seat::take(server.main(), "standup").await;
    let mut caller = first.connect(server.main()).await;
    assert_eq!(Seat::try_take(server.main(), "standup").await.err(), Some(409));
    assert_eq!(kept.get("/call/standup").await.status, 409);
    let long = "x".repeat(700);
    assert_eq!(first.signal(server.main(), "OFFER", &long).await.status, 413);

    let more = "[calls]\nseat_count = 2\nmax_body_bytes = 1000\norigin = 'https://calls.example'";
    assert!(server.reload(&serving.clone().section(more)).await);
    let answer = kept.get("/call/standup").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://calls.example"));
    assert_eq!(caller.json().await["kind"], "PEER");
    first.signals(server.main(), "OFFER", &long).await;
}

#[tokio::test]
async fn pages_of_other_origins_may_come() {
    let with = |origin: &str| {
        let listener = format!(
            "[[listener]]\nname = 'main'\nbind = '127.0.0.1:0'\nserves = ['binary', 'devices']\n\
             allowed_origins = ['{origin}']"
        );
        Setup::new().section(&listener).listener("idle", &["rooms"])
    };
    let server = with("https://one.example").start().await;
    let opens = async |origin: &str| {
        let headers = [("origin", origin.to_owned())];
        TextClient::try_open(server.main(), "/", &headers).await.err()
    };
    assert_eq!((opens("https://one.example").await, opens("https://two.example").await), (None, Some(403)));
    assert!(server.reload(&with("https://two.example")).await);
    assert_eq!((opens("https://one.example").await, opens("https://two.example").await), (Some(403), None));
}

#[tokio::test]
async fn the_log_becomes_more_or_less_talkative() {
    let level = |level: &str| Setup::new().section(&format!("[logging]\nlevel = '{level}'"));
    let server = level("warn").start().await;
    let mut seen = 0;
    let mut told_since = async |what: &str| {
        Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await.leave().await;
        // Two events of this client, which are written a moment later.
        let _ = tokio::time::timeout(Duration::from_millis(600), async {
            while !server.logs()[seen..].contains("client_disconnected") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let told = server.logs()[seen..].contains(what);
        seen = server.logs().len();
        told
    };
    assert!(!told_since("client_connected").await);
    assert!(server.reload(&level("info")).await);
    assert!(told_since("client_connected").await);
    assert!(server.reload(&level("error")).await);
    assert!(!told_since("client_connected").await);
}

/// Each made by an authority of its own, so that a client can tell them apart.
#[tokio::test]
async fn a_renewed_certificate_is_shown_to_those_who_come_and_those_who_are_there_stay() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let pair = new.server();
    let renewed = Setup::new().tls(&pair);
    let server = Setup::new().tls(&old.server()).start().await;
    let relay = Relay::to(server.main(), &old.terms()).await;
    let mut alice = Client::login(relay.addr(), Via::WebSocket, Form::FlatJson, "alice").await;
    // A key that belongs to another certificate, and half a file: the old pair is shown on.
    let torn: String = pair.certificate_pem().chars().take(200).collect();
    for (name, text) in [("key.pem", old.server().key_pem()), ("cert.pem", torn)] {
        assert!(!server.reload(&renewed.clone().file(name, &text)).await, "{name}");
        old.terms().connect(server.main()).await;
        assert!(new.terms().try_connect(server.main()).await.is_err());
    }
    assert!(server.reload(&renewed).await);
    assert!(server.logs().contains("reloaded: changed listener.tls"), "{}", server.logs());
    new.terms().connect(server.main()).await;
    assert!(old.terms().try_connect(server.main()).await.is_err());
    alice.is_quiet_and_alive().await;
    let through_new = Relay::to(server.main(), &new.terms()).await;
    let mut bob = Client::login(through_new.addr(), Via::Tcp, Form::FlatJson, "bob").await;
    let offer = alice.signal(OFFER, "bob", "from the old to the new").await;
    bob.delivered(&offer).await;
    // The same again is nothing new.
    assert!(server.reload(&renewed).await);
    assert!(server.logs().contains("reloaded: nothing has changed"), "{}", server.logs());
}

/// Promise 2 of the contract, while the settings change all the time.
#[tokio::test]
async fn nothing_is_lost_and_nobody_goes_while_settings_are_read_again_and_again() {
    const SIGNALS: usize = 3000;
    let setup = Setup::new().server("heartbeat_interval", "'500ms'");
    let server = setup.start().await;
    let (mut alice, mut bob) = across_shards(&server, (Form::Text, "alice"), (Form::Text, "bob")).await;
    let sent: Vec<Frame> =
        (0..SIGNALS).map(|n| Form::Text.signal(OFFER, "bob", &format!("number {n}"))).collect();
    let sending = async {
        for part in sent.chunks(30) {
            alice.send_bytes(part.iter().flat_map(Frame::encode).collect()).await;
        }
    };
    let receiving = async {
        for frame in &sent {
            bob.delivered(frame).await;
        }
    };
    let reloading = async {
        for round in 0..20 {
            let changed = setup.clone().server("max_connections", 1000 + round);
            assert!(server.reload(&changed).await);
        }
    };
    tokio::join!(sending, receiving, reloading);
    alice.is_quiet_and_alive().await;
    bob.is_quiet_and_alive().await;
}

/// Several at once are one after another; none is answered with an end.
#[tokio::test]
async fn a_storm_of_signals_ends_nothing() {
    let server = Setup::new().start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let started = Instant::now();
    for _ in 0..100 {
        server.signal(rustix::process::Signal::HUP);
    }
    bystanders.talk().await;
    assert!(started.elapsed() < Duration::from_secs(5));
    until("the last is done", async || {
        let applied = server.metric("sigmux_config_reloads_total{result=\"applied\"}").await;
        (applied >= 1.0).then_some(())
    })
    .await;
    bystanders.talk().await;
}

async fn mint(setup: &Setup) -> String {
    let directory: TempDir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("sigmux.toml"), setup.toml()).expect("written");
    let args = ["token", "--client-id", "alice", "-c", "sigmux.toml"];
    let output = tool(directory.path(), &args, &[]).await;
    String::from_utf8(output.stdout).expect("a token").trim().to_owned()
}
