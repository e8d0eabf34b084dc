//! Targets of rules: each option is translated or refused by name.

use flow::bus::{InputSpec, RuleTarget, TargetRetry};
use wire::events::*;
use wire::{Call, ServiceError, only};

use super::{EventBridge, SERVICE, bad_token, bus_of, failed, invalid, limit, page, role, rule_name};

pub(super) async fn put(
    service: &EventBridge,
    call: &Call,
    input: PutTargetsInput,
) -> Result<PutTargetsOutput, ServiceError> {
    let (bus, rule) = (bus_of(&call.scope, input.event_bus_name.as_deref())?, rule_name(&input.rule)?);
    let targets = input.targets.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let failures = service.buses.put_targets(&call.scope, &bus, &rule, targets).await.map_err(failed)?;
    let entries: Vec<_> = failures
        .into_iter()
        .map(|failure| PutTargetsResultEntry {
            target_id: Some(failure.id),
            error_code: Some(failure.code.to_owned()),
            error_message: Some(failure.message),
        })
        .collect();
    Ok(PutTargetsOutput { failed_entry_count: i32::try_from(entries.len()).ok(), failed_entries: Some(entries) })
}

pub(super) async fn remove(
    service: &EventBridge,
    call: &Call,
    input: RemoveTargetsInput,
) -> Result<RemoveTargetsOutput, ServiceError> {
    let (bus, rule) = (bus_of(&call.scope, input.event_bus_name.as_deref())?, rule_name(&input.rule)?);
    let failures = service.buses.remove_targets(&call.scope, &bus, &rule, &input.ids).await.map_err(failed)?;
    let entries: Vec<_> = failures
        .into_iter()
        .map(|failure| RemoveTargetsResultEntry {
            target_id: Some(failure.id),
            error_code: Some(failure.code.to_owned()),
            error_message: Some(failure.message),
        })
        .collect();
    Ok(RemoveTargetsOutput { failed_entry_count: i32::try_from(entries.len()).ok(), failed_entries: Some(entries) })
}

pub(super) fn list(
    service: &EventBridge,
    call: &Call,
    input: &ListTargetsByRuleInput,
) -> Result<ListTargetsByRuleOutput, ServiceError> {
    let bus = bus_of(&call.scope, input.event_bus_name.as_deref())?;
    let rule = service.buses.rule(&call.scope, &bus, &rule_name(&input.rule)?).map_err(failed)?;
    let key = |target: &RuleTarget| target.id.clone();
    let (targets, next_token) =
        page(rule.targets, key, limit(input.limit), input.next_token.as_deref()).map_err(bad_token)?;
    Ok(ListTargetsByRuleOutput { targets: Some(targets.into_iter().map(show).collect()), next_token })
}

/// Options that are executed. Every other one is refused.
const KNOWN: [&str; 11] = [
    "Id",
    "Arn",
    "RoleArn",
    "Input",
    "InputPath",
    "InputTransformer",
    "KinesisParameters",
    "SqsParameters",
    "HttpParameters",
    "RetryPolicy",
    "DeadLetterConfig",
];

