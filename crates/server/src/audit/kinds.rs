//! What kind of event a call of an operation is, and what CloudTrail calls it.
//!
//! Owns the tables. An operation is a management event unless [`DATA`] lists it, and writes unless its verb is one that
//! reads. So whatever is forgotten here is recorded, as a change. A test walks every operation of every service.
//!
//! Which calls are data events is said by the services' pages on CloudTrail ("Logging Amazon SQS API calls using AWS
//! CloudTrail" and the like); `ListShards` is one here because what reads a stream needs it, though the disk be full.

use wire::ServiceId;
use wire::model::Operation;

/// What kind of event a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// It handles what is in a resource; else it handles resources.
    pub data: bool,
    /// It changes nothing.
    pub read_only: bool,
}

/// The operations that handle data, and whether they only read.
const DATA: &[(ServiceId, &str, bool)] = &[
    (ServiceId::Events, "PutEvents", false),
    (ServiceId::Firehose, "PutRecord", false),
    (ServiceId::Firehose, "PutRecordBatch", false),
    (ServiceId::Kinesis, "GetRecords", true),
    (ServiceId::Kinesis, "GetShardIterator", true),
    (ServiceId::Kinesis, "ListShards", true),
    (ServiceId::Kinesis, "PutRecord", false),
    (ServiceId::Kinesis, "PutRecords", false),
    (ServiceId::Kinesis, "SubscribeToShard", true),
    (ServiceId::Lambda, "Invoke", false),
    (ServiceId::Sns, "Publish", false),
    (ServiceId::Sns, "PublishBatch", false),
    (ServiceId::Sqs, "ChangeMessageVisibility", false),
    (ServiceId::Sqs, "ChangeMessageVisibilityBatch", false),
    (ServiceId::Sqs, "DeleteMessage", false),
    (ServiceId::Sqs, "DeleteMessageBatch", false),
    (ServiceId::Sqs, "GetQueueAttributes", true),
    (ServiceId::Sqs, "GetQueueUrl", true),
    (ServiceId::Sqs, "ListDeadLetterSourceQueues", true),
    (ServiceId::Sqs, "ListQueueTags", true),
    (ServiceId::Sqs, "ReceiveMessage", true),
    (ServiceId::Sqs, "SendMessage", false),
    (ServiceId::Sqs, "SendMessageBatch", false),
];

/// The words with which the names of operations that only read begin. Sessions count as read, as with the service.
const READS: &[&str] = &["Assume", "Decode", "Describe", "Get", "List", "Lookup", "Simulate", "Test"];

/// The words with which the names of operations that change something begin: nothing else hangs on them than that a test
/// finds an operation whose word is in neither list.
#[cfg(test)]
const WRITES: &[&str] = &[
    "Add",
    "Attach",
    "Cancel",
    "Change",
    "Confirm",
    "Create",
    "Deactivate",
    "Deauthorize",
    "Decrease",
    "Delete",
    "Deregister",
    "Detach",
    "Disable",
    "Enable",
    "Increase",
    "Merge",
    "Publish",
    "Purge",
    "Put",
    "Register",
    "Remove",
    "Reset",
    "Set",
    "Split",
    "Start",
    "Stop",
    "Subscribe",
    "Tag",
    "Unsubscribe",
    "Untag",
    "Update",
    "Upload",
];

/// The operations that give out sessions: their answers are recorded though they only read.
const SESSIONS: &[&str] = &["AssumeRole", "GetFederationToken", "GetSessionToken"];

/// How Lambda's own names of its operations end: its events carry the version of the interface that brought them. Those
/// that are not listed end as they begin.
const LAMBDA: &[(&str, &str)] = &[
    ("AddPermission", "20150331v2"),
    ("CreateAlias", "20150331"),
    ("CreateEventSourceMapping", "20150331"),
    ("CreateFunction", "20150331"),
    ("DeleteAlias", "20150331"),
    ("DeleteEventSourceMapping", "20150331"),
    ("DeleteFunction", "20150331"),
    ("DeleteFunctionConcurrency", "20171031"),
    ("DeleteLayerVersion", "20181031"),
    ("GetAccountSettings", "20160819"),
    ("GetAlias", "20150331"),
    ("GetEventSourceMapping", "20150331"),
    ("GetFunction", "20150331v2"),
    ("GetFunctionConfiguration", "20150331v2"),
    ("GetLayerVersion", "20181031"),
    ("GetLayerVersionByArn", "20181031"),
    ("GetPolicy", "20150331v2"),
    ("ListAliases", "20150331"),
    ("ListEventSourceMappings", "20150331"),
    ("ListFunctions", "20150331"),
    ("ListLayerVersions", "20181031"),
    ("ListLayers", "20181031"),
    ("ListTags", "20170331"),
    ("ListVersionsByFunction", "20150331"),
    ("PublishLayerVersion", "20181031"),
    ("PublishVersion", "20150331"),
    ("PutFunctionConcurrency", "20171031"),
    ("RemovePermission", "20150331v2"),
    ("TagResource", "20170331v2"),
    ("UntagResource", "20170331v2"),
    ("UpdateAlias", "20150331"),
    ("UpdateEventSourceMapping", "20150331"),
    ("UpdateFunctionCode", "20150331v2"),
    ("UpdateFunctionConfiguration", "20150331v2"),
];

