//! Event-source mappings of Kinesis streams and SQS queues: the translation between the wire and `flow::mapping`.

use base::{Arn, Scope};
use flow::mapping::{MappingChange, MappingSpec, MappingView, StartingPosition};
use wire::data::Structure;
use wire::lambda::*;
use wire::model::Kind;
use wire::{Call, ServiceError, only};

use super::super::page::page;
use super::address::address;
use super::{LambdaService, SERVICE, bad_marker, failed, flow_failed, invalid, page_size};

/// Mappings on a page ("ListEventSourceMappings": 100 by default, 10,000 at most).
const MAPPINGS_A_PAGE: usize = 100;
const REPORT_ITEMS: &str = "ReportBatchItemFailures";
const EVENT_COUNT: &str = "EventCount";

/// Members of a change that are also members of a creation.
const SETTINGS: [&str; 14] = [
    "FunctionName",
    "Enabled",
    "BatchSize",
    "MaximumBatchingWindowInSeconds",
    "MaximumRetryAttempts",
    "MaximumRecordAgeInSeconds",
    "BisectBatchOnFunctionError",
    "FilterCriteria",
    "FunctionResponseTypes",
    "ParallelizationFactor",
    "TumblingWindowInSeconds",
    "DestinationConfig",
    "ScalingConfig",
    "MetricsConfig",
];

/// Members that only other sources than streams and queues have.
const OF_OTHERS: [&str; 8] = [
    "Queues",
    "Topics",
    "SourceAccessConfigurations",
    "SelfManagedEventSource",
    "AmazonManagedKafkaEventSourceConfig",
    "SelfManagedKafkaEventSourceConfig",
    "DocumentDBEventSourceConfig",
    "LoggingConfig",
];

/// Refuses what no source that is read has, and what is not done: every member besides the `known` ones.
fn check(input: &dyn Structure, known: &[&str]) -> Result<(), ServiceError> {
    let Kind::Structure(members) = &input.shape().kind else { return Ok(()) };
    let says = |name: &str| {
        let others: Vec<&str> = members.iter().map(|member| member.name).filter(|other| *other != name).collect();
        only(SERVICE, input, &others).is_err()
    };
    match OF_OTHERS.into_iter().find(|name| says(name)) {
        Some(name) => Err(invalid(format!("Unsupported {name} parameter for given event source mapping type."))),
        None => only(SERVICE, input, known),
    }
}

/// What a mapping's scaling is set to: an empty document takes the bound away.
fn concurrency(scaling: Option<&ScalingConfig>) -> Option<Option<u32>> {
    scaling.map(|scaling| scaling.maximum_concurrency.and_then(|most| u32::try_from(most).ok()))
}

/// Whether events are counted. The other groups of metrics are of sources that are not read.
fn event_counts(config: Option<EventSourceMappingMetricsConfig>) -> Result<Option<bool>, ServiceError> {
    let Some(config) = config else { return Ok(None) };
    let groups = config.metrics.unwrap_or_default();
    match groups.iter().find(|group| *group != EVENT_COUNT) {
        Some(other) => Err(invalid(format!("MetricsConfig: {other} is of Kafka event sources only"))),
        None => Ok(Some(!groups.is_empty())),
    }
}

/// The destination of what is given up: none of an empty configuration takes it away.
fn on_failure(destinations: Option<DestinationConfig>) -> Result<Option<Option<Arn>>, ServiceError> {
    let Some(destinations) = destinations else { return Ok(None) };
    if let Some(target) = &destinations.on_success {
        only(SERVICE, target, &[])?;
    }
    let to = destinations.on_failure.and_then(|to| to.destination).filter(|to| !to.is_empty());
    Ok(Some(to.as_deref().map(arn).transpose()?))
}

fn filters(criteria: Option<FilterCriteria>) -> Option<Vec<String>> {
    let filters = criteria?.filters.unwrap_or_default();
    Some(filters.into_iter().map(|filter| filter.pattern.unwrap_or_default()).collect())
}

fn reports_items(types: Option<&[String]>) -> Option<bool> {
    types.map(|types| types.iter().any(|kind| kind == REPORT_ITEMS))
}

/// The model refuses negative sizes before this.
fn size(value: Option<i32>) -> Option<u32> {
    value.and_then(|v| u32::try_from(v).ok())
}

fn arn(text: &str) -> Result<Arn, ServiceError> {
    text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))
}