fn read(target: Target) -> Result<RuleTarget, ServiceError> {
    only(SERVICE, &target, &KNOWN)?;
    let input = match (target.input, target.input_path, target.input_transformer) {
        (None, None, None) => InputSpec::Event,
        (Some(text), None, None) => InputSpec::Constant(text),
        (None, Some(path), None) => InputSpec::Path(path),
        (None, None, Some(transformer)) => InputSpec::Transformer {
            paths: transformer.input_paths_map.unwrap_or_default(),
            template: transformer.input_template,
        },
        _ => {
            let id = target.id;
            return Err(invalid(format!(
                "Only one of Input, InputPath, or InputTransformer must be provided for target {id}."
            )));
        }
    };
    let policy = target.retry_policy.unwrap_or_default();
    let number = |value: Option<i32>| value.map(u32::try_from).transpose();
    let out_of_range = |_| invalid("a retry policy's numbers cannot be negative");
    let retry = TargetRetry {
        max_attempts: number(policy.maximum_retry_attempts).map_err(out_of_range)?,
        max_age_secs: number(policy.maximum_event_age_in_seconds).map_err(out_of_range)?,
    };
    let address = arn(&target.arn)?;
    if target.role_arn.is_none() && needs_role(&address) {
        return Err(invalid(format!("RoleArn is required for target {address}.")));
    }
    let message_group = target.sqs_parameters.map(|parameters| group(&target.id, parameters)).transpose()?;
    Ok(RuleTarget {
        id: target.id,
        arn: address,
        input,
        partition_key_path: target.kinesis_parameters.map(|parameters| parameters.partition_key_path),
        http: target.http_parameters.map(http),
        message_group,
        retry,
        dead_letter: target.dead_letter_config.and_then(|config| config.arn).as_deref().map(arn).transpose()?,
        role: role(target.role_arn.as_deref())?,
        since: base::Position::default(),
    })
}

/// Whether a target has no policy by which it could let the service in ("Amazon EventBridge permissions", EventBridge User
/// Guide; streams are reached by a role though they can have one).
fn needs_role(target: &base::Arn) -> bool {
    match target.service() {
        "kinesis" | "firehose" => true,
        "events" => target.resource_of("api-destination").is_some(),
        _ => false,
    }
}

fn http(given: HttpParameters) -> flow::destinations::HttpParameters {
    flow::destinations::HttpParameters {
        path: given.path_parameter_values.unwrap_or_default(),
        headers: given.header_parameters.unwrap_or_default(),
        query: given.query_string_parameters.unwrap_or_default(),
    }
}

/// The group of a queue's messages.
fn group(target: &str, parameters: SqsParameters) -> Result<base::PartitionKey, ServiceError> {
    let missing = || invalid(format!("Parameter(s) MessageGroupId must be specified for target: {target}."));
    let group = parameters.message_group_id.ok_or_else(missing)?;
    let allowed = |c: char| c.is_ascii_graphic();
    match group.parse() {
        Ok(key) if group.len() <= 128 && group.chars().all(allowed) => Ok(key),
        _ => Err(invalid("MessageGroupId has 1 to 128 letters, digits and punctuation")),
    }
}

fn arn(text: &str) -> Result<base::Arn, ServiceError> {
    text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))
}

fn show(target: RuleTarget) -> Target {
    let mut shown = Target { id: target.id, arn: target.arn.to_string(), ..Default::default() };
    shown.role_arn = target.role.map(|role| role.to_string());
    match target.input {
        InputSpec::Event => {}
        InputSpec::Constant(text) => shown.input = Some(text),
        InputSpec::Path(path) => shown.input_path = Some(path),
        InputSpec::Transformer { paths, template } => {
            shown.input_transformer = Some(InputTransformer {
                input_paths_map: (!paths.is_empty()).then_some(paths),
                input_template: template,
                ..Default::default()
            });
        }
    }
    shown.kinesis_parameters = target
        .partition_key_path
        .map(|partition_key_path| KinesisParameters { partition_key_path, ..Default::default() });
    shown.http_parameters = target.http.map(|http| HttpParameters {
        path_parameter_values: (!http.path.is_empty()).then_some(http.path),
        header_parameters: (!http.headers.is_empty()).then_some(http.headers),
        query_string_parameters: (!http.query.is_empty()).then_some(http.query),
    });
    shown.sqs_parameters =
        target.message_group.map(|group| SqsParameters { message_group_id: Some(group.to_string()) });
    if target.retry != TargetRetry::default() {
        shown.retry_policy = Some(RetryPolicy {
            maximum_retry_attempts: target.retry.max_attempts.and_then(|n| i32::try_from(n).ok()),
            maximum_event_age_in_seconds: target.retry.max_age_secs.and_then(|n| i32::try_from(n).ok()),
        });
    }
    shown.dead_letter_config = target.dead_letter.map(|queue| DeadLetterConfig { arn: Some(queue.to_string()) });
    shown
}
