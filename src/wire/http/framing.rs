//! Whether a head may be served, and how long the body behind it is (RFC 9112 sections 3.2 and 6).

use super::{Head, HeadError, is_token};

/// A longer `Content-Length` is no number that both parsers hold.
const LENGTH_DIGITS_MAX: usize = 18;
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    Bytes(u64),
    Chunked,
}

impl BodyLength {
    pub const NONE: BodyLength = BodyLength::Bytes(0);
}

impl Head<'_> {
    /// Judges what [`parse_head`](super::parse_head) does not: the target's form, `Host`, and the
    /// headers that tell where the request ends.
    ///
    /// # Errors
    /// Whatever another parser could understand in another way.
    pub fn body_length(&self) -> Result<BodyLength, HeadError> {
        if !is_target(self.method, self.target) {
            return Err(HeadError::Target);
        }
        let (mut has_host, mut length, mut coding) = (false, None, None);
        for (name, value) in self.headers() {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("host") {
                if std::mem::replace(&mut has_host, true) || !is_host(value) {
                    return Err(HeadError::Host);
                }
            } else if is("content-length") {
                let bytes = parse_length(value).ok_or(HeadError::Length)?;
                if length.replace(bytes).is_some() {
                    return Err(HeadError::Length);
                }
            } else if is("transfer-encoding") && coding.replace(value).is_some() {
                return Err(HeadError::Length);
            }
        }
        if !has_host && self.minor_version > 0 {
            return Err(HeadError::Host);
        }
        match (length, coding) {
            (length, None) => Ok(length.map_or(BodyLength::NONE, BodyLength::Bytes)),
            (None, Some(coding)) if self.minor_version > 0 => check_coding(coding),
            (_, Some(_)) => Err(HeadError::Length),
        }
    }
}

fn check_coding(coding: &[u8]) -> Result<BodyLength, HeadError> {
    let is_chunked = |name: &[u8]| name.eq_ignore_ascii_case(b"chunked");
    let mut names = coding.rsplit(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    if !names.next().is_some_and(is_chunked) {
        return Err(HeadError::Length);
    }
    let mut known_alone = true;
    for name in names {
        if name.is_empty() || is_chunked(name) || !name.iter().all(|&byte| is_token(byte)) {
            return Err(HeadError::Length);
        }
        known_alone = false;
    }
    if known_alone { Ok(BodyLength::Chunked) } else { Err(HeadError::TransferCoding) }
}

/// Digits alone, and no zero before others, which some read as octal.
fn parse_length(value: &[u8]) -> Option<u64> {
    let is_plain = value == b"0" || !value.starts_with(b"0");
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if !is_plain || !is_number || value.len() > LENGTH_DIGITS_MAX {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn is_target(method: &str, target: &str) -> bool {
    if target.bytes().any(|byte| byte == b'#' || !byte.is_ascii_graphic()) {
        return false;
    }
    match target.split_once("://") {
        _ if target.starts_with('/') => true,
        Some((scheme, rest)) if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            is_host(rest.split(['/', '?']).next().unwrap_or_default().as_bytes())
        }
        _ => target == "*" && method == "OPTIONS",
    }
}

/// `host [":" port]`. A name, an IPv4 address, or an IPv6 one in brackets; no user, no list.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().position(|&byte| byte == b']') {
        Some(end) => {
            let (address, rest) = value.split_at(end + 1);
            let Some(inner) = address.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]")) else {
                return false;
            };
            let is_address = !inner.is_empty() && inner.iter().all(|&byte| is_in_address(byte));
            match rest {
                [] if is_address => return true,
                [b':', port @ ..] if is_address => return port.iter().all(u8::is_ascii_digit),
                _ => return false,
            }
        }
        None => match value.iter().position(|&byte| byte == b':') {
            Some(colon) => (&value[..colon], &value[colon + 1..]),
            None => (value, &[][..]),
        },
    };
    !host.is_empty() && host.iter().all(|&byte| is_in_name(byte)) && port.iter().all(u8::is_ascii_digit)
}

/// Of an IPv6 address, with its zone.
fn is_in_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || is_in_name(byte) || byte == b':'
}

