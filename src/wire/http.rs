//! The head of an HTTP/1.1 request (RFC 9112), and small whole responses.
//!
//! ```text
//! [CRLF] method SP target SP "HTTP/1." digit CRLF  { name ":" value CRLF }  CRLF
//! ```
//!
//! Stricter than the RFC demands where leniency lets two parsers disagree about where a request
//! ends: no folded lines, no space before a colon, no line that ends in LF alone, and one way only
//! to tell a body's length. A request that is not a WebSocket goes on to hyper as it came; what
//! passes here, hyper reads in the same way.

mod chunks;
mod date;
mod framing;
mod requests;

use std::fmt;
use std::io::Write;

pub use date::HttpDate;
pub use framing::BodyLength;
pub use requests::{Requests, Step};

/// Most header lines of one request.
pub const HEADERS_MAX: usize = 64;
/// Most bytes of a method; the longest that is registered has 17.
pub const METHOD_BYTES_MAX: usize = 32;

#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Most bytes from the first one to the empty line's end.
    pub head_bytes_max: usize,
}

/// The bytes are not a request that this server reads. The connection is lost: after the
/// response nobody knows where the next request would begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    Malformed,
    /// Over [`HeadLimits::head_bytes_max`] before the first line has ended.
    TargetTooLong,
    /// Over [`HeadLimits::head_bytes_max`], be it complete or not.
    TooLarge,
    /// Over [`HEADERS_MAX`].
    TooManyHeaders,
    /// An HTTP other than 1.0 and 1.1.
    Version,
    /// Neither a path nor an address with one, nor the `*` of OPTIONS (RFC 9112 section 3.2).
    Target,
    /// `Host` is missing, repeated, or no host (RFC 9112 section 3.2).
    Host,
    /// Where the body ends is told twice, wrongly, or not at all (RFC 9112 section 6.3).
    Length,
    /// A transfer coding before `chunked` (RFC 9112 section 6.1).
    TransferCoding,
}

impl HeadError {
    pub fn status(self) -> u16 {
        match self {
            HeadError::Malformed | HeadError::Target | HeadError::Host | HeadError::Length => 400,
            HeadError::TargetTooLong => 414,
            HeadError::TooLarge | HeadError::TooManyHeaders => 431,
            HeadError::TransferCoding => 501,
            HeadError::Version => 505,
        }
    }

    /// Appends the whole response; the connection is closed after it.
    pub fn write(self, out: &mut Vec<u8>) {
        self.write_with(out, &[]);
    }

    /// The same with further headers.
    pub fn write_with(self, out: &mut Vec<u8>, headers: &[(&str, &str)]) {
        let (reason, body) = match self {
            HeadError::Malformed => ("Bad Request", "not an HTTP/1.1 request\n"),
            HeadError::Target => ("Bad Request", "the target is not a path\n"),
            HeadError::Host => ("Bad Request", "exactly one Host is needed\n"),
            HeadError::Length => ("Bad Request", "where the body ends is not clear\n"),
            HeadError::TargetTooLong => ("URI Too Long", "the target is too long\n"),
            HeadError::TransferCoding => ("Not Implemented", "the only transfer coding is chunked\n"),
            HeadError::Version => ("HTTP Version Not Supported", "this is HTTP/1.1\n"),
            HeadError::TooLarge => ("Request Header Fields Too Large", "the head is too large\n"),
            HeadError::TooManyHeaders => ("Request Header Fields Too Large", "too many headers\n"),
        };
        write_response(out, self.status(), reason, headers, body.as_bytes());
    }
}

/// A complete head, borrowed from the input. Header values may be a peer's secrets, and queries
/// carry tokens, so `Debug` shows neither.
#[derive(Clone)]
pub struct Head<'a> {
    pub method: &'a str,
    target: &'a str,
    /// Without the query. Of a target in absolute form, the path behind the host.
    pub path: &'a str,
    /// What follows the first `?`, not decoded.
    pub query: Option<&'a str>,
    /// 0 or 1: HTTP/1.0 or HTTP/1.1.
    pub minor_version: u8,
    /// Bytes of the head, up to the end of the empty line.
    pub consumed: usize,
    lines: [httparse::Header<'a>; HEADERS_MAX],
    lines_len: usize,
}

impl<'a> Head<'a> {
    /// Names as they came, values without the spaces around them, in the order of the lines.
    pub fn headers(&self) -> impl DoubleEndedIterator<Item = (&'a str, &'a [u8])> {
        self.lines.iter().take(self.lines_len).map(|line| (line.name, line.value))
    }

    /// The value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("minor_version", &self.minor_version)
            .field("headers", &self.lines_len)
            .field("consumed", &self.consumed)
            .finish_non_exhaustive()
    }
}

