//! The key by which notifications are signed, and its certificate.
//!
//! Owns the files `signing.key` and `signing.pem` of the data folder. Promises that the key is made once, is on disk only
//! sealed under the master key, and that its certificate is served at a path that says which key it is of. Made when the
//! first message is signed: it takes a second. Must not know what is signed.
//!
//! ```text
//! signing.key  "TIDESIGN" | version, 4, little-endian: 1 | nonce, 12 | sealed PKCS #8 | tag, 16
//! ```

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use async_trait::async_trait;
use base::{Env, MasterKey, Rng};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flow::topic::{SignatureVersion, Signed, Signer};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SigningKey as _};
use rsa::PrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

const KEY_FILE: &str = "signing.key";
const CERTIFICATE_FILE: &str = "signing.pem";
const PURPOSE: &str = "tidegate server: signing key of notifications, version 1";
const MAGIC: &[u8; 12] = b"TIDESIGN\x01\0\0\0";
const NONCE: usize = 12;
const TAG: usize = 16;
/// What receivers of notifications know since the beginning.
const BITS: usize = 2_048;
/// Before and after the key's digits in the path of its certificate, as the service has it.
const PATH: (&str, &str) = ("/SimpleNotificationService-", ".pem");

/// The [`Signer`] of the server. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Signing {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    dir: PathBuf,
    master: MasterKey,
    /// Where clients find this server.
    base_url: String,
    made: OnceCell<Arc<Made>>,
}

struct Made {
    /// For signatures over SHA-1, which the library of the other refuses to make.
    key: PrivateKey,
    /// The same key for everything over SHA-256: several times as quick, and it knows how to be certified.
    pair: KeyPair,
    pem: String,
    path: String,
}

/// Randomness as the library wants it.
struct Drawn(Arc<dyn Rng>);

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.u64())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

/// As receivers of version 1 check it.
fn sign_sha1(key: &PrivateKey, rng: &Arc<dyn Rng>, text: &[u8]) -> Result<Vec<u8>, String> {
    let key = SigningKey::<Sha1>::new(key.clone());
    let signature = key.try_sign_with_rng(&mut Drawn(Arc::clone(rng)), text);
    signature.map(|signature| signature.to_vec()).map_err(|e| e.to_string())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

impl Signing {
    /// With the key in this folder, which is made when it is needed.
    pub fn new(env: &Env, dir: &Path, master: &MasterKey, base_url: &str) -> Self {
        let (env, dir, master, base_url) = (env.clone(), dir.to_owned(), master.clone(), base_url.to_owned());
        Self { inner: Arc::new(Inner { env, dir, master, base_url, made: OnceCell::new() }) }
    }

    /// The certificate at a path, if there is one.
    pub async fn certificate(&self, path: &str) -> Option<String> {
        let is_meant = path.starts_with(PATH.0) && path.ends_with(PATH.1);
        // Whoever asks does not make a key.
        let exists = is_meant && self.inner.env.fs.exists(&self.inner.dir.join(KEY_FILE)).unwrap_or(false);
        let made = if exists { self.made().await.ok() } else { None };
        made.filter(|made| made.path == path).map(|made| made.pem.clone())
    }

    async fn made(&self) -> Result<Arc<Made>, String> {
        let inner = Arc::clone(&self.inner);
        let make = || async move {
            let made = tokio::task::spawn_blocking(move || inner.find_or_make()).await;
            made.map_err(|e| e.to_string())?.map(Arc::new)
        };
        let made = self.inner.made.get_or_try_init(make).await;
        made.map(Arc::clone).map_err(|error| format!("there is no key to sign with: {error}"))
    }
}

/// Whether a path is one of certificates.
pub(crate) fn is_certificate(path: &str) -> bool {
    path.starts_with(PATH.0) && path.ends_with(PATH.1)
}

impl Inner {
    fn find_or_make(&self) -> Result<Made, String> {
        let (key_path, pem_path) = (self.dir.join(KEY_FILE), self.dir.join(CERTIFICATE_FILE));
        let key = match self.env.fs.read(&key_path) {
            Ok(sealed) => self.open(&sealed).map_err(|why| format!("{}: {why}", key_path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(&key_path)?,
            Err(error) => return Err(failed(&key_path)(error)),
        };
        let document = key.to_pkcs8_der().map_err(|e| e.to_string())?;
        let pair = KeyPair::try_from(document.as_bytes()).map_err(|e| e.to_string())?;
        let pem = match self.env.fs.read(&pem_path) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|e| format!("{}: {e}", pem_path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = certify(&pair)?;
                self.env.fs.write_atomic(&pem_path, pem.as_bytes(), 0o600).map_err(failed(&pem_path))?;
                pem
            }
            Err(error) => return Err(failed(&pem_path)(error)),
        };
        let id: String = Sha256::digest(pem.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(Made { key, pair, pem, path: format!("{}{id}{}", PATH.0, PATH.1) })
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.master.derive(PURPOSE)).into())
    }

    fn make(&self, path: &Path) -> Result<PrivateKey, String> {
        let key = PrivateKey::new(&mut Drawn(Arc::clone(&self.env.rng)), BITS).map_err(|e| e.to_string())?;
        let document = key.to_pkcs8_der().map_err(|e| e.to_string())?;
        let mut nonce = [0; NONCE];
        self.env.rng.fill(&mut nonce);
        let mut sealed = zeroize::Zeroizing::new(document.as_bytes().to_vec());
        let of = Nonce::<U12>::from(nonce);
        let tag = self.cipher().encrypt_inout_detached(&of, MAGIC, sealed.as_mut_slice().into());
        let tag = tag.map_err(|e| e.to_string())?;
        let bytes = [MAGIC.as_slice(), &nonce, &sealed, &tag].concat();
        self.env.fs.write_atomic(path, &bytes, 0o600).map_err(failed(path))?;
        tracing::info!("a key was made that notifications are signed with");
        Ok(key)
    }

    fn open(&self, sealed: &[u8]) -> Result<PrivateKey, String> {
        let rest = sealed.strip_prefix(MAGIC.as_slice()).filter(|rest| rest.len() > NONCE + TAG);
        let (nonce, rest) = rest.ok_or("it is no signing key of version 1")?.split_at(NONCE);
        let (sealed, tag) = rest.split_at(rest.len() - TAG);
        let nonce = Nonce::<U12>::try_from(nonce).map_err(|e| e.to_string())?;
        let tag = <&Tag>::try_from(tag).map_err(|e| e.to_string())?;
        let mut document = zeroize::Zeroizing::new(sealed.to_vec());
        let opened = self.cipher().decrypt_inout_detached(&nonce, MAGIC, document.as_mut_slice().into(), tag);
        opened.map_err(|_| "it was sealed under another master key")?;
        PrivateKey::from_pkcs8_der(&document).map_err(|e| e.to_string())
    }
}

fn certify(pair: &KeyPair) -> Result<String, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Tidegate notifications");
    params.self_signed(pair).map(|certificate| certificate.pem()).map_err(|e| e.to_string())
}

