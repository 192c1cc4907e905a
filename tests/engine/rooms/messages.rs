//! What passes from peer to peer, and that it passes as it was written.

use serde_json::{Value, json};

use super::{alone, meeting};
use crate::harness::*;

/// Payloads that a parser and a printer in between would change.
const PAYLOADS: [&str; 11] = [
    r#"{"app_message_type":"job_request","job_id":"uuid-123","job_spec":{"type":"training"}}"#,
    r#"{"z":1,"a":2,"m":3}"#,
    "{ \"spaced\" :\t[ 1 ,\r\n 2 ] , \"x\" : { } }",
    "[1.0, 1e2, 1E+2, -0, 0.10, 12345678901234567890, 1.7976931348623157e308]",
    r#"{"same":1,"same":2}"#,
    r#""\u00e9\/\ud83d\ude80 é 🚀 \" \\ \n""#,
    r#"{"type":"offer","target":"other","sender":"other","to_peer_id":"other"}"#,
    "5",
    "true",
    "\"text\"",
    r#"[[[[[[[[[[{"a":[null,false]}]]]]]]]]]]"#,
];

/// The payload's bytes within a delivered `peer_message`.
fn payload_of(text: &str) -> &str {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        payload: &'a serde_json::value::RawValue,
    }
    serde_json::from_str::<Message>(text).expect("a message with a payload").payload.get()
}

#[tokio::test]
async fn a_peer_message_arrives_with_its_payload_unchanged_to_the_byte() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client-1489").await;
    let mut worker = meeting.peer("Worker-3108").await;
    let mut other = meeting.peer("other").await;
    for payload in PAYLOADS {
        client.tells("Worker-3108", payload).await;
        let text = worker.text().await;
        assert_eq!(payload_of(&text), payload);
        let message: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(keys_of(&message), ["from_peer_id", "payload", "to_peer_id", "type"]);
        assert_eq!(
            (&message["type"], &message["from_peer_id"], &message["to_peer_id"]),
            (&json!("peer_message"), &json!("Client-1489"), &json!("Worker-3108"))
        );
    }
    other.is_quiet_and_alive().await;
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn the_order_and_spelling_of_keys_does_not_matter() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    for text in [
        r#"{"payload":{"n":1},"to_peer_id":"Worker","from_peer_id":"Client","type":"peer_message"}"#,
        r#"{ "type" : "peer_message" , "from_peer_id":"Client","to_peer_id": "Worker", "payload" : {"n":1} }"#,
        r#"{"t\u0079pe":"peer\u005fmessage","from_peer_id":"Cl\u0069ent","to_peer_id":"W\u006frker","payload":{"n":1}}"#,
    ] {
        client.send_text(text).await;
        assert_eq!(worker.hears("Client").await, json!({"n": 1}));
    }
}

#[tokio::test]
async fn a_large_payload_arrives_whole() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    for bytes in [100, 126, 65_535, 65_536, 400_000] {
        let payload = format!("\"{}\"", "x".repeat(bytes));
        client.tells("Worker", &payload).await;
        assert_eq!(payload_of(&worker.text().await), payload);
    }
}

#[tokio::test]
async fn a_message_to_oneself_arrives() {
    let meeting = meeting().await;
    let mut peer = meeting.peer("Peer").await;
    peer.tells("Peer", "1").await;
    assert_eq!(peer.hears("Peer").await, 1);
}

#[tokio::test]
async fn a_missing_or_empty_field_of_a_peer_message_is_an_invalid_message() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    let whole = json!({"type": "peer_message", "from_peer_id": "Client", "to_peer_id": "Worker", "payload": {"n": 1}});
    for field in ["from_peer_id", "to_peer_id", "payload"] {
        let mut message = whole.clone();
        message.as_object_mut().expect("an object").remove(field);
        client.errs(&message.to_string(), "INVALID_MESSAGE").await;
    }
    for empty in [json!(""), Value::Null, json!({}), json!([])] {
        let mut message = whole.clone();
        message["payload"] = empty;
        client.errs(&message.to_string(), "INVALID_MESSAGE").await;
    }
    for field in ["from_peer_id", "to_peer_id"] {
        for wrong in [json!(""), Value::Null, json!(5), json!(["Client"]), json!({"id": "Client"})] {
            let mut message = whole.clone();
            message[field] = wrong;
            client.errs(&message.to_string(), "INVALID_MESSAGE").await;
        }
    }
    worker.is_quiet_and_alive().await;
    talk(&mut client, &mut worker).await;
}

