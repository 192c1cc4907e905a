//! Client certificates: who gets in, and as whom.

use rcgen::SanType;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{counted, sealed};
use crate::harness::*;

/// In TLS 1.3 a client learns only afterwards that its certificate was not accepted.
async fn is_refused(connected: std::io::Result<TlsStream<TcpStream>>) -> bool {
    match connected {
        Err(_) => true,
        Ok(mut stream) => within("an alert", stream.read_u8()).await.is_err(),
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ASCII"))
}

#[tokio::test]
async fn without_an_accepted_certificate_nobody_gets_in() {
    let authority = Authority::new("tests");
    let stranger = Authority::new("somebody else");
    let server = sealed(&authority).mtls(&authority).start().await;
    for version in rustls::ALL_VERSIONS {
        let terms = authority.terms().only(version);
        assert!(is_refused(terms.try_connect(server.main()).await).await, "{version:?}: none");
        for (what, pair) in [
            ("of another authority", stranger.client("alice", Vec::new())),
            ("expired", authority.former_client("alice")),
            ("for servers", authority.server()),
        ] {
            let shown = terms.clone().showing(&pair).try_connect(server.main()).await;
            assert!(is_refused(shown).await, "{version:?}: {what}");
        }
        let relay = Relay::to(server.main(), &terms.showing(&authority.client("alice", Vec::new()))).await;
        let alice = Client::login(relay.addr(), Via::Tcp, Form::FlatJson, "alice").await;
        alice.leave().await;
    }
    counted(&server, "sigmux_tls_failures_total{cause=\"certificate\"}", 8).await;
}

/// By default a certificate is needed besides the token.
#[tokio::test]
async fn a_certificate_binds_the_client_id_and_the_token_is_still_asked_for() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).mtls(&authority).start().await;
    let relay =
        Relay::to(server.main(), &authority.terms().showing(&authority.client("alice", Vec::new()))).await;
    for via in Via::BOTH {
        let mut alice = Client::open(relay.addr(), via).await;
        alice.refused(&alice.form.connect("bob", &token_of("bob")), 401).await;
        alice.refused(&alice.form.connect("alice", "not the token"), 401).await;
        alice.connect(Form::FlatJson, "alice").await;
        alice.leave().await;
    }
}

#[tokio::test]
async fn with_the_method_mtls_a_certificate_is_all_that_is_needed() {
    let authority = Authority::new("tests");
    let setup = sealed(&authority).mtls(&authority).auth("auth_method = 'mtls'");
    let server = setup.start().await;
    let names = vec![dns("agent-1"), uri("urn:agent:1")];
    let pair = authority.client("not-a-name", names);
    for version in rustls::ALL_VERSIONS {
        let relay = Relay::to(server.main(), &authority.terms().only(version).showing(&pair)).await;
        for via in Via::BOTH {
            let mut one = Client::open(relay.addr(), via).await;
            // Where there are alternative names, the common name is none.
            one.refused(&one.form.connect("not-a-name", ""), 401).await;
            one.refused(&one.form.connect("agent-2", ""), 401).await;
            one.connect(Form::FlatJson, "agent-1").await;
            let mut other = Client::open(relay.addr(), via).await;
            other.connect(Form::FlatJson, "urn:agent:1").await;
            let offer = one.signal(OFFER, "urn:agent:1", "v=0").await;
            assert_eq!(other.delivered(&offer).await.sender.as_deref(), Some("agent-1"));
            one.leave().await;
            other.leave().await;
        }
    }
}

#[tokio::test]
async fn a_device_registers_under_the_name_of_its_certificate_only() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).mtls(&authority).start().await;
    let relay =
        Relay::to(server.main(), &authority.terms().showing(&authority.client("drone-1", Vec::new()))).await;
    let mut drone = Device::open(relay.addr()).await;
    drone.send(json!({"type": "register", "id": "drone-2"})).await;
    let error = drone.error().await;
    assert_eq!(error["message"], "Not allowed");
    assert_eq!(error["details"], "The certificate is for another id");
    drone.takes("drone-1").await;
}

/// A ticket would let somebody in whose certificate has been withdrawn meanwhile.
#[tokio::test]
async fn with_client_certificates_no_session_is_resumed() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).mtls(&authority).start().await;
    for version in rustls::ALL_VERSIONS {
        let terms = authority.terms().only(version).showing(&authority.client("alice", Vec::new()));
        let connector = terms.connector();
        for _ in 0..3 {
            let tcp = TcpStream::connect(server.main()).await.expect("the port is open");
            let mut stream = handshake(&connector, tcp).await.expect("a handshake");
            super::handshakes::exchange(&mut stream).await;
            let kind = stream.get_ref().1.handshake_kind();
            assert_ne!(kind, Some(rustls::HandshakeKind::Resumed), "{version:?}");
        }
    }
}
