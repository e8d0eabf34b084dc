//! Whose word is taken for who a called server is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::Fs;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::tls::{TlsError, certificates};

/// For a connection to be there.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// What is believed when calling out over TLS.
#[derive(Clone)]
pub struct Trust(ClientConfig);

impl Trust {
    /// The authorities that this machine trusts, as its administrator keeps them.
    pub fn of_this_machine() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            let reason = found.errors.first().map(ToString::to_string).unwrap_or_default();
            tracing::debug!(reason, "this machine trusts no authority: no https address can be called");
        }
        Self::of(roots)
    }

    /// The authorities in a PEM file, and no others; `key` names the setting.
    pub fn of_file(fs: &dyn Fs, key: &'static str, path: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(fs, key, path)? {
            roots.add(certificate)?;
        }
        Self::of(roots)
    }

    fn of(roots: RootCertStore) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(config))
    }

    /// Connections to http and https addresses, whose names `connector` resolves.
    pub fn connector<R>(self, mut connector: HttpConnector<R>) -> HttpsConnector<HttpConnector<R>> {
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIME));
        connector.enforce_http(false);
        HttpsConnectorBuilder::new().with_tls_config(self.0).https_or_http().enable_http1().wrap_connector(connector)
    }

    /// For a test's own connection.
    #[cfg(test)]
    pub(super) fn into_config(self) -> ClientConfig {
        self.0
    }
}