#[tokio::test]
async fn a_target_that_is_absent_or_in_another_room_has_its_own_error() {
    let meeting = meeting().await;
    let (identity, room) = meeting.another_room().await;
    let mut elsewhere = Peer::register(meeting.addr(), room.registration("Elsewhere", &identity)).await;
    let mut client = meeting.peer("Client").await;
    client.tells("Nobody", "1").await;
    client.error("PEER_NOT_FOUND").await;
    client.tells("client", "1").await;
    client.error("PEER_NOT_FOUND").await;
    client.tells("Elsewhere", "1").await;
    client.error("PEER_NOT_IN_ROOM").await;
    elsewhere.is_quiet_and_alive().await;
    elsewhere.leave().await;
    until("it is absent", async || {
        client.tells("Elsewhere", "1").await;
        let error = client.any_error().await;
        (error["code"] == "PEER_NOT_FOUND").then_some(())
    })
    .await;
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_target_that_has_gone_is_not_found() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    for _ in 0..6 {
        let mut worker = meeting.peer("Worker").await;
        // The way to it is known by now.
        client.tells("Worker", "1").await;
        worker.hears("Client").await;
        worker.leave().await;
        until("it is absent", async || {
            client.tells("Worker", "1").await;
            client.send(&json!({"type": "ping"})).await;
            let answer = client.json().await;
            if answer["type"] == "pong" {
                // Taken by the kernel just before the end: the loss is told, or it was delivered.
                return None;
            }
            assert_eq!(answer["code"], "PEER_NOT_FOUND", "{answer}");
            assert_eq!(client.json().await["type"], "pong");
            Some(())
        })
        .await;
        client.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn offer_answer_and_candidate_pass_unchanged_with_every_further_key() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    for text in [
        r#"{"type":"offer","sender":"Client","target":"Worker","sdp":"v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\n"}"#,
        r#"{"type":"answer","sender":"Client","target":"Worker","sdp":"v=0\r\no=- ..."}"#,
        r#"{"type":"candidate","sender":"Client","target":"Worker","candidate":"candidate:1 1 udp 2122 10.0.0.1 5000 typ host"}"#,
        r#"{"type":"candidate","sender":"Client","target":"Worker","candidate":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}}"#,
        r#"{"type":"candidate","sender":"Client","target":"Worker","candidate":null}"#,
        r#"{"sdp":"v=0","target":"Worker","further":{"z":[1.0,1e2],"a":null},"sender":"Client","type":"offer","role":"worker"}"#,
        "{ \"type\" : \"offer\",\n \"sender\":\"Client\" , \"target\":\"Worker\", \"sdp\":\"v=0 \\u00e9 \\/ 🚀\" }",
        r#"{"type":"offer","sender":"Client","target":"Worker","sdp":"v=0","to_peer_id":"x","payload":{},"room_id":"y"}"#,
    ] {
        client.send_text(text).await;
        assert_eq!(worker.text().await, text);
    }
    client.is_quiet_and_alive().await;
    worker.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_sender_can_act_only_as_itself() {
    let meeting = meeting().await;
    let mut thief = meeting.peer("Thief").await;
    let mut victim = meeting.peer("Victim").await;
    let mut target = meeting.peer("Target").await;
    for name in ["Victim", "Nobody", "thief", "Thief "] {
        for (kind, content) in [("offer", "sdp"), ("answer", "sdp"), ("candidate", "candidate")] {
            let message = json!({"type": kind, "sender": name, "target": "Target", content: "v=0"});
            thief.errs(&message.to_string(), "INVALID_MESSAGE").await;
        }
        let message = json!({"type": "peer_message", "from_peer_id": name, "to_peer_id": "Target", "payload": {"n": 1}});
        thief.errs(&message.to_string(), "INVALID_MESSAGE").await;
        let message = json!({"type": "update_metadata", "peer_id": name, "metadata": {"tags": ["stolen"]}});
        thief.errs(&message.to_string(), "INVALID_MESSAGE").await;
    }
    target.is_quiet_and_alive().await;
    victim.is_quiet_and_alive().await;
    talk(&mut thief, &mut target).await;
}

/// Deployed workers exit on any error.
#[tokio::test]
async fn signals_to_nobody_are_dropped_in_silence_by_default() {
    let meeting = meeting().await;
    let (identity, room) = meeting.another_room().await;
    let mut elsewhere = Peer::register(meeting.addr(), room.registration("Elsewhere", &identity)).await;
    let mut client = meeting.peer("Client").await;
    for target in ["Nobody", "Elsewhere"] {
        for (kind, content) in [("offer", "sdp"), ("answer", "sdp"), ("candidate", "candidate")] {
            client.send(&json!({"type": kind, "sender": "Client", "target": target, content: "v=0"})).await;
        }
        client.is_quiet_and_alive().await;
    }
    elsewhere.is_quiet_and_alive().await;
}

#[tokio::test]
async fn with_report_undeliverable_signals_to_nobody_are_not_found() {
    let meeting = Meeting::start(alone().section("[rooms]\nreport_undeliverable = true")).await;
    let (identity, room) = meeting.another_room().await;
    let mut elsewhere = Peer::register(meeting.addr(), room.registration("Elsewhere", &identity)).await;
    let mut client = meeting.peer("Client").await;
    for (kind, content) in [("offer", "sdp"), ("answer", "sdp"), ("candidate", "candidate")] {
        let message = json!({"type": kind, "sender": "Client", "target": "Nobody", content: "v=0"});
        client.errs(&message.to_string(), "PEER_NOT_FOUND").await;
        let message = json!({"type": kind, "sender": "Client", "target": "Elsewhere", content: "v=0"});
        client.errs_with_one_of(&message.to_string(), &["PEER_NOT_FOUND", "PEER_NOT_IN_ROOM"]).await;
    }
    elsewhere.is_quiet_and_alive().await;
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn a_dropped_signal_is_published_as_an_event() {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("events.jsonl");
    let sinks = format!("[events]\nsinks = ['file']\nfile = '{}'", file.display());
    let mut meeting = Meeting::start(alone().section(&sinks)).await;
    let mut client = meeting.peer("Client").await;
    client.send(&json!({"type": "offer", "sender": "Client", "target": "Nobody", "sdp": "hush"})).await;
    client.is_quiet_and_alive().await;
    client.leave().await;
    meeting.server.sigterm();
    assert_eq!(meeting.server.exit().await.code(), Some(0));
    let text = std::fs::read_to_string(&file).expect("the file is there");
    let events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    for wanted in ["client_connected", "signal_undeliverable", "client_disconnected"] {
        let found = events.iter().filter(|it| it["event_type"] == wanted).count();
        assert_eq!(found, 1, "{wanted} in {text}");
    }
    assert!(events.iter().any(|it| it["client_id"] == "Client"), "{text}");
    for secret in ["hush", meeting.room.token.as_str(), meeting.owner.id_token.as_str()] {
        assert!(!text.contains(secret), "{secret} is in the events");
    }
}

/// A busy worker refuses a client like this.
#[tokio::test]
async fn an_error_with_a_target_is_passed_on_within_the_room() {
    let meeting = meeting().await;
    let (identity, room) = meeting.another_room().await;
    let mut elsewhere = Peer::register(meeting.addr(), room.registration("Elsewhere", &identity)).await;
    let mut worker = meeting.peer("Worker").await;
    let mut client = meeting.peer("Client").await;
    for text in [
        r#"{"type":"error","target":"Client","reason":"worker_busy","message":"Worker is busy"}"#,
        r#"{"target":"Client","type":"error","code":"X","further":[1.0]}"#,
    ] {
        worker.send_text(text).await;
        let passed: Value = serde_json::from_str(&client.text().await).expect("JSON");
        let sent: Value = serde_json::from_str(text).expect("JSON");
        for (key, value) in sent.as_object().expect("an object") {
            assert_eq!(&passed[key], value, "{passed}");
        }
    }
    worker.send(&json!({"type": "error", "target": "Elsewhere", "message": "not for you"})).await;
    elsewhere.is_quiet_and_alive().await;
}

#[tokio::test]
async fn messages_of_one_sender_arrive_in_their_order() {
    let meeting = meeting().await;
    let mut client = meeting.peer("Client").await;
    let mut worker = meeting.peer("Worker").await;
    for number in 0..600 {
        match number % 2 {
            0 => client.tells("Worker", &number.to_string()).await,
            _ => {
                let offer = json!({"type": "offer", "sender": "Client", "target": "Worker", "sdp": number});
                client.send(&offer).await;
            }
        }
    }
    for number in 0..600 {
        let message = worker.json().await;
        let found = if number % 2 == 0 { &message["payload"] } else { &message["sdp"] };
        assert_eq!(*found, number);
    }
    client.is_quiet_and_alive().await;
}

#[tokio::test]
async fn an_exchange_as_the_document_tells_it() {
    let server = alone().listener("api", &["rooms-api"]).start().await;
    let identity = Identity::sign_in(server.addr("api")).await;
    let room = identity.creates_room(server.addr("api")).await;
    let mut worker = Peer::open(server.main()).await;
    let mut registration = room.registration("Worker-3108", &identity);
    registration["role"] = json!("worker");
    registration["metadata"] = json!({"tags": ["gpu"], "properties": {"gpu_memory_mb": 16384}});
    worker.registers(registration).await;

    let guest = Identity::sign_in(server.addr("api")).await;
    let mut client = Peer::register(server.main(), room.registration("Client-1489", &guest)).await;
    let filters = json!({"role": "worker", "properties": {"gpu_memory_mb": {"$gte": 8192}}});
    assert_eq!(client.finds(filters).await, ["Worker-3108"]);
    talk(&mut client, &mut worker).await;
    for (from, to, kind) in [(0, 1, "offer"), (1, 0, "answer"), (0, 1, "candidate"), (1, 0, "candidate")] {
        let ids = ["Client-1489", "Worker-3108"];
        let signal = json!({"type": kind, "sender": ids[from], "target": ids[to], "sdp": "v=0"});
        let ends = [&mut client, &mut worker];
        ends[from].send(&signal).await;
        assert_eq!(ends[to].json().await, signal);
    }
    let gone =
        identity.posts(server.addr("api"), "/delete-peers-and-room", json!({"peer_id": "Worker-3108"}));
    assert_eq!(json_of(&gone.await), json!({"status": "peer deleted successfully"}));
    assert_eq!(client.closed().await.0, 1000);
    assert_eq!(worker.closed().await.0, 1000);
}
