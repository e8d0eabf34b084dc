//! Registered consumers that event-source mappings read as.
//!
//! Promises that who subscribes as such a consumer learns at once that a mapping took it. Must not know what mappings
//! do with what they read: that is the journal's, and counts against nobody's limits.

use std::collections::HashMap;
use std::sync::Arc;

use flow::mapping::{StreamConsumer, StreamConsumers};
use log::Log;
use tokio::sync::watch;

use super::SettingsTable;

/// How many mappings read as each consumer: one, but for moments while one starts anew.
type Taken = HashMap<StreamConsumer, usize>;

/// See the module. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Fanout {
    log: Log,
    settings: SettingsTable,
    taken: Arc<watch::Sender<Taken>>,
}

impl Fanout {
    pub fn new(log: Log, settings: SettingsTable) -> Self {
        Self { log, settings, taken: Arc::new(watch::Sender::new(Taken::default())) }
    }

    /// Whether a mapping reads as this consumer.
    pub fn is_taken(&self, consumer: &StreamConsumer) -> bool {
        self.taken.borrow().contains_key(consumer)
    }

    /// Until a mapping does.
    pub async fn until_taken(&self, consumer: &StreamConsumer) {
        let mut taken = self.taken.subscribe();
        if taken.wait_for(|taken| taken.contains_key(consumer)).await.is_err() {
            // Without a sender nobody takes anything any more.
            std::future::pending::<()>().await;
        }
    }
}

impl StreamConsumers for Fanout {
    fn is_registered(&self, consumer: &StreamConsumer) -> bool {
        let Ok(stream) = self.log.stream(&consumer.stream) else { return false };
        let settings = self.settings.of(stream.id);
        settings.consumers.get(&consumer.name).is_some_and(|found| found.epoch == consumer.epoch)
    }

    fn take(&self, consumer: &StreamConsumer) {
        self.taken.send_modify(|taken| *taken.entry(consumer.clone()).or_default() += 1);
    }

    fn give_back(&self, consumer: &StreamConsumer) {
        self.taken.send_modify(|taken| {
            if let Some(readers) = taken.get_mut(consumer) {
                *readers -= 1;
                if *readers == 0 {
                    taken.remove(consumer);
                }
            }
        });
    }
}
