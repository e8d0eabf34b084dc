//! Numbers, times and networks as conditions compare them.

use std::net::IpAddr;

use base::Timestamp;

/// A decimal number; spellings such as `inf` are none.
pub(crate) fn number(text: &str) -> Option<f64> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number: f64 = if is_number { text.parse().ok()? } else { return None };
    number.is_finite().then_some(number)
}

/// Milliseconds since 1970 of a time in a form of ISO 8601 as the W3C names them (a year, a month, a day, or a whole
/// time with its offset), or in seconds since 1970. Four digits are a year.
pub(crate) fn time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
    let whole = match bytes.len() {
        4 if digits(0..4) => format!("{text}-01-01T00:00:00Z"),
        7 if digits(0..4) && bytes[4] == b'-' => format!("{text}-01T00:00:00Z"),
        10 if digits(0..4) && bytes[4] == b'-' => format!("{text}T00:00:00Z"),
        _ if digits(0..4) && bytes.get(4) == Some(&b'-') => text.to_owned(),
        _ => {
            let seconds: f64 = number(text)?;
            return Some(Timestamp::from_secs_f64(seconds)?.millis());
        }
    };
    let time: Timestamp = whole.parse().ok()?;
    Some(time.millis())
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads an address or a CIDR range; bits behind the range's length are of no account.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let first: IpAddr = address.parse().ok()?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => longest,
            Some(bits) if !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
        };
        (bits <= longest).then_some(Self { first, bits })
    }

    /// Whether an address is in it. An IPv4 address in an IPv6 spelling is that IPv4 address.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(first) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(first) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        assert_eq!((number("10"), number("-1.5"), number("1e3")), (Some(10.0), Some(-1.5), Some(1000.0)));
        for wrong in ["", "inf", "NaN", "0x1", "1,0", "1e999", " 1", "e"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_have_the_documented_forms() {
        let new_year = 1_577_836_800_000;
        for text in ["2020", "2020-01", "2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01T01:00:00+01:00", "1577836800"]
        {
            assert_eq!(time(text), Some(new_year), "{text}");
        }
        assert_eq!(time("2020-01-01T00:00:00.250Z"), Some(new_year + 250));
        for wrong in ["", "b", "sdfdsf", "234-13", "2020-13", "2020-01-01T00:00:00", "2016-12-13t2:00:00.593194+1"] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| Network::read(network).unwrap().holds(address.parse().unwrap());
        assert!(holds("203.0.113.0/24", "203.0.113.255") && !holds("203.0.113.0/24", "203.0.114.0"));
        assert!(holds("203.0.113.7", "::ffff:203.0.113.7") && !holds("203.0.113.7", "203.0.113.8"));
        assert!(holds("203.0.113.9/24", "203.0.113.1") && holds("0.0.0.0/0", "1.2.3.4"));
        assert!(holds("2001:DB8:1234:5678::/64", "2001:db8:1234:5678::1"));
        assert!(!holds("2001:DB8:1234:5678::/64", "2001:db8:1234:5679::1"));
        assert!(!holds("0.0.0.0/0", "::1") && holds("::/0", "::1") && !holds("::/0", "1.2.3.4"));
        for wrong in ["", "203.0.113.0/33", "203.0.113.*", "::1/129", "1.2.3.4/", "1.2.3.4/+8", "01.2.3.4"] {
            assert_eq!(Network::read(wrong), None, "{wrong}");
        }
    }
}
