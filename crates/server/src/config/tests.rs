//! Precedence and refusals.

use std::ffi::OsString;
use std::path::Path;

use base::RealFs;

use super::*;

fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(k, v)| (k.into(), v.into())).collect()
}

fn layered(toml: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    base::Fs::write_atomic(&RealFs, &path, toml.as_bytes(), 0o600).unwrap();
    let flags =
        flags.iter().map(|(flag, value)| (KEYS.iter().find(|k| k.flag() == *flag).unwrap(), (*value).to_owned()));
    Config::load(&RealFs, Some(Path::new(&path)), vars(env), flags.collect()).map_err(|e| match e {
        // The folder's name is random.
        ConfigError::Unknown { key, place, nearest } => {
            ConfigError::Unknown { key, place: place.rsplit('/').next().unwrap_or_default().to_owned(), nearest }
        }
        other => other,
    })
}

#[test]
fn the_defaults_hold() {
    let config = Config::load(&RealFs, None, vec![], vec![]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:4566");
    assert_eq!(config.server.data_dir, Path::new("./tidegate-data"));
    assert_eq!(config.account.id.as_str(), "000000000000");
    assert_eq!(config.auth.max_skew_seconds, 300);
}

#[test]
fn variables_override_the_file_and_flags_override_both() {
    let toml = "[server]\nlisten = \"127.0.0.1:1\"\ndrain_seconds = 1\nmax_connections = 1\n";
    let env = [("TIDEGATE_SERVER_LISTEN", "127.0.0.1:2"), ("TIDEGATE_SERVER_DRAIN_SECONDS", "2")];
    let config = layered(toml, &env, &[("listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.drain_seconds, 2);
    assert_eq!(config.server.max_connections, 1);
}

#[test]
fn unknown_keys_are_refused_with_place_and_nearest() {
    let refused = |toml: &str, env: &[(&str, &str)]| layered(toml, env, &[]).unwrap_err().to_string();
    assert_eq!(
        refused("[server]\ndrain_seconds = 1\nlisten_on = \"x\"\n", &[]),
        "unknown key 'server.listen_on' in t.toml, line 3; the nearest known one is server.listen"
    );
    assert!(refused("listen = \"x\"\n", &[]).contains("[server]"));
    assert!(refused("[sever]\nlisten = \"127.0.0.1:1\"\n", &[]).contains("server.listen"));
    assert!(refused("", &[("TIDEGATE_LOG_SEGMENT_BITES", "1")]).contains("TIDEGATE_LOG_SEGMENT_BYTES"));
    assert!(layered("", &[("TIDEGATE_TEST_DATA", "x"), ("PATH", "x")], &[]).is_ok());
}

#[test]
fn bad_values_name_their_place() {
    let refused = |toml: &str, env: &[(&str, &str)]| layered(toml, env, &[]).unwrap_err().to_string();
    assert!(refused("[server]\n\ndrain_seconds = \"soon\"\n", &[]).contains("t.toml, line 3"));
    assert!(refused("[server]\nlisten = [1]\n", &[]).contains("found array"));
    assert!(refused("[server\n", &[]).contains("line 1"));
    assert!(refused("", &[("TIDEGATE_ACCOUNT_ID", "12")]).contains("TIDEGATE_ACCOUNT_ID"));
}

#[test]
fn an_open_address_needs_tls() {
    let certificate = "[tls]\ncertificate_file = \"c.pem\"\nkey_file = \"k.pem\"\n";
    for open in ["0.0.0.0:4566", "[::]:4566", "192.0.2.1:4566"] {
        let error = layered("", &[], &[("listen", open)]).unwrap_err().to_string();
        assert!(error.contains("tls.certificate_file") && error.contains("--listen"), "{error}");
        assert!(layered(certificate, &[], &[("listen", open)]).is_ok());
    }
    assert!(layered("", &[], &[("listen", "[::1]:4566")]).is_ok());
}

#[test]
fn a_certificate_comes_with_its_key_or_not_at_all() {
    let refused = |toml: &str| layered(toml, &[], &[]).unwrap_err().to_string();
    assert!(refused("[tls]\ncertificate_file = \"c.pem\"\n").contains("tls.key_file"));
    assert!(refused("[tls]\nkey_file = \"k.pem\"\n").contains("tls.certificate_file"));
    assert!(refused("[tls]\nca_file = \"ca.pem\"\n").contains("tls.certificate_file"));
}

#[test]
fn a_public_url_is_where_a_server_is_and_nothing_more() {
    let public = |url: &str| layered("", &[], &[("public-url", url)]);
    for good in ["", "https://t.example.com", "http://[::1]:4566", "https://t.example.com:4566/"] {
        assert!(public(good).is_ok(), "{good}");
    }
    for bad in ["t.example.com:4566", "ftp://t", "https://t/path", "https://t?x", "https://u:p@t", "/"] {
        assert!(public(bad).is_err(), "{bad}");
    }
}

#[test]
fn root_keys_come_whole_and_strong_or_not_at_all() {
    let (id, secret) = ("TIDEGATE_ROOT_ACCESS_KEY_ID", "TIDEGATE_ROOT_SECRET_ACCESS_KEY");
    let with = |pairs: &[(&str, &str)]| layered("", pairs, &[]).map_err(|e| e.to_string());
    assert!(with(&[(id, "AKIAEXAMPLEEXAMPLE00")]).unwrap_err().contains("without its secret"));
    assert!(with(&[(secret, "0123456789abcdef")]).unwrap_err().contains("without its access key id"));
    let weak = with(&[(id, "AKIAEXAMPLEEXAMPLE00"), (secret, "hunter2")]).unwrap_err();
    assert!(weak.contains("16 characters") && !weak.contains("hunter2"));
    assert!(with(&[(id, "ASIAEXAMPLEEXAMPLE00"), (secret, "0123456789abcdef")]).is_err());
    let config = with(&[(id, "AKIAEXAMPLEEXAMPLE00"), (secret, "0123456789abcdef")]).unwrap();
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[test]
fn the_default_file_is_complete_and_loads() {
    let file = default_file();
    for key in KEYS {
        assert!(file.contains(&key.env()), "{}", key.name);
    }
    let uncommented: String = file
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|l| l.split_once(" = ").is_some_and(|(k, _)| !k.contains(' ')))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    layered(&uncommented, &[], &[]).unwrap();
}
