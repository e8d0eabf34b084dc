//! Firehose: delivery streams from a Kinesis stream into a search domain.
//!
//! Owns the translation between the wire and `flow::delivery`; options that are not executed are refused by name. Must
//! not know how records are delivered.

mod destination;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Arn, DeliveryStreamName};
use flow::FlowError;
use flow::delivery::{Deliveries, DeliverySpec, delivery_arn};
use wire::firehose::*;
use wire::{Call, ServiceError, ServiceId, only};

const SERVICE: ServiceId = ServiceId::Firehose;
/// Names of a page when the caller names no limit ("ListDeliveryStreams", Firehose API Reference).
const PAGE: usize = 10;
const FROM_STREAM: &str = "KinesisStreamAsSource";

/// The service.
pub(crate) struct DeliveryService {
    deliveries: Deliveries,
}

impl DeliveryService {
    pub fn new(deliveries: Deliveries) -> Arc<Self> {
        Arc::new(Self { deliveries })
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidArgumentException", message)
}

fn failed(error: FlowError) -> ServiceError {
    match error {
        FlowError::LimitExceeded(message) => ServiceError::new("LimitExceededException", message),
        error => ServiceError::from_kinded(SERVICE, &error),
    }
}

fn name(text: &str) -> Result<DeliveryStreamName, ServiceError> {
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

fn arn(text: &str) -> Result<Arn, ServiceError> {
    text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))
}

fn role(text: &str) -> Result<Arn, ServiceError> {
    let arn = arn(text)?;
    if arn.service() == "iam" { Ok(arn) } else { Err(invalid(format!("{arn} is not the ARN of a role"))) }
}

#[async_trait]
impl Firehose for DeliveryService {
    async fn create_delivery_stream(
        &self,
        call: &Call,
        input: CreateDeliveryStreamInput,
    ) -> Result<CreateDeliveryStreamOutput, ServiceError> {
        let known = [
            "DeliveryStreamName",
            "DeliveryStreamType",
            "KinesisStreamSourceConfiguration",
            "AmazonopensearchserviceDestinationConfiguration",
            "ElasticsearchDestinationConfiguration",
        ];
        only(SERVICE, &input, &known)?;
        let Some(source) = input.kinesis_stream_source_configuration else {
            return Err(invalid(format!(
                "a delivery stream reads a Kinesis stream in this version of Tidegate: give DeliveryStreamType \
                 {FROM_STREAM} and KinesisStreamSourceConfiguration"
            )));
        };
        if input.delivery_stream_type.as_deref() != Some(FROM_STREAM) {
            return Err(invalid(format!(
                "KinesisStreamSourceConfiguration needs the DeliveryStreamType {FROM_STREAM}"
            )));
        }
        let destination = match (
            input.amazonopensearchservice_destination_configuration,
            input.elasticsearch_destination_configuration,
        ) {
            (Some(config), None) => destination::of_opensearch(config)?,
            (None, Some(config)) => destination::of_elasticsearch(config)?,
            _ => return Err(invalid("exactly one destination configuration is needed")),
        };
        let source_arn = arn(&source.kinesis_stream_arn)?;
        if source_arn.scope().as_ref() != Some(&call.scope) {
            return Err(invalid(format!("{source_arn} is not a stream of this account and region")));
        }
        let spec = DeliverySpec {
            name: name(&input.delivery_stream_name)?,
            source: source_arn,
            source_role: role(&source.role_arn)?,
            destination,
        };
        let arn = self.deliveries.create(&call.scope, spec).await.map_err(failed)?;
        Ok(CreateDeliveryStreamOutput { delivery_stream_arn: Some(arn.to_string()) })
    }

    async fn describe_delivery_stream(
        &self,
        call: &Call,
        input: DescribeDeliveryStreamInput,
    ) -> Result<DescribeDeliveryStreamOutput, ServiceError> {
        let stream = self.deliveries.get(&call.scope, &name(&input.delivery_stream_name)?).map_err(failed)?;
        let after = input.exclusive_start_destination_id.as_deref();
        let destinations = match after {
            Some(id) if id >= destination::ID => Vec::new(),
            _ => vec![destination::describe(&stream.destination)],
        };
        let source = KinesisStreamSourceDescription {
            kinesis_stream_arn: Some(stream.source.to_string()),
            role_arn: Some(stream.source_role.to_string()),
            delivery_start_timestamp: Some(stream.created),
        };
        Ok(DescribeDeliveryStreamOutput {
            delivery_stream_description: DeliveryStreamDescription {
                delivery_stream_arn: delivery_arn(&call.scope, &stream.name).to_string(),
                delivery_stream_name: stream.name.to_string(),
                delivery_stream_status: "ACTIVE".to_owned(),
                delivery_stream_type: FROM_STREAM.to_owned(),
                version_id: stream.version.to_string(),
                create_timestamp: Some(stream.created),
                last_update_timestamp: Some(stream.changed),
                source: Some(SourceDescription {
                    kinesis_stream_source_description: Some(source),
                    ..Default::default()
                }),
                destinations,
                has_more_destinations: false,
                ..Default::default()
            },
            ..Default::default()
        })
    }

    async fn list_delivery_streams(
        &self,
        call: &Call,
        input: ListDeliveryStreamsInput,
    ) -> Result<ListDeliveryStreamsOutput, ServiceError> {
        let streams = self.deliveries.list(&call.scope).map_err(failed)?;
        let is_wanted = input.delivery_stream_type.is_none_or(|kind| kind == FROM_STREAM);
        let after = input.exclusive_start_delivery_stream_name.unwrap_or_default();
        let names = streams.into_iter().map(|stream| stream.name.to_string());
        let mut rest = names.filter(|name| is_wanted && *name > after);
        let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE).max(1);
        let delivery_stream_names = rest.by_ref().take(limit).collect();
        let has_more_delivery_streams = rest.next().is_some();
        Ok(ListDeliveryStreamsOutput { delivery_stream_names, has_more_delivery_streams, ..Default::default() })
    }

    async fn delete_delivery_stream(
        &self,
        call: &Call,
        input: DeleteDeliveryStreamInput,
    ) -> Result<DeleteDeliveryStreamOutput, ServiceError> {
        // `AllowForceDelete` gives up keys that cannot be retired; there are none, so both values do the same.
        self.deliveries.delete(&call.scope, &name(&input.delivery_stream_name)?).await.map_err(failed)?;
        Ok(DeleteDeliveryStreamOutput::default())
    }

    async fn put_record(&self, call: &Call, input: PutRecordInput) -> Result<PutRecordOutput, ServiceError> {
        Err(self.no_direct_put(call, &input.delivery_stream_name))
    }

    async fn put_record_batch(
        &self,
        call: &Call,
        input: PutRecordBatchInput,
    ) -> Result<PutRecordBatchOutput, ServiceError> {
        Err(self.no_direct_put(call, &input.delivery_stream_name))
    }
}

impl DeliveryService {
    /// Every delivery stream reads a Kinesis stream, so nothing can be put on one: the service's own answer.
    fn no_direct_put(&self, call: &Call, text: &str) -> ServiceError {
        match name(text).and_then(|name| self.deliveries.get(&call.scope, &name).map_err(failed)) {
            Ok(stream) => invalid(format!(
                "This operation is not permitted on KinesisStreamAsSource delivery stream type. Put the record on {}.",
                stream.source
            )),
            Err(error) => error,
        }
    }
}