/// Where to start; only streams have a place to start at.
fn start(input: &CreateEventSourceMappingInput, source: &Arn) -> Result<Option<StartingPosition>, ServiceError> {
    let given = input.starting_position.is_some() || input.starting_position_timestamp.is_some();
    match source.service() {
        "sqs" if !given => Ok(None),
        "sqs" => Err(invalid("StartingPosition is not valid for SQS event sources.")),
        _ => start_of_stream(input).map(Some),
    }
}

fn start_of_stream(input: &CreateEventSourceMappingInput) -> Result<StartingPosition, ServiceError> {
    match (input.starting_position.as_deref(), input.starting_position_timestamp) {
        (Some("TRIM_HORIZON"), None) => Ok(StartingPosition::TrimHorizon),
        (Some("LATEST"), None) => Ok(StartingPosition::Latest),
        (Some("AT_TIMESTAMP"), Some(time)) => Ok(StartingPosition::AtTimestamp(time)),
        (Some("AT_TIMESTAMP"), None) => Err(invalid("StartingPosition AT_TIMESTAMP needs a StartingPositionTimestamp")),
        (Some(_), Some(_)) => Err(invalid("StartingPositionTimestamp is for StartingPosition AT_TIMESTAMP only")),
        (_, _) => Err(invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must \
             not be null.",
        )),
    }
}

impl LambdaService {
    pub(super) async fn create_mapping(
        &self,
        call: &Call,
        input: CreateEventSourceMappingInput,
    ) -> Result<EventSourceMappingConfiguration, ServiceError> {
        let own = ["EventSourceArn", "StartingPosition", "StartingPositionTimestamp", "Tags"];
        check(&input, &[&SETTINGS[..], &own[..]].concat())?;
        let at = address(&call.scope, &input.function_name, None)?;
        let function = self.functions.resolve(&call.scope, &at.name, at.qualifier.as_ref()).map_err(failed)?;
        let source = input.event_source_arn.as_deref().ok_or_else(|| invalid("EventSourceArn is required"))?;
        let source = arn(source)?;
        let spec = MappingSpec {
            function: at.arn,
            role: function.settings.role.clone(),
            start: start(&input, &source)?,
            source,
            settings: MappingChange {
                function: None,
                enabled: input.enabled,
                batch_size: size(input.batch_size),
                window_secs: size(input.maximum_batching_window_in_seconds),
                max_retries: input.maximum_retry_attempts.map(i64::from),
                max_age_secs: input.maximum_record_age_in_seconds.map(i64::from),
                bisect: input.bisect_batch_on_function_error,
                report_item_failures: reports_items(input.function_response_types.as_deref()),
                max_concurrency: concurrency(input.scaling_config.as_ref()),
                tags: input.tags,
                event_counts: event_counts(input.metrics_config)?,
                filters: filters(input.filter_criteria),
                on_failure: on_failure(input.destination_config)?,
                parallelization: size(input.parallelization_factor),
                tumbling_secs: size(input.tumbling_window_in_seconds),
            },
        };
        if spec.source.scope().as_ref() != Some(&call.scope) {
            return Err(invalid(format!("{} is not a stream or queue of this account and region", spec.source)));
        }
        let view = self.mappings.create(&call.scope, spec).await.map_err(flow_failed)?;
        Ok(shown(&call.scope, view))
    }

    pub(super) async fn update_mapping(
        &self,
        call: &Call,
        input: UpdateEventSourceMappingInput,
    ) -> Result<EventSourceMappingConfiguration, ServiceError> {
        check(&input, &[&SETTINGS[..], &["UUID"]].concat())?;
        let function = match input.function_name.as_deref() {
            None => None,
            Some(text) => {
                let at = address(&call.scope, text, None)?;
                self.functions.resolve(&call.scope, &at.name, at.qualifier.as_ref()).map_err(failed)?;
                Some(at.arn)
            }
        };
        let change = MappingChange {
            function,
            enabled: input.enabled,
            batch_size: size(input.batch_size),
            window_secs: size(input.maximum_batching_window_in_seconds),
            max_retries: input.maximum_retry_attempts.map(i64::from),
            max_age_secs: input.maximum_record_age_in_seconds.map(i64::from),
            bisect: input.bisect_batch_on_function_error,
            report_item_failures: reports_items(input.function_response_types.as_deref()),
            max_concurrency: concurrency(input.scaling_config.as_ref()),
            tags: None,
            event_counts: event_counts(input.metrics_config)?,
            filters: filters(input.filter_criteria),
            on_failure: on_failure(input.destination_config)?,
            parallelization: size(input.parallelization_factor),
            tumbling_secs: size(input.tumbling_window_in_seconds),
        };
        let view = self.mappings.update(&call.scope, &input.uuid, &change).await.map_err(flow_failed)?;
        Ok(shown(&call.scope, view))
    }

