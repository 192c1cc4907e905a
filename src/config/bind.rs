//! Addresses as they are written: `localhost:8080`, `[::1]:0`, `:8080`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Address;

/// What a host can be, for messages.
pub(super) const HOSTS: &str = "an IP address, \"localhost\", or nothing for all addresses";

/// `host:port`: an IP address, `localhost` for both loopback addresses, or nothing for all
/// addresses, as in Go.
pub(super) fn addresses(bind: &str) -> Option<Vec<Address>> {
    let (host, port) = bind.rsplit_once(':')?;
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    if is_bare_v6 || port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    host_addresses(host, port.parse().ok()?)
}

pub(super) fn host_addresses(host: &str, port: u16) -> Option<Vec<Address>> {
    let both = |v4: Ipv4Addr, v6: Ipv6Addr| {
        vec![
            Address { socket: SocketAddr::new(v4.into(), port), optional: false },
            Address { socket: SocketAddr::new(v6.into(), port), optional: true },
        ]
    };
    match host {
        "" => return Some(both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)),
        "localhost" => return Some(both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)),
        _ => {}
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => host.parse().ok()?,
    };
    Some(vec![Address { socket: SocketAddr::new(ip, port), optional: false }])
}

/// The way back from a host, which may be a bare IPv6 address.
pub(super) fn bind_of(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bind: &str) -> Option<String> {
        let show = |address: &Address| {
            format!("{}{}", address.socket, if address.optional { " if possible" } else { "" })
        };
        addresses(bind).map(|found| found.iter().map(show).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn a_bind_names_its_addresses() {
        for (bind, expected) in [
            ("localhost:8080", "127.0.0.1:8080, [::1]:8080 if possible"),
            (":8080", "0.0.0.0:8080, [::]:8080 if possible"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:0", "[::1]:0"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
        ] {
            assert_eq!(shown(bind).as_deref(), Some(expected), "{bind}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bind in [
            "",
            "8080",
            "localhost",
            "localhost:",
            "localhost:+1",
            "127.0.0.1:65536",
            "::1:8080",
            "[::1]",
            "[1.2.3.4]:1",
            "example.org:80",
        ] {
            assert_eq!(shown(bind), None, "{bind}");
        }
    }

    #[test]
    fn hosts_of_the_documented_file_may_be_bare() {
        assert_eq!(host_addresses("::1", 1), addresses("[::1]:1"));
        assert_eq!(bind_of("::1", 1), "[::1]:1");
        assert_eq!(host_addresses("0.0.0.0", 1), addresses("0.0.0.0:1"));
    }
}
