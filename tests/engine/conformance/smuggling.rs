//! Request smuggling: where a request ends is told in one way, or the request is not served. The
//! shard judges the first request of a connection, the front the later ones; each case is sent as
//! both, and in pieces.

use super::*;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
/// A body that looks like a request.
const BEFORE: &str = "POST /before HTTP/1.1\r\nHost: x\r\nContent-Length: 39\r\n\r\n\
    GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n\r\n";

/// One response with this status, then the end of the connection, however the request comes.
async fn refused(addr: SocketAddr, name: &str, request: &[u8], expected: &[u16]) {
    let to_head = request.starts_with(b"HEAD ");
    for feed in [Feed::Whole, Feed::Pieces(1), Feed::Pieces(7), Feed::Pieces(997)] {
        if !feed.suits(&[request.to_vec()]) {
            continue;
        }
        let request = [request, SMUGGLED.as_bytes()].concat();
        let first = statuses(&hear(addr, &feed.cut(std::slice::from_ref(&request)), to_head).await);
        assert!(first.len() == 1 && expected.contains(&first[0]), "{name}, {feed:?}: {first:?}");

        let later = [BEFORE.as_bytes(), BEFORE.as_bytes(), &request].concat();
        let later = hear(addr, &feed.cut(&[later]), to_head).await;
        let body = &BEFORE.as_bytes()[BEFORE.len() - 39..];
        assert!(later.iter().take(2).all(|answer| answer.body == body), "{name}, {feed:?}");
        assert_eq!(statuses(&later), [200, 200, first[0]], "{name}, {feed:?}, behind others");
    }
}

fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}")
}

