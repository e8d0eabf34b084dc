//! PagerDuty's routing keys: whoever has one can raise alerts, so it is kept as a secret.
//!
//! Promises that a key is on disk only sealed, bound to its subscription. Must not know when it is used.

use std::sync::Arc;

use base::{MasterKey, Rng};
use zeroize::Zeroizing;

use super::subscription::Subscription;
use crate::FlowError;
use crate::sealed::{Sealer, Secret};

const PURPOSE: &str = "tidegate flow: routing keys of subscriptions, version 1";
/// Letters and digits of a key ("Send an Alert Event", PagerDuty Events API v2).
const LENGTH: usize = 32;

/// Seals and opens the keys of subscriptions.
pub(super) struct RoutingKeys {
    sealer: Sealer,
    rng: Arc<dyn Rng>,
}

impl RoutingKeys {
    pub fn new(master: &MasterKey, rng: Arc<dyn Rng>) -> Self {
        Self { sealer: Sealer::new(master, PURPOSE, "subscription"), rng }
    }

    /// A key as it is kept: as before, where it is the same.
    pub fn seal(&self, subscription: &Subscription, key: &Secret) -> Result<String, FlowError> {
        let text = key.reveal().trim();
        if text.len() != LENGTH || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let reason = "the 32 letters and digits of an integration of the Events API v2 were expected";
            return Err(FlowError::Invalid(format!("Invalid parameter: WebhookRoutingKey: {reason}")));
        }
        if let Some(before) = &subscription.routing_key
            && self.open(subscription).is_ok_and(|old| old.reveal() == text)
        {
            return Ok(before.clone());
        }
        self.sealer.seal(&subscription.id, Zeroizing::new(text.as_bytes().to_vec()), &*self.rng)
    }

    /// A subscription's key; empty when it has none.
    pub fn open(&self, subscription: &Subscription) -> Result<Secret, FlowError> {
        let Some(sealed) = &subscription.routing_key else { return Ok(Secret::default()) };
        let text = self.sealer.open(&subscription.id, sealed)?;
        Ok(Secret::new(String::from_utf8_lossy(&text).into_owned()))
    }
}