/// Reads a head from the front of `bytes`. `None`: more bytes are needed, and the caller calls
/// again with all of them. A fault is reported as soon as its byte is there.
pub fn parse_head<'a>(bytes: &'a [u8], limits: HeadLimits) -> Result<Option<Head<'a>>, HeadError> {
    // What lies beyond the limit never counts, so pieces and the whole get the same verdict.
    let bytes = bytes.get(..limits.head_bytes_max).unwrap_or(bytes);
    if cannot_be_http(bytes) {
        return Err(HeadError::Malformed);
    }
    // Whatever stands before it decides, in pieces and in the whole.
    let bare_line_feed = bare_line_feed(bytes);
    let lines_end = bare_line_feed.unwrap_or(bytes.len());
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let status = match request.parse(&bytes[..lines_end]) {
        Ok(status) => status,
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        Err(httparse::Error::Version) if names_another_version(bytes, &request) => {
            return Err(HeadError::Version);
        }
        Err(_) => return Err(HeadError::Malformed),
    };
    let consumed = match status {
        httparse::Status::Complete(consumed) => consumed,
        httparse::Status::Partial if bare_line_feed.is_some() => return Err(HeadError::Malformed),
        httparse::Status::Partial if bytes.len() >= limits.head_bytes_max => {
            let first_line = bytes.trim_ascii_start();
            let has_ended = memchr::memchr(b'\n', first_line).is_some() || first_line.is_empty();
            return Err(if has_ended { HeadError::TooLarge } else { HeadError::TargetTooLong });
        }
        httparse::Status::Partial => return Ok(None),
    };
    let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::Malformed);
    };
    let lines_len = request.headers.len();
    let (path, query) = split_target(target);
    Ok(Some(Head { method, target, path, query, minor_version, consumed, lines, lines_len }))
}

/// True when no further bytes can make this the beginning of a request: noise, a TLS
/// ClientHello, another protocol. False only says that it is not yet known.
pub fn cannot_be_http(first_bytes: &[u8]) -> bool {
    // RFC 9112 section 2.2: empty lines before the request are skipped.
    let lines = first_bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let method = first_bytes.iter().skip(lines).take_while(|&&byte| byte != b' ');
    let mut method_bytes = 0;
    for &byte in method {
        method_bytes += 1;
        if method_bytes > METHOD_BYTES_MAX || !is_token(byte) {
            return true;
        }
    }
    // A space where the method should be.
    method_bytes == 0 && first_bytes.len() > lines
}

/// The characters of a token (RFC 9110 section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Appends a whole response with `Content-Length` and `Connection: close`. The reason and the
/// headers are the server's own words: they hold no line ends.
pub fn write_response(
    out: &mut Vec<u8>,
    status: u16,
    reason: &str,
    extra_headers: &[(&str, &str)],
    body: &[u8],
) {
    let length = body.len();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "HTTP/1.1 {status} {reason}\r\nContent-Length: {length}\r\nConnection: close\r\n");
    write_headers(out, extra_headers);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Whether the request that `bytes` begin with, good or bad, is one for a head alone.
pub fn is_for_head(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"HEAD ")
}

/// Takes the body from the response at the end of `out`, which starts at `begin`. Its length stays
/// told (RFC 9110 section 9.3.2).
pub fn cut_body(out: &mut Vec<u8>, begin: usize) {
    if let Some(head_bytes) = memchr::memmem::find(&out[begin..], b"\r\n\r\n") {
        out.truncate(begin + head_bytes + 4);
    }
}

/// Appends one line for each header.
pub(super) fn write_headers(out: &mut Vec<u8>, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        debug_assert!(!name.contains(['\r', '\n']) && !value.contains(['\r', '\n']));
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// httparse takes LF alone for the end of a line, as the RFC allows; a proxy before us may not.
/// Stops at the empty line that ends the head: of a thousand requests in a row, each would be gone
/// through again for every one before it.
fn bare_line_feed(bytes: &[u8]) -> Option<usize> {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    for at in memchr::memchr_iter(b'\n', bytes) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Some(at);
        }
        if at > begin && bytes[at - 2] == b'\n' {
            return None;
        }
    }
    None
}

/// httparse stopped at the version. True for a digit where it expected a 1, or the 0 or 1 behind
/// the dot; the digits that follow are not waited for.
fn names_another_version(bytes: &[u8], request: &httparse::Request<'_, '_>) -> bool {
    let (Some(method), Some(target)) = (request.method, request.path) else { return false };
    let line = bytes.trim_ascii_start();
    let version = line.get(method.len() + target.len() + 2..).and_then(|rest| rest.strip_prefix(b"HTTP/"));
    let unexpected = version.and_then(|version| version.strip_prefix(b"1.").unwrap_or(version).first());
    unexpected.is_some_and(|digit| matches!(digit, b'2'..=b'9'))
}