/// RFC 3986 section 3.2.2, without the comma: a list of hosts is none.
fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, parse_head};
    use super::*;

    fn judge(request: &str) -> Result<BodyLength, HeadError> {
        let limits = HeadLimits { head_bytes_max: 4096 };
        parse_head(request.as_bytes(), limits).expect("a head").expect("a whole head").body_length()
    }

    fn with(headers: &str) -> Result<BodyLength, HeadError> {
        judge(&format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n"))
    }

    #[test]
    fn one_length_or_chunked_tells_where_the_body_ends() {
        assert_eq!(with(""), Ok(BodyLength::NONE));
        assert_eq!(with("Content-Length: 0\r\n"), Ok(BodyLength::NONE));
        assert_eq!(with("content-length: \t17 \r\n"), Ok(BodyLength::Bytes(17)));
        assert_eq!(
            with("Content-Length: 999999999999999999\r\n"),
            Ok(BodyLength::Bytes(999_999_999_999_999_999))
        );
        for value in ["chunked", "Chunked", "CHUNKED \t"] {
            assert_eq!(with(&format!("Transfer-Encoding: {value}\r\n")), Ok(BodyLength::Chunked), "{value}");
        }
    }

    #[test]
    fn a_length_that_parsers_read_differently_is_none() {
        for value in [
            "",
            "-1",
            "-0",
            "+5",
            "0x5",
            "0o5",
            "1_0",
            "1 0",
            "5, 5",
            "5,10",
            "05",
            "00",
            "5.0",
            "5e1",
            "five",
            "99999999999999999999",
            "-123456789123456789123456789",
            "\u{b2}",
        ] {
            assert_eq!(with(&format!("Content-Length: {value}\r\n")), Err(HeadError::Length), "{value}");
        }
        for headers in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nX: y\r\ncontent-length: 10\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ] {
            assert_eq!(with(headers), Err(HeadError::Length), "{headers}");
        }
    }

    #[test]
    fn chunked_comes_last_and_alone() {
        for value in [
            "",
            "identity",
            "gzip",
            "xchunked",
            "chunked, gzip",
            "chunked, chunked",
            ", chunked",
            "chunked,",
            "chunked;a=b",
            "\"chunked\"",
            "chun ked",
            "chunked\u{a0}",
            "a b, chunked",
        ] {
            let refused = with(&format!("Transfer-Encoding: {value}\r\n"));
            assert_eq!(refused, Err(HeadError::Length), "{value}");
        }
        assert_eq!(with("Transfer-Encoding: gzip, chunked\r\n"), Err(HeadError::TransferCoding));
        assert_eq!(judge("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(HeadError::Length));
    }

    #[test]
    fn a_request_has_one_host_that_is_one() {
        let of = |value: &str| judge(&format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"));
        for host in ["h", "localhost:8080", "a.b-c_d", "127.0.0.1:", "[::1]", "[fe80::1%25eth0]:443", "%41"] {
            assert_eq!(of(host), Ok(BodyLength::NONE), "{host}");
        }
        for host in [
            "", "a b", "user@h", "h/path", "h?q", "h, other", "h:8x", "h:-1", "http://h", "h:1:2", "[::1",
            "::1]", "[::1]x", "[]", "[a/b]", ":80", "h\\", "h#f", "\u{e4}",
        ] {
            assert_eq!(of(host), Err(HeadError::Host), "{host}");
        }
        assert_eq!(judge("GET / HTTP/1.1\r\n\r\n"), Err(HeadError::Host));
        assert_eq!(judge("GET / HTTP/1.1\r\nHost: h\r\nhost: h\r\n\r\n"), Err(HeadError::Host));
        assert_eq!(judge("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n"), Err(HeadError::Host));
        assert_eq!(judge("GET / HTTP/1.0\r\n\r\n"), Ok(BodyLength::NONE));
    }

    #[test]
    fn a_target_is_a_path_an_address_or_the_star_of_options() {
        let of =
            |method: &str, target: &str| judge(&format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        for target in ["/", "//a", "/a?b=://c", "http://h", "HTTPS://h:1/a", "ws://[::1]/?a", "/%00"] {
            assert_eq!(of("GET", target), Ok(BodyLength::NONE), "{target}");
        }
        assert_eq!(of("OPTIONS", "*"), Ok(BodyLength::NONE));
        for target in [
            "*",
            "h",
            "h:443",
            "?a",
            "a/b",
            "/a#b",
            "/caf\u{e9}",
            "ftp://h/",
            "http:///a",
            "http://u@h/",
            "://h",
            "http:/a",
        ] {
            assert_eq!(of("GET", target), Err(HeadError::Target), "{target}");
        }
        assert_eq!(of("CONNECT", "h:443"), Err(HeadError::Target));
    }
}
