//! Too much at once, and readers that do not read: senders are told, nothing is lost in silence.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::alone;
use crate::harness::*;

/// So much that neither the kernel's buffers nor an outbox holds many of them.
fn large_offer(index: usize) -> Value {
    json!({"type": "offer", "target": "deaf", "sdp": "x".repeat(20_000), "sessionId": index.to_string()})
}

#[tokio::test]
async fn each_message_over_the_rate_is_answered_with_an_error() {
    let server = alone().server("message_rate", 10).start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for _ in 0..100 {
        drone.send(json!({"type": "ping"})).await;
    }
    let (mut pongs, mut errors) = (0, 0);
    for _ in 0..100 {
        match drone.json().await["type"].as_str() {
            Some("pong") => pongs += 1,
            Some("error") => errors += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=40).contains(&pongs), "{pongs} passed, {errors} were limited");
    until("messages pass again", async || {
        drone.send(json!({"type": "ping"})).await;
        (drone.json().await["type"] == "pong").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_sender_is_told_when_its_target_cannot_take_more() {
    let server = alone().server("outbox_hard_bytes", 262_144).server("outbox_soft_bytes", 65_536);
    let server = server.start().await;
    let mut deaf = Client::open_narrow(server.main(), Via::WebSocket).await.into_websocket();
    deaf.send(Message::text(r#"{"type":"register","id":"deaf"}"#)).await.expect("the socket is open");
    let mut operator = Device::register(server.main(), "operator").await;
    until("deaf has registered", async || (operator.list().await == ["deaf"]).then_some(())).await;
    let told = async {
        for index in 0.. {
            operator.send(large_offer(index)).await;
            operator.send(json!({"type": "ping"})).await;
            let answer = operator.json().await;
            if answer["type"] == "error" {
                return (answer, index);
            }
            assert_eq!(answer["type"], "pong");
        }
        unreachable!("the loop has no end of its own")
    };
    let (error, index) = within("an error", told).await;
    assert!(error["message"].is_string(), "{error}");
    assert!(index >= 5, "its queue holds several: {index}");
    drop(deaf);
}

/// What waited for a connection that ended was not delivered.
#[tokio::test]
async fn a_sender_is_told_of_what_still_waited_when_its_target_went() {
    let server = alone().start().await;
    let mut deaf = Client::open_narrow(server.main(), Via::WebSocket).await.into_websocket();
    deaf.send(Message::text(r#"{"type":"register","id":"deaf"}"#)).await.expect("the socket is open");
    let mut operator = Device::register(server.main(), "operator").await;
    until("deaf has registered", async || (operator.list().await == ["deaf"]).then_some(())).await;
    for index in 0..30 {
        operator.send(large_offer(index)).await;
    }
    operator.is_quiet_and_alive().await;
    drop(deaf);
    // The kernel took the first of them; the last can only have waited.
    let mut told = 0;
    while let Ok(answer) = tokio::time::timeout(Duration::from_secs(3), operator.json()).await {
        assert_eq!(answer["type"], "error", "{answer}");
        assert_eq!(answer["message"], "Target deaf not found or offline");
        told += 1;
        if told == 30 {
            break;
        }
    }
    assert!((10..=30).contains(&told), "{told} of 30");
    operator.is_quiet_and_alive().await;
}
