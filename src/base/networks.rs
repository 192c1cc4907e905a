//! Blocks of IP addresses, as `10.0.0.0/8` names them.

use std::net::IpAddr;
use std::sync::Arc;

/// One address, or all that share its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// `10.0.0.0/8`, `2001:db8::/32`, or one address. Bits behind the prefix are not looked at.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().ok()?;
        let all_bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None => all_bits,
        };
        (prefix_bits <= all_bits).then_some(Network { address, prefix_bits })
    }

    /// An IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.1`) counts as the former.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let behind = 32 - u32::from(self.prefix_bits);
                (network.to_bits() ^ ip.to_bits()).checked_shr(behind).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let behind = 128 - u32::from(self.prefix_bits);
                (network.to_bits() ^ ip.to_bits()).checked_shr(behind).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// A list of them. The default contains nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Arc<[Network]>);

impl Networks {
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every address of a family is in it.
    pub fn has_everybody(&self) -> bool {
        self.0.iter().any(|network| network.prefix_bits == 0)
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Networks {
        Networks(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, ip: &str) -> bool {
        Network::parse(network).expect("a network").contains(ip.parse().expect("an address"))
    }

    #[test]
    fn the_bits_of_the_prefix_decide_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.2.3/8", "10.9.9.9", "9.255.255.255"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::1", "::1", "::2"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            assert!(contains(network, inside) && !contains(network, outside), "{network}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_an_ipv4_address() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!contains("::/0", "::ffff:10.1.2.3"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "a", "10.0.0.0/8/8"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert!(!Networks::default().contains("127.0.0.1".parse().expect("an address")));
        let all: Networks = Network::parse("0.0.0.0/0").into_iter().collect();
        let some: Networks = Network::parse("0.0.0.0/1").into_iter().collect();
        assert!(all.has_everybody() && !some.has_everybody() && !Networks::default().has_everybody());
    }
}
