//! What happens to clients is published, and never what they say.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

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
