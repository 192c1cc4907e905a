//! Who stands behind a proxy: by the PROXY protocol and by `X-Forwarded-For`, from trusted proxies and
//! from nobody else.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{connect_from, metric};
use crate::audit::Trail;
use crate::harness::*;

const PROXY: [u8; 4] = [127, 0, 0, 9];
const STRANGER: [u8; 4] = [127, 0, 0, 1];

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const UPGRADE: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn setup() -> Setup {
    Setup::new()
        .listener("main", &["binary", "rooms", "calls", "devices"])
        .section("[rooms]\nstore = 'memory'")
        .server("trusted_proxies", "['127.0.0.8/31']")
        .server("proxy_protocol", true)
}

fn v1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let server = if client.contains(':') { "::1" } else { "192.0.2.1" };
    format!("PROXY {family} {client} {server} 5000 443\r\n").into_bytes()
}

fn v2(command: u8, family: u8, said: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &(said.len() as u16).to_be_bytes(), said].concat()
}

/// With an ALPN and a padding behind the addresses.
fn v2_tcp4(client: [u8; 4]) -> Vec<u8> {
    let tlvs = b"\x01\x00\x08http/1.1\x04\x00\x02\0\0";
    v2(0x21, 0x11, &[&client[..], &[192, 0, 2, 1], &[19, 136, 1, 187], tlvs].concat())
}

/// A connection that begins with this.
async fn proxied(server: &Server, header: &[u8]) -> TcpStream {
    let mut stream = connect_from(PROXY, server.main()).await;
    stream.set_nodelay(true).expect("a TCP socket");
    stream.write_all(header).await.expect("the connection is open");
    stream
}

/// Status of an upgrade over this connection.
async fn upgrade_over(stream: TcpStream, headers: &str) -> (u16, Http) {
    let mut http = Http::over(stream);
    http.send(format!("GET / HTTP/1.1\r\n{headers}{UPGRADE}\r\n").as_bytes()).await;
    (http.response(false).await.expect("an answer").status, http)
}

