//! The opening handshake (RFC 6455 sections 4.1 and 4.2).
//!
//! ```text
//! GET /path HTTP/1.1                          HTTP/1.1 101 Switching Protocols
//! Host: …                                     Upgrade: websocket
//! Upgrade: websocket                    →     Connection: Upgrade
//! Connection: keep-alive, Upgrade             Sec-WebSocket-Accept: base64(SHA-1(key + GUID))
//! Sec-WebSocket-Key: base64, 16 bytes
//! Sec-WebSocket-Version: 13
//! ```

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};

use crate::wire::http;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
const ACCEPT_BYTES: usize = 28;

/// Clients that write random letters for a key leave bits set that the last letter has no use
/// for. The key is still 16 bytes, and only its letters enter the answer.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// What a request says that matters to the handshake. The same for every parser of heads: it is
/// built from pairs of header name and value, in any case and in any order.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    method: &'a str,
    minor_version: u8,
    host: Field<'a>,
    key: Field<'a>,
    version: Field<'a>,
    protocol: Option<&'a [u8]>,
    upgrade_lists_websocket: bool,
    connection_lists_upgrade: bool,
    has_body: bool,
}

/// A header that must not be repeated.
#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Absent,
    Once(&'a [u8]),
    Repeated,
}

impl<'a> Request<'a> {
    pub fn new(
        method: &'a str,
        minor_version: u8,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Request<'a> {
        let mut request = Request {
            method,
            minor_version,
            host: Field::Absent,
            key: Field::Absent,
            version: Field::Absent,
            protocol: None,
            upgrade_lists_websocket: false,
            connection_lists_upgrade: false,
            has_body: false,
        };
        for (name, value) in headers {
            request.note(name, value);
        }
        request
    }

    /// The first subprotocol that the client offers. Browsers that offered some fail the
    /// connection when the answer's `Sec-WebSocket-Protocol` picks none.
    pub fn first_protocol(&self) -> Option<&'a str> {
        let first = elements(self.protocol?).next()?;
        let is_token = !first.is_empty() && first.iter().all(|&byte| http::is_token(byte));
        std::str::from_utf8(first).ok().filter(|_| is_token)
    }

    fn note(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // The lengths sort out nearly all other headers.
        match name.len() {
            4 if is("host") => self.host.note(value),
            7 if is("upgrade") => self.upgrade_lists_websocket |= lists(value, b"websocket"),
            10 if is("connection") => self.connection_lists_upgrade |= lists(value, b"upgrade"),
            14 if is("content-length") => self.has_body |= value != b"0",
            17 if is("sec-websocket-key") => self.key.note(value),
            17 if is("transfer-encoding") => self.has_body = true,
            21 if is("sec-websocket-version") => self.version.note(value),
            22 if is("sec-websocket-protocol") && self.protocol.is_none() => self.protocol = Some(value),
            _ => {}
        }
    }
}

impl<'a> Field<'a> {
    fn note(&mut self, value: &'a [u8]) {
        *self = match self {
            Field::Absent => Field::Once(value),
            Field::Once(_) | Field::Repeated => Field::Repeated,
        };
    }
}

/// True when the request asks for a WebSocket, well or badly: [`check`] says which.
pub fn is_upgrade(request: &Request<'_>) -> bool {
    request.upgrade_lists_websocket
}

/// The value of `Sec-WebSocket-Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept([u8; ACCEPT_BYTES]);

impl Accept {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn of(key: &[u8]) -> Accept {
        let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
        let mut accept = [0; ACCEPT_BYTES];
        let written = STANDARD.encode_slice(digest, &mut accept);
        debug_assert_eq!(written, Ok(ACCEPT_BYTES), "20 bytes are 28 letters");
        Accept(accept)
    }
}

