//! What operators set and see: the documented variables, health, limits, the drain.

use std::net::TcpListener;
use std::time::Instant;

use serde_json::{Value, json};

use super::access::{SECRET, now, sign};
use super::alone;
use crate::harness::*;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port()
}

#[tokio::test]
async fn port_sets_the_listener_of_devices_from_the_environment_and_from_a_file() {
    for from_file in [false, true] {
        let port = free_port();
        let setup = Setup::new().listener("main", &["binary"]).listener("drones", &["devices"]);
        let setup = match from_file {
            false => setup.env("PORT", port),
            true => setup.file(".env", &format!("# the drones' port\nPORT={port}\n")),
        };
        let server = setup.start().await;
        assert_eq!(server.addr("drones").port(), port, "from a file: {from_file}");
        assert_ne!(server.main().port(), port);
        Device::register(server.addr("drones"), "drone").await.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn the_environment_wins_over_the_file() {
    let port = free_port();
    let server = alone().env("PORT", port).file(".env", "PORT=1\n").start().await;
    assert_eq!(server.main().port(), port);
}

#[tokio::test]
async fn a_secret_in_the_file_checks_tokens() {
    let server = alone().file(".env", &format!("JWT_SECRET=\"{SECRET}\"\n")).start().await;
    let claims = json!({"sub": "drone", "exp": now() + 600});
    let good = sign(&claims, SECRET, jsonwebtoken::Algorithm::HS256);
    let bad = sign(&claims, "another secret, also long enough for HS256", jsonwebtoken::Algorithm::HS256);
    assert!(TextClient::try_open(server.main(), &format!("/?token={good}"), &[]).await.is_ok());
    assert_eq!(TextClient::try_open(server.main(), &format!("/?token={bad}"), &[]).await.err(), Some(401));
}

#[tokio::test]
async fn max_clients_limits_those_that_register() {
    let setup = Setup::new().listener("main", &["binary"]).listener("drones", &["devices"]);
    let server = setup.env("MAX_CLIENTS", 2).start().await;
    let drones = server.addr("drones");
    let mut first = Device::register(drones, "first").await;
    let second = Device::register(drones, "second").await;
    let mut third = Device::open(drones).await;
    third.refused(r#"{"type":"register","id":"third"}"#, "Too many clients").await;
    // Other dialects have no part in it.
    Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await.is_quiet_and_alive().await;
    // Nobody more is there after another id or a takeover.
    first.takes("first-again").await;
    let mut newer = Device::register(drones, "first-again").await;
    assert_eq!(first.closed().await.0, 1008);
    third.refused(r#"{"type":"register","id":"third"}"#, "Too many clients").await;
    assert_eq!(newer.list().await, ["second"]);
    second.leave().await;
    until("a place is free again", async || {
        third.send(json!({"type": "register", "id": "third"})).await;
        (third.json().await["type"] == "registered").then_some(())
    })
    .await;
    newer.is_quiet_and_alive().await;
}

/// With its port moved: the documented one may be in use.
#[tokio::test]
async fn the_documented_file_of_variables_holds() {
    let file =
        "PORT=0\nJWT_SECRET=your-secret-key\nLOG_LEVEL=info\nMAX_CLIENTS=1000\nHEARTBEAT_INTERVAL=30000\n";
    let server = alone().file(".env", file).start().await;
    let good = sign(&json!({"userId": "drone"}), "your-secret-key", jsonwebtoken::Algorithm::HS256);
    let mut drone = Device::over(TextClient::open_at(server.main(), &format!("/?token={good}")).await);
    drone.takes("drone").await;
    Device::register(server.main(), "without-a-token").await.is_quiet_and_alive().await;
}

#[tokio::test]
async fn heartbeat_interval_is_in_milliseconds_and_for_this_listener() {
    let setup = Setup::new().listener("main", &["binary"]).listener("drones", &["devices"]);
    let server = setup.env("HEARTBEAT_INTERVAL", 200).start().await;
    let mut raw = RawWs::open(server.addr("drones")).await;
    let register = br#"{"type":"register","id":"drone"}"#;
    raw.send(&ws_frame(opcode::FIN | opcode::TEXT, register)).await;
    let started = Instant::now();
    assert_eq!(raw.next().await.expect("registered").0, opcode::FIN | opcode::TEXT);
    assert_eq!(raw.next().await.expect("a ping").0, opcode::FIN | opcode::PING);
    // No pong goes back.
    assert_eq!(raw.close_frame().await, (1008, "Heartbeat timeout".into()));
    let lasted = started.elapsed().as_millis();
    assert!((500..3000).contains(&lasted), "{lasted} ms");
    let mut peer = Device::register(server.addr("drones"), "peer").await;
    assert_eq!(peer.list().await, [""; 0], "no ghost is left");
}

#[tokio::test]
async fn health_tells_status_clients_uptime_and_memory() {
    let server = alone().listener("health", &["devices-health"]).start().await;
    let _drone = Device::register(server.main(), "drone").await;
    let camera = Device::register(server.main(), "camera").await;
    let health = async || -> Value {
        let response = Http::open(server.addr("health")).await.get("/health").await;
        assert_eq!(response.status, 200);
        let kind = response.header("content-type").expect("a content type");
        assert!(kind.starts_with("application/json"), "{kind}");
        serde_json::from_str(response.text()).expect("JSON")
    };
    let first = health().await;
    assert_eq!(keys_of(&first), ["clients", "memory", "status", "uptime"]);
    assert_eq!((&first["status"], &first["clients"]), (&json!("healthy"), &json!(2)));
    assert!(first["uptime"].as_f64().is_some_and(|it| it >= 0.0), "{first}");
    // As Node's process.memoryUsage() has it.
    assert!(first["memory"]["rss"].as_u64().is_some_and(|it| it > 1 << 20), "{first}");
    camera.leave().await;
    until("one client is left", async || (health().await["clients"] == 1).then_some(())).await;
}

#[tokio::test]
async fn draining_closes_with_1001() {
    let mut server = alone().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut nobody = Device::open(server.main()).await;
    nobody.is_quiet_and_alive().await;
    server.sigterm();
    assert_eq!(drone.closed().await, (1001, "Server shutting down".into()));
    assert_eq!(nobody.closed().await, (1001, "Server shutting down".into()));
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn what_happens_to_devices_is_published() {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("events.jsonl");
    let sinks = format!("[events]\nsinks = ['file']\nfile = '{}'", file.display());
    let mut server = alone().section(&sinks).start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    drone.send(json!({"type": "ice", "target": "nobody", "candidate": {"candidate": "a-secret"}})).await;
    drone.is_quiet_and_alive().await;
    drone.leave().await;
    server.sigterm();
    assert_eq!(server.exit().await.code(), Some(0));
    let text = std::fs::read_to_string(&file).expect("the file is there");
    let events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    for wanted in ["client_connected", "signal_undeliverable", "client_disconnected"] {
        let found = events.iter().filter(|it| it["event_type"] == wanted).count();
        assert_eq!(found, 1, "{wanted} in {text}");
    }
    assert!(events.iter().any(|it| it["client_id"] == "drone"), "{text}");
    assert!(!text.contains("a-secret"));
}