    pub(super) fn list_mappings(
        &self,
        call: &Call,
        input: ListEventSourceMappingsInput,
    ) -> Result<ListEventSourceMappingsOutput, ServiceError> {
        let function = match input.function_name.as_deref() {
            None => None,
            Some(text) => Some(address(&call.scope, text, None)?.arn),
        };
        let source = input.event_source_arn.as_deref().map(arn).transpose()?;
        let views = self.mappings.list(&call.scope, function.as_ref(), source.as_ref()).map_err(flow_failed)?;
        let size = page_size(input.max_items, MAPPINGS_A_PAGE);
        let (views, next_marker) =
            page(views, |view| view.mapping.id.clone(), size, input.marker.as_deref()).map_err(bad_marker)?;
        let event_source_mappings = Some(views.into_iter().map(|view| shown(&call.scope, view)).collect());
        Ok(ListEventSourceMappingsOutput { event_source_mappings, next_marker })
    }
}

/// A limit as the service shows it: -1 for none.
fn limit(value: Option<u32>) -> Option<i32> {
    Some(value.and_then(|v| i32::try_from(v).ok()).unwrap_or(-1))
}

/// A mapping as the service shows it.
pub(super) fn shown(scope: &Scope, view: MappingView) -> EventSourceMappingConfiguration {
    let mapping = view.mapping;
    let (position, time) = match mapping.start {
        None => (None, None),
        Some(StartingPosition::TrimHorizon) => (Some("TRIM_HORIZON"), None),
        Some(StartingPosition::Latest) => (Some("LATEST"), None),
        Some(StartingPosition::AtTimestamp(time)) => (Some("AT_TIMESTAMP"), Some(time)),
    };
    let of_stream = mapping.source.service() != "sqs";
    let filters: Vec<Filter> = mapping.filters.into_iter().map(|pattern| Filter { pattern: Some(pattern) }).collect();
    EventSourceMappingConfiguration {
        event_source_mapping_arn: Some(
            Arn::new("lambda", scope, format!("event-source-mapping:{}", mapping.id)).to_string(),
        ),
        uuid: Some(mapping.id),
        function_arn: Some(mapping.function.to_string()),
        event_source_arn: Some(mapping.source.to_string()),
        starting_position: position.map(str::to_owned),
        starting_position_timestamp: time,
        batch_size: i32::try_from(mapping.batch_size).ok(),
        maximum_batching_window_in_seconds: i32::try_from(mapping.window_secs).ok(),
        maximum_retry_attempts: limit(mapping.max_retries).filter(|_| of_stream),
        maximum_record_age_in_seconds: limit(mapping.max_age_secs).filter(|_| of_stream),
        bisect_batch_on_function_error: of_stream.then_some(mapping.bisect),
        parallelization_factor: i32::try_from(mapping.parallelization).ok().filter(|_| of_stream),
        tumbling_window_in_seconds: i32::try_from(mapping.tumbling_secs).ok().filter(|_| of_stream),
        scaling_config: mapping
            .max_concurrency
            .and_then(|most| i32::try_from(most).ok())
            .map(|most| ScalingConfig { maximum_concurrency: Some(most) }),
        function_response_types: Some(
            mapping.report_item_failures.then(|| REPORT_ITEMS.to_owned()).into_iter().collect(),
        ),
        metrics_config: mapping
            .event_counts
            .then(|| EventSourceMappingMetricsConfig { metrics: Some(vec![EVENT_COUNT.to_owned()]) }),
        filter_criteria: (!filters.is_empty()).then_some(FilterCriteria { filters: Some(filters) }),
        destination_config: of_stream.then(|| DestinationConfig {
            on_failure: Some(OnFailure { destination: mapping.on_failure.map(|to| to.to_string()) }),
            ..DestinationConfig::default()
        }),
        last_modified: Some(mapping.modified),
        last_processing_result: Some(view.last_result),
        state: Some(view.state.to_owned()),
        state_transition_reason: Some(if of_stream { "User action" } else { "USER_INITIATED" }.to_owned()),
        ..Default::default()
    }
}
