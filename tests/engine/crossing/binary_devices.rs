//! `binary` and `devices`.

use serde_json::json;

use super::{LINE, SDP, agent, assert_is_made_session, candidate, from_line, joined, parsed, signal_of};
use crate::harness::*;

#[tokio::test]
async fn an_offer_of_an_agent_reaches_a_drone() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut alice = Client::login(server.main(), via, form, "alice").await;
            alice.signal(OFFER, "drone", SDP).await;
            let offer = drone.json().await;
            assert_eq!(keys_of(&offer), ["from", "sdp", "sessionId", "timestamp", "type"], "{form:?}");
            assert_eq!(
                (&offer["type"], &offer["from"], &offer["sdp"]),
                (&json!("offer"), &json!("alice"), &json!(SDP)),
                "{form:?}"
            );
            assert_is_made_session(&offer["sessionId"]);
            assert_is_timestamp(&offer["timestamp"]);
            alice.is_quiet_and_alive().await;
            alice.leave().await;
        }
    }
}

#[tokio::test]
async fn an_answer_of_an_agent_reaches_a_drone_without_a_session() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for form in Form::ALL {
        let mut alice = agent(&server, form).await;
        alice.signal(ANSWER, "drone", SDP).await;
        let answer = drone.json().await;
        assert_eq!(keys_of(&answer), ["from", "sdp", "timestamp", "type"], "{form:?}");
        assert_eq!(
            (&answer["type"], &answer["from"], &answer["sdp"]),
            (&json!("answer"), &json!("alice"), &json!(SDP)),
            "{form:?}"
        );
        alice.leave().await;
    }
}

#[tokio::test]
async fn a_candidate_of_an_agent_reaches_a_drone_as_an_object() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for form in Form::ALL {
        let mut alice = agent(&server, form).await;
        for (data, wanted) in [(candidate().to_string(), candidate()), (LINE.to_owned(), from_line())] {
            alice.signal(CANDIDATE, "drone", &data).await;
            let ice = drone.json().await;
            assert_eq!(keys_of(&ice), ["candidate", "from", "timestamp", "type"], "{form:?}");
            assert_eq!(
                (&ice["type"], &ice["from"], &ice["candidate"]),
                (&json!("ice"), &json!("alice"), &wanted),
                "{form:?}"
            );
        }
        alice.leave().await;
    }
}

/// Agents that send what their browser gave them.
#[tokio::test]
async fn objects_in_signal_data_are_understood() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::FlatJson).await;
    for (kind, name) in [(OFFER, "offer"), (ANSWER, "answer")] {
        let description = json!({"sdp": SDP, "type": name});
        for data in [description.clone(), json!(description.to_string())] {
            let payload = json!({"target_client_id": "drone", "signal_data": data}).to_string();
            alice.send(&flat_json(kind, &payload)).await;
            let got = drone.json().await;
            assert_eq!((&got["type"], &got["sdp"]), (&json!(name), &json!(SDP)), "{data}");
        }
    }
    let payload = json!({"target_client_id": "drone", "signal_data": candidate()}).to_string();
    alice.send(&flat_json(CANDIDATE, &payload)).await;
    assert_eq!(drone.json().await["candidate"], candidate());
    alice.is_quiet_and_alive().await;
}

#[tokio::test]
async fn an_offer_and_an_answer_of_a_drone_reach_an_agent_as_sdp_text() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for via in Via::BOTH {
        for form in Form::ALL {
            let mut alice = Client::login(server.main(), via, form, "alice").await;
            for (name, kind) in [("offer", OFFER), ("answer", ANSWER)] {
                // The text itself, and the object that a browser makes of it.
                for sdp in [json!(SDP), json!({"type": name, "sdp": SDP})] {
                    drone
                        .send(json!({"type": name, "target": "alice", "sdp": sdp, "sessionId": "s-1"}))
                        .await;
                    let (data, sender) = signal_of(&mut alice, kind).await;
                    assert_eq!((data.as_str(), sender.as_str()), (SDP, "drone"), "{form:?} {sdp}");
                }
            }
            alice.leave().await;
        }
    }
    drone.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_candidate_of_a_drone_reaches_an_agent_as_json_text() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for form in Form::ALL {
        let mut alice = agent(&server, form).await;
        for (sent, wanted) in [(candidate(), candidate()), (json!(LINE), from_line())] {
            drone.send(json!({"type": "ice", "target": "alice", "candidate": sent})).await;
            let (data, sender) = signal_of(&mut alice, CANDIDATE).await;
            assert_eq!((parsed(&data), sender.as_str()), (wanted, "drone"), "{form:?}");
        }
        alice.leave().await;
    }
}

#[tokio::test]
async fn escapes_do_not_hide_a_target_or_change_an_sdp() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::Text).await;
    drone
        .send_text(r#"{"sdp":"v=0\r\n\u0041\/\ud83e\udd80","t\u0061rget":"al\u0069ce","type":"offer"}"#)
        .await;
    assert_eq!(signal_of(&mut alice, OFFER).await.0, "v=0\r\nA/🦀");
}

#[tokio::test]
async fn what_crosses_keeps_its_order() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::FlatJson).await;
    for index in 0..100 {
        drone.send(json!({"type": "answer", "target": "alice", "sdp": format!("d {index}")})).await;
        alice.signal(ANSWER, "drone", &format!("a {index}")).await;
    }
    for index in 0..100 {
        assert_eq!(signal_of(&mut alice, ANSWER).await.0, format!("d {index}"));
        assert_eq!(drone.json().await["sdp"], format!("a {index}"));
    }
}

/// No frame has room for it, and nothing is lost in silence.
#[tokio::test]
async fn an_sdp_that_no_frame_can_hold_is_an_error_for_the_drone() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    for form in Form::ALL {
        let mut alice = agent(&server, form).await;
        drone.send(json!({"type": "offer", "target": "alice", "sdp": "x".repeat(70_000)})).await;
        drone.error().await;
        drone.send(json!({"type": "offer", "target": "alice", "sdp": "v=0"})).await;
        assert_eq!(signal_of(&mut alice, OFFER).await.0, "v=0", "{form:?}");
        alice.leave().await;
    }
}

#[tokio::test]
async fn a_whole_conversation_crosses() {
    let server = joined().start().await;
    let mut drone = Device::register(server.main(), "drone").await;
    let mut alice = agent(&server, Form::TaggedJson).await;
    alice.signal(OFFER, "drone", SDP).await;
    let offer = drone.json().await;
    let from = offer["from"].clone();
    drone
        .send(json!({"type": "answer", "target": from, "sdp": "v=0 answer", "sessionId": offer["sessionId"]}))
        .await;
    assert_eq!(signal_of(&mut alice, ANSWER).await, ("v=0 answer".into(), "drone".into()));
    drone.send(json!({"type": "ice", "target": from, "candidate": candidate()})).await;
    let (data, sender) = signal_of(&mut alice, CANDIDATE).await;
    assert_eq!(parsed(&data), candidate());
    alice.signal(CANDIDATE, &sender, LINE).await;
    assert_eq!(drone.json().await["candidate"], from_line());
}
