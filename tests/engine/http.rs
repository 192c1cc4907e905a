//! HTTP through the tunnel: metrics, health, any body in both directions, and an upgrade on a
//! connection that has carried requests before.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

const BODY_BYTES: usize = 1 << 20;

fn with_echo() -> Setup {
    Setup::new()
        .listener("main", &["binary"])
        .listener("echo", &["echo"])
        .listener("both", &["binary", "metrics"])
}

#[tokio::test]
async fn health_and_ready_are_200_and_other_paths_404() {
    let server = Setup::new().start().await;
    for (path, status) in [
        ("/health", 200),
        ("/ready", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/metrics/x", 404),
        ("/nothing?a=b", 404),
    ] {
        let response = Http::open(server.metrics()).await.get(path).await;
        assert_eq!(response.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_path_asked_in_another_way_is_refused_properly() {
    let server = Setup::new().start().await;
    let mut http = Http::open(server.metrics()).await;
    http.send(b"DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let response = http.response(false).await.expect("an answer");
    assert!(response.status == 405 || response.status == 404, "{}", response.status);
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_our_prefix() {
    let server = Setup::new().start().await;
    let mut alice = Client::login(server.main(), Via::WebSocket, Form::FlatJson, "alice").await;
    let mut bob = Client::login(server.main(), Via::WebSocket, Form::TaggedJson, "bob").await;
    for _ in 0..20 {
        let offer = alice.signal(OFFER, "bob", "v=0").await;
        bob.delivered(&offer).await;
    }
    alice.refused(&alice.form.signal(OFFER, "nobody", "v=0"), 404).await;

    let mut http = Http::open(server.metrics()).await;
    let samples = until("the counters show it", async || {
        let response = http.get("/metrics").await;
        let kind = response.header("content-type").expect("a content type");
        assert!(kind.starts_with("text/plain"), "{kind}");
        let samples = parse(response.text());
        let offers = samples.iter().any(|it| it.labels.to_lowercase().contains("offer") && it.value >= 20.0);
        let errors = samples.iter().any(|it| it.labels.contains("404") && it.value >= 1.0);
        let latencies =
            samples.iter().filter(|it| it.name.contains("delivery") && it.name.ends_with("_count"));
        let delivered = latencies.map(|it| it.value).sum::<f64>() >= 20.0;
        (offers && errors && delivered).then_some(samples)
    })
    .await;
    for topic in ["connections", "sessions", "inbox", "outbox"] {
        assert!(samples.iter().any(|it| it.name.contains(topic)), "nothing tells of {topic}");
    }
    assert_histograms_add_up(&samples);
}

#[tokio::test]
async fn gauges_follow_connections_down_again() {
    let server = Setup::new().start().await;
    let mut http = Http::open(server.metrics()).await;
    let mut sessions = async || {
        let samples = parse(http.get("/metrics").await.text());
        let live = samples.iter().filter(|it| it.name == "sigmux_sessions");
        live.map(|it| it.value).sum::<f64>()
    };
    let mut clients = Vec::new();
    for id in ["alice", "bob", "carol"] {
        clients.push(Client::login(server.main(), Via::WebSocket, Form::FlatJson, id).await);
    }
    until("three sessions are shown", async || (sessions().await == 3.0).then_some(())).await;
    for client in clients {
        client.leave().await;
    }
    until("no session is shown", async || (sessions().await == 0.0).then_some(())).await;
}

#[tokio::test]
async fn a_connection_carries_one_request_after_another() {
    let server = Setup::new().start().await;
    let mut http = Http::open(server.metrics()).await;
    for round in 0..50 {
        for (path, status) in [("/health", 200), ("/nowhere", 404), ("/ready", 200)] {
            assert_eq!(http.get(path).await.status, status, "round {round}");
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Setup::new().start().await;
    let mut http = Http::open(server.metrics()).await;
    let paths = ["/health", "/one", "/metrics", "/two", "/ready", "/health"];
    let requests: String =
        paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    http.send(requests.as_bytes()).await;
    for status in [200, 404, 200, 404, 200, 200] {
        assert_eq!(http.response(false).await.expect("an answer").status, status);
    }
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    let server = Setup::new().start().await;
    let mut http = Http::open(server.metrics()).await;
    http.send(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(http.response(true).await.expect("an answer").status, 200);
    // A body after the first answer would be taken for the start of the second.
    assert_eq!(http.response(false).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn connection_close_ends_the_connection_after_the_answer() {
    let server = Setup::new().start().await;
    let mut http = Http::open(server.metrics()).await;
    http.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(http.response(false).await.expect("an answer").status, 200);
    assert!(http.until_end().await.is_empty());

    let mut http = Http::open(server.metrics()).await;
    http.send(b"GET /health HTTP/1.0\r\n\r\n").await;
    let answer = http.until_end().await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.split("\r\n").next().expect("a line").contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn a_mebibyte_with_a_length_comes_back_as_it_went() {
    let server = with_echo().start().await;
    let mut http = Http::open(server.addr("echo")).await;
    let body = noise(BODY_BYTES);
    for path in ["/", "/any/path?at=all"] {
        let mut request =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend(&body);
        let response = http.send_and_read(&request).await;
        assert_eq!(response.status, 200);
        assert!(response.body == body, "{} bytes came back, or others", response.body.len());
    }
}

#[tokio::test]
async fn a_mebibyte_in_chunks_comes_back_as_it_went() {
    let server = with_echo().start().await;
    let mut http = Http::open(server.addr("echo")).await;
    let body = noise(BODY_BYTES);
    for size in [1000, 16_384, 300_000] {
        let mut request = b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(size) {
            request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            request.extend(chunk);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        let response = http.send_and_read(&request).await;
        assert_eq!(response.status, 200);
        assert!(
            response.body == body,
            "chunks of {size}: {} bytes came back, or others",
            response.body.len()
        );
    }
}

#[tokio::test]
async fn a_chunked_body_may_come_byte_by_byte() {
    let server = with_echo().start().await;
    let mut http = Http::open(server.addr("echo")).await;
    let request =
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    for byte in request {
        http.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(http.response(false).await.expect("an answer").body, b"hello!");
}

#[tokio::test]
async fn a_client_that_half_closes_behind_its_body_gets_all_of_it_back() {
    let server = with_echo().start().await;
    let body = noise(BODY_BYTES);
    for _ in 0..5 {
        let (stream, _) = Http::open(server.addr("echo")).await.into_parts();
        let (mut from, mut to) = stream.into_split();
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
        let request = [head.as_bytes(), &body].concat();
        let sending = async {
            to.write_all(&request).await.expect("the server reads");
            to.shutdown().await.expect("a half-close");
        };
        let mut answer = Vec::new();
        let reading = async {
            from.read_to_end(&mut answer).await.expect("an answer and its end");
        };
        within("the echo", async { tokio::join!(sending, reading) }).await;
        assert!(answer.ends_with(&body), "{} bytes came back, or others", answer.len());
    }
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let server = with_echo().start().await;
    let mut http = Http::open(server.addr("echo")).await;
    http.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(http.response(false).await.expect("an interim answer").status, 100);
    http.send(b"hello").await;
    let response = http.response(false).await.expect("an answer");
    assert_eq!((response.status, response.text()), (200, "hello"));
}

#[tokio::test]
async fn pipelined_bodies_come_back_in_order() {
    let server = with_echo().start().await;
    let mut http = Http::open(server.addr("echo")).await;
    let mut requests = String::new();
    for number in 0..30 {
        let body = format!("body number {number}");
        requests +=
            &format!("POST /{number} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
    http.send(requests.as_bytes()).await;
    for number in 0..30 {
        assert_eq!(http.response(false).await.expect("an answer").text(), format!("body number {number}"));
    }
}

/// Many tunnels at the same time, each with more in it than any buffer on the way holds.
#[tokio::test]
async fn twenty_connections_echo_a_mebibyte_each_at_the_same_time() {
    let server = with_echo().start().await;
    let addr = server.addr("echo");
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(tokio::spawn(async move {
            let mut http = Http::open(addr).await;
            let body = noise(BODY_BYTES);
            let mut request =
                format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
            request.extend(&body);
            assert!(http.send_and_read(&request).await.body == body);
        }));
    }
    for task in tasks {
        task.await.expect("every byte comes back");
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_a_body_disturbs_nobody() {
    let server = with_echo().start().await;
    for _ in 0..20 {
        let mut http = Http::open(server.addr("echo")).await;
        http.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nonly the start").await;
    }
    let mut http = Http::open(server.addr("echo")).await;
    http.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok").await;
    assert_eq!(http.response(false).await.expect("an answer").text(), "ok");
}

#[tokio::test]
async fn a_connection_that_carried_requests_may_become_a_websocket() {
    let server = with_echo().start().await;
    let mut bob = Client::login(server.main(), Via::Tcp, Form::FlatJson, "bob").await;
    for requests in [1, 5] {
        let mut http = Http::open(server.addr("both")).await;
        for _ in 0..requests {
            assert_eq!(http.get("/metrics").await.status, 200);
        }
        let (stream, rest) = http.into_parts();
        let mut raw = RawWs::upgrade(stream, rest).await;
        raw.send_frame(&Form::FlatJson.connect("alice", &token_of("alice"))).await;
        Form::FlatJson.read_ack(&raw.frame().await);
        let offer = Form::FlatJson.signal(OFFER, "bob", "from a former request");
        raw.send_frame(&offer).await;
        assert_eq!(bob.delivered(&offer).await.data, "from a former request");
        let answer = bob.signal(ANSWER, "alice", "to a former request").await;
        assert_eq!(raw.frame().await.uuid, answer.uuid);
        raw.send_frame(&Form::FlatJson.disconnect("alice", "done")).await;
        assert_eq!(raw.closed().await.0, 1000);
    }
}

/// The request, the upgrade and the first WebSocket frame in one write.
#[tokio::test]
async fn an_upgrade_may_be_pipelined_behind_a_request() {
    let server = with_echo().start().await;
    let mut http = Http::open(server.addr("both")).await;
    http.send(
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
          Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert_eq!(http.response(false).await.expect("an answer").status, 200);
    assert_eq!(http.response(false).await.expect("an answer").status, 101);
}

#[tokio::test]
async fn one_port_speaks_http_websocket_and_frames() {
    let server = with_echo().start().await;
    let addr = server.addr("both");
    assert_eq!(Http::open(addr).await.get("/ready").await.status, 200);
    let mut alice = Client::login(addr, Via::WebSocket, Form::FlatJson, "alice").await;
    let mut bob = Client::login(addr, Via::Tcp, Form::FlatJson, "bob").await;
    let offer = alice.signal(OFFER, "bob", "v=0").await;
    bob.delivered(&offer).await;
    assert_eq!(Http::open(addr).await.get("/nowhere").await.status, 404);
}

struct Sample {
    name: String,
    labels: String,
    value: f64,
}

/// Reads the text exposition format and checks its rules: every sample has our prefix and a
/// number, and every family its TYPE before its samples.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut types: HashMap<&str, &str> = HashMap::new();
    let mut samples = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(family) = comment.strip_prefix("TYPE ") {
                let (name, kind) = family.split_once(' ').expect("a name and a type");
                assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
                assert!(types.insert(name, kind).is_none(), "{name} has two types");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end")),
            None => (series, ""),
        };
        assert!(name.starts_with("sigmux_"), "{line}");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            name.strip_suffix(end)
                .filter(|family| matches!(types.get(family), Some(&("histogram" | "summary"))))
        });
        assert!(types.contains_key(family.unwrap_or(name)), "{name} has no TYPE before it");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        samples.push(Sample { name: name.into(), labels: labels.into(), value });
    }
    assert!(!samples.is_empty());
    samples
}

/// Buckets grow, and the last one holds all.
fn assert_histograms_add_up(samples: &[Sample]) {
    let mut series: HashMap<(String, String), Vec<(f64, f64)>> = HashMap::new();
    for sample in samples {
        let Some(family) = sample.name.strip_suffix("_bucket") else { continue };
        let (le, others): (Vec<&str>, Vec<&str>) =
            sample.labels.split(',').partition(|it| it.starts_with("le="));
        let bound = le.first().expect("a bucket has a bound").trim_start_matches("le=").trim_matches('"');
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") };
        series.entry((family.into(), others.join(","))).or_default().push((bound, sample.value));
    }
    assert!(!series.is_empty(), "there is no histogram");
    for ((family, labels), buckets) in series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{family}: {buckets:?}");
        let (bound, all) = buckets.last().expect("a bucket");
        assert!(bound.is_infinite(), "{family} has no +Inf");
        let count = samples.iter().find(|it| it.name == format!("{family}_count") && it.labels == labels);
        assert_eq!(count.expect("a count").value, *all, "{family}");
    }
}

/// Bytes that no pattern would survive.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
