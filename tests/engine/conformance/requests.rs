//! Requests of HTTP/1.1 (RFC 9110, RFC 9112) beyond where they end: lines, targets, versions, methods,
//! `Host`, limits, and what a connection is good for after each.

use super::*;

/// The last one of a connection.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const BEFORE: &str = "PUT /before HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nbefore";

/// These answers, in pieces of every size, as the first request of a connection and behind another;
/// then the server ends the connection.
async fn answered(addr: SocketAddr, name: &str, bytes: &[u8], expected: &[u16]) {
    let told = answers(addr, &[bytes.to_vec()]).await;
    assert!(told.iter().all(|answer| answer.header("date").is_some_and(is_date)), "{name}: {told:?}");
    for feed in [Feed::Whole, Feed::Pieces(1), Feed::Pieces(7), Feed::Pieces(997)] {
        if !feed.suits(&[bytes.to_vec()]) {
            continue;
        }
        let first = statuses(&answers(addr, &feed.cut(&[bytes.to_vec()])).await);
        assert_eq!(first, expected, "{name}, {feed:?}");
        let later = [BEFORE.as_bytes(), bytes].concat();
        let later = statuses(&answers(addr, &feed.cut(&[later])).await);
        assert_eq!(later, [&[200], expected].concat(), "{name}, {feed:?}, behind another");
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn is_date(value: &str) -> bool {
    let picture = b"Aaa, 00 Aaa 0000 00:00:00 AAA";
    let fits = |(byte, picture): (u8, &u8)| match picture {
        b'0' => byte.is_ascii_digit(),
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        other => byte == *other,
    };
    value.len() == picture.len() && value.bytes().zip(picture).all(fits)
}

fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

#[tokio::test]
async fn heads_that_are_none_are_refused() {
    let server = echo().start().await;
    let long_name = "A".repeat(100);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("LF behind the first line", b"GET / HTTP/1.1\nHost: x\r\n\r\n".to_vec(), 400),
        ("LF behind a header", b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n".to_vec(), 400),
        ("LF in place of the empty line", b"GET / HTTP/1.1\r\nHost: x\r\n\n".to_vec(), 400),
        ("LF alone everywhere", b"GET / HTTP/1.1\nHost: x\n\n".to_vec(), 400),
        ("CR in place of a line end", b"GET / HTTP/1.1\rHost: x\r\n\r\n".to_vec(), 400),
        ("CR before a header", get("\rX: y\r\n").into(), 400),
        ("CR in a value", get("X: val\rue\r\n").into(), 400),
        ("a folded line", get("X: y\r\n continued\r\n").into(), 400),
        ("a folded line by a tab", get("X: y\r\n\tcontinued\r\n").into(), 400),
        ("white space before the first header", b"GET / HTTP/1.1\r\n Host: x\r\n\r\n".to_vec(), 400),
        ("a line of white space", b"GET / HTTP/1.1\r\n \r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a space before the colon", get("X : y\r\n").into(), 400),
        ("a tab before the colon", get("X\t: y\r\n").into(), 400),
        ("an empty name", get(": y\r\n").into(), 400),
        ("no colon", get("NoColonHere\r\n").into(), 400),
        ("brackets in a name", get("Bad[Name]: y\r\n").into(), 400),
        ("a space in a name", get("Bad Name: y\r\n").into(), 400),
        ("a name that is not ASCII", get("X-T\u{eb}st: y\r\n").into(), 400),
        ("NUL in a name", get("X\0Y: y\r\n").into(), 400),
        ("NUL in a value", get("X: a\0b\r\n").into(), 400),
        ("BEL in a value", get("X: test\x07\r\n").into(), 400),
        ("DEL in a value", get("X: test\x7f\r\n").into(), 400),
        ("two spaces before the target", b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("two spaces behind the target", b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a tab before the target", b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a space behind the version", b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a space before the method", b" GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a line of words before", b"Extra lineGET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("no target", b"GET HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("no version", b"GET / \r\n\r\n".to_vec(), 400),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec(), 400),
        ("no minor version", b"GET / HTTP/1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("zeros in the version", b"GET / HTTP/01.01\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a space in the version", b"GET / HTTP/ 1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a version in lower case", b"GET / http/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("another protocol's version", b"GET / HTCPCP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("HTTP/9.9", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec(), 505),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: x\r\n\r\n".to_vec(), 505),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), 505),
        ("a method that is no token", b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400),
        ("a method without end", format!("{long_name} / HTTP/1.1\r\nHost: x\r\n\r\n").into(), 400),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        ("noise", (0..=255_u8).rev().collect(), 400),
    ];
    for (name, bytes, status) in cases {
        let bytes = [&bytes[..], get("").as_bytes()].concat();
        answered(server.addr("echo"), name, &bytes, &[status]).await;
    }
}

#[tokio::test]
async fn a_head_may_look_odd_and_be_one() {
    let server = echo().start().await;
    for (name, request) in [
        ("plain", get("")),
        ("empty lines before", format!("\r\n\r\n{}", get(""))),
        ("no white space behind colons", "GET / HTTP/1.1\r\nHost:x\r\nA:b\r\n\r\n".into()),
        ("tabs and spaces around values", "GET / HTTP/1.1\r\nhoSt:\tx \r\nA: \t b \t \r\n\r\n".into()),
        ("an empty value", get("X-Empty: \r\nX-Nothing:\r\n")),
        ("a value that is not ASCII", get("X: κόσμε\r\n")),
        ("all the letters of a name", get("!#$%&'*+-.^_`|~09azAZ: y\r\n")),
        ("a name twice", get("X: y\r\nX: z\r\n")),
        ("a port", "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n".into()),
        ("an IPv6 host", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n".into()),
        ("a range", get("Range: bytes=abc-xyz\r\n")),
        ("a type that nobody has", get("Accept: application/x-nonsense\r\n")),
    ] {
        answered(server.addr("echo"), name, format!("{request}{LAST}").as_bytes(), &[200, 200]).await;
    }
}

#[tokio::test]
async fn exactly_one_host_that_is_one_is_needed() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    for lines in [
        "",
        "Host: \r\n",
        "Host: x\r\nHost: x\r\n",
        "Host: x\r\nHost: other\r\n",
        "Host: user@x\r\n",
        "Host: x/path\r\n",
        "Host: x?query\r\n",
        "Host: x, other\r\n",
        "Host: a b\r\n",
        "Host: http://x\r\n",
        "Host: x:port\r\n",
        "Host: x:1:2\r\n",
        "Host: [::1\r\n",
        "Host: \u{e4}\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\n{lines}\r\n{}", get(""));
        answered(addr, lines, request.as_bytes(), &[400]).await;
    }
    let two = "GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n";
    answered(addr, "two in HTTP/1.0", two.as_bytes(), &[400]).await;
    answered(addr, "none in HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", &[200]).await;
}

#[tokio::test]
async fn a_target_is_a_path_an_address_or_the_star_of_options() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    for (target, status) in [
        ("/", 200),
        ("/a/b;c?d=e&f=/?", 200),
        ("//double", 200),
        ("/%00%ff", 200),
        ("http://localhost/", 200),
        ("http://localhost", 200),
        ("http://other.example:81/a?b", 200),
        ("HTTP://LOCALHOST/", 200),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n{LAST}");
        answered(addr, target, bytes.as_bytes(), &[status, 200]).await;
    }
    for target in [
        "*",
        "x",
        "localhost:80",
        "a/b",
        "?a",
        "/a#b",
        "#",
        "/pa th",
        "/caf\u{e9}",
        "/\0x",
        "/a\x7f",
        "ftp://x/",
        "http://",
        "http:///a",
        "http://user@x/",
        "http:/x",
        "://x",
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n{LAST}");
        answered(addr, target, bytes.as_bytes(), &[400]).await;
    }
    let bytes = format!("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n{LAST}");
    answered(addr, "OPTIONS *", bytes.as_bytes(), &[204, 200]).await;
    let bytes = format!("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n{LAST}");
    answered(addr, "CONNECT", bytes.as_bytes(), &[400]).await;
}

#[tokio::test]
async fn methods_are_told_apart_by_case_and_405_tells_those_that_there_are() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    for method in
        ["DELETE", "PATCH", "TRACE", "get", "Get", "FOOBAR", "GETT", "PROPFIND", "M-SEARCH", "CONNECT"]
    {
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n{LAST}");
        let answers = answers(addr, &[request.into()]).await;
        assert_eq!(statuses(&answers), [405, 200], "{method}");
        assert_eq!(answers[0].header("allow"), Some("GET,HEAD,OPTIONS,POST,PUT"), "{method}");
        assert!(!answers[0].text().contains("secret"));
    }
    // A body that nobody has use for does not hide the request behind it.
    for (method, status) in [("OPTIONS", 204), ("DELETE", 405)] {
        for body in [
            "Content-Length: 5\r\n\r\nhello",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\nx\r\n0\r\nX: y\r\n\r\n",
        ] {
            let bytes = format!("{method} / HTTP/1.1\r\nHost: x\r\n{body}{LAST}").into_bytes();
            for feed in [Feed::Whole, Feed::Pieces(1), Feed::Pieces(7)] {
                let answers = answers(addr, &feed.cut(std::slice::from_ref(&bytes))).await;
                assert_eq!(statuses(&answers), [status, 200], "{method}, {body}, {feed:?}");
                assert_eq!(answers[0].header("allow"), Some("GET,HEAD,OPTIONS,POST,PUT"));
                assert_eq!(answers[0].header("content-length").is_none(), status == 204);
            }
        }
    }
}

#[tokio::test]
async fn a_body_is_read_to_its_end_by_every_method_and_form() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    let sized = "Content-Length: 5\r\n\r\nhello";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let mut cases: Vec<(String, &[u8])> = Vec::new();
    for method in ["GET", "POST", "PUT"] {
        cases.push((format!("{method} / HTTP/1.1\r\nHost: x\r\n{sized}"), b"hello"));
        cases.push((format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), b""));
        cases.push((format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"), b""));
        cases.push((
            format!("{method} / HTTP/1.1\r\nHost: x\r\n{chunked}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
            b"hello world",
        ));
    }
    for (body, plain) in [
        ("0\r\n\r\n", &b""[..]),
        ("000\r\n\r\n", b""),
        ("A\r\nhelloworld\r\n0\r\n\r\n", b"helloworld"),
        ("00000a\r\nhelloworld\r\n0\r\n\r\n", b"helloworld"),
        ("5;ext=value\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("5;a;b=\"c;\\\"d\"\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("5 ; a = b\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        ("5\r\nhello\r\n0\r\nX-Checksum: abc\r\nX-Empty:\r\n\r\n", b"hello"),
        ("5\r\n\r\n0\r\n\r\n0\r\n\r\n", b"\r\n0\r\n"),
    ] {
        cases.push((format!("POST / HTTP/1.1\r\nHost: x\r\n{chunked}{body}"), plain));
    }
    for (request, body) in cases {
        let bytes = format!("{request}{request}{LAST}").into_bytes();
        for feed in [Feed::Whole, Feed::Pieces(1), Feed::Pieces(7)] {
            let answers = answers(addr, &feed.cut(std::slice::from_ref(&bytes))).await;
            assert_eq!(statuses(&answers), [200, 200, 200], "{request}, {feed:?}");
            assert!(answers[0].body == body && answers[1].body == body, "{request}, {feed:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_and_the_requests_own_is_passed_over() {
    let server = echo().start().await;
    for body in
        ["\r\n", "Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"]
    {
        let mut http = Http::open(server.addr("echo")).await;
        http.send(format!("HEAD / HTTP/1.1\r\nHost: x\r\n{body}{LAST}").as_bytes()).await;
        let head = http.response(true).await.expect("an answer");
        assert_eq!(head.status, 200);
        assert!(head.header("date").is_some());
        let last = http.response(false).await.expect("an answer to the request behind it");
        assert_eq!((last.status, last.body), (200, Vec::new()), "{body}");
        assert!(http.response(false).await.is_none());
    }
}

#[tokio::test]
async fn a_connection_lasts_as_its_requests_ask() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    let old = |headers: &str| format!("GET / HTTP/1.0\r\nHost: x\r\n{headers}\r\n");
    let cases = [
        ("1.1 with close", get("Connection: close\r\n"), 1),
        ("1.1 with close in a list", get("Connection: x, Close\r\n"), 1),
        ("1.1 with keep-alive and close", get("Connection: keep-alive\r\nConnection: close\r\n"), 1),
        ("1.1", get(""), 2),
        ("1.1 with keep-alive", get("Connection: keep-alive\r\n"), 2),
        ("1.0", old(""), 1),
        ("1.0 with keep-alive", old("Connection: Keep-Alive\r\n"), 2),
        ("1.0 with close", old("Connection: close\r\n"), 1),
    ];
    for (name, request, count) in cases {
        let bytes = format!("{request}{LAST}");
        answered(addr, name, bytes.as_bytes(), &vec![200; count]).await;
        let first = &answers(addr, &[request.into(), LAST.into()]).await[0];
        assert_eq!(first.minor_version, u8::from(name.starts_with("1.1")), "{name}");
    }
    // The answer to 1.0 says that it goes on, and has no chunks.
    let body = "Connection: keep-alive\r\nContent-Length: 5\r\n\r\nhello";
    let bytes = format!("POST / HTTP/1.0\r\n{body}POST / HTTP/1.0\r\n{body}{LAST}");
    let answers = answers(addr, &[bytes.into()]).await;
    assert_eq!(statuses(&answers), [200, 200, 200]);
    assert!(answers[0].header("connection").is_some_and(|it| it.eq_ignore_ascii_case("keep-alive")));
    assert_eq!(answers[1].body, b"hello");
}

#[tokio::test]
async fn expect_is_100_continue_or_417() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    let post = |version: &str, expect: &str| {
        format!("POST / HTTP/{version}\r\nHost: x\r\nExpect: {expect}\r\nContent-Length: 5\r\n\r\n")
    };
    for expect in ["200-ok", "100-continue, other", ""] {
        let bytes = format!("{}hello{LAST}", post("1.1", expect));
        answered(addr, expect, bytes.as_bytes(), &[417]).await;
    }
    for expect in ["100-continue", "100-Continue"] {
        let mut http = Http::open(addr).await;
        http.send(post("1.1", expect).as_bytes()).await;
        assert_eq!(http.response(false).await.expect("an interim answer").status, 100);
        http.send(b"hello").await;
        assert_eq!(http.response(false).await.expect("an answer").body, b"hello");
        // There is nothing to wait for.
        http.send(b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n").await;
        assert_eq!(http.response(false).await.expect("an answer").status, 200);
        // An old client knows no interim answers.
        http.send(format!("{}hello", post("1.0", expect)).as_bytes()).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 200);
        assert!(http.response(false).await.is_none());
    }
}

#[tokio::test]
async fn heads_over_the_limits_are_told_by_what_is_too_long() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    let long = "A".repeat(100_000);
    let many: String = (0..10_000).map(|n| format!("X-H-{n}: value\r\n")).collect();
    for (name, request, status) in [
        ("target", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
        ("query", format!("GET /?{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
        ("header value", get(&format!("X: {long}\r\n")), 431),
        ("header name", get(&format!("{long}: y\r\n")), 431),
        ("headers", get(&many), 431),
        ("number of headers", get(&"X: y\r\n".repeat(64)), 431),
        ("method", format!("{long} / HTTP/1.1\r\nHost: x\r\n\r\n"), 400),
    ] {
        answered(addr, name, format!("{request}{}", get("")).as_bytes(), &[status]).await;
    }
    for (name, request) in [
        ("target", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", &long[..8000])),
        ("header value", get(&format!("X: {}\r\n", &long[..16_000]))),
        ("number of headers", get(&"X: y\r\n".repeat(63))),
    ] {
        answered(addr, name, format!("{request}{LAST}").as_bytes(), &[200, 200]).await;
    }
}

/// Nothing is answered before its time, and nothing is refused that may still become a request.
#[tokio::test]
async fn a_request_that_is_cut_is_waited_for() {
    let server = echo().start().await;
    let request = "POST /hello HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n";
    let mut cut = Vec::new();
    for at in 0..request.len() {
        let mut http = Http::open(server.addr("echo")).await;
        http.send(&request.as_bytes()[..at]).await;
        cut.push((at, http));
    }
    // By now each of them would have its answer.
    assert_eq!(Http::open(server.addr("echo")).await.get("/").await.status, 200);
    for (at, mut http) in cut {
        http.send(&request.as_bytes()[at..]).await;
        let response = http.response(false).await.expect("an answer");
        assert_eq!((response.status, response.text()), (200, "hello"), "cut at {at}");
    }
}
