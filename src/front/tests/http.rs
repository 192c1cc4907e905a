//! What a client gets over a tunnel.

use super::shard::{ECHO, METRICS, PICKY, Shard};
use crate::front::{Phase, Settings};
use crate::mesh::TunnelStep;

pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a page is text")
    }
}

/// One whole response at the front of `bytes`, with its length there, if it is all there.
pub(super) fn parse(bytes: &[u8], to_head: bool) -> Option<(Reply, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(mut at) = head.parse(bytes).expect("a response") else { return None };
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8(h.value.to_vec()).expect("text")))
        .collect();
    let status = head.code.expect("a complete head has one");
    let mut reply = Reply { status, headers, body: Vec::new() };
    if to_head || status < 200 {
    } else if reply.header("transfer-encoding") == Some("chunked") {
        loop {
            let httparse::Status::Complete((start, size)) =
                httparse::parse_chunk_size(&bytes[at..]).expect("a chunk")
            else {
                return None;
            };
            let data = at + start;
            let end = data + size as usize;
            reply.body.extend_from_slice(bytes.get(data..end)?);
            assert_eq!(bytes.get(end..end + 2)?, b"\r\n");
            at = end + 2;
            if size == 0 {
                break;
            }
        }
    } else {
        let length: usize = reply.header("content-length").map_or(0, |l| l.parse().expect("a number"));
        reply.body.extend_from_slice(bytes.get(at..at + length)?);
        at += length;
    }
    Some((reply, at))
}

impl Shard {
    /// The next response, taken off what has been received.
    pub(super) fn reply(&mut self, slot: u32) -> Reply {
        self.reply_to(slot, false)
    }

    fn reply_to(&mut self, slot: u32, to_head: bool) -> Reply {
        let connection = self.until(slot, |c| parse(&c.received, to_head).is_some());
        let (reply, length) = parse(&connection.received, to_head).expect("it was there just now");
        connection.received.drain(..length);
        reply
    }

    fn ask(&mut self, slot: u32, head: &str) -> Reply {
        self.send(slot, format!("{head} HTTP/1.1\r\nHost: x\r\n\r\n"));
        self.reply_to(slot, head.starts_with("HEAD"))
    }
}

#[test]
fn the_operators_pages_are_served_on_one_kept_alive_connection() {
    let mut shard = Shard::new();
    shard.metrics.connections.set(3);
    shard.metrics.sessions.set(2);
    let slot = shard.open(METRICS);

    let metrics = shard.ask(slot, "GET /metrics");
    assert_eq!(metrics.status, 200);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.header("date").is_some());
    assert!(metrics.text().contains("\nsigmux_connections{shard=\"0\"} 3\n"));
    assert!(metrics.text().contains("\nsigmux_uptime_seconds 7.000000\n"));

    let health = shard.ask(slot, "GET /health?x=1");
    assert_eq!(health.header("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let expected = serde_json::json!({
        "status": "ok", "version": version, "uptime_seconds": 7, "connections": 3, "sessions": 2,
    });
    assert_eq!(body, expected);

    let ready = shard.ask(slot, "GET http://somewhere/ready");
    assert_eq!((ready.status, ready.text()), (200, "ready\n"));
    assert!(!shard.connection(slot).ended);
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let mut shard = Shard::new();
    let slot = shard.open(METRICS);
    let get = shard.ask(slot, "GET /ready");
    let head = shard.ask(slot, "HEAD /ready");
    assert_eq!((head.status, head.header("content-length")), (200, get.header("content-length")));
    let head = shard.ask(slot, "HEAD /nothing");
    assert_eq!(head.status, 404);
    assert_eq!(shard.ask(slot, "GET /ready").text(), "ready\n");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut shard = Shard::new();
    let slot = shard.open(ECHO);
    let mut requests = String::new();
    for n in 0..50 {
        requests += &format!("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{n:02}");
    }
    shard.send(slot, requests);
    for n in 0..50 {
        assert_eq!(shard.reply(slot).text(), format!("{n:02}"));
    }
}

