//! Firehose: delivery streams into a search domain, of what is put on them or of a Kinesis stream.
//!
//! Owns the translation between the wire and `flow::delivery`; options that are not executed are refused by name. Must
//! not know how records are delivered.

mod destination;
mod put;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Arn, DeliveryStreamName};
use flow::FlowError;
use flow::delivery::{Deliveries, DeliverySpec, DeliveryStream, Source, delivery_arn};
use wire::firehose::*;
use wire::{Call, ServiceError, ServiceId, only};

const SERVICE: ServiceId = ServiceId::Firehose;
/// Names of a page when the caller names no limit ("ListDeliveryStreams", Firehose API Reference).
const PAGE: usize = 10;
const FROM_STREAM: &str = "KinesisStreamAsSource";
const DIRECT: &str = "DirectPut";

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
            "DirectPutSourceConfiguration",
            "KinesisStreamSourceConfiguration",
            "AmazonopensearchserviceDestinationConfiguration",
            "ElasticsearchDestinationConfiguration",
        ];
        only(SERVICE, &input, &known)?;
        let (kinesis, direct) = (input.kinesis_stream_source_configuration, input.direct_put_source_configuration);
        let source = source_of(call, input.delivery_stream_type.as_deref(), kinesis, direct)?;
        let destination = match (
            input.amazonopensearchservice_destination_configuration,
            input.elasticsearch_destination_configuration,
        ) {
            (Some(config), None) => destination::of_opensearch(config)?,
            (None, Some(config)) => destination::of_elasticsearch(config)?,
            _ => return Err(invalid("exactly one destination configuration is needed")),
        };
        let spec = DeliverySpec { name: name(&input.delivery_stream_name)?, source, destination };
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
        Ok(DescribeDeliveryStreamOutput {
            delivery_stream_description: DeliveryStreamDescription {
                delivery_stream_arn: delivery_arn(&call.scope, &stream.name).to_string(),
                delivery_stream_name: stream.name.to_string(),
                delivery_stream_status: "ACTIVE".to_owned(),
                delivery_stream_type: type_of(&stream).to_owned(),
                version_id: stream.version.to_string(),
                create_timestamp: Some(stream.created),
                last_update_timestamp: Some(stream.changed),
                source: shown_source(&stream),
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
        let wanted = input.delivery_stream_type;
        let is_wanted = |stream: &DeliveryStream| wanted.as_ref().is_none_or(|kind| kind == type_of(stream));
        let after = input.exclusive_start_delivery_stream_name.unwrap_or_default();
        let names = streams.into_iter().filter(is_wanted).map(|stream| stream.name.to_string());
        let mut rest = names.filter(|name| *name > after);
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
        put::one(&self.deliveries, call, input).await
    }

    async fn put_record_batch(
        &self,
        call: &Call,
        input: PutRecordBatchInput,
    ) -> Result<PutRecordBatchOutput, ServiceError> {
        put::batch(&self.deliveries, call, input).await
    }
}

/// Where records are to come from. What is put on it is the default.
fn source_of(
    call: &Call,
    kind: Option<&str>,
    kinesis: Option<KinesisStreamSourceConfiguration>,
    direct: Option<DirectPutSourceConfiguration>,
) -> Result<Source, ServiceError> {
    let belongs = |what: &str, kind: &str| Err(invalid(format!("{what} belongs to the DeliveryStreamType {kind}")));
    match kind.unwrap_or(DIRECT) {
        DIRECT if kinesis.is_some() => belongs("KinesisStreamSourceConfiguration", FROM_STREAM),
        DIRECT => Ok(Source::Direct(direct.and_then(|direct| u32::try_from(direct.throughput_hint_in_mbs).ok()))),
        FROM_STREAM if direct.is_some() => belongs("DirectPutSourceConfiguration", DIRECT),
        FROM_STREAM => {
            let source = kinesis.ok_or_else(|| {
                invalid(format!("KinesisStreamSourceConfiguration is needed for the DeliveryStreamType {FROM_STREAM}"))
            })?;
            let stream = arn(&source.kinesis_stream_arn)?;
            if stream.scope().as_ref() != Some(&call.scope) {
                return Err(invalid(format!("{stream} is not a stream of this account and region")));
            }
            Ok(Source::Stream(stream, role(&source.role_arn)?))
        }
        other => Err(invalid(format!("the DeliveryStreamType {other} is not available in this version of Tidegate"))),
    }
}

fn type_of(stream: &DeliveryStream) -> &'static str {
    if stream.source.is_some() { FROM_STREAM } else { DIRECT }
}

fn shown_source(stream: &DeliveryStream) -> Option<SourceDescription> {
    let kinesis_stream_source_description = stream.source.as_ref().map(|source| KinesisStreamSourceDescription {
        kinesis_stream_arn: Some(source.to_string()),
        role_arn: stream.source_role.as_ref().map(ToString::to_string),
        delivery_start_timestamp: Some(stream.created),
    });
    let direct_put_source_description = stream
        .throughput_hint
        .map(|hint| DirectPutSourceDescription { throughput_hint_in_mbs: i32::try_from(hint).ok() });
    let is_shown = kinesis_stream_source_description.is_some() || direct_put_source_description.is_some();
    is_shown.then(|| SourceDescription {
        kinesis_stream_source_description,
        direct_put_source_description,
        ..Default::default()
    })
}
