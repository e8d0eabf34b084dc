//! Signatures of messages, by which receivers know who sent them.
//!
//! Owns the text that is signed ("Verifying the signatures of Amazon SNS messages", SNS Developer Guide) and the
//! memory of what was signed, as one message goes to many subscribers and again to some. Must not know keys: signing is
//! the [`Signer`]'s.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Signatures that are remembered; one takes some 400 bytes.
const REMEMBERED: usize = 4_096;

/// `SignatureVersion` of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SignatureVersion {
    /// RSA over SHA-1, what receivers know since the beginning.
    #[default]
    #[serde(rename = "1")]
    V1,
    /// RSA over SHA-256.
    #[serde(rename = "2")]
    V2,
}

impl SignatureVersion {
    /// As the attribute has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
        }
    }
}

/// What proves who wrote a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// RSA PKCS #1 v1.5, in base64.
    pub signature: String,
    /// Where receivers find the certificate of the key.
    pub certificate_url: String,
}

/// Signs texts.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Signs a text, or says why that is not possible now.
    async fn sign(&self, version: SignatureVersion, text: String) -> Result<Signed, String>;
}

/// Makes and remembers signatures.
pub(super) struct Signatures {
    signer: Arc<dyn Signer>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    of: HashMap<[u8; 32], Signed>,
    order: VecDeque<[u8; 32]>,
}

impl Signatures {
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        Self { signer, known: Mutex::default() }
    }

    /// Adds the members that prove who sent a message.
    pub async fn sign(&self, version: SignatureVersion, body: &mut Map<String, Value>) -> Result<(), String> {
        let text = canonical(body);
        let key: [u8; 32] = Sha256::digest(format!("{}{text}", version.name())).into();
        let known = self.known().of.get(&key).cloned();
        let signed = match known {
            Some(signed) => signed,
            None => {
                let signed = self.signer.sign(version, text).await?;
                self.remember(key, signed.clone());
                signed
            }
        };
        body.insert("SignatureVersion".into(), version.name().into());
        body.insert("Signature".into(), signed.signature.into());
        body.insert("SigningCertURL".into(), signed.certificate_url.into());
        Ok(())
    }

    fn remember(&self, key: [u8; 32], signed: Signed) {
        let mut known = self.known();
        if known.of.insert(key, signed).is_none() {
            known.order.push_back(key);
        }
        while known.order.len() > REMEMBERED {
            let oldest = known.order.pop_front();
            oldest.and_then(|key| known.of.remove(&key));
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text that is signed: names and values of the members that count, each on its line, in the order of their names.
fn canonical(body: &Map<String, Value>) -> String {
    const NOTIFICATION: [&str; 6] = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
    const CONFIRMATION: [&str; 7] = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];
    let is_notification = body.get("Type").and_then(Value::as_str) == Some("Notification");
    let names: &[&str] = if is_notification { &NOTIFICATION } else { &CONFIRMATION };
    let lines = names.iter().filter_map(|name| Some((name, body.get(*name)?.as_str()?)));
    lines.map(|(name, value)| format!("{name}\n{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Counting(Mutex<Vec<String>>);

    #[async_trait]
    impl Signer for Counting {
        async fn sign(&self, version: SignatureVersion, text: String) -> Result<Signed, String> {
            self.0.lock().unwrap().push(text.clone());
            let signature = format!("{}:{}", version.name(), text.len());
            Ok(Signed { signature, certificate_url: "https://h/c.pem".into() })
        }
    }

    #[tokio::test]
    async fn what_counts_is_signed_once() {
        let signer = Arc::new(Counting(Mutex::default()));
        let signatures = Signatures::new(signer.clone());
        let Value::Object(plain) = json!({"Type": "Notification", "Message": "m", "MessageId": "i", "Subject": "s",
            "Timestamp": "t", "TopicArn": "a", "UnsubscribeURL": "u", "MessageAttributes": {}})
        else {
            unreachable!()
        };
        let mut body = plain.clone();
        signatures.sign(SignatureVersion::V1, &mut body).await.unwrap();
        let text = "Message\nm\nMessageId\ni\nSubject\ns\nTimestamp\nt\nTopicArn\na\nType\nNotification\n";
        assert_eq!(*signer.0.lock().unwrap(), [text]);
        assert_eq!((&body["SignatureVersion"], &body["SigningCertURL"]), (&json!("1"), &json!("https://h/c.pem")));
        let mut other = plain.clone();
        other["UnsubscribeURL"] = "v".into();
        signatures.sign(SignatureVersion::V1, &mut other).await.unwrap();
        assert_eq!((signer.0.lock().unwrap().len(), &other["Signature"]), (1, &body["Signature"]));
        signatures.sign(SignatureVersion::V2, &mut plain.clone()).await.unwrap();
        assert_eq!(signer.0.lock().unwrap().len(), 2);
        let Value::Object(asking) = json!({"Type": "SubscriptionConfirmation", "Message": "m", "MessageId": "i",
            "SubscribeURL": "u", "Timestamp": "t", "Token": "k", "TopicArn": "a", "Subject": "no"})
        else {
            unreachable!()
        };
        assert_eq!(
            canonical(&asking),
            "Message\nm\nMessageId\ni\nSubscribeURL\nu\nTimestamp\nt\nToken\nk\nTopicArn\na\nType\nSubscriptionConfirmation\n"
        );
    }
}
