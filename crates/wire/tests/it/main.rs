//! The protocols from the outside: requests as SDKs send them, answers as SDKs read them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what a test is made of may panic as the test may")]

mod botocore;
mod cbor;
mod errors;
mod events;
mod json;
mod query;
mod rest;
mod validation;

use std::time::Duration;

use base::{Principal, Scope, Timestamp};
use bytes::Bytes;
use http::{Request, Response};
use wire::data::Structure;
use wire::model::Operation;
use wire::{Body, Call, Guard, ServiceError};

/// Lets everybody do everything.
struct Anybody;

#[async_trait::async_trait]
impl Guard for Anybody {
    fn permit(&self, _: &Call, _: &'static Operation, _: &dyn Structure) -> Result<(), ServiceError> {
        Ok(())
    }

    fn follows(&self, _: &'static Operation) -> bool {
        false
    }

    async fn ended(
        &self,
        _: &Call,
        _: &'static Operation,
        _: Option<&dyn Structure>,
        _: Result<&dyn Structure, &ServiceError>,
    ) -> Result<(), ServiceError> {
        Ok(())
    }
}

/// A call in account 000000000000, region us-east-1.
fn call() -> Call {
    Call {
        scope: Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() },
        principal: Principal::Root,
        request_id: "7d6e3fd1-0a4f-4b0f-9c43-5e8f0d5f8a11".into(),
        trace: None,
        now: Timestamp::from_millis(1_795_406_706_789),
        endpoint: "http://localhost:4566".into(),
        source_ip: None,
        secure: false,
        user_agent: None,
        access_key_id: None,
        left: Default::default(),
    }
}

fn operation(service: &str, request: &Request<Bytes>) -> &'static Operation {
    wire::identify(service, request).unwrap()
}

/// An answer that is no stream.
fn whole(response: Response<Body>) -> Response<Bytes> {
    response.map(|body| match body {
        Body::Whole(bytes) => bytes,
        Body::Events(_) => panic!("an event stream"),
    })
}

fn body(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

/// A deadline for tests that wait; nothing here does more than compute.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.unwrap()
}
