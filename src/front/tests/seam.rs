//! Two parsers read each request, `wire`'s and hyper's. They must not disagree about where it ends.

use super::http::parse;
use super::shard::{ECHO, Shard};
use crate::mesh::TunnelStep;
use crate::wire::http::{HeadError, HeadLimits, Requests, Step};

const STREAMS: u64 = 600;
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 16_384 };

/// A small generator of the test's own: the run is the same every time.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// Rarely one of the odd ones.
    fn mostly<'a>(&mut self, good: &[&'a str], odd: &[&'a str]) -> &'a str {
        let choices = if self.below(30) == 0 { odd } else { good };
        self.one_of(choices)
    }

    fn line_end(&mut self) -> &'static str {
        self.mostly(&["\r\n"; 5], &["\n", "\r", "\r\r\n", "\n\r\n", "\r\n"])
    }
}

/// Requests that are right, nearly right, or lie about where they end.
fn stream(random: &mut Lcg) -> Vec<u8> {
    let mut out = String::new();
    for _ in 0..=random.below(6) {
        out += random.mostly(&["", "", "", "\r\n"], &["\n", " ", "\0"]);
        out += random.mostly(&["POST", "GET", "PUT"], &["P@ST"]);
        out += random.mostly(&[" / ", " /?a ", " http://x/ "], &["  / ", " * ", " "]);
        out += random.mostly(&["HTTP/1.1"], &["HTTP/1.2", "HTTP/1.1 "]);
        out += random.line_end();
        out += random.mostly(&["Host: x", "HOST:x"], &["Host: x, y", "A: b"]);
        out += random.line_end();
        let body = random.below(3);
        let length = match body {
            0 => random.mostly(&["X: y", "X: \u{e4}"], &["X", "X : y", "X: y\r\n z"]),
            1 => random.mostly(
                &["Content-Length: 5", "content-length:5 "],
                &["Content-Length: 20", "Content-Length: 05", "Content-Length: +5", "Content-Length: 5, 5"],
            ),
            _ => random.mostly(
                &["Transfer-Encoding: chunked", "transfer-encoding:\tCHUNKED"],
                &[
                    "Transfer-Encoding: gzip, chunked",
                    "Transfer-Encoding: identity",
                    "Transfer-Encoding : chunked",
                    "Transfer-Encoding:\r\n chunked",
                    "Transfer_Encoding: chunked",
                ],
            ),
        };
        out += length;
        out += random.line_end();
        out += random.mostly(&[""], &["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"]);
        out += random.line_end();
        match body {
            0 => {}
            1 => out += random.mostly(&["hello", "\r\n\r\n0"], &["hell", "hello!"]),
            _ => {
                for _ in 0..random.below(3) {
                    out += random.mostly(
                        &["5\r\nhello\r\n", "5 ;a=\"b;\"\r\nhello\r\n", "13\r\nGET / HTTP/1.1\r\n\r\n-\r\n"],
                        &[
                            "5 \r\nhello\r\n",
                            "5\nhello\n",
                            "5;\r\nhello\r\n",
                            "5\r\nhello\n",
                            "fffffffffffffffff\r\n",
                        ],
                    );
                }
                out += random.mostly(
                    &["0\r\n\r\n", "00\r\n\r\n", "0\r\nA: b\r\n\r\n"],
                    &["0\r\nA: b\n\r\n", "0\r\n\n", "0\r\nContent-Length: 9\r\n\r\n"],
                );
            }
        }
    }
    out.into_bytes()
}

/// One request as `wire` sees it.
struct Judged {
    /// What a body that ends early or late leaves of a method, or makes of it, is one too.
    has_method_of_echo: bool,
    body: Vec<u8>,
}

/// How a stream ends.
#[derive(Debug, PartialEq)]
enum End {
    Clean,
    /// Within a request.
    Cut,
    Refused(HeadError),
    BrokenBody,
}

