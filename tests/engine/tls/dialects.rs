//! Each dialect, over both versions of TLS, by the clients that speak it without.

use serde_json::json;

use super::{counted, sealed};
use crate::harness::*;

#[tokio::test]
async fn binary_speaks_inside_tls_as_outside() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    for version in rustls::ALL_VERSIONS {
        let relay = Relay::to(server.main(), &authority.terms().only(version)).await;
        for (via, other_via) in [(Via::WebSocket, Via::Tcp), (Via::Tcp, Via::WebSocket)] {
            let mut alice = Client::login(relay.addr(), via, Form::FlatJson, "alice").await;
            let mut bob = Client::login(relay.addr(), other_via, Form::TaggedCbor, "bob").await;
            for length in [1, 1000, 16_384, 60_000] {
                let data = "v".repeat(length);
                let offer = alice.signal(OFFER, "bob", &data).await;
                let got = bob.delivered(&offer).await;
                assert_eq!((got.data == data, got.sender.as_deref()), (true, Some("alice")), "{length}");
                let answer = bob.signal(ANSWER, "alice", &data).await;
                assert!(alice.delivered(&answer).await.data == data, "{length}");
            }
            alice.refused(&alice.form.signal(OFFER, "nobody", "v=0"), 404).await;
            alice.leave().await;
            bob.leave().await;
        }
        assert_eq!(relay.unclean_ends(), 0, "every end is said");
    }
    assert!(counted(&server, "sigmux_tls_handshakes_total", 8).await >= 8);
}

#[tokio::test]
async fn rooms_and_their_http_api_speak_inside_tls_as_outside() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    for version in rustls::ALL_VERSIONS {
        let relay = Relay::to(server.main(), &authority.terms().only(version)).await;
        let identity = Identity::sign_in(relay.addr()).await;
        let room = identity.creates_room(relay.addr()).await;
        let mut one = Peer::register(relay.addr(), room.registration("one", &identity)).await;
        let mut other = Peer::register(relay.addr(), room.registration("other", &identity)).await;
        talk(&mut one, &mut other).await;
        let body = json!({"peer_id": "other"});
        assert_eq!(identity.posts(relay.addr(), "/delete-peer", body).await.status, 200);
        assert_eq!(other.closed().await.0, 1000);
        one.leave().await;
        assert_eq!(relay.unclean_ends(), 0, "every end is said");
    }
}

#[tokio::test]
async fn stations_speak_inside_tls_as_outside() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    let relay = Relay::to(server.main(), &authority.terms()).await;
    for (one, other) in [
        (Transport::Polling, Transport::WebSocket),
        (Transport::WebSocket, Transport::Polling),
        (Transport::Polling, Transport::Polling),
    ] {
        let mut one = Station::connect(relay.addr(), one).await;
        let mut other = Station::connect(relay.addr(), other).await;
        let sdp = "v=0 ".repeat(20_000);
        one.signal("offer", Some(&other.id), &json!({"sdp": sdp})).await;
        let heard = other.hears("signal").await;
        assert_eq!((&heard["from"], heard["data"]["sdp"] == sdp), (&json!(one.id), true));
        other.signal("answer", None, &json!({"sdp": "v=0"})).await;
        assert_eq!(one.hears("signal").await["type"], "answer");
        one.leave().await;
        other.leave().await;
    }
}

#[tokio::test]
async fn devices_and_callers_speak_inside_tls_as_outside() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    let relay = Relay::to(server.main(), &authority.terms()).await;
    let mut drone = Device::register(relay.addr(), "drone").await;
    let mut camera = Device::register(relay.addr(), "camera").await;
    drone.send(json!({"type": "offer", "target": "camera", "sdp": "v=0"})).await;
    let offer = camera.json().await;
    assert_eq!((&offer["from"], &offer["sdp"]), (&json!("drone"), &json!("v=0")));

    let one = Seat::take(relay.addr(), "a-call").await;
    let other = Seat::take(relay.addr(), "a-call").await;
    let mut caller = one.connect(relay.addr()).await;
    other.signals(relay.addr(), "OFFER", "v=0").await;
    caller.hears("a-call", "OFFER", Some("v=0")).await;
}