fn split_target(target: &str) -> (&str, Option<&str>) {
    // RFC 9112 section 3.2.2: a server accepts the absolute form, which is meant for proxies.
    let origin_form = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or_default()
        }
        _ => target,
    };
    let (path, query) = match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    };
    (if path.is_empty() { "/" } else { path }, query)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 4096 };

    fn parse(bytes: &[u8]) -> Result<Option<Head<'_>>, HeadError> {
        parse_head(bytes, LIMITS)
    }

    fn error(bytes: &[u8]) -> Option<HeadError> {
        parse(bytes).err()
    }

    #[test]
    fn a_head_is_read_with_its_parts_and_its_length() {
        let bytes = b"\r\nGET /ws/a?token=x&y=? HTTP/1.1\r\nHost: h\r\nEMPTY:\r\nX-Two:  b c \t\r\n\r\nbody";
        let head = parse(bytes).unwrap().unwrap();
        assert_eq!((head.method, head.path, head.query), ("GET", "/ws/a", Some("token=x&y=?")));
        assert_eq!((head.minor_version, head.consumed), (1, bytes.len() - 4));
        let headers: Vec<_> = head.headers().collect();
        assert_eq!(headers, [("Host", &b"h"[..]), ("EMPTY", b""), ("X-Two", b"b c")]);
        assert_eq!(head.header("x-two"), Some(&b"b c"[..]));
        assert_eq!(head.header("absent"), None);
    }

    #[test]
    fn every_prefix_of_a_good_head_is_incomplete() {
        let bytes = b"\r\n\r\nOPTIONS * HTTP/1.0\r\nHost: example\r\nAccept: */*\r\n\r\n";
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).unwrap().is_none(), "{len}");
        }
        let head = parse(bytes).unwrap().unwrap();
        assert_eq!((head.path, head.minor_version, head.consumed), ("*", 0, bytes.len()));
    }

    #[test]
    fn what_parsers_disagree_about_is_malformed() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\n A: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\n\r\n",
            b"GET / HTTP/1.1\nA: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n\n",
            b"\nGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: \0\r\n\r\n",
            b"GET / HTTP/1.1\r\n: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET /a b HTTP/1.1\r\n\r\n",
            b"GET / http/1.1\r\n\r\n",
            b"GET / HTTP/1\r\n\r\n",
            b"GET / HTTP/01.1\r\n\r\n",
            b"GET / HTTP/1.10\r\n\r\n",
            b"GET /\r\n\r\n",
        ] {
            assert_eq!(error(bytes), Some(HeadError::Malformed), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn another_version_of_http_is_told_from_what_is_no_version() {
        let wait_until = b"GET / HTTP/".len();
        for version in ["2.0", "9.9", "3", "1.2", "1.9"] {
            let bytes = format!("GET / HTTP/{version}\r\n\r\n").into_bytes();
            let first = (0..=bytes.len()).find(|&len| parse(&bytes[..len]).is_err()).unwrap();
            assert!(first > wait_until);
            for len in first..=bytes.len() {
                assert_eq!(error(&bytes[..len]), Some(HeadError::Version), "{version}");
            }
        }
        assert_eq!(error(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(HeadError::Version));
    }

    #[test]
    fn a_fault_is_the_same_for_every_cut_after_it() {
        let bytes = b"GET / HTTP/1.1\r\nA: b\r\nC : d\r\nE: f\r\n\r\n";
        let first = (0..=bytes.len()).find(|&len| parse(&bytes[..len]).is_err()).unwrap();
        assert!(bytes[..first].ends_with(b"C "));
        for len in first..=bytes.len() {
            assert_eq!(error(&bytes[..len]), Some(HeadError::Malformed));
        }
    }

    #[test]
    fn the_size_is_limited_for_partial_and_whole_heads_alike() {
        let head_of = |len: usize| {
            let fixed = "GET / HTTP/1.1\r\nA: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(len - fixed)).into_bytes()
        };
        let fits = head_of(LIMITS.head_bytes_max);
        assert_eq!(parse(&fits).unwrap().unwrap().consumed, LIMITS.head_bytes_max);
        let over = head_of(LIMITS.head_bytes_max + 1);
        for len in 0..LIMITS.head_bytes_max {
            assert!(parse(&over[..len]).unwrap().is_none());
        }
        for len in LIMITS.head_bytes_max..=over.len() {
            assert_eq!(error(&over[..len]), Some(HeadError::TooLarge));
        }
        // The body does not count.
        let mut with_body = b"POST / HTTP/1.1\r\n\r\n".to_vec();
        with_body.resize(3 * LIMITS.head_bytes_max, b'x');
        assert!(parse(&with_body).unwrap().is_some());
        let target = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(LIMITS.head_bytes_max)).into_bytes();
        for len in LIMITS.head_bytes_max..=target.len() {
            assert_eq!(error(&target[..len]), Some(HeadError::TargetTooLong));
        }
        // Empty lines do not get around it.
        assert_eq!(error(&b"\r\n".repeat(LIMITS.head_bytes_max)), Some(HeadError::TooLarge));
    }

    #[test]
    fn the_number_of_headers_is_limited() {
        let head_of = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(lines));
        assert_eq!(parse(head_of(HEADERS_MAX).as_bytes()).unwrap().unwrap().headers().count(), HEADERS_MAX);
        assert_eq!(error(head_of(HEADERS_MAX + 1).as_bytes()), Some(HeadError::TooManyHeaders));
    }

    #[test]
    fn targets_of_every_form_are_split() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/?", "/", Some("")),
            ("/a//b", "/a//b", None),
            ("http://host:1/a?b", "/a", Some("b")),
            ("ws://host", "/", None),
            ("http://host?b", "/", Some("b")),
            ("/go?to=http://x/y", "/go", Some("to=http://x/y")),
            ("*", "*", None),
        ] {
            assert_eq!(split_target(target), (path, query), "{target}");
        }
    }

    #[test]
    fn noise_is_known_by_its_first_bytes() {
        assert!(cannot_be_http(b"\x16\x03\x01\x02\x00\x01"));
        assert!(cannot_be_http(b"\xaa"));
        assert!(cannot_be_http(b"\r\n\x00"));
        assert!(cannot_be_http(b" GET / HTTP/1.1"));
        assert!(cannot_be_http(b"{\"type\":\"register\"}"));
        assert!(cannot_be_http(b"GET\r\n"));
        assert!(cannot_be_http(&[b'A'; METHOD_BYTES_MAX + 1]));
        for possible in
            [&b""[..], b"\r", b"\r\n", b"\r\nG", b"GET", b"M-SEARCH * \x00", &[b'A'; METHOD_BYTES_MAX]]
        {
            assert!(!cannot_be_http(possible), "{}", possible.escape_ascii());
        }
        assert_eq!(error(b"\x16\x03\x01"), Some(HeadError::Malformed));
    }

    #[test]
    fn responses_are_whole() {
        let mut out = Vec::new();
        write_response(&mut out, 503, "Service Unavailable", &[("Retry-After", "1")], b"full\n");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nConnection: close\r\n\
             Retry-After: 1\r\n\r\nfull\n"
        );
        for (error, line) in [
            (HeadError::Malformed, "HTTP/1.1 400 Bad Request\r\n"),
            (HeadError::TooLarge, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
            (HeadError::TooManyHeaders, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
            (HeadError::TargetTooLong, "HTTP/1.1 414 URI Too Long\r\n"),
            (HeadError::Target, "HTTP/1.1 400 Bad Request\r\n"),
            (HeadError::Host, "HTTP/1.1 400 Bad Request\r\n"),
            (HeadError::Length, "HTTP/1.1 400 Bad Request\r\n"),
            (HeadError::TransferCoding, "HTTP/1.1 501 Not Implemented\r\n"),
            (HeadError::Version, "HTTP/1.1 505 HTTP Version Not Supported\r\n"),
        ] {
            let mut out = Vec::new();
            error.write(&mut out);
            assert!(out.starts_with(line.as_bytes()));
        }
    }

    #[test]
    fn a_response_to_head_tells_the_length_of_a_body_that_it_does_not_have() {
        for bytes in [&b"HEAD / HTTP/1.1\r\n"[..], b"\r\nHEAD  bad"] {
            assert!(is_for_head(bytes));
        }
        for bytes in [&b""[..], b"HEAD", b"HEADS / ", b"GET /HEAD ", b"head / "] {
            assert!(!is_for_head(bytes));
        }
        let mut out = b"before\r\n\r\nit".to_vec();
        let begin = out.len();
        write_response(&mut out, 400, "Bad Request", &[], b"no\r\n\r\n");
        cut_body(&mut out, begin);
        assert_eq!(
            out.escape_ascii().to_string(),
            r"before\r\n\r\nitHTTP/1.1 400 Bad Request\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn debug_output_hides_targets_and_headers() {
        let head = parse(b"GET /?token=hush HTTP/1.1\r\nAuthorization: hush\r\n\r\n").unwrap().unwrap();
        assert!(!format!("{head:?}").contains("hush"));
    }
}
