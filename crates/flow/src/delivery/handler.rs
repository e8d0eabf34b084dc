//! One batch into the index, and what the index does not take into the bucket.
//!
//! Promises that a batch is done only when each of its records is indexed or in the bucket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{DeliveryStreamName, Env, RetryPolicy};
use http::Request;
use log::Record;

use super::SearchDomains;
use super::backup::{Bucket, FailedDocument, object_name};
use super::bulk::{Document, Fate, body, fates};
use super::config::{BackupMode, Destination, DomainFamily};
use super::permissions::Permissions;
use crate::consumer::{Batch, Handler, Outcome};
use crate::{FlowError, metrics};

/// What goes before the objects of failed documents.
const FAILED: &str = "elasticsearch-failed/";
/// Documents in one request, in bytes: what search domains of any size take.
const REQUEST_BYTES: usize = 8 << 20;

/// Delivers one delivery stream's batches.
pub(super) struct Indexer {
    pub name: DeliveryStreamName,
    pub destination: Destination,
    pub permissions: Permissions,
    pub search: Arc<dyn SearchDomains>,
    pub env: Env,
    pub bucket: Bucket,
}

struct Failure<'a> {
    document: &'a Document,
    attempts: u32,
    code: String,
    message: String,
}

#[async_trait]
impl Handler for Indexer {
    async fn handle(&self, batch: &Batch) -> Outcome {
        if let Err(denial) = self.permissions.read() {
            return Outcome::Later(denial.message);
        }
        let documents: Vec<Document> =
            batch.records.iter().map(|record| Document::new(&self.destination, batch.shard, record)).collect();
        let failures = self.index(&documents).await;
        metrics::documents(self.name.as_str(), "indexed", documents.len() - failures.len());
        metrics::documents(self.name.as_str(), "backed_up", failures.len());
        // Where neither the index nor the bucket takes records, the stream waits, as Firehose does.
        match self.back_up(batch, &failures).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Later(error.to_string()),
        }
    }
}

impl Indexer {
    /// Indexes, trying again for the configured time; answers what was not taken.
    async fn index<'a>(&self, documents: &'a [Document]) -> Vec<Failure<'a>> {
        let (mut open, mut failures) = (Vec::new(), Vec::new());
        for document in documents {
            match &document.source {
                Ok(_) => open.push(document),
                Err(reason) => {
                    failures.push(Failure { document, attempts: 0, code: "400".to_owned(), message: reason.clone() })
                }
            }
        }
        let began = self.env.clock.instant();
        let policy = RetryPolicy {
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            max_attempts: None,
            max_age: Some(Duration::from_secs(self.destination.retry_secs.into())),
        };
        let mut attempts = 0;
        while !open.is_empty() {
            attempts += 1;
            let mut later = Vec::new();
            for (document, fate) in open.iter().zip(self.send(&open).await) {
                match fate {
                    Fate::Indexed => {}
                    Fate::Later { code, message } => later.push(Failure { document, attempts, code, message }),
                    Fate::Refused { code, message } => failures.push(Failure { document, attempts, code, message }),
                }
            }
            let age = self.env.clock.instant().saturating_sub(began);
            open = later.iter().map(|failure| failure.document).collect();
            if let Some(first) = later.first() {
                let (stream, code, reason) = (self.name.as_str(), &first.code, &first.message);
                tracing::warn!(stream, documents = later.len(), code, reason, "the index did not take documents");
                match policy.next_delay(attempts, age, &*self.env.rng) {
                    Some(delay) => self.env.clock.sleep(delay).await,
                    None => {
                        failures.extend(later);
                        break;
                    }
                }
            }
        }
        failures.sort_by_key(|failure| failure.document.record.position);
        failures
    }

    /// Sends documents in requests of bounded size; their fates in their order.
    async fn send(&self, documents: &[&Document]) -> Vec<Fate> {
        let mut fates = Vec::with_capacity(documents.len());
        while fates.len() < documents.len() {
            let rest = &documents[fates.len()..];
            let mut bytes = 0;
            let mut fits = |document: &Document| {
                bytes += document.record.data.len();
                bytes <= REQUEST_BYTES
            };
            let count = rest.iter().take_while(|document| fits(document)).count().max(1);
            fates.extend(self.request(&rest[..count]).await);
        }
        fates
    }

    /// As Firehose calls it ("Data Delivery Errors", Firehose Developer Guide).
    fn access_denied(&self) -> &'static str {
        match self.destination.family {
            DomainFamily::OpenSearch => "OS.AccessDenied",
            DomainFamily::Elasticsearch => "ES.AccessDenied",
        }
    }

    async fn request(&self, documents: &[&Document]) -> Vec<Fate> {
        if let Err(denial) = self.permissions.index() {
            let fate = Fate::Later { code: self.access_denied().to_owned(), message: denial.message };
            return vec![fate; documents.len()];
        }
        let body = body(documents);
        metrics::delivery_bytes(self.name.as_str(), body.len());
        let request = Request::post("/_bulk").header("content-type", "application/x-ndjson").body(body);
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                let fate = Fate::Refused { code: "400".to_owned(), message: error.to_string() };
                return vec![fate; documents.len()];
            }
        };
        match self.search.send(&self.destination.domain, request).await {
            Ok(answer) => fates(answer.status(), answer.body(), documents.len()),
            Err(error) => {
                let fate = Fate::Later { code: "ConnectionFailed".to_owned(), message: error.to_string() };
                vec![fate; documents.len()]
            }
        }
    }

    async fn back_up(&self, batch: &Batch, failures: &[Failure<'_>]) -> Result<(), FlowError> {
        let (to, stream) = (&self.destination, self.name.as_str());
        if to.backup == BackupMode::AllDocuments {
            let records: Vec<&Record> = batch.records.iter().collect();
            if let Some(name) = object_name(&to.prefix, stream, batch.shard, &records) {
                let content = records.iter().flat_map(|record| record.data.iter().copied()).collect();
                self.put(&name, content).await?;
            }
        }
        let records: Vec<&Record> = failures.iter().map(|failure| &failure.document.record).collect();
        let prefix = to.error_prefix.clone().unwrap_or_else(|| format!("{}{FAILED}", to.prefix));
        let Some(name) = object_name(&prefix, stream, batch.shard, &records) else { return Ok(()) };
        let ended = self.env.clock.now().millis();
        let mut content = Vec::new();
        for Failure { document, attempts, code, message } in failures {
            let line = FailedDocument {
                attempts_made: *attempts,
                arrival_timestamp: document.record.arrival.millis(),
                error_code: code.clone(),
                error_message: message.clone(),
                attempt_ending_timestamp: ended,
                raw_data: FailedDocument::raw(&document.record.data),
                es_document_id: document.id.clone(),
                es_index_name: document.index.clone(),
                es_type_name: "",
            };
            let encoded = serde_json::to_vec(&line);
            content.extend(encoded.map_err(|source| FlowError::Encode { what: "failed document", source })?);
            content.push(b'\n');
        }
        let (documents, object) = (failures.len(), &name);
        tracing::error!(stream, documents, object, "documents that the index did not take are in the backup bucket");
        self.put(&name, content).await
    }

    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), FlowError> {
        self.permissions.back_up(name).map_err(|denial| FlowError::Denied(denial.message))?;
        self.bucket.put(name, content).await
    }
}
