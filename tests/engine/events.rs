//! What happens to clients is published, and never what they say.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::*;

#[tokio::test]
async fn events_are_appended_to_a_file_in_a_folder_made_at_first_need() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("made/at-first-need");
    let file = folder.join("events.jsonl");
    let sinks = format!("[events]\nsinks = ['file']\nfile = '{}'", file.display());
    let mut server = Setup::new().server("message_rate", 0).section(&sinks).start().await;
    assert!(!folder.exists());

    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    alice.refused(&alice.form.signal(OFFER, "nobody", "v=0 a secret SDP"), 404).await;
    // SDP where the target belongs is no id.
    alice.refused(&alice.form.signal(OFFER, "v=0\r\no=- a secret SDP", "x"), 404).await;
    alice.leave().await;
    let mut mallory = Client::open(server.main(), Via::Tcp).await;
    mallory.refused(&Form::FlatJson.connect("mallory", "a bad token"), 401).await;
    drop(mallory);
    server.sigterm();
    assert_eq!(server.exit().await.code(), Some(0));

    let text = std::fs::read_to_string(&file).expect("the file is there");
    let events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    let seen: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event["event_type"].as_str().unwrap(), event["client_id"].as_str().unwrap()))
        .collect();
    // The two clients may be on different shards, so only the order within one is certain.
    let of = |id: &str| seen.iter().filter(|(_, who)| *who == id).map(|(what, _)| *what).collect::<Vec<_>>();
    let undeliverable = "signal_undeliverable";
    assert_eq!(of("alice"), ["client_connected", undeliverable, undeliverable, "client_disconnected"]);
    assert!(events.iter().any(|event| event["error_code"] == 404), "numbers are numbers");
    assert_eq!(of("mallory"), ["client_rejected"]);
    for event in &events {
        let timestamp = event["timestamp"].as_str().expect("a timestamp");
        assert!(
            timestamp.len() == 24 && timestamp.ends_with('Z') && &timestamp[10..11] == "T",
            "{timestamp}"
        );
    }
    assert!(!text.contains("secret SDP") && !text.contains("bad token"));
    let mode = std::fs::metadata(&folder).expect("the folder is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
}

#[tokio::test]
async fn a_sink_that_cannot_write_is_named_in_the_log_and_its_events_are_counted() {
    let place = tempfile::tempdir().expect("a folder");
    let in_the_way = place.path().join("a-file");
    std::fs::write(&in_the_way, "").expect("writable");
    let file = in_the_way.join("events.jsonl");
    let sinks = format!("[events]\nsinks = ['file']\nfile = '{}'", file.display());
    let server = Setup::new().section(&sinks).start().await;
    Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await.leave().await;
    until("two events are counted as lost", async || {
        let metrics = Http::open(server.metrics()).await.get("/metrics").await;
        metrics.text().lines().any(|line| line == "sigmux_events_dropped_total 2").then_some(())
    })
    .await;
    assert!(server.logs().contains("a-file/events.jsonl"), "{}", server.logs());
}

/// Takes what is posted to it, after it has refused some.
struct Hook {
    addr: SocketAddr,
    posted: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    /// `refusals` are the statuses of the first answers.
    async fn start(refusals: &[u16]) -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let posted = Arc::<Mutex<Vec<String>>>::default();
        let taken = posted.clone();
        let mut refusals = Vec::from(refusals).into_iter();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let whole = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).to_lowercase();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
                    (body.len() >= length).then_some(())
                };
                while whole(&request).is_none() {
                    let Ok(1..) = stream.read_buf(&mut request).await else { break };
                }
                let status = refusals.next().unwrap_or(204);
                if status == 204 {
                    taken.lock().expect("no panic").push(String::from_utf8(request).expect("text"));
                }
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                // Whoever posted may have gone.
                let _ =
                    stream.write_all(answer.replace("204 X\r\nContent-Length: 0", "204 X").as_bytes()).await;
            }
        });
        Hook { addr, posted }
    }

    fn setup(&self) -> Setup {
        Setup::new().section(&format!(
            "[events]\nsinks = ['webhook']\nwebhook_url = 'http://{}/events?key=hush'\nwebhook_token = 'hush-hush'",
            self.addr
        ))
    }

    /// Type and client of every event, in the order of their arrival.
    fn events(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let posted = self.posted.lock().expect("no panic");
        let bodies = posted.iter().map(|request| request.split_once("\r\n\r\n").expect("a body").1);
        let arrays = bodies.map(|body| serde_json::from_str::<Vec<Value>>(body).expect("an array"));
        arrays.flatten().map(|event| (text(&event["event_type"]), text(&event["client_id"]))).collect()
    }
}

#[tokio::test]
async fn events_are_posted_in_their_order_and_again_after_a_failure() {
    let hook = Hook::start(&[500, 429]).await;
    let mut server = hook.setup().start().await;
    for id in ["alice", "bob", "carol"] {
        Client::login(server.main(), Via::WebSocket, Form::FlatJson, id).await.leave().await;
    }
    until("all have arrived", async || (hook.events().len() == 6).then_some(())).await;
    // What happens last is posted before the process ends.
    let dave = Client::login(server.main(), Via::Tcp, Form::FlatJson, "dave").await;
    server.sigterm();
    drop(dave);
    assert_eq!(server.exit().await.code(), Some(0));
    let events = hook.events();
    for id in ["alice", "bob", "carol", "dave"] {
        let of: Vec<&str> =
            events.iter().filter(|(_, who)| who == id).map(|(what, _)| what.as_str()).collect();
        assert_eq!(of, ["client_connected", "client_disconnected"], "{id}");
    }
    assert!(
        hook.posted.lock().expect("no panic")[0].to_lowercase().contains("authorization: bearer hush-hush")
    );
    assert!(!server.logs().contains("hush"), "{}", server.logs());
}

#[tokio::test]
async fn a_webhook_that_refuses_costs_its_events_and_is_told_of_once() {
    let hook = Hook::start(&[404; 1000]).await;
    let server = hook.setup().start().await;
    for _ in 0..10 {
        Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await.leave().await;
    }
    until("all are counted", async || {
        (server.metric("sigmux_events_dropped_total").await == 20.0).then_some(())
    })
    .await;
    let logs = server.logs();
    assert_eq!(logs.matches("the webhook takes no events").count(), 1, "{logs}");
    assert!(logs.contains("the answer was 404") && !logs.contains("hush"), "{logs}");
}
