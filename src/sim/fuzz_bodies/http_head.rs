//! The head of a request, and what is answered to it.

use crate::wire::http::{HEADERS_MAX, Head, HeadError, HeadLimits, cannot_be_http, is_token, parse_head};
use crate::wire::websocket::{Request, check, is_upgrade, write_accept};

/// A longer input is cut at a part of its positions only.
const CUTS_MAX: usize = 512;

/// The first byte chooses the limit, the rest is what a client sends.
pub fn http_head(data: &[u8]) {
    let [limit, bytes @ ..] = data else { return };
    let limits = HeadLimits { head_bytes_max: 16 + usize::from(*limit) * 16 };
    let whole = parse_head(bytes, limits);
    if let Ok(Some(head)) = &whole {
        check_parts(head, bytes, limits);
        check_answer(head);
    }
    if let Err(error) = &whole {
        let mut out = Vec::new();
        error.write(&mut out);
        assert_eq!(response_status(&out), Some(error.status()));
    }
    any_cut_gives_the_same_verdict(bytes, limits, &whole);
}

fn check_parts(head: &Head<'_>, bytes: &[u8], limits: HeadLimits) {
    let consumed = head.consumed;
    assert!(consumed <= bytes.len() && consumed <= limits.head_bytes_max);
    let lines = &bytes[..consumed];
    assert!(lines.ends_with(b"\r\n\r\n"), "a head ends with an empty line");
    let start = lines.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    let empty_line = lines[start..].windows(4).position(|four| four == b"\r\n\r\n");
    assert_eq!(empty_line, Some(consumed - start - 4), "and with the first one");
    let ended = |at: usize| lines[at] != b'\n' || (at > 0 && lines[at - 1] == b'\r');
    assert!((0..consumed).all(ended), "no line ends in LF alone");

    assert!(!head.method.is_empty() && head.method.bytes().all(is_token));
    assert!(!head.path.is_empty() && !head.path.contains('?'));
    assert!(head.minor_version <= 1);
    assert!(head.headers().count() <= HEADERS_MAX);
    for (name, value) in head.headers() {
        assert!(!name.is_empty() && name.bytes().all(is_token));
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
        assert!(!value.starts_with(b" ") && !value.ends_with(b" "));
        assert!(head.header(&name.to_ascii_uppercase()).is_some());
    }
    // A request that lists more lines than were reported would be read differently elsewhere.
    let line_ends = lines[start..].iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(line_ends, head.headers().count() + 2);
}

/// Whatever the handshake says to this head, it is one response with nothing of the client's that
/// could end a line.
fn check_answer(head: &Head<'_>) {
    let request = Request::new(head.method, head.minor_version, head.headers());
    let mut out = Vec::new();
    match check(&request) {
        Ok(accept) => {
            assert!(is_upgrade(&request) && head.method == "GET" && head.minor_version == 1);
            let protocol = request.first_protocol();
            let extra: Vec<_> = protocol.into_iter().map(|name| ("Sec-WebSocket-Protocol", name)).collect();
            write_accept(&mut out, &accept, &extra);
            assert_eq!(response_status(&out), Some(101));
            assert!(out.ends_with(b"\r\n\r\n"), "a 101 has no body");
        }
        Err(refusal) => {
            refusal.write(&mut out);
            assert_eq!(response_status(&out), Some(refusal.status()));
        }
    }
}

fn any_cut_gives_the_same_verdict(
    bytes: &[u8],
    limits: HeadLimits,
    whole: &Result<Option<Head<'_>>, HeadError>,
) {
    let step = bytes.len() / CUTS_MAX + 1;
    let mut decided = false;
    for end in (0..bytes.len()).step_by(step) {
        let cut = &bytes[..end];
        let verdict = parse_head(cut, limits);
        let is_decided = !matches!(verdict, Ok(None));
        assert!(is_decided || !decided, "what was decided is undecided again at {end}");
        decided = is_decided;
        if is_decided {
            assert_same(&verdict, whole, end);
        }
        if let Ok(Some(head)) = whole {
            assert_eq!(is_decided, end >= head.consumed, "a head is complete where it ends");
        }
        let counted = &cut[..end.min(limits.head_bytes_max)];
        if cannot_be_http(counted) {
            assert_eq!(verdict.err(), Some(HeadError::Malformed));
        }
    }
    if bytes.len() >= limits.head_bytes_max {
        assert!(!matches!(whole, Ok(None)), "what is at its limit is decided");
    }
}

fn assert_same(
    left: &Result<Option<Head<'_>>, HeadError>,
    right: &Result<Option<Head<'_>>, HeadError>,
    end: usize,
) {
    match (left, right) {
        (Ok(Some(left)), Ok(Some(right))) => {
            let parts = |head: &Head<'_>| (head.consumed, head.minor_version);
            assert_eq!(parts(left), parts(right), "cut at {end}");
            assert!(left.method == right.method && left.path == right.path && left.query == right.query);
            assert!(left.headers().eq(right.headers()));
        }
        (Err(left), Err(right)) => assert_eq!(left, right, "cut at {end}"),
        _ => panic!("cut at {end}: {left:?} and {right:?}"),
    }
}

/// The status of a response that is well-formed and has all of its body.
fn response_status(bytes: &[u8]) -> Option<u16> {
    let mut lines = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes).ok()? else { return None };
    let length = response.headers.iter().find(|line| line.name == "Content-Length");
    let body_bytes = length.map_or(Some(0), |line| std::str::from_utf8(line.value).ok()?.parse().ok())?;
    (bytes.len() == head_bytes + body_bytes).then_some(response.code)?
}
