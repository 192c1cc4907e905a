//! The PROXY protocol, versions 1 and 2: what a proxy says of the connection that it passes on, before
//! the first byte of that connection. By the text of HAProxy's `proxy-protocol.txt`, 2020-03-05.
//!
//! ```text
//! 1: "PROXY" SP ("TCP4" | "TCP6") SP source SP destination SP source port SP destination port CRLF
//!    "PROXY" SP "UNKNOWN" anything CRLF                               all of it at most 107 bytes
//!
//!     0 ..= 11      12            13                14 ..= 15       16 ..
//! 2: ┌───────────┬─────────────┬─────────────────┬──────────────┬───────────────────────┬──────┐
//!    │ signature │ 2 │ command │ family │ socket │ length u16BE │ source, destination … │ TLVs │
//!    └───────────┴─────────────┴─────────────────┴──────────────┴───────────────────────┴──────┘
//!     the addresses: TCP4 4+4+2+2 bytes, TCP6 16+16+2+2, UNIX 108+108
//! ```
//!
//! Only the source is of use here. Nothing is allocated, and nothing is kept between two calls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most bytes of a header, TLVs included. They may be much longer by their length field, and never
/// are: certificates of clients, the longest that proxies add, have a few hundred bytes.
pub const HEADER_BYTES_MAX: usize = 4096;

const V1_BYTES_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the connection's own bytes begin.
    pub bytes: usize,
    /// `None`: the proxy speaks for itself (a health check), or does not know, or its client has no
    /// IP address.
    pub client: Option<SocketAddr>,
}

/// Always the proxy's fault, or that of whoever has called it one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something else than a header.
    NotAHeader,
    Malformed,
    /// Over [`HEADER_BYTES_MAX`], or a version 1 line over its own 107 bytes.
    TooLong,
}

/// The header at the front of `bytes`. `None`: more are needed, and the caller calls again with all
/// of them. A fault is told as soon as its byte is there.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let is_v1 = starts_like(bytes, V1_START);
    if !is_v1 && !starts_like(bytes, V2_SIGNATURE) {
        return Err(Fault::NotAHeader);
    }
    if is_v1 { v1(bytes) } else { v2(bytes) }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn starts_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, expected)| byte == expected)
}

fn v1(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let within = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', within) else {
        return if within.len() == V1_BYTES_MAX { Err(Fault::TooLong) } else { Ok(None) };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(Fault::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Fault::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    let client = match family {
        "UNKNOWN" => None,
        "TCP4" | "TCP6" => {
            let mut ip = || {
                let ip = words.next()?.parse::<IpAddr>().ok()?;
                (ip.is_ipv4() == (family == "TCP4")).then_some(ip)
            };
            let (source, destination) = (ip(), ip());
            let (source_port, destination_port) = (words.next().and_then(port), words.next().and_then(port));
            match (source, destination, source_port, destination_port, words.next()) {
                (Some(source), Some(_), Some(port), Some(_), None) => {
                    Some(SocketAddr::new(source.to_canonical(), port))
                }
                _ => return Err(Fault::Malformed),
            }
        }
        _ => return Err(Fault::Malformed),
    };
    Ok(Some(Header { bytes: end + 1, client }))
}

/// Decimal digits without a zero in front.
fn port(word: &str) -> Option<u16> {
    let is_decimal =
        word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_decimal)
}

fn v2(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    // Before the length is there, a wrong byte is one already.
    let is_proxied = match bytes.get(12) {
        None | Some(0x21) => true,
        // The proxy's own connection; whatever it says of addresses is to be left alone.
        Some(0x20) => false,
        Some(_) => return Err(Fault::Malformed),
    };
    let address_bytes = match bytes.get(13).map(|byte| (byte >> 4, byte & 0xF)) {
        // Unspecified, or none that a stream of IP has.
        None | Some((0, 0..=2)) => 0,
        Some((1, 1..=2)) => 12,
        Some((2, 1..=2)) => 36,
        Some((3, 1..=2)) => 216,
        Some(_) if is_proxied => return Err(Fault::Malformed),
        Some(_) => 0,
    };
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if is_proxied && length < address_bytes {
        return Err(Fault::Malformed);
    }
    if V2_FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let Some(said) = rest.get(..length) else { return Ok(None) };
    let client = is_proxied.then(|| source(fixed[13], said)).flatten();
    Ok(Some(Header { bytes: V2_FIXED_BYTES + length, client }))
}

