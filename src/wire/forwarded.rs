//! `X-Forwarded-For`: the addresses that proxies have seen, each appended behind those before it.
//!
//! ```text
//! X-Forwarded-For: anything the client wrote, 203.0.113.7, 10.0.0.2      (and 10.0.0.1 holds the socket)
//!                                             ▲            ▲ a proxy of ours, which saw …
//!                                             └ … this client
//! ```
//!
//! So the line is read from its end. What stands left of the first address that is no proxy of ours
//! was written by a stranger.

use std::net::{IpAddr, SocketAddr};

/// Proxies in a row that are believed.
pub const HOPS_MAX: usize = 32;

/// The client of a request that one of our proxies has brought, by its header's lines in their order.
/// `None`: they name nobody, so that the client is the proxy itself.
pub fn client<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let hops = lines.rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    let mut last = None;
    for hop in hops.take(HOPS_MAX) {
        // Who comes before something that is no address is not known.
        let Some(ip) = address(hop) else { break };
        last = Some(ip);
        if !is_proxy(ip) {
            break;
        }
    }
    last
}

/// With a port or without, as different proxies write it.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok();
    let ip = text.parse::<IpAddr>().ok();
    let ip = ip.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.or_else(|| bracketed().map(IpAddr::V6)).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of 10.0.0.0/8 are proxies.
    fn found(lines: &[&str]) -> Option<String> {
        let is_proxy = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
        client(lines.iter().map(|line| line.as_bytes()), is_proxy).map(|ip| ip.to_string())
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        for (lines, client) in [
            (&["203.0.113.7"][..], Some("203.0.113.7")),
            (&["1.1.1.1, 203.0.113.7,10.0.0.2"], Some("203.0.113.7")),
            (&["1.1.1.1", "203.0.113.7, 10.0.0.2", "10.0.0.3"], Some("203.0.113.7")),
            (&["10.0.0.9, 10.0.0.2"], Some("10.0.0.9")),
            (&["203.0.113.7:4711"], Some("203.0.113.7")),
            (&["[2001:db8::7]:443, 10.0.0.2:80"], Some("2001:db8::7")),
            (&["[2001:db8::7]"], Some("2001:db8::7")),
            (&["2001:db8::7"], Some("2001:db8::7")),
            (&["::ffff:203.0.113.7"], Some("203.0.113.7")),
            (&["203.0.113.7, unknown, 10.0.0.2"], Some("10.0.0.2")),
            (&["203.0.113.7, unknown"], None),
            (&["203.0.113.7,"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(found(lines).as_deref(), client, "{lines:?}");
        }
    }

    #[test]
    fn an_endless_row_of_proxies_is_not_followed_for_ever() {
        let line = format!("203.0.113.7{}", ", 10.0.0.2".repeat(HOPS_MAX));
        assert_eq!(found(&[&line]).as_deref(), Some("10.0.0.2"));
        let line = format!("203.0.113.7{}", ", 10.0.0.2".repeat(HOPS_MAX - 1));
        assert_eq!(found(&[&line]).as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn bytes_that_are_no_text_name_nobody() {
        assert_eq!(client([&b"1.1.1.1, \xff\xfe"[..]].into_iter(), |_| false), None);
    }
}
