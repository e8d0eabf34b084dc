use super::*;
use crate::ServiceId;
use crate::data::{Accept, Build, decode_json};

struct Nobody;

impl Names for Nobody {
    fn arn_of(&self, _: &Scope, named: Named<'_>) -> Option<String> {
        match named {
            Named::Iterator("of-s") => Some("arn:aws:kinesis:eu-central-1:000000000000:stream/s".to_owned()),
            _ => None,
        }
    }
}

fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "eu-central-1".parse().unwrap() }
}

fn read<I: Build>(input: &str) -> I {
    let mut read = I::default();
    decode_json(&mut read, input.as_bytes(), Accept::Body).unwrap();
    read
}

fn asks<I: Build>(service: ServiceId, operation: &str, input: &str) -> Vec<String> {
    let operation = service.model().operation(operation).unwrap();
    let all = asked(operation, &scope(), &read::<I>(input), &Nobody);
    let prefix = "arn:aws:";
    all.iter().map(|a| format!("{} {}", a.action, a.resource.strip_prefix(prefix).unwrap_or(&a.resource))).collect()
}

#[test]
fn every_operation_that_is_done_says_who_decides() {
    for service in ServiceId::ALL {
        for operation in service.model().operations {
            let not_done = matches!(operation.access, Access::NotDone);
            assert_eq!(operation.done, !not_done, "{}", operation.name);
            if let Access::Policies { asks, .. } = operation.access {
                assert!(asks[0].always && asks.iter().skip(1).all(|ask| !ask.always), "{}", operation.name);
                let prefix = format!("{}:", service.model().signing_name);
                assert!(asks[0].action.starts_with(&prefix), "{}", asks[0].action);
            }
        }
    }
}

