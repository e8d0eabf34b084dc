//! The server's certificate: read, checked against its key, and read again when it was renewed.
//!
//! Promises that a connection gets the certificate that was last read whole: one that cannot be read or does not fit
//! its key never replaces it. Must not know what is served.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base::{ErrorKind, Fs, Kinded};
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// What HTTP/2 is called when a handshake chooses the protocol (RFC 9113, section 3.2).
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path} ({key}): {source}")]
    Unreadable {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} ({key}) {reason}")]
    Content {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The two files do not belong together.
    #[error(
        "the key in {key} (tls.key_file) is not that of the first certificate in {certificate} (tls.certificate_file); name the pair that was issued together, the server's own certificate first in its file"
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

impl Kinded for TlsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreadable { .. } => ErrorKind::Unavailable,
            Self::Content { .. } | Self::Mismatch { .. } => ErrorKind::Invalid,
            Self::Library(_) => ErrorKind::Internal,
        }
    }
}

/// What a listener needs to speak TLS. Clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    certificate_file: PathBuf,
    key_file: PathBuf,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads a chain and its key, both PEM. TLS 1.2 and 1.3; HTTP/2 is offered before HTTP/1.1.
    pub fn load(fs: &dyn Fs, certificate_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let current = Arc::new(Current(RwLock::new(Arc::new(read(fs, certificate_file, key_file)?))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        let (certificate_file, key_file) = (certificate_file.to_owned(), key_file.to_owned());
        Ok(Self { certificate_file, key_file, current, config: Arc::new(config) })
    }

    /// Reads both files again; connections from now on get the new certificate, or after an error still the old one.
    pub fn reload(&self, fs: &dyn Fs) -> Result<(), TlsError> {
        let new = Arc::new(read(fs, &self.certificate_file, &self.key_file)?);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Makes streams of sockets.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config).into()
    }
}

/// The certificate that is served.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Only whole values are stored: a poisoned lock still guards one.
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(fs: &dyn Fs, certificate_file: &Path, key_file: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(fs, "tls.certificate_file", certificate_file)?;
    let key = private_key(fs, key_file)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: certificate_file.to_owned(), key: key_file.to_owned() }
        }
        rustls::Error::InvalidCertificate(error) => content(
            "tls.certificate_file",
            certificate_file,
            format!("is not a certificate that can be served: {error}"),
        ),
        error => content("tls.key_file", key_file, format!("is not a key that can be used: {error}")),
    })
}

/// The certificates of a PEM file, one or more, which the setting `key` names.
pub fn certificates(fs: &dyn Fs, key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = fs.read(path).map_err(|source| TlsError::Unreadable { key, path: path.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(content(key, path, "holds no certificate; expected PEM: -----BEGIN CERTIFICATE-----".to_owned())),
        Err(error) => Err(content(key, path, format!("is not well-formed PEM: {error}"))),
    }
}

fn private_key(fs: &dyn Fs, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = "tls.key_file";
    let unreadable = |source| TlsError::Unreadable { key, path: path.to_owned(), source };
    let bytes = fs.read(path).map_err(unreadable)?;
    if let Some(warning) = open_to_all(path, fs.mode(path).map_err(unreadable)?) {
        tracing::warn!("{warning}");
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound if bytes.windows(21).any(|text| text == b"ENCRYPTED PRIVATE KEY") => {
            content(key, path, "is encrypted; decrypt it first: openssl pkey -in FILE -out FILE".to_owned())
        }
        PemError::NoItemsFound => {
            content(key, path, "holds no private key; expected PEM: -----BEGIN PRIVATE KEY-----".to_owned())
        }
        error => content(key, path, format!("is not well-formed PEM: {error}")),
    })
}

/// What to say of a private key that every user of the machine can get at; nothing of any other.
fn open_to_all(path: &Path, mode: u32) -> Option<String> {
    let path = path.display();
    (mode & 0o007 != 0).then(|| {
        format!(
            "every user of this machine has access to the private key {path} (tls.key_file, mode {:04o}): close it \
             with chmod o-rwx {path}, and have it reissued if others may have read it",
            mode & 0o7777
        )
    })
}

fn content(key: &'static str, path: &Path, reason: String) -> TlsError {
    TlsError::Content { key, path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_open_to_all_is_named_with_its_mode_and_the_remedy() {
        let warning = |mode| open_to_all(Path::new("/etc/tidegate/key.pem"), mode);
        for mode in [0o600, 0o640, 0o400, 0o100_660] {
            assert_eq!(warning(mode), None, "{mode:o}");
        }
        for (mode, told) in [(0o644, "mode 0644"), (0o100_604, "mode 0604"), (0o602, "mode 0602")] {
            let text = warning(mode).unwrap();
            assert!(text.contains(told) && text.contains("chmod o-rwx /etc/tidegate/key.pem"), "{text}");
        }
    }
}
