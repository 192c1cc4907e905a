//! `devices` and `broadcast`.

use serde_json::json;

use super::{LINE, SDP, assert_is_made_session, candidate, from_line, joined};
use crate::harness::*;

#[tokio::test]
async fn an_offer_and_an_answer_of_a_drone_reach_a_station() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        for name in ["offer", "answer"] {
            for sdp in [json!(SDP), json!({"type": name, "sdp": SDP})] {
                drone.send(json!({"type": name, "target": station.id, "sdp": sdp, "sessionId": "s"})).await;
                let signal = station.hears("signal").await;
                assert_eq!((&signal["type"], &signal["from"]), (&json!(name), &json!("drone")));
                assert_eq!(signal["data"], json!({"type": name, "sdp": SDP}));
            }
        }
        drone.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn a_candidate_of_a_drone_reaches_a_station_as_an_object() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        for (sent, wanted) in [(candidate(), candidate()), (json!(LINE), from_line())] {
            drone.send(json!({"type": "ice", "target": station.id, "candidate": sent})).await;
            let signal = station.hears("signal").await;
            assert_eq!((&signal["type"], &signal["from"]), (&json!("ice-candidate"), &json!("drone")));
            assert_eq!(signal["data"], wanted);
        }
    }
}

#[tokio::test]
async fn an_offer_of_a_station_reaches_a_drone_with_a_session_of_its_own() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        station.signal("offer", Some("drone"), &json!({"type": "offer", "sdp": SDP})).await;
        let offer = drone.json().await;
        assert_eq!(keys_of(&offer), ["from", "sdp", "sessionId", "timestamp", "type"]);
        assert_eq!(
            (&offer["type"], &offer["from"], &offer["sdp"]),
            (&json!("offer"), &json!(station.id), &json!(SDP))
        );
        assert_is_made_session(&offer["sessionId"]);
        assert_is_timestamp(&offer["timestamp"]);
        station.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn an_answer_and_a_candidate_of_a_station_reach_a_drone_without_a_session() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        station.signal("answer", Some("drone"), &json!({"type": "answer", "sdp": SDP})).await;
        let answer = drone.json().await;
        assert_eq!(keys_of(&answer), ["from", "sdp", "timestamp", "type"]);
        assert_eq!((&answer["type"], &answer["sdp"]), (&json!("answer"), &json!(SDP)));
        for (sent, wanted) in [(candidate(), candidate()), (json!(LINE), from_line())] {
            station.signal("ice-candidate", Some("drone"), &sent).await;
            let ice = drone.json().await;
            assert_eq!(keys_of(&ice), ["candidate", "from", "timestamp", "type"]);
            assert_eq!((&ice["type"], &ice["from"]), (&json!("ice"), &json!(station.id)));
            assert_eq!(ice["candidate"], wanted);
        }
    }
}

#[tokio::test]
async fn a_signal_to_nobody_in_particular_stays_in_its_group() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut one = Station::connect(server.main(), Transport::Polling).await;
    let mut other = Station::connect(server.main(), Transport::WebSocket).await;
    for (from, to) in [(&mut one, 1), (&mut other, 0)] {
        let sdp = format!("to {to}");
        from.signal("offer", None, &json!({"type": "offer", "sdp": sdp})).await;
    }
    assert_eq!(other.hears("signal").await["data"]["sdp"], "to 1");
    assert_eq!(one.hears("signal").await["data"]["sdp"], "to 0");
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_whole_conversation_crosses() {
    let server = joined().start().await;
    for transport in Transport::BOTH {
        let mut drone = Device::register(server.main(), "drone").await;
        let mut station = Station::connect(server.main(), transport).await;
        drone.send(json!({"type": "offer", "target": station.id, "sdp": SDP})).await;
        let offer = station.hears("signal").await;
        let from = offer["from"].as_str().expect("an id").to_owned();
        station.signal("answer", Some(&from), &json!({"type": "answer", "sdp": "v=0 answer"})).await;
        let answer = drone.json().await;
        assert_eq!((&answer["from"], &answer["sdp"]), (&json!(station.id), &json!("v=0 answer")));
        station.signal("ice-candidate", Some(&from), &candidate()).await;
        assert_eq!(drone.json().await["candidate"], candidate());
        drone.send(json!({"type": "ice", "target": station.id, "candidate": candidate()})).await;
        assert_eq!(station.hears("signal").await["data"], candidate());
        drone.leave().await;
    }
}