/// Only of a stream: nothing else can have been passed on to one.
fn source(family_and_socket: u8, said: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| Some(u16::from_be_bytes(*said.get(at..)?.first_chunk()?));
    match family_and_socket {
        0x11 => {
            let ip = Ipv4Addr::from(*said.first_chunk::<4>()?);
            Some(SocketAddr::new(ip.into(), port(8)?))
        }
        0x21 => {
            let ip = Ipv6Addr::from(*said.first_chunk::<16>()?);
            Some(SocketAddr::new(IpAddr::V6(ip).to_canonical(), port(32)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2_header(command: u8, family: u8, said: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend((said.len() as u16).to_be_bytes());
        header.extend(said);
        header
    }

    fn tcp4() -> Vec<u8> {
        v2_header(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80])
    }

    fn tcp6(source: &str, tlvs: &[u8]) -> Vec<u8> {
        let ip = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
        let said = [&ip(source)[..], &ip("2001:db8::1"), &[0x12, 0x34, 0, 80], tlvs].concat();
        v2_header(0x21, 0x21, &said)
    }

    /// What comes of the header, which has to be told at its last byte and not before, whatever
    /// follows.
    fn read(header: &[u8]) -> Result<Option<String>, Fault> {
        for end in 0..header.len() {
            match parse(&header[..end]) {
                Ok(None) => {}
                Ok(Some(early)) => panic!("{early:?} after {end} of {} bytes", header.len()),
                Err(fault) => return Err(fault),
            }
        }
        let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(header), parse(&followed), "what follows changes nothing");
        let parsed = parse(header)?.expect("it is whole");
        assert_eq!(parsed.bytes, header.len());
        Ok(parsed.client.map(|client| client.to_string()))
    }

    fn client(header: &[u8]) -> Option<String> {
        read(header).expect("a header")
    }

    #[test]
    fn both_versions_name_the_source() {
        let v1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 80\r\n";
        assert_eq!(client(v1).as_deref(), Some("203.0.113.7:4660"));
        let v1 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4660 80\r\n";
        assert_eq!(client(v1).as_deref(), Some("[2001:db8::7]:4660"));
        assert_eq!(client(&tcp4()).as_deref(), Some("203.0.113.7:4660"));
        assert_eq!(client(&tcp6("2001:db8::7", b"")).as_deref(), Some("[2001:db8::7]:4660"));
        assert_eq!(client(&tcp6("::ffff:203.0.113.7", b"")).as_deref(), Some("203.0.113.7:4660"));
        // An ALPN, and one that nobody knows.
        let tlvs = b"\x01\x00\x08http/1.1\xee\x00\x03abc";
        assert_eq!(client(&tcp6("2001:db8::7", tlvs)).as_deref(), Some("[2001:db8::7]:4660"));
    }

    #[test]
    fn who_speaks_for_himself_or_has_no_address_names_nobody() {
        for header in [
            &b"PROXY UNKNOWN\r\n"[..],
            b"PROXY UNKNOWN ffff::1 whatever 1 2 3\r\n",
            &v2_header(0x20, 0x00, b""),
            &v2_header(0x20, 0x11, &[0; 12]),
            &v2_header(0x20, 0x11, b"short"),
            &v2_header(0x20, 0x77, b""),
            &v2_header(0x21, 0x00, b""),
            &v2_header(0x21, 0x00, b"\x04\x00\x02no"),
            &v2_header(0x21, 0x31, &[b'x'; 216]),
            &v2_header(0x21, 0x12, &[0; 12]),
        ] {
            assert_eq!(client(header), None, "{header:02x?}");
        }
    }

    #[test]
    fn anything_else_is_a_fault_at_its_first_wrong_byte() {
        for (bytes, faulty_at) in [
            (&b"GET / HTTP/1.1\r\n"[..], 1),
            (b"\xAA\x01", 1),
            (b"\x16\x03\x01", 1),
            (b"PROXZ", 5),
            (b"PROXY\tTCP4", 6),
            (b"\r\n\r\n\0\r\nQUIT\r", 12),
            (b"\r\n\r\n\0\r\nQUIT\n\x31", 13),
            (b"\r\n\r\n\0\r\nQUIT\n\x22", 13),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x41", 14),
        ] {
            for end in 0..faulty_at {
                assert_eq!(parse(&bytes[..end]), Ok(None), "{bytes:02x?}");
            }
            assert!(parse(&bytes[..faulty_at]).is_err(), "{bytes:02x?}");
            assert!(parse(bytes).is_err(), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_malformed_line_is_refused() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 203.0.113.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 -1 2\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 01 2\r\n",
            "PROXY TCP4 203.0.113.07 10.0.0.1 1 2\r\n",
            "PROXY TCP4 203.0.113.7  10.0.0.1 1 2\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 203.0.113.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 2\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(Fault::Malformed), "{line}");
        }
        assert_eq!(read(b"PROXY UNKNOWN \xff\xfe\r\n"), Err(Fault::Malformed));
    }

    #[test]
    fn a_header_is_bounded_in_both_versions() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 16));
        assert_eq!(longest.len(), V1_BYTES_MAX);
        assert_eq!(client(longest.as_bytes()), None);
        let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 15));
        assert_eq!(read(longer.as_bytes()), Err(Fault::TooLong));

        let longest = v2_header(0x21, 0x00, &[0; HEADER_BYTES_MAX - V2_FIXED_BYTES]);
        assert_eq!(client(&longest), None);
        let longer = v2_header(0x21, 0x00, &[0; HEADER_BYTES_MAX - V2_FIXED_BYTES + 1]);
        assert_eq!(parse(&longer[..V2_FIXED_BYTES]), Err(Fault::TooLong), "by its length alone");
    }

    #[test]
    fn addresses_that_do_not_fit_their_length_are_malformed() {
        for (family, least) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
            let short = v2_header(0x21, family, &vec![0; least - 1]);
            assert_eq!(read(&short), Err(Fault::Malformed), "{family:#x}");
            assert_eq!(read(&v2_header(0x21, family, &vec![0; least])).map(|_| ()), Ok(()), "{family:#x}");
        }
    }

    /// Whatever comes, the verdict on a beginning is kept by everything that goes on from it.
    #[test]
    fn more_bytes_never_take_a_verdict_back() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize
        };
        let whole =
            [tcp4(), tcp6("2001:db8::7", b"\x01\x00\x01x"), b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".into()];
        for round in 0..20_000 {
            let mut bytes = whole[round % whole.len()].clone();
            for _ in 0..random() % 4 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
            let mut verdict = None;
            for end in 0..=bytes.len() {
                let now = parse(&bytes[..end]);
                if let Some(verdict) = verdict {
                    assert_eq!(now, verdict, "{bytes:02x?}");
                } else if now != Ok(None) {
                    verdict = Some(now);
                }
            }
        }
    }
}