#[tokio::test]
async fn a_proxys_header_comes_before_frames_websockets_and_requests() {
    let server = setup().start().await;
    for header in [
        v1("203.0.113.7"),
        v1("2001:db8::7"),
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2_tcp4([203, 0, 113, 7]),
        v2(0x20, 0x00, b""),
        v2(0x21, 0x31, &[b'/'; 216]),
        v2(0x21, 0x00, b"whatever"),
    ] {
        let mut frames = Client::over(proxied(&server, &header).await, server.main(), Via::Tcp).await;
        frames.connect(Form::FlatJson, "alice").await;
        frames.leave().await;
        let mut socket = Client::over(proxied(&server, &header).await, server.main(), Via::WebSocket).await;
        socket.connect(Form::FlatJson, "alice").await;
        socket.leave().await;
        let mut http = Http::over(proxied(&server, &header).await);
        assert_eq!(http.get("/health").await.status, 200);
        let call = format!("/call/demo-{}", header.len());
        assert_eq!(http.get(&call).await.status, 200);
    }
    assert_eq!(metric(&server, "sigmux_proxy_headers_refused_total").await, 0);
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte_and_in_one_packet_with_what_follows() {
    let server = setup().start().await;
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    for header in [v1("203.0.113.7"), v2_tcp4([203, 0, 113, 7])] {
        let mut together = Http::over(proxied(&server, &[&header[..], request].concat()).await);
        assert_eq!(together.response(false).await.expect("an answer").status, 200);

        let mut stream = connect_from(PROXY, server.main()).await;
        stream.set_nodelay(true).expect("a TCP socket");
        for byte in [&header[..], request].concat() {
            stream.write_all(&[byte]).await.expect("the connection is open");
            tokio::task::yield_now().await;
        }
        assert_eq!(Http::over(stream).response(false).await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn a_proxy_without_a_valid_header_is_cut_and_counted() {
    let server = setup().start().await;
    let oversize = [SIGNATURE, &[0x21, 0x11], &[0xFF, 0xFF]].concat();
    let bad: [&[u8]; 6] = [
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xAA\x01",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 5000\r\n",
        &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
        &v2(0x23, 0x11, &[0; 12]),
        &oversize,
    ];
    for bytes in bad {
        let mut http = Http::over(proxied(&server, bytes).await);
        assert_eq!(http.until_end().await, b"", "{bytes:02x?}");
    }
    assert_eq!(metric(&server, "sigmux_proxy_headers_refused_total").await, bad.len() as u64);
}

#[tokio::test]
async fn a_header_that_does_not_come_is_waited_for_no_longer_than_a_first_byte() {
    let server = setup().server("first_message_seconds", "'500ms'").start().await;
    for start in [&b""[..], b"PROXY TCP4 203.0.113.7", &v2_tcp4([1, 2, 3, 4])[..20]] {
        let begin = Instant::now();
        let mut http = Http::over(proxied(&server, start).await);
        assert_eq!(http.until_end().await, b"");
        let lasted = begin.elapsed();
        assert!(lasted > Duration::from_millis(300) && lasted < Duration::from_secs(5), "{lasted:?}");
    }
    // A proxy that gives up is not waited for at all.
    let stream = proxied(&server, b"PROXY TCP4 203").await;
    let mut http = Http::over(stream);
    http.shut_down().await;
    assert_eq!(http.until_end().await, b"");
}

#[tokio::test]
async fn from_anybody_else_a_header_is_a_bad_request() {
    let server = setup().start().await;
    for header in [v1("203.0.113.7"), v2_tcp4([203, 0, 113, 7])] {
        let mut stream = connect_from(STRANGER, server.main()).await;
        stream.write_all(&header).await.expect("the connection is open");
        let answer = Http::over(stream).until_end().await;
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
    }
    let stranger = connect_from(STRANGER, server.main()).await;
    let mut stranger = Client::over(stranger, server.main(), Via::Tcp).await;
    stranger.connect(Form::FlatJson, "alice").await;
    assert_eq!(metric(&server, "sigmux_proxy_headers_refused_total").await, 0);
    // Nor is a header looked for where the listener has none.
    let mut stream = connect_from(PROXY, server.metrics()).await;
    stream.write_all(&v1("203.0.113.7")).await.expect("the connection is open");
    assert!(Http::over(stream).until_end().await.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test]
async fn connections_count_at_the_address_that_the_proxy_names_and_ipv6_by_its_slash_64() {
    let server = setup().server("max_connections_per_ip", 2).start().await;
    let mut open = Vec::new();
    for (client, status) in [
        ("203.0.113.7", 101),
        ("203.0.113.7", 101),
        ("203.0.113.7", 429),
        ("::ffff:203.0.113.7", 429),
        ("203.0.113.8", 101),
        ("2001:db8:0:1::1", 101),
        ("2001:db8:0:1:2:3:4:5", 101),
        ("2001:db8:0:1:ffff::", 429),
        ("2001:db8:0:2::1", 101),
    ] {
        let (found, http) = upgrade_over(proxied(&server, &v1(client)).await, "").await;
        assert_eq!(found, status, "{client}");
        open.push(http);
    }
    let mut frames = Client::over(proxied(&server, &v1("203.0.113.7")).await, server.main(), Via::Tcp).await;
    frames.send(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
    frames.error(429).await;
    // The proxy's own checks count nowhere.
    for _ in 0..5 {
        let (status, http) = upgrade_over(proxied(&server, &v2(0x20, 0x00, b"")).await, "").await;
        assert_eq!(status, 101);
        open.push(http);
    }
    drop(open);
    until("nobody is left", async || (metric(&server, "sigmux_addresses").await == 0).then_some(())).await;
}

#[tokio::test]
async fn guesses_count_at_the_address_that_the_proxy_names() {
    let server = setup().server("failed_logins_per_minute", 3).start().await;
    let login = async |client: &str, token: &str, code: u64| {
        let mut frames = Client::over(proxied(&server, &v1(client)).await, server.main(), Via::Tcp).await;
        let connect = Form::FlatJson.connect("alice", token);
        if code == 0 {
            frames.connect(Form::FlatJson, "alice").await;
        } else {
            frames.refused(&connect, code).await;
        }
    };
    for _ in 0..3 {
        login("203.0.113.7", "wrong", 401).await;
    }
    login("203.0.113.7", &token_of("alice"), 429).await;
    login("203.0.113.8", &token_of("alice"), 0).await;

    // And so at the one that a header of HTTP names, behind the proxy that has named another proxy.
    let create = async |named: &str, token: &str| {
        let mut http = Http::over(proxied(&server, &v1("127.0.0.8")).await);
        let headers = [("Authorization", token), ("X-Forwarded-For", named)];
        http.send(&http_request("POST", "/create-room", &headers, Some("{}"))).await;
        http.response(false).await.expect("an answer").status
    };
    for _ in 0..3 {
        assert_eq!(create("198.51.100.1, 203.0.113.9", "wrong").await, 401);
    }
    assert_eq!(
        create("198.51.100.2, 203.0.113.9", "wrong").await,
        429,
        "what a client writes itself is no help"
    );
    assert_eq!(create("203.0.113.9, 198.51.100.1", "wrong").await, 401);
    assert_eq!(create("203.0.113.7", "wrong").await, 429, "one table for all ways");
}

#[tokio::test]
async fn x_forwarded_for_counts_from_trusted_proxies_alone() {
    let server = setup()
        .server("proxy_protocol", false)
        .server("max_connections_per_ip", 2)
        .section("[calls]\nseat_rate_per_ip = 1")
        .start()
        .await;
    let mut open = Vec::new();
    for (source, named, status) in [
        (PROXY, "203.0.113.7", 101),
        (PROXY, "198.51.100.1, 203.0.113.7", 101),
        (PROXY, "198.51.100.2, 203.0.113.7, 127.0.0.8", 429),
        (PROXY, "203.0.113.8", 101),
        // Names nobody: then it is the proxy's own.
        (PROXY, "unknown", 101),
        (PROXY, "", 101),
        // A stranger's word does not count.
        (STRANGER, "203.0.113.9", 101),
        (STRANGER, "203.0.113.10", 101),
        (STRANGER, "203.0.113.11", 429),
    ] {
        let stream = connect_from(source, server.main()).await;
        let (found, http) = upgrade_over(stream, &format!("X-Forwarded-For: {named}\r\n")).await;
        assert_eq!(found, status, "{source:?}: {named}");
        open.push(http);
    }

    // One connection of a proxy carries the requests of many.
    let mut shared = Http::over(connect_from(PROXY, server.main()).await);
    let mut seat = async |named: &str, call: &str| {
        let headers = [("X-Forwarded-For", named)];
        shared.send(&http_request("GET", &format!("/call/{call}"), &headers, None)).await;
        shared.response(false).await.expect("an answer").status
    };
    assert_eq!((seat("203.0.113.7", "a").await, seat("203.0.113.7", "b").await), (200, 429));
    assert_eq!(seat("203.0.113.8", "c").await, 200);
}

#[tokio::test]
async fn a_websocket_on_a_proxys_kept_connection_counts_at_its_client() {
    let server = setup().server("proxy_protocol", false).server("max_connections_per_ip", 1).start().await;
    let upgraded = async |named: &str| {
        let mut http = Http::over(connect_from(PROXY, server.main()).await);
        assert_eq!(http.get("/health").await.status, 200);
        let (stream, rest) = http.into_parts();
        RawWs::upgrade_at("/", &format!("X-Forwarded-For: {named}\r\n"), stream, rest).await
    };
    let mut first = upgraded("203.0.113.7").await;
    first.send(&ws_frame(opcode::FIN | opcode::TEXT, br#"{"type":"register","id":"d"}"#)).await;
    let (_, answer) = first.next().await.expect("the connection is open");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&answer).expect("JSON")["type"],
        json!("registered")
    );
    let closed = upgraded("203.0.113.7").await.closed().await;
    assert_eq!(closed, (1008, "Too many connections from this address".to_owned()));
    let mut other = upgraded("203.0.113.8").await;
    other.send(&ws_frame(opcode::FIN | opcode::PING, b"")).await;
    assert_eq!(other.next().await.expect("the connection is open").0, opcode::FIN | opcode::PONG);
}

#[tokio::test]
async fn tls_begins_behind_the_header_however_both_are_cut() {
    let authority = Authority::new("tests");
    let server = setup().tls(&authority.server()).server("max_connections_per_ip", 1).start().await;
    let connector = authority.terms().connector();
    let mut open = Vec::new();
    for (client, status) in [("203.0.113.7", 101), ("203.0.113.7", 429), ("203.0.113.8", 101)] {
        let stream = proxied(&server, &v1(client)).await;
        let mut stream = handshake(&connector, stream).await.expect("the handshake is completed");
        stream.write_all(format!("GET / HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes()).await.expect("it is open");
        let mut head = [0; 12];
        within("an answer", stream.read_exact(&mut head)).await.expect("an answer");
        assert_eq!(head, *format!("HTTP/1.1 {status}").as_bytes(), "{client}");
        open.push(stream);
    }
    // The header is never inside, and nothing that is no TLS comes behind it.
    let mut stream = handshake(&connector, proxied(&server, &v1("203.0.113.9")).await).await.expect("done");
    stream.write_all(&v1("203.0.113.10")).await.expect("it is open");
    let mut said = Vec::new();
    within("the end", stream.read_to_end(&mut said)).await.expect("an answer");
    assert!(said.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&said));
    let mut http = Http::over(proxied(&server, &v1("203.0.113.11")).await);
    http.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(http.until_end().await.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(metric(&server, "sigmux_proxy_headers_refused_total").await, 0);
}

#[tokio::test]
async fn the_client_that_a_proxy_names_is_the_one_on_record() {
    let trail = Trail::new();
    let server = trail
        .setup()
        .listener("main", &["binary", "rooms", "broadcast", "calls", "devices"])
        .listener("devices", &["devices"])
        .section("[rooms]\nstore = 'memory'\n[devices]\nrequire_token = true\njwt_secret = 'hush hush hush'")
        .server("trusted_proxies", "['127.0.0.8/31']")
        .server("proxy_protocol", true)
        .start()
        .await;
    let address = async |event_type: &str, client_id: &str| {
        trail.entry(event_type, client_id).await["address"].as_str().map(String::from)
    };
    let mut alice = Client::over(proxied(&server, &v1("203.0.113.7")).await, server.main(), Via::Tcp).await;
    alice.connect(Form::FlatJson, "alice").await;
    assert_eq!(address("client_connected", "alice").await.as_deref(), Some("203.0.113.7:5000"));
    // Also when nobody is there any more whom the kernel could tell.
    drop(alice);
    assert_eq!(address("client_disconnected", "alice").await.as_deref(), Some("203.0.113.7:5000"));

    // Of X-Forwarded-For on a connection of a proxy behind a proxy, over HTTP and for a WebSocket.
    let named = "X-Forwarded-For: 198.51.100.1, 2001:db8::7\r\n";
    let mut http = Http::over(proxied(&server, &v1("127.0.0.8")).await);
    http.send(
        format!("POST /anonymous-signin HTTP/1.1\r\nHost: x\r\n{named}Content-Length: 0\r\n\r\n").as_bytes(),
    )
    .await;
    let user = json_of(&http.response(false).await.expect("an answer"))["username"].clone();
    let signed_in = address("anonymous_sign_in", user.as_str().expect("a name")).await;
    assert_eq!(signed_in.as_deref(), Some("2001:db8::7"));
    let mut stream = connect_from(PROXY, server.addr("devices")).await;
    stream.write_all(&v1("127.0.0.8")).await.expect("it is open");
    assert_eq!(upgrade_over(stream, named).await.0, 401);
    assert_eq!(address("client_rejected", "").await.as_deref(), Some("2001:db8::7"));
}
