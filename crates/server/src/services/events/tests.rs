use serde_json::Value;

use super::*;
use crate::services::testing::{ACCOUNT, House};

struct World {
    house: House,
    service: Arc<EventBridge>,
}

impl World {
    async fn new() -> Self {
        let house = House::new().await;
        Self { service: EventBridge::new(&house.flow, house.env.clone()), house }
    }

    fn call(&self) -> Call {
        self.house.call()
    }

    async fn rule(&self, name: &str) {
        let input = PutRuleInput {
            name: name.into(),
            event_pattern: Some(r#"{"source":["mine"]}"#.into()),
            ..Default::default()
        };
        self.service.put_rule(&self.call(), input).await.unwrap();
    }

    async fn targets(&self, rule: &str, targets: Vec<Target>) -> Result<PutTargetsOutput, ServiceError> {
        let input = PutTargetsInput { rule: rule.into(), targets, ..Default::default() };
        self.service.put_targets(&self.call(), input).await
    }

    async fn put(&self, entries: Vec<PutEventsRequestEntry>) -> Vec<PutEventsResultEntry> {
        let input = PutEventsInput { entries, ..Default::default() };
        let output = self.service.put_events(&self.call(), input).await.unwrap();
        let entries = output.entries.unwrap();
        let failures = entries.iter().filter(|entry| entry.error_code.is_some()).count();
        assert_eq!(output.failed_entry_count, Some(failures as i32));
        entries
    }
}

fn target(id: &str, arn: &str) -> Target {
    let role_arn = Some(format!("arn:aws:iam::{ACCOUNT}:role/r"));
    Target { id: id.into(), arn: arn.into(), role_arn, ..Default::default() }
}

fn entry(source: &str, detail: &str) -> PutEventsRequestEntry {
    PutEventsRequestEntry {
        source: Some(source.into()),
        detail_type: Some("t".into()),
        detail: Some(detail.into()),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_is_put_shown_listed_and_deleted() {
    let world = World::new().await;
    let (service, call) = (&world.service, world.call());
    for name in ["a", "b", "c"] {
        world.rule(name).await;
    }
    let shown = DescribeRuleInput { name: "a".into(), ..Default::default() };
    let rule = service.describe_rule(&call, shown.clone()).await.unwrap();
    assert_eq!(rule.arn.unwrap(), format!("arn:aws:events:eu-central-1:{ACCOUNT}:rule/a"));
    assert_eq!((rule.state.as_deref(), rule.event_bus_name.as_deref()), (Some("ENABLED"), Some("default")));
    let (mut names, mut next_token) = (Vec::new(), None);
    loop {
        let input = ListRulesInput { limit: Some(2), next_token, ..Default::default() };
        let page = service.list_rules(&call, input).await.unwrap();
        names.extend(page.rules.unwrap().into_iter().filter_map(|rule| rule.name));
        next_token = page.next_token;
        if next_token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    let stream = world.house.stream("s").await;
    world.targets("a", vec![target("1", &stream)]).await.unwrap();
    let delete = DeleteRuleInput { name: "a".into(), ..Default::default() };
    let error = service.delete_rule(&call, delete.clone()).await.unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("ValidationException", "Rule can't be deleted since it has targets."));
    let remove = RemoveTargetsInput { rule: "a".into(), ids: vec!["1".into()], ..Default::default() };
    assert_eq!(service.remove_targets(&call, remove).await.unwrap().failed_entry_count, Some(0));
    service.delete_rule(&call, delete.clone()).await.unwrap();
    // As on the service, what is not there is deleted without complaint, and is not shown.
    service.delete_rule(&call, delete).await.unwrap();
    let error = service.describe_rule(&call, shown).await.unwrap_err();
    let message = "Rule a does not exist on EventBus default.";
    assert_eq!((&*error.code, &*error.message), ("ResourceNotFoundException", message));
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_cannot_be_kept_is_refused() {
    let world = World::new().await;
    let put = async |input: PutRuleInput| world.service.put_rule(&world.call(), input).await.unwrap_err().code;
    let named =
        |pattern: &str| PutRuleInput { name: "r".into(), event_pattern: Some(pattern.into()), ..Default::default() };
    assert_eq!(put(named("{")).await, "InvalidEventPatternException");
    let scheduled =
        PutRuleInput { name: "r".into(), schedule_expression: Some("rate(1 minutes)".into()), ..Default::default() };
    assert_eq!(put(scheduled).await, "ValidationException");
    let elsewhere = format!("arn:aws:events:us-east-1:{ACCOUNT}:event-bus/default");
    let pattern = r#"{"source":["a"]}"#;
    let of_bus = |bus: &str| PutRuleInput { event_bus_name: Some(bus.into()), ..named(pattern) };
    assert_eq!(put(of_bus(&elsewhere)).await, "ValidationException");
    assert_eq!(put(of_bus("missing")).await, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn targets_are_shown_as_they_were_put_and_those_that_cannot_be_are_named() {
    let world = World::new().await;
    let stream = world.house.stream("s").await;
    assert_eq!(world.targets("r", vec![target("1", &stream)]).await.unwrap_err().code, "ResourceNotFoundException");
    world.rule("r").await;
    let good = Target {
        input_path: Some("$.detail".into()),
        kinesis_parameters: Some(KinesisParameters { partition_key_path: "$.id".into(), ..Default::default() }),
        retry_policy: Some(RetryPolicy { maximum_retry_attempts: Some(3), maximum_event_age_in_seconds: Some(60) }),
        ..target("good", &stream)
    };
    let missing = target("missing", &format!("{stream}-no"));
    let failed = world.targets("r", vec![missing, good.clone()]).await.unwrap();
    assert_eq!(failed.failed_entry_count, Some(1));
    let failed = failed.failed_entries.unwrap().remove(0);
    assert_eq!(failed.target_id.as_deref(), Some("missing"));
    assert_eq!(failed.error_code.as_deref(), Some("ResourceNotFoundException"));
    let list = ListTargetsByRuleInput { rule: "r".into(), ..Default::default() };
    let listed = world.service.list_targets_by_rule(&world.call(), list.clone()).await.unwrap().targets.unwrap();
    assert_eq!(listed, std::slice::from_ref(&good));
    // What is given is shown, the default too.
    let policy = RetryPolicy { maximum_retry_attempts: Some(185), maximum_event_age_in_seconds: None };
    let same = Target { retry_policy: Some(policy), ..good.clone() };
    world.targets("r", vec![same.clone()]).await.unwrap();
    let listed = world.service.list_targets_by_rule(&world.call(), list).await.unwrap().targets.unwrap();
    assert_eq!(listed, [same]);
    let letters = DeadLetterConfig { arn: Some("arn:aws:sqs:eu-central-1:000000000000:q".into()) };
    let no_queue = Target { dead_letter_config: Some(letters), ..good.clone() };
    let misfit =
        Target { sqs_parameters: Some(SqsParameters { message_group_id: Some("g".into()) }), ..target("x", &stream) };
    let unknown = Target { ecs_parameters: Some(EcsParameters::default()), ..good.clone() };
    let two_inputs = Target { input: Some("{}".into()), ..good };
    let elsewhere = target("x", &stream.replace("eu-central-1", "us-east-1"));
    assert_eq!(world.targets("r", vec![unknown]).await.unwrap_err().code, "NotImplemented");
    assert_eq!(world.targets("r", vec![no_queue]).await.unwrap_err().code, "ResourceNotFoundException");
    let roleless = Target { role_arn: None, ..target("x", &stream) };
    for bad in [two_inputs, elsewhere, misfit, roleless, target("x", "no arn")] {
        let error = world.targets("r", vec![bad]).await.unwrap_err();
        assert_eq!(error.code, "ValidationException", "{}", error.message);
    }
    let many = (0..6).map(|n| target(&n.to_string(), &stream)).collect();
    assert_eq!(world.targets("r", many).await.unwrap_err().code, "LimitExceededException");
}

#[tokio::test(start_paused = true)]
async fn each_entry_becomes_an_event_or_says_why_not() {
    let world = World::new().await;
    let stream = world.house.stream("s").await;
    world.rule("r").await;
    world.targets("r", vec![target("1", &stream)]).await.unwrap();
    let results = world
        .put(vec![
            entry("mine", r#"{ "n": 1 }"#),
            entry("aws.ec2", "{}"),
            entry("mine", "[]"),
            entry("mine", "{"),
            PutEventsRequestEntry { detail_type: None, ..entry("mine", "{}") },
            PutEventsRequestEntry { detail_type: Some("x".repeat(129)), ..entry("mine", "{}") },
            PutEventsRequestEntry { event_bus_name: Some("missing".into()), ..entry("mine", "{}") },
        ])
        .await;
    let codes: Vec<_> = results.iter().map(|result| result.error_code.as_deref().unwrap_or("")).collect();
    assert_eq!(
        codes,
        [
            "",
            "NotAuthorizedForSourceException",
            "MalformedDetail",
            "MalformedDetail",
            "InvalidArgument",
            "InvalidArgument",
            "ResourceNotFoundException"
        ]
    );
    // 1 MiB for all entries, of which each counts its texts.
    let sized = |detail: usize| entry("mine", &format!(r#"{{"l":"{}"}}"#, "x".repeat(detail - 8)));
    let half = (1 << 19) - "minet".len();
    assert_eq!(world.put(vec![sized(half), sized(half)]).await[1].error_code, None);
    let input = PutEventsInput { entries: vec![sized(half), sized(half + 1)], ..Default::default() };
    let error = world.service.put_events(&world.call(), input).await.unwrap_err();
    let message = "Total size of the entries in the request is over the limit.";
    assert_eq!((&*error.code, &*error.message), ("ValidationException", message));
    let input =
        PutEventsInput { entries: vec![entry("mine", "{}")], endpoint_id: Some("a.b".into()), ..Default::default() };
    assert_eq!(world.service.put_events(&world.call(), input).await.unwrap_err().code, "NotImplemented");
    let event: Value = serde_json::from_slice(&world.house.first("s").await).unwrap();
    assert_eq!(event["id"], results[0].event_id.as_deref().unwrap());
    assert_eq!(
        (&event["detail"]["n"], &event["account"], &event["region"]),
        (&1.into(), &ACCOUNT.into(), &"eu-central-1".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_pattern_is_tried_on_a_whole_event_only() {
    let world = World::new().await;
    let event = r#"{"id":"1","detail-type":"t","source":"mine","account":"0","time":"","region":"r","resources":[],"detail":{}}"#;
    let test = async |event: &str, event_pattern: &str| {
        let input =
            TestEventPatternInput { event: event.into(), event_pattern: event_pattern.into(), ..Default::default() };
        world.service.test_event_pattern(&world.call(), input).await
    };
    assert_eq!(test(event, r#"{"source":["mine"]}"#).await.unwrap().result, Some(true));
    assert_eq!(test(event, r#"{"source":["other"]}"#).await.unwrap().result, Some(false));
    assert_eq!(test("{}", r#"{"source":["mine"]}"#).await.unwrap_err().code, "ValidationException");
    assert_eq!(test(event, "[]").await.unwrap_err().code, "InvalidEventPatternException");
}

#[tokio::test(start_paused = true)]
async fn buses_and_archives_are_named_dated_and_changed_as_on_the_service() {
    let world = World::new().await;
    let (service, call) = (&world.service, world.call());
    let create = async |name: &str| {
        let input = CreateEventBusInput { name: name.into(), ..Default::default() };
        service.create_event_bus(&call, input).await
    };
    assert_eq!(create("a/b").await.unwrap_err().code, "ValidationException");
    create("b").await.unwrap();
    let input = DescribeEventBusInput { name: Some("b".into()) };
    let bus = service.describe_event_bus(&call, input).await.unwrap();
    assert!(bus.creation_time.is_some() && bus.last_modified_time == bus.creation_time);
    let input = ListEventBusesInput { name_prefix: Some("b".into()), ..Default::default() };
    let listed = service.list_event_buses(&call, input).await.unwrap().event_buses.unwrap();
    assert_eq!((listed[0].creation_time, listed[0].last_modified_time), (bus.creation_time, bus.last_modified_time));
    let archive = async |pattern: &str| {
        let input = CreateArchiveInput {
            archive_name: "a".into(),
            event_source_arn: bus.arn.clone().unwrap(),
            event_pattern: Some(pattern.into()),
            ..Default::default()
        };
        service.create_archive(&call, input).await
    };
    let error = archive(r#"{"replay-name":["nope"]}"#).await.unwrap_err();
    assert!(error.message.contains("replay-name"), "{}", error.message);
    archive(r#"{"source":["mine"],"replay-name":[{"exists":false}]}"#).await.unwrap();
    let update = UpdateArchiveInput { archive_name: "unknown".into(), ..Default::default() };
    let error = service.update_archive(&call, update.clone()).await.unwrap_err();
    let said = "At least one of EventPattern, RetentionDays or Description must be provided.";
    assert_eq!((&*error.code, &*error.message), ("ValidationException", said));
    let pattern = Some(r#"{"replay-name":["nope"]}"#.to_owned());
    let update = UpdateArchiveInput { archive_name: "a".into(), event_pattern: pattern, ..update };
    assert_eq!(service.update_archive(&call, update).await.unwrap_err().code, "ValidationException");
}

#[tokio::test(start_paused = true)]
async fn a_connection_and_its_destination_are_refused_when_no_call_could_be_made() {
    let world = World::new().await;
    let (service, call) = (&world.service, world.call());
    let connect = async |name: &str, key: &str, header: Option<&str>| {
        let header =
            ConnectionHeaderParameter { key: header.map(Into::into), value: Some("v".into()), ..Default::default() };
        let input = CreateConnectionInput {
            name: name.into(),
            authorization_type: "API_KEY".into(),
            auth_parameters: CreateConnectionAuthRequestParameters {
                api_key_auth_parameters: Some(CreateConnectionApiKeyAuthRequestParameters {
                    api_key_name: key.into(),
                    api_key_value: "k".into(),
                    ..Default::default()
                }),
                invocation_http_parameters: Some(ConnectionHttpParameters {
                    header_parameters: Some(vec![header]),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        service.create_connection(&call, input).await
    };
    for (key, header) in
        [("x-key", None), ("x-key", Some("")), ("x-key", Some("Host")), ("Content-Length", Some("x-a"))]
    {
        assert_eq!(connect("c", key, header).await.unwrap_err().code, "ValidationException", "{key} {header:?}");
    }
    let input = DescribeConnectionInput { name: "c".into(), ..Default::default() };
    let error = service.describe_connection(&call, input.clone()).await.unwrap_err();
    let said = "Failed to describe the connection(s). Connection 'c' does not exist.";
    assert_eq!((&*error.code, &*error.message), ("ResourceNotFoundException", said));
    let connection_arn = connect("c", "x-key", Some("x-a")).await.unwrap().connection_arn.unwrap();
    let shown = service.describe_connection(&call, input).await.unwrap().auth_parameters.unwrap();
    assert!(shown.invocation_http_parameters.is_some());
    let input = DescribeApiDestinationInput { name: "d".into(), ..Default::default() };
    let error = service.describe_api_destination(&call, input).await.unwrap_err();
    let said = "Failed to describe the api-destination(s). An api-destination 'd' does not exist.";
    assert_eq!((&*error.code, &*error.message), ("ResourceNotFoundException", said));
    let input = CreateApiDestinationInput {
        name: "d".into(),
        connection_arn,
        invocation_endpoint: "https://example.com/users/*/alerts".into(),
        http_method: "POST".into(),
        ..Default::default()
    };
    let arn = service.create_api_destination(&call, input).await.unwrap().api_destination_arn.unwrap();
    world.rule("r").await;
    let roleless = Target { role_arn: None, ..target("1", &arn) };
    let error = world.targets("r", vec![roleless]).await.unwrap_err();
    assert_eq!(
        (&*error.code, &*error.message),
        ("ValidationException", &*format!("RoleArn is required for target {arn}."))
    );
    let with = |path: &[&str], header: &str| Target {
        role_arn: Some(format!("arn:aws:iam::{ACCOUNT}:role/r")),
        http_parameters: Some(HttpParameters {
            path_parameter_values: Some(path.iter().map(|value| (*value).to_owned()).collect()),
            header_parameters: Some([(header.to_owned(), "v".to_owned())].into()),
            ..Default::default()
        }),
        ..target("1", &arn)
    };
    for bad in [with(&[], "x-a"), with(&["a", "b"], "x-a"), with(&["$.id"], "Transfer-Encoding")] {
        assert_eq!(world.targets("r", vec![bad]).await.unwrap_err().code, "ValidationException");
    }
    assert_eq!(world.targets("r", vec![with(&["$.id"], "x-a")]).await.unwrap().failed_entry_count, Some(0));
}
