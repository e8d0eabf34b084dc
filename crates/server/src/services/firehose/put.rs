//! PutRecord and PutRecordBatch.
//!
//! A batch is one append, so its records are taken all or none, and a call that fails can be repeated whole. The
//! service may take some of a batch and name the others; no record of one fails alone here.

use bytes::Bytes;
use flow::delivery::Deliveries;
use wire::firehose::*;
use wire::{Call, ServiceError};

use super::{failed, invalid, name};

/// Bytes of a batch ("PutRecordBatch", Firehose API Reference).
const MAX_BATCH_BYTES: usize = 4 << 20;

async fn put(
    deliveries: &Deliveries,
    call: &Call,
    stream: &str,
    records: Vec<Bytes>,
) -> Result<impl Iterator<Item = String>, ServiceError> {
    let numbers = deliveries.put(&call.scope, &name(stream)?, records).await.map_err(failed)?;
    Ok(numbers.into_iter().map(|number| number.to_string()))
}

pub(super) async fn one(
    deliveries: &Deliveries,
    call: &Call,
    input: PutRecordInput,
) -> Result<PutRecordOutput, ServiceError> {
    let mut ids = put(deliveries, call, &input.delivery_stream_name, vec![input.record.data]).await?;
    Ok(PutRecordOutput { record_id: ids.next().unwrap_or_default(), encrypted: Some(false), ..Default::default() })
}

pub(super) async fn batch(
    deliveries: &Deliveries,
    call: &Call,
    input: PutRecordBatchInput,
) -> Result<PutRecordBatchOutput, ServiceError> {
    let records: Vec<Bytes> = input.records.into_iter().map(|record| record.data).collect();
    if records.iter().map(Bytes::len).sum::<usize>() > MAX_BATCH_BYTES {
        return Err(invalid("Records size exceeds 4 MB limit"));
    }
    let ids = put(deliveries, call, &input.delivery_stream_name, records).await?;
    let entry = |id| PutRecordBatchResponseEntry { record_id: Some(id), ..Default::default() };
    Ok(PutRecordBatchOutput {
        failed_put_count: 0,
        encrypted: Some(false),
        request_responses: ids.map(entry).collect(),
        ..Default::default()
    })
}
