//! A topic's document: what can be set on it, and what makes it valid.

use std::collections::BTreeMap;

use base::{Timestamp, TopicName};
use serde::{Deserialize, Serialize};

use super::message::MAX_MESSAGE_BYTES;
use super::policy::TopicPolicy;
use super::sign::SignatureVersion;
use crate::FlowError;

/// Characters of a display name.
const MAX_DISPLAY_NAME: usize = 100;
/// `MaximumMessageSize` of a topic ("SetTopicAttributes", SNS API Reference).
const MESSAGE_BYTES: std::ops::RangeInclusive<u32> = 1_024..=1_048_576;

/// What a FIFO topic does about messages that are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FifoTopic {
    /// `ContentBasedDeduplication`: a message without deduplication id has the hash of its text.
    pub content_based_deduplication: bool,
    /// `FifoThroughputScope` is `MessageGroup`: ids count within their group.
    pub deduplicate_by_group: bool,
}

/// A topic as stored and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Its name.
    pub name: TopicName,
    /// When it was created.
    pub created: Timestamp,
    /// `DisplayName`.
    #[serde(default)]
    pub display_name: String,
    /// `DeliveryPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_policy: Option<TopicPolicy>,
    /// `SignatureVersion`.
    #[serde(default)]
    pub signature_version: SignatureVersion,
    /// `MaximumMessageSize`, when it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<u32>,
    /// Whether it is FIFO, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fifo: Option<FifoTopic>,
    /// Who may use it, as its owner wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Attributes that can be set on a topic, `None` for what stays.
#[derive(Debug, Clone, Default)]
pub struct TopicChange {
    /// `DisplayName`.
    pub display_name: Option<String>,
    /// `DeliveryPolicy`; an empty text removes it.
    pub delivery_policy: Option<String>,
    /// `SignatureVersion`.
    pub signature_version: Option<SignatureVersion>,
    /// `MaximumMessageSize`.
    pub max_message_bytes: Option<u32>,
    /// `ContentBasedDeduplication`.
    pub content_based_deduplication: Option<bool>,
    /// `FifoThroughputScope` is `MessageGroup`.
    pub deduplicate_by_group: Option<bool>,
    /// `Policy`, which whoever asks has read; an empty text removes it.
    pub policy: Option<String>,
}

fn invalid(what: &str) -> FlowError {
    FlowError::Invalid(format!("Invalid parameter: {what}"))
}

impl TopicInfo {
    pub(super) fn new(name: &TopicName, created: Timestamp, fifo: bool) -> Self {
        Self {
            name: name.clone(),
            created,
            display_name: String::new(),
            delivery_policy: None,
            signature_version: SignatureVersion::default(),
            max_message_bytes: None,
            fifo: fifo.then(FifoTopic::default),
            policy: None,
            tags: BTreeMap::new(),
        }
    }

    /// Bytes of a message, at most.
    pub fn max_message(&self) -> u32 {
        self.max_message_bytes.unwrap_or(MAX_MESSAGE_BYTES)
    }

    /// Whether its messages may be so long that only subscribers of this server take them.
    pub(super) fn takes_large(&self) -> bool {
        self.max_message() > MAX_MESSAGE_BYTES
    }

    /// Applies a change, refusing values that are not valid.
    pub(super) fn change(&mut self, change: &TopicChange) -> Result<(), FlowError> {
        if let Some(name) = &change.display_name {
            if name.chars().count() > MAX_DISPLAY_NAME || name.chars().any(char::is_control) {
                return Err(invalid("DisplayName"));
            }
            self.display_name.clone_from(name);
        }
        if let Some(policy) = &change.delivery_policy {
            let text = Some(policy).filter(|p| !p.trim().is_empty());
            self.delivery_policy = text.map(|p| TopicPolicy::parse(p)).transpose()?;
        }
        if let Some(policy) = &change.policy {
            self.policy = Some(policy.clone()).filter(|policy| !policy.is_empty());
        }
        if let Some(version) = change.signature_version {
            self.signature_version = version;
        }
        if let Some(bytes) = change.max_message_bytes {
            if !MESSAGE_BYTES.contains(&bytes) {
                return Err(invalid("MaximumMessageSize Reason: 1024 to 1048576 bytes were expected"));
            }
            self.max_message_bytes = Some(bytes);
        }
        let asks = change.content_based_deduplication.is_some() || change.deduplicate_by_group.is_some();
        match &mut self.fifo {
            None if asks => Err(invalid("AttributeName Reason: only FIFO topics have this attribute")),
            None => Ok(()),
            Some(fifo) => {
                fifo.content_based_deduplication =
                    change.content_based_deduplication.unwrap_or(fifo.content_based_deduplication);
                fifo.deduplicate_by_group = change.deduplicate_by_group.unwrap_or(fifo.deduplicate_by_group);
                Ok(())
            }
        }
    }
}