#[test]
fn whoever_names_a_stream_twice_is_asked_twice() {
    use crate::kinesis::{GetRecordsInput, ListStreamsInput, PutRecordsInput};
    let put = |input| asks::<PutRecordsInput>(ServiceId::Kinesis, "PutRecords", input);
    assert_eq!(put(r#"{"StreamName": "s"}"#), ["kinesis:PutRecords kinesis:eu-central-1:000000000000:stream/s"]);
    let both = r#"{"StreamName": "s", "StreamARN": "arn:aws:kinesis:eu-central-1:000000000000:stream/t"}"#;
    assert_eq!(
        put(both),
        [
            "kinesis:PutRecords kinesis:eu-central-1:000000000000:stream/t",
            "kinesis:PutRecords kinesis:eu-central-1:000000000000:stream/s"
        ]
    );
    assert_eq!(put("{}"), ["kinesis:PutRecords *"]);
    let get = |input| asks::<GetRecordsInput>(ServiceId::Kinesis, "GetRecords", input);
    let of_s = "kinesis:GetRecords kinesis:eu-central-1:000000000000:stream/s";
    assert_eq!(get(r#"{"ShardIterator": "of-s"}"#), [of_s]);
    let other = r#"{"ShardIterator": "of-s", "StreamARN": "arn:aws:kinesis:eu-central-1:000000000000:stream/t"}"#;
    assert_eq!(get(other), [of_s, "kinesis:GetRecords kinesis:eu-central-1:000000000000:stream/t"]);
    assert_eq!(asks::<ListStreamsInput>(ServiceId::Kinesis, "ListStreams", "{}"), ["kinesis:ListStreams *"]);
}

#[test]
fn events_are_put_on_every_bus_that_is_named_and_rules_are_their_bus_s() {
    use crate::events::{PutEventsInput, PutRuleInput, PutTargetsInput};
    let put =
        r#"{"Entries": [{"EventBusName": "b"}, {}, {"EventBusName": "arn:aws:events:us-east-1:1:event-bus/c"}, {}]}"#;
    assert_eq!(
        asks::<PutEventsInput>(ServiceId::Events, "PutEvents", put),
        [
            "events:PutEvents events:eu-central-1:000000000000:event-bus/b",
            "events:PutEvents events:eu-central-1:000000000000:event-bus/default",
            "events:PutEvents events:us-east-1:1:event-bus/c"
        ]
    );
    let rule = |input| asks::<PutRuleInput>(ServiceId::Events, "PutRule", input);
    assert_eq!(rule(r#"{"Name": "r"}"#), ["events:PutRule events:eu-central-1:000000000000:rule/r"]);
    let targets = r#"{"Rule": "r", "EventBusName": "b", "Targets": [
        {"Id": "1", "Arn": "a", "RoleArn": "arn:aws:iam::0:role/x"}, {"Id": "2", "Arn": "b"},
        {"Id": "3", "Arn": "c", "RoleArn": "arn:aws:iam::0:role/y"}]}"#;
    assert_eq!(
        asks::<PutTargetsInput>(ServiceId::Events, "PutTargets", targets),
        [
            "events:PutTargets events:eu-central-1:000000000000:rule/b/r",
            "iam:PassRole iam::0:role/x",
            "iam:PassRole iam::0:role/y"
        ]
    );
    let operation = ServiceId::Events.model().operation("PutTargets").unwrap();
    let input = read::<PutTargetsInput>(targets);
    let told = context(operation, &scope(), &input, &Nobody);
    assert_eq!(told, [("events:TargetArn", ["a", "b", "c"].map(str::to_owned).to_vec())]);
    let all = asked(operation, &scope(), &input, &Nobody);
    assert_eq!(all[1].context, [("iam:PassedToService", "events.amazonaws.com")]);
}

#[test]
fn a_function_is_one_however_it_is_written() {
    use crate::lambda::{InvokeInput, UpdateFunctionCodeInput};
    let invoke = |name: &str, qualifier: Option<&str>| {
        let input =
            InvokeInput { function_name: name.into(), qualifier: qualifier.map(str::to_owned), ..Default::default() };
        let operation = ServiceId::Lambda.model().operation("Invoke").unwrap();
        let asked = asked(operation, &scope(), &input, &Nobody);
        assert_eq!((asked.len(), asked[0].action), (1, "lambda:InvokeFunction"));
        asked[0].resource.strip_prefix("arn:aws:lambda:").unwrap().to_owned()
    };
    for same in ["f", "function:f", "000000000000:function:f", "arn:aws:lambda:eu-central-1:000000000000:function:f"] {
        assert_eq!(invoke(same, None), "eu-central-1:000000000000:function:f", "{same}");
        assert_eq!(invoke(same, Some("1")), "eu-central-1:000000000000:function:f:1", "{same}");
        assert_eq!(invoke(&format!("{same}:live"), None), "eu-central-1:000000000000:function:f:live", "{same}");
    }
    assert_eq!(invoke("my-function:live", None), "eu-central-1:000000000000:function:my-function:live");
    assert_eq!(invoke("arn:aws:lambda:us-east-1:1:function:f", None), "us-east-1:1:function:f");
    let operation = ServiceId::Lambda.model().operation("UpdateFunctionCode").unwrap();
    let input = UpdateFunctionCodeInput { function_name: "f:live".into(), ..Default::default() };
    let bare = asked(operation, &scope(), &input, &Nobody);
    assert_eq!(bare[0].resource, "arn:aws:lambda:eu-central-1:000000000000:function:f");
}

#[test]
fn queues_are_their_addresses_and_batches_what_they_are_batches_of() {
    use crate::sqs::{GetQueueUrlInput, SendMessageBatchInput};
    let batch = r#"{"QueueUrl": "http://localhost:4566/000000000000/q", "Entries": []}"#;
    let wanted = ["sqs:SendMessage sqs:eu-central-1:000000000000:q"];
    assert_eq!(asks::<SendMessageBatchInput>(ServiceId::Sqs, "SendMessageBatch", batch), wanted);
    let url = asks::<GetQueueUrlInput>(ServiceId::Sqs, "GetQueueUrl", r#"{"QueueName": "q"}"#);
    assert_eq!(url, ["sqs:GetQueueUrl sqs:eu-central-1:000000000000:q"]);
}

#[test]
fn tags_are_told_however_a_service_writes_them() {
    use crate::{kinesis, lambda, sqs};
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let map = tags(&read::<kinesis::TagResourceInput>(r#"{"ResourceARN": "a", "Tags": {"k": "v"}}"#));
    assert_eq!((map.given, map.keys), (vec![pair("k", "v")], vec!["k".to_owned()]));
    let list =
        tags(&read::<crate::events::CreateEventBusInput>(r#"{"Name": "b", "Tags": [{"Key": "k", "Value": "v"}]}"#));
    assert_eq!(list.given, [pair("k", "v")]);
    let small = tags(&read::<sqs::CreateQueueInput>(r#"{"QueueName": "q", "tags": {"a": "b"}}"#));
    assert_eq!(small.given, [pair("a", "b")]);
    let keys = tags(&lambda::UntagResourceInput { tag_keys: vec!["k".into()], ..Default::default() });
    assert_eq!((keys.given, keys.keys), (Vec::new(), vec!["k".to_owned()]));
}

#[test]
fn what_is_made_has_the_path_that_the_call_gives() {
    use crate::iam::{CreatePolicyInput, CreateRoleInput, DeleteRoleInput};
    let create = |input| asks::<CreateRoleInput>(ServiceId::Iam, "CreateRole", input);
    assert_eq!(create(r#"{"RoleName": "r"}"#), ["iam:CreateRole iam::000000000000:role/r"]);
    assert_eq!(create(r#"{"RoleName": "r", "Path": "/team/"}"#), ["iam:CreateRole iam::000000000000:role/team/r"]);
    let policy = asks::<CreatePolicyInput>(ServiceId::Iam, "CreatePolicy", r#"{"PolicyName": "p", "Path": "/a/b/"}"#);
    assert_eq!(policy, ["iam:CreatePolicy iam::000000000000:policy/a/b/p"]);
    let delete = asks::<DeleteRoleInput>(ServiceId::Iam, "DeleteRole", r#"{"RoleName": "r"}"#);
    assert_eq!(delete, ["iam:DeleteRole iam::000000000000:role/r"]);
}