/// Why a handshake fails. The client is at fault; nothing has been answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not GET.
    Method,
    /// HTTP/1.0 knows no upgrade.
    HttpVersion,
    /// `Host` is missing or repeated (RFC 9112 section 3.2).
    Host,
    /// `Upgrade` does not list `websocket`, or `Connection` does not list `upgrade`. Often a
    /// proxy that drops hop-by-hop headers.
    Upgrade,
    /// A body is announced. Its bytes would be read as frames, or by a proxy as a request.
    Body,
    /// A version other than 13.
    Version,
    /// The key is missing, repeated, or not the base64 of 16 bytes.
    Key,
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            Refusal::Version => 426,
            _ => 400,
        }
    }

    /// Appends the whole response; the connection is closed after it.
    pub fn write(self, out: &mut Vec<u8>) {
        self.write_with(out, &[]);
    }

    /// The same with further headers.
    pub fn write_with(self, out: &mut Vec<u8>, headers: &[(&str, &str)]) {
        let (reason, own, body): (_, &[(&str, &str)], _) = match self {
            Refusal::Version => (
                "Upgrade Required",
                &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")],
                "Sec-WebSocket-Version must be 13\n",
            ),
            Refusal::Method => ("Bad Request", &[], "a WebSocket handshake is a GET\n"),
            Refusal::HttpVersion => ("Bad Request", &[], "a WebSocket handshake needs HTTP/1.1\n"),
            Refusal::Host => ("Bad Request", &[], "exactly one Host is needed\n"),
            Refusal::Upgrade => {
                ("Bad Request", &[], "Upgrade: websocket and Connection: Upgrade are needed\n")
            }
            Refusal::Body => ("Bad Request", &[], "a WebSocket handshake has no body\n"),
            Refusal::Key => ("Bad Request", &[], "Sec-WebSocket-Key must be 16 bytes in base64\n"),
        };
        let headers = [own, headers].concat();
        http::write_response(out, self.status(), reason, &headers, body.as_bytes());
    }
}

/// Judges the handshake. Path, origin and credentials are not looked at.
pub fn check(request: &Request<'_>) -> Result<Accept, Refusal> {
    if request.method != "GET" {
        return Err(Refusal::Method);
    }
    if request.minor_version == 0 {
        return Err(Refusal::HttpVersion);
    }
    if !matches!(request.host, Field::Once(_)) {
        return Err(Refusal::Host);
    }
    if !request.upgrade_lists_websocket || !request.connection_lists_upgrade {
        return Err(Refusal::Upgrade);
    }
    if request.has_body {
        return Err(Refusal::Body);
    }
    if !matches!(request.version, Field::Once(b"13")) {
        return Err(Refusal::Version);
    }
    match request.key {
        Field::Once(key) if is_key(key) => Ok(Accept::of(key)),
        _ => Err(Refusal::Key),
    }
}

/// Appends the 101 response. The values of `extra_headers` come from the server's own words or
/// from a head that was parsed, so they hold no line ends.
pub fn write_accept(out: &mut Vec<u8>, accept: &Accept, extra_headers: &[(&str, &str)]) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept.as_bytes());
    out.extend_from_slice(b"\r\n");
    http::write_headers(out, extra_headers);
    out.extend_from_slice(b"\r\n");
}

fn is_key(key: &[u8]) -> bool {
    // The decoder asks for room by its estimate, which is two bytes above what comes out; a
    // longer key finds no room and is refused.
    let mut bytes = [0; KEY_BYTES + 2];
    KEY_BASE64.decode_slice(key, &mut bytes) == Ok(KEY_BYTES)
}

fn lists(value: &[u8], token: &[u8]) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(token))
}

fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const GOOD: [(&str, &str); 5] = [
        ("Host", "localhost:8080"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];

    fn request<'a>(method: &'a str, minor: u8, headers: &[(&'a str, &'a str)]) -> Request<'a> {
        let headers = headers.iter().map(|&(name, value)| (name, value.as_bytes()));
        Request::new(method, minor, headers.collect::<Vec<_>>())
    }

    /// The good request with one header replaced, or left out when the value is empty.
    fn check_with(name: &str, value: &str) -> Result<Accept, Refusal> {
        let mut headers = GOOD.to_vec();
        headers.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
        check(&request("GET", 1, &headers))
    }

    #[test]
    fn the_example_of_the_rfc_gets_its_accept() {
        let accept = check(&request("GET", 1, &GOOD)).unwrap();
        assert_eq!(accept.as_bytes(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut out = Vec::new();
        write_accept(&mut out, &accept, &[("X-Sigmux-Shard", "1")]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Sigmux-Shard: 1\r\n\r\n"
        );
    }

    #[test]
    fn lists_any_case_and_repeated_headers_are_understood() {
        assert!(check_with("Connection", "keep-alive, Upgrade").is_ok());
        assert!(check_with("Connection", "UPGRADE ,close").is_ok());
        assert!(check_with("Upgrade", "h2c, WebSocket").is_ok());
        let mut headers = GOOD.to_vec();
        headers.insert(0, ("connection", "keep-alive"));
        headers.push(("CONNECTION", "x"));
        assert!(check(&request("GET", 1, &headers)).is_ok());
    }

    #[test]
    fn a_parsed_head_can_be_checked() {
        let bytes = b"GET /ws HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
            sec-websocket-version:  13 \r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let limits = http::HeadLimits { head_bytes_max: 1024 };
        let head = http::parse_head(bytes, limits).unwrap().unwrap();
        let request = Request::new(head.method, head.minor_version, head.headers());
        assert!(is_upgrade(&request));
        assert_eq!(check(&request).unwrap().as_bytes(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_fault_is_refused_by_its_name() {
        assert_eq!(check(&request("POST", 1, &GOOD)), Err(Refusal::Method));
        assert_eq!(check(&request("get", 1, &GOOD)), Err(Refusal::Method));
        assert_eq!(check(&request("GET", 0, &GOOD)), Err(Refusal::HttpVersion));
        assert_eq!(check_with("Host", ""), Err(Refusal::Host));
        assert_eq!(check_with("Upgrade", "h2c"), Err(Refusal::Upgrade));
        assert_eq!(check_with("Connection", "keep-alive"), Err(Refusal::Upgrade));
        assert_eq!(check_with("Connection", "not-upgrade"), Err(Refusal::Upgrade));
        assert_eq!(check_with("Content-Length", "5"), Err(Refusal::Body));
        assert_eq!(check_with("Transfer-Encoding", "chunked"), Err(Refusal::Body));
        assert_eq!(check_with("Sec-WebSocket-Version", ""), Err(Refusal::Version));
        assert_eq!(check_with("Sec-WebSocket-Version", "8"), Err(Refusal::Version));
        assert!(check_with("Content-Length", "0").is_ok());
        for key in ["", "short", "SGVsbG8sIHdvcmxkIQ==", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=!"]
        {
            assert_eq!(check_with("Sec-WebSocket-Key", key), Err(Refusal::Key), "{key}");
        }
        // 24 letters that are 18 bytes, and far too many.
        for letters in [24, 4000] {
            assert_eq!(check_with("Sec-WebSocket-Key", &"A".repeat(letters)), Err(Refusal::Key));
        }
        for repeated in [("Host", Refusal::Host), ("Sec-WebSocket-Key", Refusal::Key)] {
            let mut headers = GOOD.to_vec();
            headers.extend(GOOD.iter().find(|(name, _)| *name == repeated.0));
            assert_eq!(check(&request("GET", 1, &headers)), Err(repeated.1));
        }
    }

    #[test]
    fn a_key_with_unused_bits_set_is_taken_by_its_letters() {
        // The letter before the padding stands for four bits too many.
        let odd = "dGhlIHNhbXBsZSBub25jZR==";
        let accept = check_with("Sec-WebSocket-Key", odd).unwrap();
        assert_ne!(accept, check(&request("GET", 1, &GOOD)).unwrap());
    }

    #[test]
    fn a_broken_upgrade_is_still_an_upgrade() {
        assert!(is_upgrade(&request("POST", 0, &[("upgrade", "WebSocket")])));
        assert!(!is_upgrade(&request("GET", 1, &[("Upgrade", "h2c"), ("Connection", "Upgrade")])));
        assert!(!is_upgrade(&request("GET", 1, &[])));
    }

    #[test]
    fn a_wrong_version_is_told_the_right_one() {
        let mut out = Vec::new();
        Refusal::Version.write(&mut out);
        let response = String::from_utf8(out).unwrap();
        assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert!(response.contains("\r\nConnection: close\r\n"));
        out = Vec::new();
        Refusal::Key.write(&mut out);
        assert!(out.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    }

    #[test]
    fn the_first_offered_subprotocol_is_found_if_it_is_a_token() {
        let offer = |value| request("GET", 1, &[("Sec-WebSocket-Protocol", value)]).first_protocol();
        assert_eq!(offer("signal.v1, other"), Some("signal.v1"));
        assert_eq!(offer(", other"), None);
        assert_eq!(offer("a b"), None);
        assert_eq!(request("GET", 1, &GOOD).first_protocol(), None);
    }
}
