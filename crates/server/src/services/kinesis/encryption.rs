//! StartStreamEncryption and StopStreamEncryption.
//!
//! Records are sealed by the log under a key that is made from the master key; that key plays the part of the one that
//! Kinesis itself owns in AWS KMS, `alias/aws/kinesis`. There are no other keys.

use base::Scope;
use log::Stream;
use wire::kinesis::*;
use wire::{Call, ServiceError, only};

use super::{DataStreams, SERVICE, failed, invalid};
use crate::streams::Daily;

/// The key that Kinesis owns.
pub(super) const OWN_KEY: &str = "alias/aws/kinesis";

/// Refuses a key that is not there, as AWS KMS does.
fn check_key(scope: &Scope, key: &str) -> Result<(), ServiceError> {
    let by_arn = format!("arn:aws:kms:{}:{}:{OWN_KEY}", scope.region, scope.account);
    if key == OWN_KEY || key == by_arn {
        return Ok(());
    }
    let message = format!(
        "Invalid keyId {key}: this version of Tidegate has no AWS KMS keys but the one that Kinesis owns; \
         use {OWN_KEY}"
    );
    Err(ServiceError::new("KMSNotFoundException", message))
}

fn check_type(kind: &str) -> Result<(), ServiceError> {
    if kind == "KMS" { Ok(()) } else { Err(invalid(format!("EncryptionType {kind} is not valid; only KMS is"))) }
}

pub(super) async fn start(
    service: &DataStreams,
    call: &Call,
    input: StartStreamEncryptionInput,
) -> Result<StartStreamEncryptionOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "EncryptionType", "KeyId"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    check_type(&input.encryption_type)?;
    check_key(&call.scope, &input.key_id)?;
    service.admit_daily(call, &stream, Daily::StartStreamEncryption).await?;
    let started = turn_on(service, call, &stream, input.key_id).await;
    service.made(call, &stream, Daily::StartStreamEncryption, started).await?;
    Ok(StartStreamEncryptionOutput::default())
}

async fn turn_on(service: &DataStreams, call: &Call, stream: &Stream, key: String) -> Result<(), ServiceError> {
    // How the key was named is remembered first: it is shown only while records are sealed.
    service
        .set(stream, |settings| {
            settings.key_id = Some(key.clone());
            Ok(())
        })
        .await?;
    let started = service.log.set_encryption(&stream.key, true).await;
    started.map(drop).map_err(|error| failed(&call.scope, &stream.key.name, &error))
}

pub(super) async fn stop(
    service: &DataStreams,
    call: &Call,
    input: StopStreamEncryptionInput,
) -> Result<StopStreamEncryptionOutput, ServiceError> {
    only(SERVICE, &input, &["StreamName", "StreamARN", "EncryptionType", "KeyId"])?;
    let stream = service.stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    check_type(&input.encryption_type)?;
    check_key(&call.scope, &input.key_id)?;
    service.admit_daily(call, &stream, Daily::StopStreamEncryption).await?;
    let stopped = service.log.set_encryption(&stream.key, false).await;
    let stopped = stopped.map_err(|error| failed(&call.scope, &stream.key.name, &error));
    service.made(call, &stream, Daily::StopStreamEncryption, stopped).await?;
    Ok(StopStreamEncryptionOutput::default())
}