/// The kind of a call of this operation.
pub(super) fn kind(operation: &Operation) -> Kind {
    let listed = DATA.iter().find(|(service, name, _)| *service == operation.service && *name == operation.name);
    match listed {
        Some((_, _, read_only)) => Kind { data: true, read_only: *read_only },
        None => Kind { data: false, read_only: READS.contains(&verb(operation.name)) },
    }
}

/// The first word of an operation's name.
fn verb(name: &str) -> &str {
    let next = name.char_indices().skip(1).find(|(_, c)| c.is_uppercase());
    next.map_or(name, |(end, _)| &name[..end])
}

/// Whether the answer of such a call is recorded.
pub(super) fn has_response(operation: &Operation, kind: Kind) -> bool {
    !kind.read_only || SESSIONS.iter().any(|name| operation.name.starts_with(name))
}

/// What CloudTrail calls the operation.
pub(super) fn event_name(operation: &Operation) -> String {
    let suffix = LAMBDA.iter().find(|(name, _)| operation.service == ServiceId::Lambda && *name == operation.name);
    format!("{}{}", operation.name, suffix.map_or("", |(_, suffix)| suffix))
}

/// What CloudTrail calls the service, such as `kinesis.amazonaws.com`.
pub(super) fn event_source(service: ServiceId) -> String {
    format!("{}.amazonaws.com", service.model().signing_name)
}

/// The services that have data events.
pub(super) fn with_data() -> Vec<&'static str> {
    let mut names: Vec<_> = DATA.iter().map(|(service, _, _)| service.model().name).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(service: ServiceId, name: &str) -> Kind {
        kind(service.model().operation(name).unwrap())
    }

    #[test]
    fn every_operation_is_known_as_a_reading_or_a_changing_one() {
        for service in ServiceId::ALL {
            for operation in service.model().operations.iter().filter(|operation| operation.done) {
                let verb = verb(operation.name);
                let known = kind(operation).data || READS.contains(&verb) || WRITES.contains(&verb);
                assert!(known, "{service:?}.{}: say in READS, WRITES or DATA what it is", operation.name);
            }
        }
    }

    #[test]
    fn no_row_of_a_table_names_what_is_not_done() {
        let done = |service: ServiceId, name: &str| service.model().operation(name).is_some_and(|o| o.done);
        for (service, name, _) in DATA {
            assert!(done(*service, name), "{service:?}.{name}");
        }
        for (name, _) in LAMBDA {
            assert!(done(ServiceId::Lambda, name), "{name}");
        }
        let versions = |name: &str| name.len() >= 8 && name.starts_with("20");
        assert!(LAMBDA.iter().all(|(_, suffix)| versions(suffix)));
    }

    #[test]
    fn kinds_and_names_are_the_services() {
        assert_eq!(of(ServiceId::Kinesis, "CreateStream"), Kind { data: false, read_only: false });
        assert_eq!(of(ServiceId::Kinesis, "DescribeStream"), Kind { data: false, read_only: true });
        assert_eq!(of(ServiceId::Kinesis, "PutRecord"), Kind { data: true, read_only: false });
        assert_eq!(of(ServiceId::Firehose, "PutRecord"), Kind { data: true, read_only: false });
        assert_eq!(of(ServiceId::Events, "PutRule"), Kind { data: false, read_only: false });
        assert_eq!(of(ServiceId::Sqs, "ReceiveMessage"), Kind { data: true, read_only: true });
        let name = |service: ServiceId, name: &str| event_name(service.model().operation(name).unwrap());
        assert_eq!(name(ServiceId::Lambda, "CreateFunction"), "CreateFunction20150331");
        assert_eq!(name(ServiceId::Lambda, "Invoke"), "Invoke");
        assert_eq!(name(ServiceId::Sns, "AddPermission"), "AddPermission");
        assert_eq!(event_source(ServiceId::Firehose), "firehose.amazonaws.com");
        assert_eq!(with_data(), ["events", "firehose", "kinesis", "lambda", "sns", "sqs"]);
    }
}