#[tokio::test]
async fn two_ways_to_tell_a_length_are_refused() {
    let server = echo().start().await;
    let body = format!("0\r\n\r\n{SMUGGLED}");
    let length = body.len();
    let chunk = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let te = "Transfer-Encoding: chunked";
    let cases = [
        ("CL.TE", post(&format!("Content-Length: {length}\r\n{te}"), &body)),
        ("TE.CL", post(&format!("{te}\r\nContent-Length: 4"), &chunk)),
        ("TE.CL of 0", post(&format!("{te}\r\nContent-Length: 0"), &chunk)),
        ("CL.TE with others between", post(&format!("Content-Length: 6\r\nA: b\r\n{te}"), "0\r\n\r\nX")),
        ("CL.CL", post(&format!("Content-Length: 4\r\nContent-Length: {length}"), &body)),
        ("CL.CL alike", post("Content-Length: 5\r\ncontent-length: 5", "hello")),
        ("a list of lengths", post("Content-Length: 5, 10", "hello")),
        ("a list of the same length", post("Content-Length: 5, 5", "hello")),
        ("TE.TE", post(&format!("{te}\r\n{te}"), &chunk)),
        ("TE.TE, identity", post(&format!("{te}\r\nTransfer-Encoding: identity"), &chunk)),
        ("TE.TE, x", post(&format!("Transfer-Encoding: x\r\n{te}"), &chunk)),
        ("CL in GET", format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n{te}\r\n\r\n{body}")),
        ("CL.TE in HEAD", format!("HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n{te}\r\n\r\n{body}")),
    ];
    for (name, request) in cases {
        refused(server.addr("echo"), name, request.as_bytes(), &[400]).await;
    }
}

#[tokio::test]
async fn a_length_that_is_not_plain_digits_is_refused() {
    let server = echo().start().await;
    for value in [
        "-1",
        "-0",
        "+5",
        "0x5",
        "0o5",
        "1_0",
        "1 0",
        "5;",
        "5.",
        "5e0",
        "five",
        "",
        "\"5\"",
        "05",
        "00",
        "0200",
        "99999999999999999999",
        "18446744073709551616",
        "-123456789123456789123456789",
        "\u{665}",
    ] {
        let request = post(&format!("Content-Length: {value}"), "hello");
        refused(server.addr("echo"), &format!("length {value}"), request.as_bytes(), &[400]).await;
    }
}

#[tokio::test]
async fn a_coding_that_is_not_chunked_alone_is_refused() {
    let server = echo().start().await;
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for value in [
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked, gzip",
        "chunked, identity",
        "chunked, chunked",
        ", chunked",
        "chunked,",
        "chunked;a=b",
        "\"chunked\"",
        "'chunked'",
        "chunk ed",
        "",
        "chunked\u{a0}",
        "\u{b}chunked",
        "\u{c}chunked",
        "chunked\0",
        "[chunked]",
    ] {
        for more in ["", "\r\nContent-Length: 5"] {
            let request = post(&format!("Transfer-Encoding: {value}{more}"), body);
            refused(server.addr("echo"), &format!("coding {value:?}{more}"), request.as_bytes(), &[400])
                .await;
        }
    }
    refused(
        server.addr("echo"),
        "gzip first",
        post("Transfer-Encoding: gzip, chunked", body).as_bytes(),
        &[501],
    )
    .await;
    let old = post("Transfer-Encoding: chunked", body).replace("HTTP/1.1", "HTTP/1.0");
    refused(server.addr("echo"), "in HTTP/1.0", old.as_bytes(), &[400]).await;
}

#[tokio::test]
async fn names_that_are_nearly_those_of_a_length_are_refused_or_mean_nothing() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    for header in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "Transfer\tEncoding: chunked",
        "Transfer-Encoding chunked",
        "\u{feff}Transfer-Encoding: chunked",
        "Content-Length : 5",
        "Content\0Length: 5",
        ": 5",
    ] {
        let request = post(&format!("{header}\r\nX: y"), "5\r\nhello\r\n0\r\n\r\n");
        refused(addr, &format!("{header:?}"), request.as_bytes(), &[400]).await;
    }
    for header in ["Transfer_Encoding: chunked", "Content_Length: 50", "X-Transfer-Encoding: chunked"] {
        let request = post(&format!("{header}\r\nContent-Length: 5\r\nConnection: close"), "hello");
        for feed in [Feed::Whole, Feed::Pieces(1)] {
            let answers = answers(addr, &feed.cut(&[request.clone().into()])).await;
            assert!(answers.len() == 1 && answers[0].body == b"hello", "{header}: {answers:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_in_chunks_is_refused() {
    let server = echo().start().await;
    for body in [
        // Sizes.
        &b"\r\n0\r\n\r\n"[..],
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"1_0\r\nhello world!!!!!\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\t\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        b"00000000000000000000005\r\nhello\r\n0\r\n\r\n",
        // Line ends.
        b"5\nhello\n0\n\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\rhello\r\n0\r\n\r\n",
        b"5\n\rhello\r\n0\r\n\r\n",
        // Data that is shorter or longer than its size.
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!!\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        // Extensions.
        b"5;\r\nhello\r\n0\r\n\r\n",
        b"5;\nhello\r\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"5;bad[=x\r\nhello\r\n0\r\n\r\n",
        b"5;\0ext\r\nhello\r\n0\r\n\r\n",
        b"5;a\rX\r\nhello\r\n0\r\n\r\n",
        b"5;a=\"b\r\nhello\r\n0\r\n\r\n",
        b"5;a=\r\nhello\r\n0\r\n\r\n",
        // Trailers.
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nA: b\n\r\n",
        b"5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
        b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
        b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n0\r\nHost: evil\r\n\r\n",
        b"5\r\nhello\r\n0\r\nAuthorization: Bearer evil\r\n\r\n",
    ] {
        let head = post("Transfer-Encoding: chunked", "");
        let request = [head.as_bytes(), body, SMUGGLED.as_bytes()].concat();
        for before in ["", BEFORE] {
            // In one piece, the fault is there before the answer begins.
            let whole = [before.as_bytes(), &request].concat();
            let told = statuses(&answers(server.addr("echo"), std::slice::from_ref(&whole)).await);
            assert_eq!(told.last(), Some(&400), "{}", body.escape_ascii());
            assert_eq!(told.len(), 1 + before.len().min(1), "{}", body.escape_ascii());
            // Byte by byte the echo may have begun; it does not come to its end.
            let pieces = Feed::Pieces(1).cut(&[whole]);
            let (mut stream, _) = Http::open(server.addr("echo")).await.into_parts();
            for piece in pieces {
                if stream.write_all(&piece).await.is_err() {
                    break;
                }
            }
            let mut received = Vec::new();
            let _ = within("the end", stream.read_to_end(&mut received)).await;
            let received = String::from_utf8_lossy(&received);
            assert!(received.matches("HTTP/1.1 ").count() <= 1 + before.len().min(1), "{received}");
            assert!(!received.ends_with("\r\n0\r\n\r\n"), "{}: {received}", body.escape_ascii());
        }
    }
}

/// What follows is one request more or less, depending on who reads it.
#[tokio::test]
async fn what_lies_behind_a_request_is_not_served_when_the_request_is_not() {
    let server = echo().start().await;
    let addr = server.addr("echo");
    let many = SMUGGLED.repeat(50);
    for bad in [
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    ] {
        refused(addr, bad, format!("{bad}{many}").as_bytes(), &[400]).await;
    }
}

/// A request for a WebSocket is followed by frames, or by requests; who answers it knows which.
#[tokio::test]
async fn behind_an_upgrade_lie_frames_if_it_is_granted_and_else_requests_or_nothing() {
    let server = Setup::new().listener("echo", &["echo"]).listener("pages", &["metrics"]).start().await;
    let ask = "GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let last = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for before in ["", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let count = before.len().min(1);
        for feed in [Feed::Whole, Feed::Pieces(1), Feed::Pieces(7)] {
            // No WebSockets are served: the request is one like others, with or without a body.
            for body in ["\r\n", "Content-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"] {
                let bytes = format!("{before}{ask}{body}{ask}{body}{last}").into_bytes();
                let told = statuses(&answers(server.addr("pages"), &feed.cut(&[bytes])).await);
                assert_eq!(told, vec![200; count + 3], "{feed:?}, {body:?}");
            }
            // They are served, and this one is refused: nothing behind it is read.
            for wrong in ["Content-Length: 35\r\n\r\n", "Host: y\r\n\r\n", "Sec-WebSocket-Version: 8\r\n\r\n"]
            {
                let bytes = format!("{before}{ask}{wrong}{SMUGGLED}{SMUGGLED}").into_bytes();
                let told = statuses(&answers(server.addr("echo"), &feed.cut(&[bytes])).await);
                assert_eq!(told.len(), count + 1, "{feed:?}, {wrong}");
                assert!([400, 426].contains(told.last().expect("an answer")), "{feed:?}, {wrong}");
            }
            // It is granted: what looks like a request is a frame, and a bad one.
            let bytes = format!("{before}{ask}\r\n{SMUGGLED}").into_bytes();
            let mut http = Http::open(server.addr("echo")).await;
            for piece in feed.cut(&[bytes]) {
                http.send(&piece).await;
            }
            for _ in 0..count {
                assert_eq!(http.response(false).await.expect("an answer").status, 200);
            }
            assert_eq!(http.response(true).await.expect("an answer").status, 101);
            let end = http.until_end().await;
            assert!(end.starts_with(&[FIN | CLOSE]) && end[2..4] == 1002_u16.to_be_bytes(), "{end:02x?}");
        }
    }
}
