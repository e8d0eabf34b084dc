//! What a record is about, by name and type, as LookupEvents tells it.
//!
//! Owns the table of the parameters that name resources. It is asked of a record, not of a call: so what is looked up does
//! not depend on what was known when it was written.

use serde_json::Value;

/// A resource that a record names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// As CloudFormation calls it, such as `AWS::Kinesis::Stream`.
    pub kind: &'static str,
    /// Its name, ARN or URL, as the call named it.
    pub name: String,
}

/// Service (by `eventSource`), parameter (as records spell it) and type. `*` of a type is what [`by_operation`] says.
const NAMES: &[(&str, &str, &str)] = &[
    ("events", "apiDestinationArn", "AWS::Events::ApiDestination"),
    ("events", "archiveName", "AWS::Events::Archive"),
    ("events", "connectionArn", "AWS::Events::Connection"),
    ("events", "eventBusName", "AWS::Events::EventBus"),
    ("events", "name", "*"),
    ("events", "replayName", "AWS::Events::Replay"),
    ("events", "rule", "AWS::Events::Rule"),
    ("firehose", "deliveryStreamName", "AWS::KinesisFirehose::DeliveryStream"),
    ("iam", "accessKeyId", "AWS::IAM::AccessKey"),
    ("iam", "groupName", "AWS::IAM::Group"),
    ("iam", "instanceProfileName", "AWS::IAM::InstanceProfile"),
    ("iam", "policyArn", "AWS::IAM::ManagedPolicy"),
    ("iam", "policyName", "AWS::IAM::Policy"),
    ("iam", "roleName", "AWS::IAM::Role"),
    ("iam", "userName", "AWS::IAM::User"),
    ("kinesis", "consumerARN", "AWS::Kinesis::StreamConsumer"),
    ("kinesis", "streamARN", "AWS::Kinesis::Stream"),
    ("kinesis", "streamName", "AWS::Kinesis::Stream"),
    ("lambda", "eventSourceArn", "AWS::Lambda::EventSource"),
    ("lambda", "functionArn", "AWS::Lambda::Function"),
    ("lambda", "functionName", "AWS::Lambda::Function"),
    ("lambda", "layerName", "AWS::Lambda::LayerVersion"),
    ("lambda", "resource", "AWS::Lambda::Function"),
    ("lambda", "uUID", "AWS::Lambda::EventSourceMapping"),
    ("scheduler", "groupName", "AWS::Scheduler::ScheduleGroup"),
    ("scheduler", "name", "*"),
    ("sns", "subscriptionArn", "AWS::SNS::Subscription"),
    ("sns", "topicArn", "AWS::SNS::Topic"),
    ("sqs", "queueName", "AWS::SQS::Queue"),
    ("sqs", "queueUrl", "AWS::SQS::Queue"),
    ("sts", "roleArn", "AWS::IAM::Role"),
];

/// What `name` names in calls whose operation ends so.
const BY_OPERATION: &[(&str, &str, &str)] = &[
    ("events", "ApiDestination", "AWS::Events::ApiDestination"),
    ("events", "Connection", "AWS::Events::Connection"),
    ("events", "EventBus", "AWS::Events::EventBus"),
    ("events", "Rule", "AWS::Events::Rule"),
    ("scheduler", "ScheduleGroup", "AWS::Scheduler::ScheduleGroup"),
    ("scheduler", "Schedule", "AWS::Scheduler::Schedule"),
];

/// What a record names, from its service, its event name, its parameters and its answer.
pub(super) fn named(source: &str, event: &str, parts: &[Option<&Value>]) -> Vec<Named> {
    let service = source.split('.').next().unwrap_or_default();
    let mut found: Vec<Named> = Vec::new();
    for (_, parameter, kind) in NAMES.iter().filter(|(of, _, _)| *of == service) {
        for value in parts.iter().flatten().filter_map(|part| part.get(parameter)?.as_str()) {
            let kind = if *kind == "*" { by_operation(service, event) } else { Some(*kind) };
            let named = kind.map(|kind| Named { kind, name: value.to_owned() });
            found.extend(named.filter(|named| !found.contains(named)));
        }
    }
    found
}

fn by_operation(service: &str, event: &str) -> Option<&'static str> {
    let row = BY_OPERATION.iter().find(|(of, suffix, _)| *of == service && event.ends_with(suffix));
    row.map(|(_, _, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_name_what_they_are_about() {
        let named = |source: &str, event: &str, request: Value, response: Value| {
            let found = named(source, event, &[Some(&request), Some(&response)]);
            found.into_iter().map(|named| format!("{} {}", named.kind, named.name)).collect::<Vec<_>>()
        };
        let arn = "arn:aws:sns:us-east-1:000000000000:t";
        assert_eq!(
            named("kinesis.amazonaws.com", "CreateStream", json!({"streamName": "s", "shardCount": 1}), Value::Null),
            ["AWS::Kinesis::Stream s"]
        );
        assert_eq!(
            named("sns.amazonaws.com", "CreateTopic", json!({"name": "t"}), json!({"topicArn": arn})),
            [format!("AWS::SNS::Topic {arn}")]
        );
        assert_eq!(
            named("events.amazonaws.com", "PutRule", json!({"name": "r", "eventBusName": "b"}), Value::Null),
            ["AWS::Events::EventBus b", "AWS::Events::Rule r"]
        );
        assert_eq!(
            named("scheduler.amazonaws.com", "CreateScheduleGroup", json!({"name": "g"}), Value::Null),
            ["AWS::Scheduler::ScheduleGroup g"]
        );
        assert_eq!(
            named(
                "lambda.amazonaws.com",
                "CreateFunction20150331",
                json!({"functionName": "f"}),
                json!({"functionName": "f", "functionArn": "arn:f"})
            ),
            ["AWS::Lambda::Function arn:f", "AWS::Lambda::Function f"]
        );
        assert_eq!(named("kinesis.amazonaws.com", "ListStreams", Value::Null, Value::Null), [""; 0]);
    }
}
