//! How a body may come: announced, in chunks, byte by byte, one behind the other.

use tokio::io::AsyncWriteExt;

use super::both;
use crate::harness::*;

fn chunked(body: &str, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.as_bytes().chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

const CHUNKED: &[u8] = b"POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

/// Two seats, the second of which listens.
async fn seats(server: &Server) -> (Seat, Caller) {
    let first = Seat::take(server.main(), "demo").await;
    let second = Seat::take(server.main(), "demo").await;
    (first, second.connect(server.main()).await)
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let server = both().start().await;
    let (seat, mut caller) = seats(&server).await;
    let mut http = Http::open(server.main()).await;
    for body in ["first", "second"] {
        let json = seat.event("OFFER", body).to_string();
        let head = format!(
            "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            json.len()
        );
        http.send(head.as_bytes()).await;
        assert_eq!(http.response(false).await.expect("an interim answer").status, 100);
        http.send(json.as_bytes()).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 200);
        caller.hears("demo", "OFFER", Some(body)).await;
    }
}

/// A client that does not wait for the interim answer is understood as well.
#[tokio::test]
async fn a_body_that_comes_without_waiting_for_100_is_taken() {
    let server = both().start().await;
    let (seat, mut caller) = seats(&server).await;
    let mut http = Http::open(server.main()).await;
    let json = seat.event("OFFER", "at once").to_string();
    http.send(&http_request("POST", "/signal", &[("Expect", "100-continue")], Some(&json))).await;
    let mut response = http.response(false).await.expect("an answer");
    if response.status == 100 {
        response = http.response(false).await.expect("an answer");
    }
    assert_eq!(response.status, 200);
    caller.hears("demo", "OFFER", Some("at once")).await;
}

#[tokio::test]
async fn a_refusal_needs_no_body_to_be_sent() {
    let server = both().start().await;
    for (path, status) in [("/create-room", 422), ("/nothing", 404)] {
        let mut http = Http::open(server.main()).await;
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        http.send(head.as_bytes()).await;
        let first = http.response(false).await.expect("an answer").status;
        assert!(first == 100 || first == status, "{path}: {first}");
        if first == 100 {
            http.send(b"hello").await;
            assert_eq!(http.response(false).await.expect("an answer").status, status, "{path}");
        }
    }
}

#[tokio::test]
async fn a_body_in_chunks_is_one_body() {
    let server = both().start().await;
    let (seat, mut caller) = seats(&server).await;
    let mut http = Http::open(server.main()).await;
    let text = "x".repeat(50_000);
    let json = seat.event("OFFER", &text).to_string();
    for size in [100, 4096, 60_000] {
        http.send(&[CHUNKED, &chunked(&json, size)].concat()).await;
        assert_eq!(http.response(false).await.expect("an answer").status, 200, "chunks of {size}");
        caller.hears("demo", "OFFER", Some(&text)).await;
    }
}

#[tokio::test]
async fn chunks_may_have_extensions_and_trailers_and_come_byte_by_byte() {
    let server = both().start().await;
    let (seat, mut caller) = seats(&server).await;
    let mut http = Http::open(server.main()).await;
    let json = seat.event("OFFER", "piece by piece").to_string();
    let (start, end) = json.split_at(10);
    let body =
        format!("{:X};name=value\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\nX-Trailer: y\r\n\r\n", 10, end.len());
    for byte in [CHUNKED, body.as_bytes()].concat() {
        http.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(http.response(false).await.expect("an answer").status, 200);
    caller.hears("demo", "OFFER", Some("piece by piece")).await;
    assert_eq!(http.get("/call/another").await.status, 200, "the connection goes on behind a trailer");
}

#[tokio::test]
async fn pipelined_signals_are_answered_and_delivered_in_their_order() {
    let server = both().start().await;
    let (seat, mut caller) = seats(&server).await;
    let mut http = Http::open(server.main()).await;
    let mut requests = Vec::new();
    for number in 0..60 {
        let json = seat.event("CANDIDATE", &number.to_string()).to_string();
        if number % 3 == 0 {
            requests.extend(CHUNKED);
            requests.extend(chunked(&json, 16));
        } else {
            requests.extend(http_request("POST", "/signal", &[], Some(&json)));
        }
        if number % 10 == 5 {
            requests.extend(http_request("GET", "/call/a/b", &[], None));
            requests.extend(http_request("POST", "/signal", &[], Some("{")));
        }
    }
    http.send(&requests).await;
    for number in 0..60 {
        assert_eq!(http.response(false).await.expect("an answer").status, 200, "{number}");
        if number % 10 == 5 {
            assert_eq!(http.response(false).await.expect("an answer").status, 404, "{number}");
            assert_eq!(http.response(false).await.expect("an answer").status, 400, "{number}");
        }
    }
    for number in 0..60 {
        caller.hears("demo", "CANDIDATE", Some(&number.to_string())).await;
    }
}

#[tokio::test]
async fn rooms_can_be_created_in_a_pipeline() {
    let server = both().start().await;
    let identity = Identity::sign_in(server.main()).await;
    let bearer = format!("Bearer {}", identity.id_token);
    let mut http = Http::open(server.main()).await;
    let mut requests = Vec::new();
    for number in 0..20 {
        match number % 4 {
            3 => requests.extend(http_request("POST", "/create-room", &[], Some("{}"))),
            2 => requests.extend(http_request(
                "POST",
                "/create-room",
                &[("Authorization", &bearer)],
                Some("{}"),
            )),
            _ => requests.extend(http_request("POST", "/create-room", &[("Authorization", &bearer)], None)),
        }
    }
    http.send(&requests).await;
    let mut rooms = Vec::new();
    for number in 0..20 {
        let response = http.response(false).await.expect("an answer");
        assert_eq!(response.status, if number % 4 == 3 { 422 } else { 200 });
        if response.status == 200 {
            let room = Room::of(&json_of(&response));
            assert!(!rooms.contains(&room));
            rooms.push(room);
        }
    }
    for room in rooms {
        Peer::register(server.main(), room.registration("Peer", &identity)).await;
    }
}

#[tokio::test]
async fn a_client_that_half_closes_behind_its_request_gets_the_answer() {
    let server = both().start().await;
    let (seat, mut caller) = seats(&server).await;
    let json = seat.event("OFFER", "the last word").to_string();
    let (mut stream, _) = Http::open(server.main()).await.into_parts();
    stream.write_all(&http_request("POST", "/signal", &[], Some(&json))).await.expect("it is sent");
    stream.shutdown().await.expect("a half-close");
    let mut answer = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    within("the answer and the end", reading).await.expect("bytes");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    caller.hears("demo", "OFFER", Some("the last word")).await;
}

#[tokio::test]
async fn a_client_that_leaves_within_a_body_signals_nothing_and_disturbs_nobody() {
    let server = both().start().await;
    let (seat, mut caller) = seats(&server).await;
    let json = seat.event("OFFER", "never finished").to_string();
    for _ in 0..20 {
        let mut http = Http::open(server.main()).await;
        let request = http_request("POST", "/signal", &[], Some(&json));
        http.send(&request[..request.len() - 2]).await;
        drop(http);
        let mut http = Http::open(server.main()).await;
        let body = chunked(&json, 1000);
        http.send(&[CHUNKED, &body[..body.len() - 5]].concat()).await;
    }
    seat.signals(server.main(), "OFFER", "finished").await;
    caller.hears("demo", "OFFER", Some("finished")).await;
}