/// What `wire` makes of a stream: its whole requests, and how it ends.
fn judged(stream: &[u8]) -> (Vec<Judged>, End) {
    let (mut requests, mut whole, mut rest) = (Requests::default(), Vec::new(), stream);
    let mut open: Option<(Judged, bool)> = None;
    loop {
        if let Some((mut request, is_chunked)) = open.take_if(|_| requests.is_in_head()) {
            if is_chunked {
                request.body = data_of(&request.body);
            }
            whole.push(request);
        }
        if rest.is_empty() {
            return (whole, if open.is_some() { End::Cut } else { End::Clean });
        }
        let taken = match requests.next(rest, LIMITS) {
            Err(error) => return (whole, End::Refused(error)),
            Ok(Step::CutHead) => return (whole, End::Cut),
            Ok(Step::Body { broken: true, .. }) => return (whole, End::BrokenBody),
            Ok(Step::Head { bytes, .. }) => {
                let head = String::from_utf8_lossy(&rest[..bytes]);
                let method = head.trim_start().split(' ').next().unwrap_or_default();
                let has_method_of_echo = ["GET", "POST", "PUT"].contains(&method);
                let is_chunked = head.to_lowercase().contains("\ntransfer-encoding:");
                open = Some((Judged { has_method_of_echo, body: Vec::new() }, is_chunked));
                bytes
            }
            Ok(Step::Body { bytes, .. }) => {
                open.as_mut().expect("a body follows a head").0.body.extend_from_slice(&rest[..bytes]);
                bytes
            }
        };
        rest = &rest[taken..];
    }
}

/// The data of chunks that are known to be right.
fn data_of(mut raw: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(raw) else {
            panic!("another parser sees no chunk in {}", raw.escape_ascii());
        };
        let (chunk, rest) = raw[line..].split_at(size as usize);
        data.extend_from_slice(chunk);
        if size == 0 {
            return data;
        }
        raw = rest.strip_prefix(b"\r\n").expect("a chunk ends its line");
    }
}

#[test]
fn hyper_sees_the_requests_that_wire_sees_and_no_others() {
    let mut shard = Shard::new();
    let mut random = Lcg(5);
    let (mut whole, mut refused, mut broken) = (0, 0, 0);
    for number in 0..STREAMS {
        let stream = stream(&mut random);
        let (requests, end) = judged(&stream);
        let slot = shard.open(ECHO);
        let size = [stream.len().max(1), 1, 7][random.below(3)];
        for piece in stream.chunks(size) {
            shard.send(slot, piece);
        }
        shard.post(slot, TunnelStep::End);
        let connection = shard.until(slot, |c| c.ended || c.was_reset);
        let mut received = std::mem::take(&mut connection.received);

        let shown = stream.escape_ascii();
        for Judged { has_method_of_echo, body } in &requests {
            let (reply, length) =
                parse(&received, false).unwrap_or_else(|| panic!("no answer, {number}: {shown}"));
            let is_right = match has_method_of_echo {
                true => reply.status == 200 && reply.body == *body,
                false => reply.status == 405,
            };
            assert!(is_right, "{number}: {} to {shown}", reply.status);
            received.drain(..length);
        }
        whole += requests.len();
        match end {
            End::Refused(error) => {
                refused += 1;
                let (reply, length) =
                    parse(&received, false).unwrap_or_else(|| panic!("no refusal, {number}: {shown}"));
                assert_eq!((reply.status, length), (error.status(), received.len()), "{number}: {shown}");
            }
            // Some of it may have been echoed before.
            End::BrokenBody => {
                broken += 1;
                assert!(!received.ends_with(b"\r\n0\r\n\r\n"), "{number}: {shown}");
            }
            End::Cut => assert!(!received.ends_with(b"\r\n0\r\n\r\n"), "{number}: {shown}"),
            End::Clean => assert_eq!(received.escape_ascii().to_string(), "", "{number}: {shown}"),
        }
    }
    assert!(whole > 300 && refused > 100 && broken > 20, "{whole}, {refused}, {broken}");
}
