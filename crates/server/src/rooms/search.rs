//! The search domains that deliveries reach: every domain of the own account is the embedded index.

use async_trait::async_trait;
use base::{AccountId, Arn, HttpError};
use bytes::Bytes;
use flow::SearchDomains;
use index::Index;

/// The embedded index under the names of domains.
pub(super) struct EmbeddedSearch {
    index: Index,
    account: AccountId,
}

impl EmbeddedSearch {
    /// The domains of `account`, in every region.
    pub fn new(index: Index, account: AccountId) -> Self {
        Self { index, account }
    }
}

#[async_trait]
impl SearchDomains for EmbeddedSearch {
    async fn send(&self, domain: &Arn, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        match domain.scope() {
            Some(scope) if self.has(domain) => Ok(self.index.handle(&scope, request).await),
            _ => Err(HttpError { url: domain.to_string(), message: "there is no such search domain here".to_owned() }),
        }
    }

    fn has(&self, domain: &Arn) -> bool {
        domain.service() == "es"
            && domain.resource_of("domain").is_some_and(|name| !name.is_empty())
            && domain.region().is_some()
            && domain.account() == Some(&self.account)
    }
}
