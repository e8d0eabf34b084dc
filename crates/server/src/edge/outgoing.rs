//! Which addresses are called for others: a subscriber's endpoint is chosen by whoever subscribes.
//!
//! Owns the decision about one address that a connection is about to be made to; names are decided by what they resolve
//! to. Promises that link-local and metadata addresses are never called, in whatever spelling and whatever is configured,
//! and of the others only public ones and those of the configured networks. Pure. Must not know who asks.
//!
//! The ranges are those of IANA's special-purpose address registries (RFC 6890 and its successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::Networks;

/// The networks that may be called beside the public internet.
#[derive(Debug, Clone)]
pub struct Outgoing(Vec<IpNet>);

/// Why an address is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// In no configuration.
    #[error("{0} is never called: {1}")]
    Never(IpAddr, &'static str),
    /// As long as its network is not listed.
    #[error("{0} is not called: it is {1}; list its network in outgoing.networks to allow it")]
    NotListed(IpAddr, &'static str),
    /// An address that resolvers understand and people do not.
    #[error("the host '{0}' is not called: write an IPv4 address as four decimal numbers")]
    Disguised(String),
    /// In brackets, and no address: with a zone, such as `[fe80::1%eth0]`.
    #[error("the host '{0}' is not called: it is no IPv6 address; zones are not supported")]
    Zoned(String),
}

const LINK_LOCAL: &str = "link-local addresses hand machines their credentials";
const METADATA: &str = "it is a cloud's metadata service";
const NOWHERE: &str = "it is no single machine's address";
const LOOPBACK: &str = "a loopback address";
const PRIVATE: &str = "a private address";
const SPECIAL: &str = "an address for special use";

/// Metadata services outside the link-local ranges: Alibaba Cloud, Oracle Cloud, Azure ("What is IP address
/// 168.63.129.16").
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
/// Where EC2 answers for itself on IPv6 ("Access instance metadata", EC2 User Guide), and hands out what pods may use:
/// the first 32 bits.
const EC2: [u16; 2] = [0xfd00, 0xec2];
/// Where others do: Google ("About VM metadata", Compute Engine), Oracle and Scaleway (their data sources in the
/// documentation of cloud-init).
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

enum Kind {
    Public,
    Unless(&'static str),
    Never(&'static str),
}

impl Outgoing {
    /// As configured, for a server that listens on a loopback address or not.
    pub fn new(networks: &Networks, listens_on_loopback: bool) -> Self {
        Self(match networks {
            Networks::Auto if listens_on_loopback => Networks::loopback(),
            Networks::Auto => Vec::new(),
            Networks::Listed(networks) => networks.clone(),
        })
    }

    /// Decides about an address.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Refused> {
        // An IPv4 address in the clothes of IPv6 is called as what it is, or by a translator somewhere.
        let inner = match address {
            IpAddr::V6(v6) => embedded(v6),
            IpAddr::V4(_) => Vec::new(),
        };
        inner.into_iter().map(IpAddr::V4).chain([address]).try_for_each(|meant| match kind(meant) {
            Kind::Public => Ok(()),
            Kind::Never(why) => Err(Refused::Never(address, why)),
            Kind::Unless(_) if self.lists(address) || self.lists(meant) => Ok(()),
            Kind::Unless(what) => Err(Refused::NotListed(address, what)),
        })
    }

    /// Decides about a host as an address names it, as far as it is not a name: names are decided when they are
    /// resolved.
    pub(super) fn check_host(&self, host: &str) -> Result<(), Refused> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return self.check(address);
        }
        if host.contains(['[', ']', '%']) {
            return Err(Refused::Zoned(host.to_owned()));
        }
        // "2130706433", "0x7f.1", "127.1" and "0177.0.0.1" are addresses to a resolver. No name ends like this ("URL
        // Living Standard", a host that ends in a number).
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
        let number = hex.map_or_else(
            || !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
            |digits| digits.bytes().all(|b| b.is_ascii_hexdigit()),
        );
        if number { Err(Refused::Disguised(host.to_owned())) } else { Ok(()) }
    }

    /// Whether a host is an address of the networks that the settings name, and may be called.
    pub(super) fn lists_host(&self, host: &str) -> bool {
        let address = match host {
            "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host => host.trim_matches(['[', ']']).parse(),
        };
        address.is_ok_and(|address| self.lists(address) && self.check(address).is_ok())
    }

    fn lists(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(v4: Ipv4Addr) -> Kind {
    match v4.octets() {
        _ if METADATA_V4.contains(&v4) => Kind::Never(METADATA),
        [169, 254, ..] => Kind::Never(LINK_LOCAL),
        [0, ..] | [224..=239, ..] | [255, 255, 255, 255] => Kind::Never(NOWHERE),
        [127, ..] => Kind::Unless(LOOPBACK),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Kind::Unless(PRIVATE),
        [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => Kind::Unless(SPECIAL),
        _ => Kind::Public,
    }
}

fn kind_v6(v6: Ipv6Addr) -> Kind {
    match v6.segments() {
        [a, b, ..] if [a, b] == EC2 => Kind::Never(METADATA),
        _ if METADATA_V6.contains(&v6) => Kind::Never(METADATA),
        _ if v6.is_unspecified() => Kind::Never(NOWHERE),
        [0xfe80..=0xfebf, ..] => Kind::Never(LINK_LOCAL),
        [0xff00..=0xffff, ..] => Kind::Never(NOWHERE),
        _ if v6.is_loopback() => Kind::Unless(LOOPBACK),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Kind::Unless(PRIVATE),
        // Of the rest, 2000::/3 is the internet; what holds an IPv4 address is decided by that.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Kind::Unless(SPECIAL),
        [0x2000..=0x3fff, ..] => Kind::Public,
        [0x64, 0xff9b, 1, ..] => Kind::Unless(SPECIAL),
        _ if !embedded(v6).is_empty() => Kind::Public,
        _ => Kind::Unless(SPECIAL),
    }
}

/// The IPv4 addresses that may be meant: mapped, compatible, translated (RFC 2765), NAT64 (RFC 6052 and, where the
/// operator chooses where the address stands, RFC 8215), 6to4 (RFC 3056), Teredo's server and client (RFC 4380), and
/// ISATAP in whatever network (RFC 5214).
fn embedded(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Vec::new(),
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => vec![join(high, low)],
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => vec![join(high, low)],
        [0x64, 0xff9b, 1, a, b, c, d, e] => {
            // After 48, 56, 64 or 96 bits; the eight bits from the 64th on are left out.
            let (a, b, c, d) = (u32::from(a), u32::from(b), u32::from(c), u32::from(d));
            let after_48 = a << 16 | (b & 0xff) << 8 | c >> 8;
            let after_56 = (a & 0xff) << 24 | (b & 0xff) << 16 | c;
            let after_64 = (b & 0xff) << 24 | c << 8 | d >> 8;
            let meant = [after_48, after_56, after_64, d << 16 | u32::from(e)].map(Ipv4Addr::from);
            // Zeroes are what is left over.
            meant.into_iter().filter(|v4| v4.octets()[0] != 0 && !v4.is_multicast()).collect()
        }
        [0x2002, high, low, ..] => vec![join(high, low)],
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            vec![join(server_high, server_low), join(!high, !low)]
        }
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => vec![join(high, low)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Setting;

    fn outgoing(networks: &str) -> Outgoing {
        Outgoing::new(&Networks::parse(networks).unwrap(), false)
    }

    fn check(outgoing: &Outgoing, host: &str) -> Result<(), Refused> {
        outgoing.check_host(host)
    }

    #[test]
    fn the_internet_is_called() {
        let none = outgoing("none");
        for public in [
            "93.184.216.34",
            "8.8.8.8",
            "172.15.255.255",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "[2606:2800:220:1::1]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::8.8.8.8]",
            "[2002:808:808::1]",
            "hooks.example.com",
            "xn--bcher-kva.example",
            "a1.example2.c0m",
        ] {
            assert_eq!(check(&none, public), Ok(()), "{public}");
        }
    }

    #[test]
    fn link_local_and_metadata_are_never_called_even_when_listed() {
        let everything = outgoing("0.0.0.0/0, ::/0");
        for never in [
            "169.254.169.254",
            "169.254.0.1",
            "[fe80::1]",
            "[febf::1]",
            "[::ffff:169.254.169.254]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[2002:a9fe:a9fe::1]",
            "[2001:0:808:808:3:4:5601:5601]",
            "[2001:0:a9fe:a9fe::f7f7:f7f7]",
            "[::ffff:0:169.254.169.254]",
            "[64:ff9b:1:a9fe:a9:fe00::]",
            "[64:ff9b:1:a9:fe:a9fe::]",
            "[64:ff9b:1:0:a9:fea9:fe00:0]",
            "[64:ff9b:1::169.254.169.254]",
            "[2606:2800::5efe:169.254.169.254]",
            "[fd12::200:5efe:169.254.169.254]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "[fd00:c1::a9fe:a9fe]",
            "[fd00:42::42]",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "0.0.0.0",
            "0.1.2.3",
            "[::]",
            "224.0.0.1",
            "255.255.255.255",
            "[ff02::1]",
        ] {
            assert!(matches!(check(&everything, never), Err(Refused::Never(..))), "{never}");
        }
    }

    #[test]
    fn private_and_loopback_addresses_are_called_where_they_are_listed() {
        let (none, some) = (outgoing("none"), outgoing("10.1.0.0/16, 127.0.0.0/8, ::1/128, fd12:3456::/32"));
        for (address, listed) in [
            ("10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", true),
            ("127.255.0.9", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("[::ffff:10.1.2.3]", true),
            ("[::ffff:10.2.2.3]", false),
            ("[64:ff9b::10.1.2.3]", true),
            ("[2002:a02:1::1]", false),
            ("[64:ff9b:1::8.8.8.8]", false),
            ("[2606:2800::5efe:10.1.2.3]", true),
            ("[2606:2800::5efe:10.2.2.3]", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("[fd12:3456::1]", true),
            ("[fd12:3457::1]", false),
            ("[fec0::1]", false),
            ("198.18.0.1", false),
            ("203.0.113.9", false),
            ("240.0.0.1", false),
            ("[2001:db8::1]", false),
            ("[100::1]", false),
        ] {
            assert!(matches!(check(&none, address), Err(Refused::NotListed(..))), "{address}");
            assert_eq!(check(&some, address).is_ok(), listed, "{address}");
        }
        let message = check(&none, "10.2.0.1").unwrap_err().to_string();
        assert_eq!(
            message,
            "10.2.0.1 is not called: it is a private address; list its network in outgoing.networks to allow it"
        );
    }

    #[test]
    fn an_address_in_disguise_is_refused() {
        let everything = outgoing("0.0.0.0/0, ::/0");
        for host in
            ["2130706433", "0x7f000001", "0X7F.1", "017700000001", "127.1", "0177.0.0.1", "127.0.0.1.", "1.2.3.4.5"]
        {
            assert_eq!(check(&everything, host), Err(Refused::Disguised(host.to_owned())));
        }
        for host in ["[fe80::1%eth0]", "[::1%25lo]", "fe80::1%1", "[]", "[x]"] {
            assert_eq!(check(&everything, host), Err(Refused::Zoned(host.to_owned())));
        }
    }

    #[test]
    fn loopback_is_called_by_default_while_the_server_listens_there() {
        let home: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(Outgoing::new(&Networks::Auto, true).check(home).is_ok());
        assert!(Outgoing::new(&Networks::Auto, true).check("::1".parse().unwrap()).is_ok());
        assert!(Outgoing::new(&Networks::Auto, true).check("10.0.0.1".parse().unwrap()).is_err());
        assert!(Outgoing::new(&Networks::Auto, false).check(home).is_err());
        assert!(Outgoing::new(&Networks::Listed(Vec::new()), true).check(home).is_err());
    }
}
