//! From layers to the one configuration, with the checks that span keys.

use std::ffi::OsString;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use base::Fs;

use super::ConfigError;
use super::keys::{Config, KEYS, Key, SECTIONS};
use super::layers::{CONFIG_VARIABLE, Layers};

/// The shortest root secret that is taken.
const MIN_SECRET_CHARS: usize = 16;

impl Config {
    /// Reads the file (`--config`, else `TIDEGATE_CONFIG`), the variables and the flags, in this order of strength.
    pub fn load(
        fs: &dyn Fs,
        file: Option<&Path>,
        vars: Vec<(OsString, OsString)>,
        flags: Vec<(&'static Key, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        let named_by_env = vars.iter().find(|(name, _)| name == CONFIG_VARIABLE).map(|(_, path)| Path::new(path));
        if let Some(path) = file.or(named_by_env) {
            let unreadable = |reason: String| ConfigError::Unreadable { path: path.display().to_string(), reason };
            let bytes = fs.read(path).map_err(|e| unreadable(e.to_string()))?;
            let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
            layers.add_toml(&path.display().to_string(), &text)?;
        }
        layers.add_env(vars.iter().cloned())?;
        for (key, value) in flags {
            layers.add_flag(key, value);
        }
        let config = Self::typed(&layers)?;
        config.check(&layers)?;
        Ok(config)
    }

    /// Where clients find a server that listens on `address`.
    pub fn endpoint(&self, address: SocketAddr) -> String {
        if !self.server.public_url.is_empty() {
            return self.server.public_url.trim_end_matches('/').to_owned();
        }
        let scheme = if self.tls.certificate_file.is_some() { "https" } else { "http" };
        // "Every address" is none that can be called; this machine can.
        let host = match address.ip() {
            IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            host => host,
        };
        format!("{scheme}://{}", SocketAddr::new(host, address.port()))
    }

    fn check(&self, layers: &Layers) -> Result<(), ConfigError> {
        let refuse = |section: &str, name: &str, reason: &str| {
            let place = layers.place(section, name).unwrap_or("not given").to_owned();
            Err(ConfigError::Value { key: format!("{section}.{name}"), place, reason: reason.to_owned() })
        };
        let tls = &self.tls;
        match (&tls.certificate_file, &tls.key_file) {
            (Some(_), None) => {
                return refuse(
                    "tls",
                    "key_file",
                    "a certificate came without its key; set tls.key_file too, or neither",
                );
            }
            (None, Some(_)) => {
                return refuse(
                    "tls",
                    "certificate_file",
                    "a key came without its certificate; set tls.certificate_file too, or neither",
                );
            }
            (None, None) if tls.ca_file.is_some() => {
                return refuse("tls", "ca_file", "there is no certificate to trust; set tls.certificate_file too");
            }
            (None, None) if !self.server.listen.ip().is_loopback() => {
                return refuse(
                    "server",
                    "listen",
                    "not a loopback address: without TLS, requests and their data would cross the network in clear \
                     text. Set tls.certificate_file and tls.key_file, or listen on 127.0.0.1",
                );
            }
            _ => {}
        }
        if !is_origin(&self.server.public_url) {
            return refuse(
                "server",
                "public_url",
                "expected http:// or https://, a host and perhaps a port, such as https://tidegate.example.com:4566",
            );
        }
        let (id, secret) = (&self.root.access_key_id, &self.root.secret_access_key);
        match (id.is_empty(), secret.is_empty()) {
            (true, true) => {}
            (false, true) => {
                return refuse(
                    "root",
                    "secret_access_key",
                    "an access key id came without its secret; set TIDEGATE_ROOT_SECRET_ACCESS_KEY too, or neither",
                );
            }
            (true, false) => {
                return refuse(
                    "root",
                    "access_key_id",
                    "a secret came without its access key id; set TIDEGATE_ROOT_ACCESS_KEY_ID too, or neither",
                );
            }
            (false, false) => {
                let well_formed = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !(16..=128).contains(&id.len()) || !well_formed {
                    return refuse("root", "access_key_id", "expected 16 to 128 letters, digits or '_'");
                }
                if id.starts_with("ASIA") {
                    return refuse(
                        "root",
                        "access_key_id",
                        "ASIA begins the keys of sessions; take another beginning, such as AKIA",
                    );
                }
                if secret.reveal().chars().count() < MIN_SECRET_CHARS {
                    return refuse(
                        "root",
                        "secret_access_key",
                        "too short to withstand guessing: 16 characters or more",
                    );
                }
                if secret.reveal().chars().any(|c| c.is_control() || c.is_whitespace()) {
                    return refuse(
                        "root",
                        "secret_access_key",
                        "spaces and control characters cannot be passed on faithfully; leave them out",
                    );
                }
            }
        }
        if self.server.max_connections == 0 {
            return refuse("server", "max_connections", "expected at least 1");
        }
        if self.server.max_inflight_bytes < self.server.max_body_bytes {
            return refuse("server", "max_inflight_bytes", "expected at least server.max_body_bytes");
        }
        if !(1..=3_650).contains(&self.functions.log_days) {
            return refuse("functions", "log_days", "expected 1 to 3650");
        }
        Ok(())
    }
}

/// Whether `url` is nothing, or a scheme, a host and a port at most.
fn is_origin(url: &str) -> bool {
    let parts = url.parse::<http::Uri>().map(http::Uri::into_parts);
    url.is_empty()
        || parts.is_ok_and(|parts| {
            let scheme = parts.scheme.as_ref().map(http::uri::Scheme::as_str);
            let host = parts.authority.is_some_and(|authority| !authority.as_str().contains('@'));
            matches!(scheme, Some("http" | "https"))
                && host
                && parts.path_and_query.is_none_or(|path| path.as_str() == "/")
        })
}

/// A configuration file with every key at its default, each explained: the reference of the docs.
pub fn default_file() -> String {
    let mut out = String::from(
        "# Every key with its default. A variable (named beside it) overrides the file, a flag overrides both.\n",
    );
    for (section, doc) in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n#{doc}\n[{section}]\n");
        for key in KEYS.iter().filter(|k| k.section == *section) {
            let plain =
                key.default.parse::<u64>().is_ok() && key.shape.contains("number") || key.shape == "true or false";
            let value = if plain { key.default.to_owned() } else { format!("\"{}\"", key.default) };
            let _ = write!(out, "#{} [{}]\n# {} = {value}\n", key.doc, key.env(), key.name);
        }
    }
    out
}
