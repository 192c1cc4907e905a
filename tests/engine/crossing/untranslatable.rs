//! What cannot be said in the other dialect: an error for the sender, nothing for the target.

use serde_json::json;

use super::{SDP, agent, joined, signal_of};
use crate::harness::*;

#[tokio::test]
async fn a_drone_is_told_of_what_no_agent_and_no_station_could_read() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::FlatJson).await;
    let mut station = Station::connect(server.main(), Transport::WebSocket).await;
    for target in ["alice", &station.id] {
        for rest in [
            r#""type":"offer""#,
            r#""type":"offer","sdp":5"#,
            r#""type":"answer","sdp":null"#,
            r#""type":"answer","sdp":{"type":"answer"}"#,
            r#""type":"offer","sdp":{"sdp":5}"#,
            r#""type":"offer","sdp":"v=0 \ud800""#,
        ] {
            drone.send_text(&format!(r#"{{"target":"{target}",{rest}}}"#)).await;
            drone.error().await;
        }
    }
    drone.is_quiet_and_alive().await;
    alice.is_quiet_and_alive().await;
    station.is_quiet_and_alive().await;
    drone.send(json!({"type": "offer", "target": "alice", "sdp": SDP})).await;
    assert_eq!(signal_of(&mut alice, OFFER).await.0, SDP);
}

/// They are errors among devices only where that was asked for.
#[tokio::test]
async fn with_report_undeliverable_a_drone_is_told_of_candidates_too() {
    let server = Setup::new()
        .listener("main", &["binary", "devices"])
        .section("[binary]\nrealm = 'field'\n[devices]\nrealm = 'field'\nreport_undeliverable = true")
        .start()
        .await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::FlatJson).await;
    for candidate in ["null", "5", "[]", r#""candidate:1 \ud800""#] {
        drone.send_text(&format!(r#"{{"type":"ice","target":"alice","candidate":{candidate}}}"#)).await;
        drone.error().await;
    }
    drone.is_quiet_and_alive().await;
    alice.is_quiet_and_alive().await;
}

#[tokio::test]
async fn an_agent_is_told_of_what_no_drone_and_no_station_could_read() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::FlatJson).await;
    let mut station = Station::connect(server.main(), Transport::WebSocket).await;
    for target in ["drone", &station.id] {
        for (kind, data) in [(OFFER, json!({"no": "sdp"})), (ANSWER, json!({"sdp": 5})), (ANSWER, json!({}))]
        {
            let payload = json!({"target_client_id": target, "signal_data": data}).to_string();
            alice.refused(&flat_json(kind, &payload), 400).await;
        }
    }
    alice.is_quiet_and_alive().await;
    drone.is_quiet_and_alive().await;
    station.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_station_is_told_of_what_no_agent_and_no_drone_could_read() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::FlatJson).await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        for target in ["drone", "alice"] {
            for (kind, data) in
                [("offer", json!({})), ("answer", json!(5)), ("offer", json!({"type": "offer", "sdp": 5}))]
            {
                station.signal(kind, Some(target), &data).await;
                assert!(station.hears("error").await["message"].is_string());
            }
        }
        station.is_quiet_and_alive().await;
    }
    drone.is_quiet_and_alive().await;
    alice.is_quiet_and_alive().await;
}
