//! Internet addresses as patterns compare them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads an address literal. IPv4 is four decimal numbers, in which leading zeroes mean nothing; an IPv6 address holds
/// hexadecimal digits and colons only, and one that maps an IPv4 address is that IPv4 address.
pub(crate) fn parse(text: &[u8]) -> Option<IpAddr> {
    // Most strings are no address and are told by their first character.
    if !matches!(text.first(), Some(b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':')) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(':') {
        if text.contains('.') {
            return None;
        }
        let address: Ipv6Addr = text.parse().ok()?;
        return Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4));
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Cidr {
    pub(crate) network: IpAddr,
    /// The number of leading bits that an address of the block shares with the network.
    pub(crate) bits: u32,
}

impl Cidr {
    /// Reads `address/bits`. As in the service, a block of a single address (`/32`, `/128`) is refused: it is written as
    /// that address.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = text
            .split_once('/')
            .filter(|(_, bits)| !bits.is_empty() && !bits.contains('/'))
            .ok_or("Malformed CIDR, one '/' required")?;
        let bits: i64 = bits.parse().map_err(|_| "Malformed CIDR, mask bits must be an integer")?;
        let bits = u32::try_from(bits).map_err(|_| "Malformed CIDR, mask bits must not be negative")?;
        let network = parse(address.as_bytes()).ok_or_else(|| format!("Nonstandard IP address: {address}"))?;
        match network {
            IpAddr::V4(_) if bits > 31 => Err("IPv4 mask bits must be < 32".to_owned()),
            IpAddr::V6(_) if bits > 127 => Err("IPv6 mask bits must be < 128".to_owned()),
            _ => Ok(Self { network, bits }),
        }
    }

    /// Whether `address` is of this block. A block of one family holds no address of the other.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(cidr: &str, address: &str) -> bool {
        Cidr::parse(cidr).unwrap().contains(parse(address.as_bytes()).unwrap())
    }

    #[test]
    fn a_block_holds_what_shares_its_bits() {
        assert!(within("10.0.0.0/24", "10.0.0.255"));
        assert!(!within("10.0.0.0/24", "10.0.1.0"));
        assert!(within("54.240.196.255/17", "54.240.128.0"));
        assert!(within("0.0.0.0/0", "255.255.255.255"));
        assert!(!within("0.0.0.0/0", "::1"));
        assert!(within("2600:1f00::/24", "2600:1fff:ffff::1"));
        assert!(within("::/0", "ffff::"));
        assert!(within("10.0.0.0/8", "::ffff:a00:1"), "an address mapped into IPv6 is the IPv4 address");
    }

    #[test]
    fn refuses_what_is_no_block() {
        for text in [
            "foo",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/32",
            "::/128",
            "10.0.0/8",
            "10.0.0.0/-1",
            "10.0.0.256/8",
            "1.2.3.4/8/9",
        ] {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
        assert_eq!(parse(b"1.2.3"), None);
        assert_eq!(parse(b"::ffff:1.2.3.4"), None);
    }
}
