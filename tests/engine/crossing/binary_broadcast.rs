//! `binary` and `broadcast`.

use serde_json::json;

use super::{LINE, SDP, agent, candidate, from_line, joined, parsed, signal_of};
use crate::harness::*;

#[tokio::test]
async fn an_offer_and_an_answer_of_an_agent_reach_a_station() {
    let server = joined().start().await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        for form in Form::ALL {
            let mut alice = agent(&server, form).await;
            for (kind, name) in [(OFFER, "offer"), (ANSWER, "answer")] {
                alice.signal(kind, &station.id, SDP).await;
                let signal = station.hears("signal").await;
                assert_eq!(signal["type"], name, "{form:?}");
                assert_eq!(signal["from"], "alice", "{form:?}");
                assert_eq!(signal["data"], json!({"type": name, "sdp": SDP}), "{form:?}");
            }
            alice.leave().await;
        }
    }
}

#[tokio::test]
async fn a_candidate_of_an_agent_reaches_a_station_as_an_object() {
    let server = joined().start().await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        for form in Form::ALL {
            let mut alice = agent(&server, form).await;
            for (data, wanted) in [(candidate().to_string(), candidate()), (LINE.to_owned(), from_line())] {
                alice.signal(CANDIDATE, &station.id, &data).await;
                let signal = station.hears("signal").await;
                assert_eq!(signal["type"], "ice-candidate", "{form:?}");
                assert_eq!((&signal["from"], &signal["data"]), (&json!("alice"), &wanted), "{form:?}");
            }
            alice.leave().await;
        }
    }
}

#[tokio::test]
async fn an_offer_and_an_answer_of_a_station_reach_an_agent_as_sdp_text() {
    let server = joined().start().await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        for via in Via::BOTH {
            for form in Form::ALL {
                let mut alice = Client::login(server.main(), via, form, "alice").await;
                for (name, kind) in [("offer", OFFER), ("answer", ANSWER)] {
                    station.signal(name, Some("alice"), &json!({"type": name, "sdp": SDP})).await;
                    let got = signal_of(&mut alice, kind).await;
                    assert_eq!(got, (SDP.to_owned(), station.id.clone()), "{form:?}");
                }
                alice.leave().await;
            }
        }
        station.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn a_candidate_of_a_station_reaches_an_agent_as_json_text() {
    let server = joined().start().await;
    for transport in Transport::BOTH {
        let mut station = Station::connect(server.main(), transport).await;
        for form in Form::ALL {
            let mut alice = agent(&server, form).await;
            for (sent, wanted) in [(candidate(), candidate()), (json!(LINE), from_line())] {
                station.signal("ice-candidate", Some("alice"), &sent).await;
                let (data, sender) = signal_of(&mut alice, CANDIDATE).await;
                assert_eq!((parsed(&data), sender), (wanted, station.id.clone()), "{form:?}");
            }
            alice.leave().await;
        }
    }
}

#[tokio::test]
async fn a_signal_to_nobody_in_particular_stays_in_its_group() {
    let server = joined().start().await;
    let mut alice = agent(&server, Form::FlatJson).await;
    for transport in Transport::BOTH {
        let mut one = Station::connect(server.main(), transport).await;
        let mut other = Station::connect(server.main(), Transport::WebSocket).await;
        one.signal("offer", None, &json!({"type": "offer", "sdp": SDP})).await;
        assert_eq!(other.hears("signal").await["from"], one.id);
        alice.is_quiet_and_alive().await;
    }
}

/// Groups separate those that speak to all; who knows an id reaches it.
#[tokio::test]
async fn a_station_in_a_group_of_its_own_is_reached_by_its_id() {
    let server = joined().start().await;
    let mut alice = agent(&server, Form::FlatJson).await;
    let mut station = Station::connect_with(server.main(), Transport::WebSocket, "&room=north").await;
    alice.signal(OFFER, &station.id, SDP).await;
    assert_eq!(station.hears("signal").await["from"], "alice");
    station.signal("answer", Some("alice"), &json!({"type": "answer", "sdp": SDP})).await;
    assert_eq!(signal_of(&mut alice, ANSWER).await, (SDP.to_owned(), station.id.clone()));
}

#[tokio::test]
async fn what_crosses_keeps_its_order() {
    let server = joined().start().await;
    let mut alice = agent(&server, Form::Text).await;
    let mut station = Station::connect(server.main(), Transport::WebSocket).await;
    for index in 0..50 {
        let to_alice = json!({"type": "offer", "sdp": format!("s {index}")});
        station.signal("offer", Some("alice"), &to_alice).await;
        alice.signal(OFFER, &station.id, &format!("a {index}")).await;
    }
    for index in 0..50 {
        assert_eq!(signal_of(&mut alice, OFFER).await.0, format!("s {index}"));
        assert_eq!(station.hears("signal").await["data"]["sdp"], format!("a {index}"));
    }
}
