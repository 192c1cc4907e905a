//! The handshake: versions, protocols, resumption, and those who do not mean it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::{counted, sealed};
use crate::harness::*;

/// One request and its answer, with which a client also gets its tickets.
pub async fn exchange(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("room");
    let mut said = Vec::new();
    within("an answer", async {
        while !said.ends_with(b"\r\n\r\n") && !said.windows(12).any(|it| it == b"HTTP/1.1 404") {
            assert_ne!(stream.read_buf(&mut said).await.expect("an answer"), 0, "{said:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn both_versions_and_http_1_1_are_spoken_and_nothing_else() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    for (version, spoken) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let stream = authority.terms().only(version).offering(offered).connect(server.main()).await;
            let (_, session) = stream.get_ref();
            assert_eq!((session.protocol_version(), session.alpn_protocol()), (Some(spoken), agreed));
        }
        let h2 = authority.terms().only(version).offering(&["h2"]).try_connect(server.main()).await;
        assert!(h2.is_err(), "no protocol in common");
    }
    counted(&server, "sigmux_tls_failures_total{cause=\"incompatible\"}", 2).await;

    // A ClientHello of TLS 1.0, as openssl would send it.
    let mut stream = TcpStream::connect(server.main()).await.expect("the port is open");
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2F, 1, 0]);
    stream.write_all(&hello).await.expect("the connection takes bytes");
    let mut said = Vec::new();
    let _ = within("the end", stream.read_to_end(&mut said)).await;
    // A fatal alert: handshake_failure or protocol_version.
    assert!(matches!(said[..], [0x15, 3, _, 0, 2, 2, 40 | 70, ..]), "{said:02x?}");
}

#[tokio::test]
async fn sessions_are_resumed_on_any_shard_and_without_early_data() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    for version in rustls::ALL_VERSIONS {
        let connector = authority.terms().only(version).connector();
        let mut kinds = Vec::new();
        for _ in 0..12 {
            let tcp = TcpStream::connect(server.main()).await.expect("the port is open");
            let mut stream = handshake(&connector, tcp).await.expect("a handshake");
            exchange(&mut stream).await;
            let (_, session) = stream.get_ref();
            assert!(!session.is_early_data_accepted());
            kinds.push(session.handshake_kind().expect("it is over"));
        }
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{version:?}: {kinds:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).server("first_message_seconds", "'400ms'").start().await;
    let mut bystanders = login_bystanders(&server, &authority).await;
    // Says nothing; only the first byte; a whole hello, and then nothing more.
    let hello = hello(&authority);
    for sent in [&[][..], &hello[..1], &hello[..hello.len() / 2], &hello] {
        let mut stream = TcpStream::connect(server.main()).await.expect("the port is open");
        stream.write_all(sent).await.expect("the connection takes bytes");
        let mut said = Vec::new();
        let started = Instant::now();
        let _ = within("the end", stream.read_to_end(&mut said)).await;
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    // A byte now and then does not prolong it.
    let mut stream = TcpStream::connect(server.main()).await.expect("the port is open");
    let started = Instant::now();
    for byte in &hello {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        let pause = tokio::time::timeout(Duration::from_millis(20), stream.read_u8()).await;
        if pause.is_ok() {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    // Nor is it served without end who has shaken hands and says nothing.
    let mut silent = authority.terms().connect(server.main()).await;
    assert_eq!(within("a clean end", silent.read(&mut [0; 16])).await.expect("close_notify"), 0);
    counted(&server, "sigmux_tls_failures_total{cause=\"unfinished\"}", 5).await;
    bystanders.0.is_quiet_and_alive().await;
}

async fn login_bystanders(server: &Server, authority: &Authority) -> (Client, Relay) {
    let relay = Relay::to(server.main(), &authority.terms()).await;
    (Client::login(relay.addr(), Via::WebSocket, Form::FlatJson, "bystander-1").await, relay)
}

/// The first flight of a client.
fn hello(authority: &Authority) -> Vec<u8> {
    let mut hello = Vec::new();
    client(authority).write_tls(&mut hello).expect("a vector takes all");
    hello
}

fn client(authority: &Authority) -> ClientConnection {
    let config = Arc::clone(authority.terms().connector().config());
    ClientConnection::new(config, ServerName::try_from("localhost").expect("a name")).expect("a client")
}

/// Each byte in a segment of its own, the handshake's and a frame's.
#[tokio::test]
async fn bytes_may_come_one_by_one() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    let (addr, mut session) = (server.main(), client(&authority));
    let connect = Form::FlatJson.connect("alice", &token_of("alice"));
    let expected = connect.uuid;
    let told = tokio::task::spawn_blocking(move || byte_by_byte(addr, &mut session, &connect.encode()));
    let told = within("an answer", told).await.expect("the client does not panic");
    let (frame, _) = Frame::decode(&told).expect("a whole frame");
    assert_eq!((frame.kind, frame.uuid), (CONNECT_ACK, expected));
}

fn byte_by_byte(addr: SocketAddr, session: &mut ClientConnection, message: &[u8]) -> Vec<u8> {
    let mut stream = std::net::TcpStream::connect(addr).expect("the port is open");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    let mut said = Vec::new();
    let mut asked = false;
    while Frame::decode(&said).is_none() {
        if !session.is_handshaking() && !asked {
            session.writer().write_all(message).expect("room");
            asked = true;
        }
        let mut bytes = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut bytes).expect("a vector takes all");
        }
        for byte in bytes {
            stream.write_all(&[byte]).expect("the connection takes bytes");
        }
        if asked || session.is_handshaking() {
            assert_ne!(session.read_tls(&mut stream).expect("bytes"), 0, "the connection is open");
            session.process_new_packets().expect("good records");
            // WouldBlock when there is nothing.
            let _ = session.reader().read_to_end(&mut said);
        }
    }
    said
}

#[tokio::test]
async fn noise_after_the_first_byte_harms_nobody() {
    let authority = Authority::new("tests");
    let server = sealed(&authority).start().await;
    let (mut bystander, _relay) = login_bystanders(&server, &authority).await;
    let mut random = 0x9E37_79B9_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        (0..length)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect()
    };
    for round in 0..40 {
        let mut stream = TcpStream::connect(server.main()).await.expect("the port is open");
        let mut bytes = [&[0x16, 3, 1][..], &noise(40_000)].concat();
        if round % 2 == 0 {
            // A record of a credible length.
            bytes[3..5].copy_from_slice(&[0x02, 0]);
        }
        // It may be reset in the middle.
        let _ = within("bytes are taken or refused", stream.write_all(&bytes)).await;
        let mut said = Vec::new();
        let _ = within("the end", stream.read_to_end(&mut said)).await;
        assert!(said.is_empty() || said[0] == 0x15, "an alert or nothing: {said:02x?}");
    }
    // And behind a good handshake.
    for _ in 0..10 {
        let stream = authority.terms().connect(server.main()).await;
        let (mut tcp, _) = stream.into_inner();
        let bytes = [&[0x17, 3, 3, 0x01, 0][..], &noise(5000)].concat();
        let _ = within("bytes are taken or refused", tcp.write_all(&bytes)).await;
        let mut said = Vec::new();
        let _ = within("the end", tcp.read_to_end(&mut said)).await;
    }
    bystander.is_quiet_and_alive().await;
    let protocol = counted(&server, "sigmux_tls_failures_total{cause=\"protocol\"}", 50).await;
    assert_eq!(protocol, 50);
}