#[async_trait]
impl Signer for Signing {
    async fn sign(&self, version: SignatureVersion, text: String) -> Result<Signed, String> {
        let made = self.made().await?;
        let certificate_url = format!("{}{}", self.inner.base_url, made.path);
        let rng = Arc::clone(&self.inner.env.rng);
        let work = move || match version {
            SignatureVersion::V1 => sign_sha1(&made.key, &rng, text.as_bytes()),
            SignatureVersion::V2 => made.pair.sign(text.as_bytes()).map_err(|e| e.to_string()),
        };
        let signature = tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())??;
        Ok(Signed { signature: BASE64.encode(signature), certificate_url })
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signing")
    }
}

#[cfg(test)]
mod tests {
    use base::fs::sim::SimFs;
    use base::{SeededRng, TestClock, Timestamp};
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    use rsa::signature::Verifier;

    use super::*;

    fn signing(env: &Env, master: u8) -> Signing {
        Signing::new(env, "/data".as_ref(), &MasterKey::new([master; 32]), "https://h:1")
    }

    #[tokio::test]
    async fn the_key_is_kept_sealed_and_signs_by_both_versions() {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        let env = Env { clock, rng: Arc::new(SeededRng::new(7)), fs: Arc::new(SimFs::new(7)) };
        env.fs.create_dir_all("/data".as_ref()).unwrap();
        let first = signing(&env, 1);
        assert_eq!(first.certificate("/SimpleNotificationService-0.pem").await, None);
        assert!(!env.fs.exists("/data/signing.key".as_ref()).unwrap(), "asking for a certificate makes no key");
        let one = first.sign(SignatureVersion::V1, "text".into()).await.unwrap();
        let path = one.certificate_url.strip_prefix("https://h:1").unwrap().to_owned();
        let pem = first.certificate(&path).await.unwrap();
        assert!(is_certificate(&path) && pem.starts_with("-----BEGIN CERTIFICATE-----"));
        let document = first.made().await.unwrap().key.to_pkcs8_der().unwrap();
        let stored = env.fs.read("/data/signing.key".as_ref()).unwrap();
        assert!(!stored.windows(32).any(|part| document.as_bytes().windows(32).any(|key| key == part)));

        let again = signing(&env, 1);
        assert_eq!(again.certificate(&path).await.as_ref(), Some(&pem));
        assert_eq!(again.sign(SignatureVersion::V1, "text".into()).await.unwrap(), one);
        let two = again.sign(SignatureVersion::V2, "text".into()).await.unwrap();
        let public = again.made().await.unwrap().key.to_public_key();
        let read = |signed: &Signed| Signature::try_from(&*BASE64.decode(&signed.signature).unwrap()).unwrap();
        VerifyingKey::<Sha1>::new(public.clone()).verify(b"text", &read(&one)).unwrap();
        VerifyingKey::<Sha256>::new(public.clone()).verify(b"text", &read(&two)).unwrap();
        VerifyingKey::<Sha256>::new(public).verify(b"text!", &read(&two)).unwrap_err();
        let error = signing(&env, 2).sign(SignatureVersion::V1, "text".into()).await.unwrap_err();
        assert!(error.contains("another master key"), "{error}");
    }
}
