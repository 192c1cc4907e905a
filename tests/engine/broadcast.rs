//! The `broadcast` dialect on the running engine, with Socket.IO spoken by hand over both transports.
//! Its limits have their tests beside the code, clients that others wrote theirs in `tests/clients`.

use serde_json::{Value, json};

use crate::harness::*;

/// One listener that serves nothing else.
fn alone() -> Setup {
    Setup::new().listener("main", &["broadcast"])
}

fn warnings(server: &Server) -> usize {
    server.logs().matches("more than 2 broadcast clients share a group").count()
}

/// Waits until so many are counted.
async fn counted(server: &Server, clients: usize) {
    let line = format!("sigmux_broadcast_clients {clients}");
    until(&line, async || {
        let metrics = Http::open(server.metrics()).await.get("/metrics").await;
        metrics.text().lines().any(|it| it == line).then_some(())
    })
    .await;
}

/// Two of one group; the first has heard of the second.
async fn pair(server: &Server, transport: Transport, query: &str) -> (Station, Station) {
    let mut one = Station::connect_with(server.main(), transport, query).await;
    let other = Station::connect_with(server.main(), transport, query).await;
    assert_eq!(one.event().await, ("peer_joined".into(), json!({"peer_id": other.id})));
    (one, other)
}

#[tokio::test]
async fn a_third_client_is_warned_about_and_counted() {
    let server = alone().start().await;
    let _pair = pair(&server, Transport::WebSocket, "").await;
    counted(&server, 2).await;
    // A third one elsewhere is counted, and no reason to worry.
    let elsewhere = Station::connect_with(server.main(), Transport::Polling, "&room=other").await;
    counted(&server, 3).await;
    assert_eq!(warnings(&server), 0, "{}", server.logs());
    elsewhere.leave().await;
    counted(&server, 2).await;

    let third = Station::connect(server.main(), Transport::Polling).await;
    counted(&server, 3).await;
    until("a warning", async || (warnings(&server) > 0).then_some(())).await;
    // One that comes and goes does not fill the log.
    third.leave().await;
    counted(&server, 2).await;
    let _third = Station::connect(server.main(), Transport::WebSocket).await;
    counted(&server, 3).await;
    assert_eq!(warnings(&server), 1, "{}", server.logs());
}

#[tokio::test]
async fn an_acknowledgement_is_empty_and_follows_the_error() {
    let server = alone().start().await;
    for transport in Transport::BOTH {
        let (mut one, mut other) = pair(&server, transport, &format!("&room={transport:?}")).await;
        one.emit_asking("signal", r#"{"type":"offer","data":{"sdp":"v=0"}}"#, 7).await;
        one.is_acknowledged(7).await;
        let expected = json!({"type": "offer", "data": {"sdp": "v=0"}, "from": one.id});
        assert_eq!(other.hears("signal").await, expected);
        one.emit_asking("signal", "5", 123).await;
        assert_eq!(one.hears("error").await, json!({"message": "Invalid message format"}));
        one.is_acknowledged(123).await;
        // Who does not ask gets none.
        one.signal("answer", None, &json!({})).await;
        assert_eq!(other.hears("signal").await["type"], "answer");
        one.is_quiet_and_alive().await;
    }
}

#[tokio::test]
async fn stations_of_different_rooms_neither_hear_nor_reach_each_other() {
    let server = alone().start().await;
    for transport in Transport::BOTH {
        let (mut one, mut other) = pair(&server, transport, &format!("&room=one-{transport:?}")).await;
        let mut stranger = Station::connect_with(server.main(), transport, "&room=two").await;
        let mut default = Station::connect(server.main(), transport).await;
        one.signal("offer", None, &json!({"sdp": "v=0"})).await;
        assert_eq!(other.hears("signal").await["from"], one.id.as_str());
        for outsider in [&mut stranger, &mut default] {
            outsider.is_quiet_and_alive().await;
            outsider.signal("offer", Some(&one.id), &json!({"sdp": "v=0"})).await;
            let expected = json!({"message": format!("Peer {} not found", one.id)});
            assert_eq!(outsider.hears("error").await, expected);
        }
        one.is_quiet_and_alive().await;
    }
}

/// Each in the words of the document, to the sender alone.
#[tokio::test]
async fn a_signal_that_cannot_be_passed_on_is_an_error_for_its_sender_alone() {
    let server = alone().start().await;
    let invalid_type = |shown: &str| -> Value {
        json!({
            "message": format!("Invalid message type: {shown}"),
            "valid_types": ["offer", "answer", "ice-candidate"],
        })
    };
    let cases = [
        (r#"{"type":"offer","data":{},"to":"nobody"}"#, json!({"message": "Peer nobody not found"})),
        (r#"{"type":"hello","data":{}}"#, invalid_type("hello")),
        (r#"{"type":"Offer","data":{}}"#, invalid_type("Offer")),
        (r#"{"data":{}}"#, invalid_type("None")),
        (r#""offer""#, json!({"message": "Invalid message format"})),
        ("5", json!({"message": "Invalid message format"})),
        ("null", json!({"message": "Invalid message format"})),
        (r#"[{"type":"offer"}]"#, json!({"message": "Invalid message format"})),
    ];
    for transport in Transport::BOTH {
        let (mut one, mut other) = pair(&server, transport, &format!("&room={transport:?}")).await;
        for (signal, error) in &cases {
            one.emit("signal", signal).await;
            assert_eq!(one.hears("error").await, *error, "{signal} over {transport:?}");
        }
        other.is_quiet_and_alive().await;
    }
}
