//! Limits of heads and bodies, and of how long they may take.

use std::time::{Duration, Instant};

use serde_json::json;

use super::both;
use crate::harness::*;

/// The status of the one answer, or 0 where the connection ended without.
async fn status_at_the_end(http: &mut Http) -> u16 {
    let answer = http.until_end().await;
    let answer = String::from_utf8_lossy(&answer);
    let Some(rest) = answer.strip_prefix("HTTP/1.1 ") else {
        assert!(answer.is_empty(), "{answer}");
        return 0;
    };
    rest[..3].parse().expect("a status")
}

async fn still_serves(server: &Server) {
    let identity = Identity::sign_in(server.main()).await;
    identity.creates_room(server.main()).await;
    let call = format!("call-{}", identity.username);
    Seat::take(server.main(), &call).await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused_and_one_below_is_not() {
    let server = both().server("head_bytes_max", 8192).start().await;
    let filling = "x".repeat(6000);
    let headers = [("X-Filling", filling.as_str())];
    // The first request of a connection, and one that comes after others.
    for warm in [false, true] {
        for path in ["/create-room", "/signal", "/nothing"] {
            let mut http = Http::open(server.main()).await;
            if warm {
                assert_eq!(http.get("/health").await.status, 200);
            }
            http.send(&http_request("POST", path, &headers, Some("{"))).await;
            let status = http.response(false).await.expect("an answer").status;
            assert!([422, 400, 404].contains(&status), "{path}: {status}");

            let mut http = Http::open(server.main()).await;
            if warm {
                assert_eq!(http.get("/health").await.status, 200);
            }
            let long = "x".repeat(20_000);
            http.send(&http_request("POST", path, &[("X-Filling", &long)], Some("{"))).await;
            let status = status_at_the_end(&mut http).await;
            assert!(status == 431 || status == 400 || status == 0, "{path}, warm {warm}: {status}");
        }
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn an_endless_head_is_cut() {
    let server = both().server("close_seconds", "'500ms'").start().await;
    for warm in [false, true] {
        for line in ["X-Filling: yes\r\n".repeat(64), "x".repeat(1024)] {
            let mut http = Http::open(server.main()).await;
            if warm {
                assert_eq!(http.get("/health").await.status, 200);
            }
            let (mut stream, _) = http.into_parts();
            let start = b"POST /signal HTTP/1.1\r\nHost: x\r\nX-Start: ";
            let sent = within("the server cuts it", async {
                use tokio::io::AsyncWriteExt;
                let mut sent = 0;
                stream.write_all(start).await.expect("it is open");
                while sent < 64 << 20 && stream.write_all(line.as_bytes()).await.is_ok() {
                    sent += line.len();
                }
                sent
            })
            .await;
            assert!(sent < 64 << 20, "64 MiB of a head were taken");
        }
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_however_it_comes() {
    let server = both().start().await;
    let seat = Seat::take(server.main(), "demo").await;
    let json = seat.event("OFFER", &"x".repeat(100_000)).to_string();
    // Announced, so that nothing of it has to be read.
    let mut http = Http::open(server.main()).await;
    let head = format!(
        "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        json.len()
    );
    http.send(head.as_bytes()).await;
    let status = http.response(false).await.expect("an answer before the body").status;
    assert!(status == 413 || status == 400, "{status}");
    // In chunks, of which nobody knows how many follow.
    let mut http = Http::open(server.main()).await;
    let mut request = b"POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in json.as_bytes().chunks(1000) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    http.send(&request).await;
    let status = http.response(false).await.expect("an answer before the end").status;
    assert!(status == 413 || status == 400, "{status}");
    still_serves(&server).await;
}

/// No path takes a body without end, whether it has a use for one or not.
#[tokio::test]
async fn an_endless_body_is_cut_on_every_path() {
    let server = both().server("close_seconds", "'500ms'").start().await;
    for path in ["/signal", "/create-room", "/anonymous-signin", "/delete-peer", "/nothing"] {
        let (mut stream, _) = Http::open(server.main()).await.into_parts();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let chunk = [b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat();
        let sent = within("the server cuts it", async {
            use tokio::io::AsyncWriteExt;
            let mut sent = 0;
            stream.write_all(head.as_bytes()).await.expect("it is open");
            while sent < 64 << 20 && stream.write_all(&chunk).await.is_ok() {
                sent += chunk.len();
            }
            sent
        })
        .await;
        assert!(sent < 64 << 20, "{path} took 64 MiB");
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn a_slow_head_is_cut_after_head_seconds() {
    let server = both().server("head_seconds", "'1s'").server("first_message_seconds", "'1s'").start().await;
    for start in ["P", "POST /signal HTTP/1.1\r\n", "POST /create-room HTTP/1.1\r\nHost: x\r\nX-Slow: y\r\n"]
    {
        let started = Instant::now();
        let mut http = Http::open(server.main()).await;
        http.send(start.as_bytes()).await;
        let status = status_at_the_end(&mut http).await;
        let lasted = started.elapsed();
        assert!(status == 408 || status == 400 || status == 0, "{start}: {status}");
        assert!(
            lasted > Duration::from_millis(500) && lasted < Duration::from_secs(6),
            "{start}: {lasted:?}"
        );
    }
    // Of a second request, too.
    let mut http = Http::open(server.main()).await;
    assert_eq!(http.get("/health").await.status, 200);
    http.send(b"POST /signal HTTP/1.1\r\nHost: x\r\n").await;
    let status = status_at_the_end(&mut http).await;
    assert!(status == 408 || status == 400 || status == 0, "{status}");
    still_serves(&server).await;
}

/// One byte now and then does not buy more time.
#[tokio::test]
async fn a_head_that_drips_is_cut_after_head_seconds() {
    let server = both().server("head_seconds", "'1s'").start().await;
    let (mut stream, _) = Http::open(server.main()).await.into_parts();
    let started = Instant::now();
    within("the server cuts it", async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        stream.write_all(b"POST /signal HTTP/1.1\r\nX-Drip: ").await.expect("it is open");
        let mut answer = [0; 512];
        let mut drip = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return },
                _ = drip.tick() => {
                    // A failed write shows in the next read.
                    let _ = stream.write_all(b"x").await;
                }
            }
        }
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

/// A body that stops in the middle does not hold its connection for ever.
#[tokio::test]
async fn a_body_that_stops_in_the_middle_is_cut() {
    let server = both().server("body_seconds", 1).start().await;
    let waiting = async |path: &str, head: &str| {
        let mut http = Http::open(server.main()).await;
        http.send(
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}").as_bytes(),
        )
        .await;
        assert_eq!(status_at_the_end(&mut http).await, 408, "{path}");
    };
    tokio::join!(
        waiting("/signal", "Content-Length: 100\r\n\r\n{\"kind\":"),
        waiting("/signal", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"kin"),
        waiting("/delete-peer", "Content-Length: 100\r\n\r\n{\"peer_id\":"),
    );
    still_serves(&server).await;
}

/// A body that keeps coming, byte by byte, is no way to stay either.
#[tokio::test]
async fn a_body_that_comes_too_slowly_is_answered_408() {
    let server = both().server("body_seconds", 1).start().await;
    let drips = async |path: &str| {
        let (mut stream, mut got) = Http::open(server.main()).await.into_parts();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        );
        let started = Instant::now();
        within("the server cuts it", async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            stream.write_all(head.as_bytes()).await.expect("it is open");
            let mut drip = tokio::time::interval(Duration::from_millis(100));
            loop {
                tokio::select! {
                    read = stream.read_buf(&mut got) => if matches!(read, Ok(0) | Err(_)) { return },
                    _ = drip.tick() => {
                        // A failed write shows in the next read.
                        let _ = stream.write_all(b" ").await;
                    }
                }
            }
        })
        .await;
        let answer = String::from_utf8_lossy(&got);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
        assert!(started.elapsed() > Duration::from_millis(900), "{path}: {:?}", started.elapsed());
    };
    tokio::join!(drips("/signal"), drips("/create-room"));
    still_serves(&server).await;
}

/// Half-sent requests wait on their own.
#[tokio::test]
async fn many_slow_senders_hold_up_nobody() {
    let server = both().start().await;
    let mut slow = Vec::new();
    for number in 0..50 {
        let mut http = Http::open(server.main()).await;
        let start = match number % 3 {
            0 => "POST /signal HTTP/1.1\r\nHost:",
            1 => {
                "POST /signal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            }
            _ => "POST /create-room HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
        };
        http.send(start.as_bytes()).await;
        slow.push(http);
    }
    let started = Instant::now();
    for _ in 0..10 {
        still_serves(&server).await;
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let response = post_json(server.main(), "/anonymous-signin", &[], &json!({})).await;
    assert_eq!(response.status, 200);
}