#[test]
fn unknown_paths_and_methods_are_refused_and_the_connection_goes_on() {
    let mut shard = Shard::new();
    let slot = shard.open(METRICS);
    let reply = shard.ask(slot, "GET /metric");
    assert_eq!((reply.status, reply.text()), (404, "Nothing is served at /metric.\n"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    let reply = shard.ask(slot, "OPTIONS *");
    assert_eq!(reply.status, 404);
    shard.send(slot, "DELETE /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    let reply = shard.reply(slot);
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET,HEAD")));
    assert_eq!(reply.text().lines().count(), 1);
    assert_eq!(shard.ask(slot, "GET /ready").status, 200);
}

#[test]
fn a_body_that_nobody_wants_is_refused_by_its_length_or_when_it_has_grown_too_long() {
    let settings = Settings { body_bytes_max: 100, ..Settings::default() };
    let mut shard = Shard::with(settings, Vec::new());
    let declared = shard.open(METRICS);
    shard.send(declared, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n");
    let chunked = shard.open(METRICS);
    shard.send(chunked, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    shard.send(chunked, format!("65\r\n{:101}\r\n", ""));
    for slot in [declared, chunked] {
        let reply = shard.reply(slot);
        assert_eq!((reply.status, reply.header("connection")), (413, Some("close")));
        shard.until(slot, |c| c.ended);
    }
}

#[test]
fn bad_heads_get_their_status_and_an_end() {
    let settings = Settings { head_bytes_max: 8192, headers_max: 16, ..Settings::default() };
    let mut shard = Shard::with(settings, Vec::new());
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nx: {:9000}\r\n\r\n", "");
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "x: y\r\n".repeat(17));
    let target = format!("GET /{:y<9000} HTTP/1.1\r\nHost: x\r\n\r\n", "");
    let cases = [
        ("no http at all\r\n\r\n", 400),
        ("GET /ready HTTP/1.1\r\n\r\n", 400),
        ("GET /ready HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /ready HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("GET /ready HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (&target, 414),
        (&long, 431),
        (&many, 431),
    ];
    for (head, status) in cases {
        let slot = shard.open(METRICS);
        shard.send(slot, head);
        assert_eq!(shard.reply(slot).status, status);
        shard.until(slot, |c| c.ended);

        // Behind others, one of which has a body that looks like a request.
        let slot = shard.open(METRICS);
        let before = "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        shard.send(slot, format!("{before}GET /ready HTTP/1.1\r\nHost: x\r\n\r\n{head}"));
        for expected in [405, 200, status] {
            assert_eq!(shard.reply(slot).status, expected, "{head:.100}");
        }
        let connection = shard.until(slot, |c| c.ended);
        assert_eq!(connection.received, b"", "nothing else is answered");
    }
}

#[test]
fn a_request_behind_one_for_a_websocket_that_is_not_granted_is_a_request() {
    let mut shard = Shard::new();
    let slot = shard.open(METRICS);
    let ask = "GET /ready HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    shard.send(slot, format!("{ask}{ask}GET /no HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\n"));
    for status in [200, 200, 404, 400] {
        assert_eq!(shard.reply(slot).status, status);
    }
    shard.until(slot, |c| c.ended);
}

#[test]
fn a_head_that_is_larger_than_the_window_is_read() {
    let settings = Settings { tunnel_window_bytes: 16_384, head_bytes_max: 65_536, ..Settings::default() };
    let mut shard = Shard::with(settings, Vec::new());
    let slot = shard.open(METRICS);
    for _ in 0..3 {
        shard.send(slot, format!("GET /ready HTTP/1.1\r\nHost: x\r\nx: {:60000}\r\n\r\n", "y"));
        assert_eq!(shard.reply(slot).status, 200);
    }
}

#[test]
fn echo_sends_the_body_and_its_type_back_and_asks_for_it_first() {
    let mut shard = Shard::new();
    let slot = shard.open(ECHO);
    shard.send(
        slot,
        "PUT /any HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(shard.reply(slot).status, 100);
    shard.send(slot, "abc");
    let reply = shard.reply(slot);
    assert_eq!((reply.status, reply.text(), reply.header("content-type")), (200, "abc", Some("a/b")));
    assert_eq!(shard.ask(slot, "GET /").body, b"");
    assert_eq!(shard.ask(slot, "HEAD /").status, 200);
    let reply = shard.ask(slot, "DELETE /");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET,HEAD,OPTIONS,POST,PUT")));
}

#[test]
fn a_client_that_asks_before_it_sends_a_body_to_nowhere_is_refused_at_once() {
    let mut shard = Shard::new();
    let slot = shard.open(METRICS);
    shard.send(slot, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(shard.reply(slot).status, 404);
}

#[test]
fn a_client_that_has_sent_its_last_byte_still_gets_the_whole_answer() {
    let mut shard = Shard::new();
    let slot = shard.open(ECHO);
    shard.send(slot, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nlast");
    shard.post(slot, TunnelStep::End);
    assert_eq!(shard.reply(slot).text(), "last");
    let connection = shard.until(slot, |c| c.ended || c.was_reset);
    assert!(!connection.was_reset);
}

#[test]
fn a_head_that_does_not_come_to_its_end_ends_the_connection_in_good_order() {
    let settings = Settings { head_seconds: 1, ..Settings::default() };
    let mut shard = Shard::with(settings, Vec::new());
    let slot = shard.open(METRICS);
    shard.send(slot, "GET /ready HTTP/1.1\r\n");
    let connection = shard.until(slot, |c| c.ended || c.was_reset);
    assert!(!connection.was_reset);
}

#[test]
fn an_exchange_in_which_nothing_moves_is_cut() {
    let settings = Settings { stall_seconds: 1, ..Settings::default() };
    let mut shard = Shard::with(settings, Vec::new());
    let slot = shard.open(ECHO);
    shard.send(slot, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nla");
    shard.until(slot, |c| c.ended);
}

#[test]
fn draining_ends_idle_connections_and_refuses_new_requests_but_not_the_operators() {
    let mut shard = Shard::new();
    let (idle, busy) = (shard.open(METRICS), shard.open(ECHO));
    assert_eq!(shard.ask(idle, "GET /ready").status, 200);
    shard.send(busy, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha");
    shard.until(busy, |c| c.received.ends_with(b"ha"));

    shard.enter(Phase::Draining);
    shard.until(idle, |c| c.ended);
    shard.send(busy, "lf");
    assert_eq!(shard.reply(busy).text(), "half");
    shard.until(busy, |c| c.ended);

    for (listener, path, status) in
        [(METRICS, "/ready", 503), (METRICS, "/health", 200), (METRICS, "/x", 503), (ECHO, "/", 503)]
    {
        let slot = shard.open(listener);
        let reply = shard.ask(slot, &format!("GET {path}"));
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{path}");
        shard.until(slot, |c| c.ended);
    }
}

#[test]
fn refused_handshakes_say_why() {
    let mut shard = Shard::new();
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let good = format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{key}");
    let old = good.replace("13", "8");
    let keyless = good.replace(key, "");
    let evil = format!("{good}Origin: https://evil.example\r\n");
    for (listener, headers, status) in
        [(METRICS, &good, 404), (PICKY, &old, 426), (PICKY, &keyless, 400), (PICKY, &evil, 403)]
    {
        let slot = shard.open(listener);
        shard.send(slot, format!("GET /ws HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
        let reply = shard.reply(slot);
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("sec-websocket-version"), (status == 426).then_some("13"));
        assert_eq!(reply.text().lines().count(), 1);
    }
}
