//! Realms: who sees whom, whose an id is, and what a sender is told of one that is not there.

use serde_json::{Value, json};

use super::{EVERY, SDP, agent, candidate, joined, signal_of};
use crate::harness::*;

fn apart() -> Setup {
    Setup::new().listener("main", &EVERY)
}

#[tokio::test]
async fn a_list_shows_all_ids_of_the_realm() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let _camera = Device::register(server.main(), "camera").await;
    let alice = agent(&server, Form::FlatJson).await;
    let bob = Client::login(server.main(), Via::Tcp, Form::Text, "bob").await;
    let one = Station::connect(server.main(), Transport::Polling).await;
    let other = Station::connect(server.main(), Transport::WebSocket).await;
    let mut ids = ["alice", "bob", "camera", &one.id, &other.id].map(String::from);
    ids.sort();
    assert_eq!(drone.list().await, ids);
    alice.leave().await;
    bob.leave().await;
    one.leave().await;
    other.leave().await;
    until("only the camera is left", async || (drone.list().await == ["camera"]).then_some(())).await;
}

/// Whoever is in a drone's list is missed by it.
#[tokio::test]
async fn drones_are_told_when_an_agent_or_a_station_goes() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    agent(&server, Form::FlatJson).await.leave().await;
    assert_eq!(ids_of(&drone.list_update().await), ["drone"]);
    for transport in Transport::BOTH {
        let station = Station::connect(server.main(), transport).await;
        assert_eq!(drone.list().await, [station.id.as_str()]);
        station.leave().await;
        assert_eq!(ids_of(&drone.list_update().await), ["drone"], "{transport:?}");
    }
}

