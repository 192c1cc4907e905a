//! The opening handshake, by the shard for a connection's first request, and by the front for one
//! behind others: both judge alike.

use super::*;

const LINES: [&str; 5] = [
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const BEFORE: &str = "GET /before HTTP/1.1\r\nHost: x\r\n\r\n";

/// The request above with the lines that begin like `lines` replaced, or left out where no value
/// is given.
fn with(lines: &[&str]) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_lowercase();
    let kept = LINES.iter().filter(|kept| !lines.iter().any(|line| name(line) == name(kept)));
    let given = lines.iter().filter(|line| line.contains(':'));
    let all: Vec<&str> = kept.chain(given).copied().collect();
    format!("GET /any?x HTTP/1.1\r\n{}\r\n\r\n", all.join("\r\n"))
}

/// The answers to `request` as the first of a connection, and as a later one.
async fn both_ways(addr: SocketAddr, request: &str) -> [Vec<Response>; 2] {
    let later = format!("{BEFORE}{request}");
    let to_head = request.starts_with("HEAD ");
    let first = hear(addr, &[request.into()], to_head).await;
    let mut second = hear(addr, &[later.into()], to_head).await;
    assert_eq!(second.remove(0).status, 200);
    [first, second]
}

#[tokio::test]
async fn requests_that_ask_rightly_in_odd_ways_are_granted() {
    let server = echo().start().await;
    let cases: Vec<(&str, String)> = vec![
        ("as in the RFC", with(&[])),
        ("a list in Connection", with(&["Connection: keep-alive, Upgrade"])),
        ("odd case in Connection", with(&["CONNECTION: uPGRADE"])),
        ("two lines of Connection", with(&["Connection: keep-alive", "Connection:\tupgrade,x"])),
        ("odd case in Upgrade", with(&["upgrade: WebSocket"])),
        ("a list in Upgrade", with(&["Upgrade: h2c , websocket"])),
        ("two lines of Upgrade", with(&["Upgrade: h2c", "Upgrade: websocket"])),
        ("white space around the key", with(&["Sec-WebSocket-Key: \t dGhlIHNhbXBsZSBub25jZQ== \t"])),
        ("a body of no bytes", with(&["Content-Length: 0"])),
        ("an Origin, cookies and more", with(&["Origin: null", "Cookie: a=b", "X-Empty: "])),
        ("a target with a host", with(&[]).replace("/any", "http://localhost/any")),
        ("an empty line before", format!("\r\n{}", with(&[]))),
    ];
    for (name, request) in cases {
        let frame = ws_frame(FIN | TEXT, b"hello");
        let request = [request.as_bytes(), &frame, &closing(1000)].concat();
        let later = [BEFORE.as_bytes(), &request].concat();
        for (later, bytes) in [(false, request), (true, later)] {
            for feed in [Feed::Whole, Feed::Pieces(1), Feed::Pieces(7)] {
                let mut http = Http::open(server.addr("echo")).await;
                for piece in feed.cut(std::slice::from_ref(&bytes)) {
                    http.send(&piece).await;
                }
                if later {
                    assert_eq!(http.response(false).await.expect("an answer").status, 200);
                }
                let head = http.response(true).await.expect("an answer");
                assert_eq!(head.status, 101, "{name}, {feed:?}");
                assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT), "{name}");
                assert_eq!(head.header("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
                assert_eq!(head.header("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
                assert_eq!(head.header("content-length"), None);
                assert_eq!(head.header("sec-websocket-extensions"), None);
                let end = http.until_end().await;
                assert_eq!(end, b"\x81\x05hello\x88\x02\x03\xe8", "{name}, {feed:?}, later: {later}");
            }
        }
    }
}

#[tokio::test]
async fn requests_that_ask_wrongly_are_refused_and_nothing_behind_them_is_read() {
    let server = echo().start().await;
    let lines = LINES.join("\r\n");
    let key = |value: &str| with(&[&format!("Sec-WebSocket-Key: {value}")]);
    let cases: Vec<(&str, String, u16)> = vec![
        ("no key", with(&["Sec-WebSocket-Key"]), 400),
        ("an empty key", with(&["Sec-WebSocket-Key: "]), 400),
        ("a short key", key("c2hvcnQ="), 400),
        ("a long key", key("bG9uZ2VyIHRoYW4gMTYgYnl0ZXM="), 400),
        ("a key that is no base64", key("dGhlIHNhbXBsZSBub25jZQ!!"), 400),
        ("a key without padding", key("dGhlIHNhbXBsZSBub25jZQ"), 400),
        ("two keys", with(&["X: y"]).replace("X: y", LINES[4]), 400),
        ("no version", with(&["Sec-WebSocket-Version"]), 426),
        ("version 0", with(&["Sec-WebSocket-Version: 0"]), 426),
        ("version 8", with(&["Sec-WebSocket-Version: 8"]), 426),
        ("version 14", with(&["Sec-WebSocket-Version: 14"]), 426),
        ("version 013", with(&["Sec-WebSocket-Version: 013"]), 426),
        ("a list of versions", with(&["Sec-WebSocket-Version: 13, 8"]), 426),
        ("no Connection", with(&["Connection"]), 400),
        ("another Connection", with(&["Connection: keep-alive"]), 400),
        ("a longer word in Connection", with(&["Connection: Upgrade2"]), 400),
        ("POST", with(&[]).replace("GET", "POST"), 400),
        ("HEAD", with(&[]).replace("GET", "HEAD"), 400),
        ("lower-case get", with(&[]).replace("GET", "get"), 400),
        ("HTTP/1.0", with(&[]).replace("HTTP/1.1", "HTTP/1.0"), 400),
        ("no Host", with(&["Host"]), 400),
        ("two Hosts", with(&["X: y"]).replace("X: y", "Host: other"), 400),
        ("no host in Host", with(&["Host: a b"]), 400),
        ("a body with a length", with(&["Content-Length: 5"]) + "hello", 400),
        ("a body in chunks", with(&["Transfer-Encoding: chunked"]) + "5\r\nhello\r\n0\r\n\r\n", 400),
        ("two lengths", with(&["Content-Length: 0", "content-length: 0"]), 400),
        ("a fragment in the target", with(&[]).replace("/any", "/any#x"), 400),
        ("a line that ends in LF", format!("GET / HTTP/1.1\r\n{lines}\n\r\n"), 400),
    ];
    for (name, request, status) in cases {
        let behind = format!("{request}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
        for (later, answers) in both_ways(server.addr("echo"), &behind).await.iter().enumerate() {
            assert_eq!(statuses(answers), [status], "{name}, later: {later}");
            let version = answers[0].header("sec-websocket-version");
            assert_eq!(version, (status == 426).then_some("13"), "{name}, later: {later}");
        }
    }
}

#[tokio::test]
async fn a_request_for_another_protocol_is_answered_in_this_one() {
    let server = echo().start().await;
    for upgrade in ["h2c", "websocket2", "web socket", "TLS/1.0", ""] {
        let request = with(&[&format!("Upgrade: {upgrade}"), "Connection: Upgrade, close"]);
        for answers in both_ways(server.addr("echo"), &request).await {
            assert_eq!(statuses(&answers), [200], "{upgrade}");
        }
    }
}

#[tokio::test]
async fn the_first_subprotocol_that_is_offered_is_chosen() {
    let server = echo().start().await;
    for (offer, chosen) in [
        (&["Sec-WebSocket-Protocol: chat, superchat"][..], Some("chat")),
        (&["Sec-WebSocket-Protocol: v1.x", "Sec-WebSocket-Protocol: v2"], Some("v1.x")),
        (&["Sec-WebSocket-Protocol: not a token"], None),
        (&[], None),
    ] {
        let request = [with(offer).as_bytes(), &closing(1000)].concat();
        for (bytes, later) in [(request.clone(), false), ([BEFORE.as_bytes(), &request].concat(), true)] {
            let mut http = Http::open(server.addr("echo")).await;
            http.send(&bytes).await;
            if later {
                assert_eq!(http.response(false).await.expect("an answer").status, 200);
            }
            let head = http.response(true).await.expect("an answer");
            assert_eq!((head.status, head.header("sec-websocket-protocol")), (101, chosen), "{offer:?}");
        }
    }
}

#[tokio::test]
async fn extensions_are_offered_in_vain() {
    let server = echo().start().await;
    for offer in ["permessage-deflate; client_max_window_bits", "x-webkit-deflate-frame", "foo, bar; baz=2"] {
        let request = with(&[&format!("Sec-WebSocket-Extensions: {offer}")]);
        let mut http = Http::open(server.addr("echo")).await;
        http.send(request.as_bytes()).await;
        let head = http.response(true).await.expect("an answer");
        assert_eq!((head.status, head.header("sec-websocket-extensions")), (101, None));
        // So compressed frames are none.
        http.send(&ws_frame(FIN | RSV1 | TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
        assert!(http.until_end().await.starts_with(&[FIN | CLOSE]));
    }
}
