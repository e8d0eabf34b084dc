//! What a configuration value can be: text becomes a typed value here and nowhere else.
//!
//! Promises that a refused value says what would have been accepted. Must not know any key.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use base::{AccountId, Region};
use functions::{Network, Strictness};
use ipnet::IpNet;

use crate::audit::Selectors;
use crate::auth::Mode;

/// A type that a key can have.
pub trait Setting: Sized {
    /// What a value looks like, in words, for `--help` and refusals.
    const SHAPE: &'static str;

    /// Parses a value as a file, the environment or a flag spells it.
    fn parse(text: &str) -> Result<Self, String>;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const SHAPE: &'static str = "a whole number";

            fn parse(text: &str) -> Result<Self, String> {
                let digits: String = text.chars().filter(|c| *c != '_').collect();
                digits.parse().map_err(|_| format!("expected a whole number from {} to {}", <$type>::MIN, <$type>::MAX))
            }
        }
    )*};
}
numbers!(u16, u32, u64, usize);

impl Setting for bool {
    const SHAPE: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected true or false".to_owned())
    }
}

impl Setting for String {
    const SHAPE: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Setting for PathBuf {
    const SHAPE: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("expected a path".to_owned()) } else { Ok(text.into()) }
    }
}

impl Setting for Option<PathBuf> {
    const SHAPE: &'static str = "a path, or nothing";

    fn parse(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| text.into()))
    }
}

impl Setting for Vec<PathBuf> {
    const SHAPE: &'static str = "paths, separated by commas";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect())
    }
}

impl Setting for Selectors {
    const SHAPE: &'static str = Self::SHAPE;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Setting for Strictness {
    const SHAPE: &'static str = "full or reduced";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "reduced" => Ok(Self::Reduced),
            _ => Err("expected full or reduced".to_owned()),
        }
    }
}

impl Setting for Network {
    const SHAPE: &'static str = "none or host";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => Err("expected none or host".to_owned()),
        }
    }
}

impl Setting for Mode {
    const SHAPE: &'static str = "enforce or audit";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "audit" => Ok(Self::Audit),
            _ => Err("expected enforce or audit".to_owned()),
        }
    }
}

impl Setting for SocketAddr {
    const SHAPE: &'static str = "an address and port";

    fn parse(text: &str) -> Result<Self, String> {
        let spelled =
            text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        spelled.parse().map_err(|_| format!("'{text}' is not an IP address and a port, such as 127.0.0.1:4566"))
    }
}

impl Setting for AccountId {
    const SHAPE: &'static str = "twelve digits";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected twelve digits (in TOML as a string: \"000000000000\")".to_owned())
    }
}

impl Setting for Region {
    const SHAPE: &'static str = "a region";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected a region such as us-east-1".to_owned())
    }
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for those who need it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(hidden)" })
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Setting for Secret {
    const SHAPE: &'static str = "a secret";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

impl Setting for LogFormat {
    const SHAPE: &'static str = "auto, text or json";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected auto, text or json".to_owned()),
        }
    }
}

/// How mail servers are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// With TLS from after the greeting on, and never without.
    StartTls,
    /// With TLS from the first byte on.
    Always,
    /// Without TLS.
    Off,
}

impl Setting for MailTls {
    const SHAPE: &'static str = "starttls, always or off";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "starttls" => Ok(Self::StartTls),
            "always" => Ok(Self::Always),
            "off" => Ok(Self::Off),
            _ => Err("expected starttls, always or off".to_owned()),
        }
    }
}

/// Networks that may be called beside the public internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Networks {
    /// The loopback networks, while the server listens on one.
    Auto,
    /// These and no others.
    Listed(Vec<IpNet>),
}

impl Networks {
    /// The loopback networks of IPv4 and IPv6.
    pub fn loopback() -> Vec<IpNet> {
        vec![
            IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
        ]
    }
}

impl Setting for Networks {
    const SHAPE: &'static str = "auto, none or networks";

    fn parse(text: &str) -> Result<Self, String> {
        let network = |text: &str| {
            text.parse::<IpNet>().map_err(|_| {
                format!("'{text}' is no network; expected auto, none or a list such as 10.1.0.0/16, ::1/128")
            })
        };
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Listed(Vec::new())),
            list => list.split(',').map(|text| network(text.trim())).collect::<Result<_, _>>().map(Self::Listed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused_with_a_reason() {
        assert_eq!(u64::parse("10_000"), Ok(10_000));
        assert!(u32::parse("-1").unwrap_err().contains("whole number"));
        assert_eq!(SocketAddr::parse("localhost:4566").unwrap().to_string(), "127.0.0.1:4566");
        assert!(SocketAddr::parse("4566").unwrap_err().contains("127.0.0.1:4566"));
        assert_eq!(LogFormat::parse("json"), Ok(LogFormat::Json));
        assert!(bool::parse("yes").is_err());
        assert_eq!(Networks::parse("127.0.0.0/8,::1/128"), Ok(Networks::Listed(Networks::loopback())));
        assert_eq!(Networks::parse("none"), Ok(Networks::Listed(vec![])));
        assert!(Networks::parse("10.0.0.0/8, home").unwrap_err().contains("'home'"));
        assert!(Networks::parse("").is_err() && Networks::parse("10.0.0.1").is_err());
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::from("hunter2".to_owned())), "(hidden)");
    }
}