#[tokio::test]
async fn an_id_of_a_drone_is_taken_for_agents() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "alice").await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut newcomer = Client::open(server.main(), via).await;
            newcomer.form = form;
            let connect = form.connect("alice", &token_of("alice"));
            newcomer.send(&connect).await;
            let (error, message) = newcomer.error(409).await;
            assert_eq!((error.uuid, message.as_str()), (connect.uuid, "Id is taken"), "{form:?}");
            drone.is_quiet_and_alive().await;
            // The connection stays open for another id.
            newcomer.connect(form, "bob").await;
            newcomer.signal(OFFER, "alice", SDP).await;
            assert_eq!(drone.json().await["from"], "bob");
            newcomer.leave().await;
        }
    }
    drone.leave().await;
    until("the id is free", async || {
        let mut agent = Client::open(server.main(), Via::WebSocket).await;
        agent.send(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
        (agent.frame().await.kind == CONNECT_ACK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_id_of_an_agent_or_a_station_is_taken_for_drones() {
    let server = joined().start().await;
    let mut alice = agent(&server, Form::FlatJson).await;
    let mut station = Station::connect(server.main(), Transport::WebSocket).await;
    let mut drone = Device::open(server.main()).await;
    for id in ["alice", &station.id] {
        let register = json!({"type": "register", "id": id}).to_string();
        drone.refused(&register, "Id is taken").await;
    }
    assert_eq!(drone.list().await.len(), 2, "nobody has been put out");
    drone.takes("drone").await;
    // As a second id neither, and the first one stays.
    drone.refused(r#"{"type":"register","id":"alice"}"#, "Id is taken").await;
    alice.is_quiet_and_alive().await;
    station.is_quiet_and_alive().await;
    alice.signal(OFFER, "drone", SDP).await;
    assert_eq!(drone.json().await["from"], "alice");
    alice.leave().await;
    until("the id is free", async || {
        drone.send(json!({"type": "register", "id": "alice"})).await;
        (drone.json().await["type"] == "registered").then_some(())
    })
    .await;
}

#[tokio::test]
async fn takeover_within_a_dialect_works_in_a_shared_realm_too() {
    let server = joined().start().await;
    let mut older = Device::register(server.main(), "drone").await;
    let mut newer = Device::register(server.main(), "drone").await;
    assert_eq!(older.closed().await.0, 1008);
    let mut one = agent(&server, Form::FlatJson).await;
    let mut other = agent(&server, Form::Text).await;
    one.error(409).await;
    assert_eq!(one.closed().await.expect("a Close").0, 1008);
    other.signal(OFFER, "drone", SDP).await;
    assert_eq!(newer.json().await["from"], "alice");
    newer.send(json!({"type": "answer", "target": "alice", "sdp": SDP})).await;
    assert_eq!(signal_of(&mut other, ANSWER).await.1, "drone");
}

#[tokio::test]
async fn each_sender_is_told_of_a_missing_target_in_its_own_words() {
    let server = joined().start().await;
    for form in Form::ALL {
        let mut alice = agent(&server, form).await;
        for kind in SIGNALS {
            alice.refused(&form.signal(kind, "nobody", SDP), 404).await;
        }
        alice.leave().await;
    }
    let mut drone = Device::register(server.main(), "drone").await;
    let offer = r#"{"type":"offer","target":"nobody","sdp":"v=0"}"#;
    drone.refused(offer, "Target nobody not found or offline").await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        station.signal("offer", Some("nobody"), &json!({"type": "offer", "sdp": SDP})).await;
        assert_eq!(station.hears("error").await, json!({"message": "Peer nobody not found"}));
        station.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn a_target_of_another_dialect_that_has_gone_is_told_in_the_senders_words() {
    let server = joined().start().await;
    let description = json!({"type": "offer", "sdp": SDP});
    let mut alice = agent(&server, Form::FlatJson).await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut station = Station::connect(server.main(), Transport::WebSocket).await;

    // All have talked to each other, so that the ways are known.
    alice.signal(OFFER, "drone", SDP).await;
    drone.json().await;
    station.signal("offer", Some("drone"), &description).await;
    drone.json().await;
    drone.leave().await;
    // Its Close was answered, so the id is gone.
    alice.refused(&alice.form.signal(OFFER, "drone", SDP), 404).await;
    station.signal("offer", Some("drone"), &description).await;
    assert_eq!(station.hears("error").await, json!({"message": "Peer drone not found"}));

    let mut drone = Device::register(server.main(), "drone-2").await;
    for target in ["alice", &station.id] {
        drone.send(json!({"type": "offer", "target": target, "sdp": SDP})).await;
    }
    signal_of(&mut alice, OFFER).await;
    station.hears("signal").await;
    station.signal("offer", Some("alice"), &description).await;
    signal_of(&mut alice, OFFER).await;
    alice.leave().await;
    let offer = json!({"type": "offer", "target": "alice", "sdp": SDP}).to_string();
    drone.refused(&offer, "Target alice not found or offline").await;
    station.signal("ice-candidate", Some("alice"), &candidate()).await;
    assert_eq!(station.hears("error").await, json!({"message": "Peer alice not found"}));

    let mut bob = Client::login(server.main(), Via::Tcp, Form::TaggedJson, "bob").await;
    bob.signal(OFFER, &station.id, SDP).await;
    station.hears("signal").await;
    let id = station.id.clone();
    station.leave().await;
    until("the station is gone", async || (!drone.list().await.contains(&id)).then_some(())).await;
    bob.refused(&bob.form.signal(OFFER, &id, SDP), 404).await;
    let answer = json!({"type": "answer", "target": id, "sdp": SDP}).to_string();
    drone.refused(&answer, &format!("Caller {id} not found or offline")).await;
}

#[tokio::test]
async fn a_candidate_for_one_that_is_not_there_stays_unsaid_among_devices_only() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    drone.send(json!({"type": "ice", "target": "nobody", "candidate": candidate()})).await;
    drone.is_quiet_and_alive().await;
    let mut alice = agent(&server, Form::Binary).await;
    alice.refused(&Form::Binary.signal(CANDIDATE, "nobody", "candidate:1"), 404).await;
}

#[tokio::test]
async fn dialects_in_realms_of_their_own_do_not_see_each_other() {
    let server = apart().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::FlatJson).await;
    let mut station = Station::connect(server.main(), Transport::WebSocket).await;
    assert_eq!(drone.list().await, [""; 0]);
    for target in ["alice", &station.id] {
        let offer = json!({"type": "offer", "target": target, "sdp": SDP}).to_string();
        drone.refused(&offer, &format!("Target {target} not found or offline")).await;
    }
    for target in ["drone", &station.id] {
        alice.refused(&alice.form.signal(OFFER, target, SDP), 404).await;
    }
    for target in ["drone", "alice"] {
        station.signal("offer", Some(target), &json!({"type": "offer", "sdp": SDP})).await;
        assert_eq!(station.hears("error").await, json!({"message": format!("Peer {target} not found")}));
    }
    // Nor do they stand in each other's way.
    let mut namesake = Device::register(server.main(), "alice").await;
    alice.signal(OFFER, "alice", "to myself").await;
    assert_eq!(signal_of(&mut alice, OFFER).await.0, "to myself");
    namesake.is_quiet_and_alive().await;
    alice.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_realm_may_join_two_and_leave_the_third_out() {
    let pairs = [["binary", "devices"], ["binary", "broadcast"], ["devices", "broadcast"]];
    for pair in pairs {
        let server = apart().realms(&pair.map(|dialect| (dialect, "shared"))).start().await;
        let mut drone = Device::register(server.main(), "drone").await;
        let mut alice = agent(&server, Form::FlatJson).await;
        let mut station = Station::connect(server.main(), Transport::WebSocket).await;
        let joined = |one: &str, other: &str| pair.contains(&one) && pair.contains(&other);

        if joined("binary", "devices") {
            alice.signal(OFFER, "drone", SDP).await;
            assert_eq!(drone.json().await["from"], "alice");
        } else {
            alice.refused(&alice.form.signal(OFFER, "drone", SDP), 404).await;
        }
        let offer: Value = json!({"type": "offer", "sdp": SDP});
        for (target, dialect) in [("drone", "devices"), ("alice", "binary")] {
            station.signal("offer", Some(target), &offer).await;
            if !joined("broadcast", dialect) {
                let error = station.hears("error").await;
                assert_eq!(error, json!({"message": format!("Peer {target} not found")}), "{pair:?}");
            } else if target == "drone" {
                assert_eq!(drone.json().await["from"], station.id);
            } else {
                assert_eq!(signal_of(&mut alice, OFFER).await.1, station.id);
            }
        }
    }
}

/// What both ends understand is not looked into.
#[tokio::test]
async fn within_a_dialect_nothing_is_translated_in_a_shared_realm_either() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut operator = Device::register(server.main(), "operator").await;
    for (kind, key, value) in [
        ("offer", "sdp", r#"{"type":"offer", "sdp":"v=0 \u0041", "n":1.50e1}"#),
        ("answer", "sdp", "\"{\\\"sdp\\\":\\\"v=0\\\"}\""),
        ("ice", "candidate", "\"candidate:1 1 udp 1 192.0.2.7 1 typ host\""),
    ] {
        operator.send_text(&format!(r#"{{"type":"{kind}","target":"drone","{key}":{value}}}"#)).await;
        let got = drone.text().await;
        let found = entries(&got).into_iter().find(|(name, _)| name == key).expect("it came").1;
        assert_eq!(found, value);
    }
    let mut alice = agent(&server, Form::FlatJson).await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "bob").await;
    let payload = r#"{"target_client_id":"bob","signal_data":{"sdp":"v=0 \u0041", "n":1.50e1}}"#;
    alice.send(&flat_json(OFFER, payload)).await;
    let frame = bob.frame().await;
    let data = entries(text_of(&frame)).into_iter().find(|(name, _)| name == "signal_data").expect("it came");
    assert_eq!(data.1, r#"{"sdp":"v=0 \u0041", "n":1.50e1}"#);

    let one = &mut Station::connect(server.main(), Transport::WebSocket).await;
    let other = &mut Station::connect(server.main(), Transport::Polling).await;
    let message = json!({"type": "ice-candidate", "data": "candidate:1", "to": other.id, "more": [1, null]});
    one.emit("signal", &message.to_string()).await;
    let mut wanted = message.clone();
    wanted["from"] = json!(one.id);
    assert_eq!(other.hears("signal").await, wanted);
}

/// `rooms` and `calls` stay closed: their rooms are secrets.
#[tokio::test]
async fn rooms_are_reached_from_no_realm() {
    let server = joined().start().await;
    let mut peer = TextClient::open(server.main()).await;
    peer.send(&json!({"type": "offer", "sender": "x", "target": "drone", "sdp": "v=0"})).await;
    assert_eq!(peer.json().await["code"], "NOT_IN_ROOM");
    let mut drone = Device::register(server.main(), "drone").await;
    drone.is_quiet_and_alive().await;
    assert_eq!(drone.list().await, [""; 0]);
}
