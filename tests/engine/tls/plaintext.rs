//! What does not begin with TLS on a port that speaks it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{counted, sealed};
use crate::harness::*;

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    for path in ["/", "/ws", "/socket.io/?EIO=4&transport=polling", "/health"] {
        let mut http = Http::open(server.main()).await;
        let response = http.get(path).await;
        assert_eq!((response.status, response.text()), (400, "this port speaks TLS\n"), "{path}");
        assert_eq!(http.until_end().await, b"", "the connection ends");
    }
    counted(&server, "sigmux_tls_failures_total{cause=\"plaintext\"}", 4).await;
    // Port 9090 has no certificate.
    assert_eq!(Http::open(server.metrics()).await.get("/health").await.status, 200);
}

#[tokio::test]
async fn plain_frames_on_a_tls_port_are_told_so() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    let mut alice = Client::open(server.main(), Via::Tcp).await;
    let connect = alice.form.connect("alice", &token_of("alice"));
    alice.send(&connect).await;
    let (_, message) = alice.error(400).await;
    assert_eq!(message, "This port speaks TLS");
    assert_eq!(alice.closed().await, None);
}

#[tokio::test]
async fn noise_on_a_tls_port_is_hung_up_on() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    for noise in
        [&[0, 1, 2, 3, b'\r', b'\n'][..], b"\x15\x03\x03\x00\x02\x01\x00", b"\x80\x2e\x01\x00\x02\r\n"]
    {
        let mut stream = TcpStream::connect(server.main()).await.expect("the port is open");
        stream.write_all(noise).await.expect("the connection takes bytes");
        let mut said = Vec::new();
        // It may be reset.
        let _ = within("the end", stream.read_to_end(&mut said)).await;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 400 "), "{said:02x?}");
    }
}

#[tokio::test]
async fn with_allow_plaintext_one_port_serves_both() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).server("allow_plaintext", true).start().await;
    let relay = Relay::to(server.main(), &authority.terms()).await;
    for via in Via::BOTH {
        let mut alice = Client::login(relay.addr(), via, Form::FlatJson, "alice").await;
        let mut bob = Client::login(server.main(), via, Form::FlatJson, "bob").await;
        let offer = alice.signal(OFFER, "bob", "from inside").await;
        assert_eq!(bob.delivered(&offer).await.data, "from inside");
        let answer = bob.signal(ANSWER, "alice", "from outside").await;
        assert_eq!(alice.delivered(&answer).await.data, "from outside");
        alice.leave().await;
        bob.leave().await;
    }
    for addr in [relay.addr(), server.main()] {
        Identity::sign_in(addr).await.creates_room(addr).await;
    }
    assert_eq!(counted(&server, "sigmux_tls_failures_total{cause=\"plaintext\"}", 0).await, 0);
}
