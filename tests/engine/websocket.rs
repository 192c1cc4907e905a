//! RFC 6455 as seen from outside: the handshake's refusals, the close codes, the echo service.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::opcode::*;
use crate::harness::*;

fn with_echo() -> Setup {
    Setup::new().listener("main", &["binary"]).listener("echo", &["echo"])
}

#[tokio::test]
async fn echo_gives_text_and_binary_back_as_they_came() {
    let server = with_echo().start().await;
    let mut socket = Client::open(server.addr("echo"), Via::WebSocket).await.into_websocket();
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        for message in [Message::binary(vec![0xAA; length]), Message::text("é".repeat(length / 2))] {
            within("the echo takes it", socket.send(message.clone())).await.expect("the socket is open");
            let back = within("the echo comes", socket.next()).await.expect("the socket is open");
            assert!(back.expect("a message") == message, "{length} bytes");
        }
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_payload() {
    let server = with_echo().start().await;
    for listener in ["main", "echo"] {
        let mut raw = RawWs::open(server.addr(listener)).await;
        for payload in [&b""[..], b"hello", &[0xAA; 125]] {
            raw.send(&ws_frame(FIN | PING, payload)).await;
            assert_eq!(raw.next().await, Some((FIN | PONG, payload.to_vec())));
        }
        // A pong that nobody asked for is taken silently.
        raw.send(&ws_frame(FIN | PONG, b"unasked")).await;
        raw.send(&ws_frame(FIN | PING, b"next")).await;
        assert_eq!(raw.next().await, Some((FIN | PONG, b"next".to_vec())));
    }
}

#[tokio::test]
async fn violations_close_with_the_code_that_names_them() {
    let server = with_echo().start().await;
    let text = |payload: &[u8]| ws_frame(FIN | TEXT, payload);
    let long_ping = {
        let mut bytes = vec![FIN | PING, 0x80 | 126, 0, 126, 0, 0, 0, 0];
        bytes.extend([0; 126]);
        bytes
    };
    let endless = {
        let mut bytes = vec![FIN | BINARY, 0x80 | 127];
        bytes.extend(u64::MAX.to_be_bytes());
        bytes.extend([0; 4]);
        bytes
    };
    let too_long_in_pieces = {
        let piece = vec![0; 400_000];
        let mut bytes = ws_frame(BINARY, &piece);
        bytes.extend(ws_frame(CONTINUATION, &piece));
        bytes.extend(ws_frame(CONTINUATION, &piece));
        bytes
    };
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("a reserved opcode", ws_frame(FIN | 0x3, b"x"), &[1002]),
        ("a reserved control opcode", ws_frame(FIN | 0xB, b""), &[1002]),
        ("a continuation of nothing", ws_frame(FIN | CONTINUATION, b"x"), &[1002]),
        ("a message within a message", [ws_frame(TEXT, b"a"), ws_frame(FIN | TEXT, b"b")].concat(), &[1002]),
        ("a ping of 126 bytes", long_ping, &[1002]),
        ("a fragmented ping", ws_frame(PING, b"x"), &[1002]),
        ("a fragmented close", ws_frame(CLOSE, &1000_u16.to_be_bytes()), &[1002]),
        ("an unmasked text", vec![FIN | TEXT, 1, b'x'], &[1002]),
        ("RSV1 on a text", ws_frame(FIN | RSV1 | TEXT, b"x"), &[1002]),
        ("RSV1 on a ping", ws_frame(FIN | RSV1 | PING, b"x"), &[1002]),
        ("a length over 63 bits", endless, &[1002, 1009]),
        ("too long in pieces", too_long_in_pieces, &[1009]),
        ("bad UTF-8", text(b"\xff"), &[1007]),
        ("an overlong code", text(b"\xc0\xaf"), &[1007]),
        ("a surrogate", text(b"\xed\xa0\x80"), &[1007]),
        ("a code cut by the message's end", text(b"abc\xe2\x82"), &[1007]),
        ("bad UTF-8 in a first fragment", ws_frame(TEXT, b"abc\xff"), &[1007]),
        (
            "bad UTF-8 across fragments",
            [ws_frame(TEXT, b"\xe2"), ws_frame(CONTINUATION, b"\x82"), ws_frame(FIN | CONTINUATION, b"\x41")]
                .concat(),
            &[1007],
        ),
        ("a close of one byte", ws_frame(FIN | CLOSE, b"\x03"), &[1002]),
        ("a close with 999", ws_frame(FIN | CLOSE, &999_u16.to_be_bytes()), &[1002]),
        ("a close with 1005", ws_frame(FIN | CLOSE, &1005_u16.to_be_bytes()), &[1002]),
        ("a close with 1006", ws_frame(FIN | CLOSE, &1006_u16.to_be_bytes()), &[1002]),
        ("a close with 2000", ws_frame(FIN | CLOSE, &2000_u16.to_be_bytes()), &[1002]),
        ("a close with bad UTF-8", ws_frame(FIN | CLOSE, b"\x03\xe8\xff"), &[1007, 1002]),
    ];
    for (name, bytes, codes) in cases {
        for listener in ["echo", "main"] {
            let mut raw = RawWs::open(server.addr(listener)).await;
            raw.send(&bytes).await;
            let (code, _) = raw.closed().await;
            assert!(codes.contains(&code), "{name} on {listener} closed with {code}");
        }
    }
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_ends_the_connection() {
    let server = with_echo().start().await;
    for listener in ["echo", "main"] {
        for code in [1000_u16, 1001, 1011, 3000, 4999] {
            let mut raw = RawWs::open(server.addr(listener)).await;
            raw.send(&ws_frame(FIN | CLOSE, &[&code.to_be_bytes()[..], b"bye"].concat())).await;
            let (first, payload) = raw.next().await.expect("a Close comes back");
            assert_eq!((first, &payload[..2]), (FIN | CLOSE, &code.to_be_bytes()[..]), "{listener}");
            assert_eq!(raw.next().await, None);
        }
        let mut raw = RawWs::open(server.addr(listener)).await;
        raw.send(&ws_frame(FIN | CLOSE, b"")).await;
        assert_eq!(raw.next().await.expect("a Close comes back").0, FIN | CLOSE);
        assert_eq!(raw.next().await, None);
    }
}

#[tokio::test]
async fn good_utf8_may_be_cut_anywhere_between_fragments() {
    let server = with_echo().start().await;
    let text = "κόσμε🦀é".as_bytes();
    for cut in 0..=text.len() {
        let mut raw = RawWs::open(server.addr("echo")).await;
        raw.send(&ws_frame(TEXT, &text[..cut])).await;
        raw.send(&ws_frame(FIN | CONTINUATION, &text[cut..])).await;
        let mut back = Vec::new();
        loop {
            let (first, payload) = raw.next().await.expect("the echo");
            back.extend(payload);
            if first & FIN != 0 {
                break;
            }
        }
        assert_eq!(back, text, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_bad_handshake_is_refused_in_http() {
    let server = Setup::new().start().await;
    let mut bystanders = Bystanders::login(&server).await;
    let upgrade = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("no key", format!("GET / HTTP/1.1\r\n{upgrade}{version}\r\n"), &[400]),
        (
            "a short key",
            format!("GET / HTTP/1.1\r\n{upgrade}{version}Sec-WebSocket-Key: abc\r\n\r\n"),
            &[400],
        ),
        ("no version", format!("GET / HTTP/1.1\r\n{upgrade}{key}\r\n"), &[400, 426]),
        (
            "version 8",
            format!("GET / HTTP/1.1\r\n{upgrade}{key}Sec-WebSocket-Version: 8\r\n\r\n"),
            &[400, 426],
        ),
        (
            "a POST",
            format!("POST / HTTP/1.1\r\n{upgrade}{key}{version}Content-Length: 0\r\n\r\n"),
            &[400, 405, 404],
        ),
        ("no upgrade", "GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), &[400, 404, 426]),
        ("no HTTP version", "GET /\r\n\r\n".into(), &[400]),
        ("HTTP/1.0", format!("GET / HTTP/1.0\r\n{upgrade}{key}{version}\r\n"), &[400, 404, 426, 505]),
    ];
    for (name, request, statuses) in cases {
        let mut http = Http::open(server.main()).await;
        http.send(request.as_bytes()).await;
        let response = http.response(false).await.expect("an answer");
        assert!(statuses.contains(&response.status), "{name} got {}", response.status);
        if response.status == 426 {
            let tells =
                ["sec-websocket-version", "upgrade"].iter().any(|name| response.header(name).is_some());
            assert!(tells, "{name}: 426 without a word on what would do");
        }
        bystanders.talk().await;
    }
}

#[tokio::test]
async fn no_extension_is_ever_agreed_to() {
    let server = Setup::new().start().await;
    let mut http = Http::open(server.main()).await;
    http.send(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
          Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
    )
    .await;
    let response = http.response(false).await.expect("an answer");
    assert_eq!(response.status, 101);
    assert_eq!(response.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn the_shard_is_told_only_where_it_was_asked_for() {
    let server = Setup::new()
        .section("[[listener]]\nname = 'silent'\nbind = '127.0.0.1:0'\nserves = ['binary']")
        .listener("main", &["binary"])
        .start()
        .await;
    let silent = Client::open(server.addr("silent"), Via::WebSocket).await;
    assert_eq!(silent.shard, None);
    let mut shards = std::collections::HashSet::new();
    for _ in 0..64 {
        let client = Client::open(server.main(), Via::WebSocket).await;
        shards.insert(client.shard.clone().expect("the shard is told"));
    }
    assert_eq!(shards.len(), 2, "both shards take connections: {shards:?}");
}
