use std::cell::RefCell;
use std::collections::BTreeMap;

use base::Timestamp;
use bytes::Bytes;
use wire::data::Viewed;
use wire::events::*;
use wire::lambda::*;
use wire::model::Shape;
use wire::sns::*;

use super::super::secrets;
use super::*;

fn shown_of(service: ServiceId, structure: &dyn Structure) -> Value {
    Value::Object(render(service, structure).members)
}

/// A structure of any shape, every text in it one of its own.
struct Planted {
    shape: &'static Shape,
    members: Vec<Plant>,
}

enum Plant {
    Number,
    Text(String),
    Blob(Bytes),
    List(Vec<Plant>),
    Map(BTreeMap<String, Plant>),
    Structure(Planted),
}

thread_local! {
    /// Every text that was planted, and whether it may be seen.
    static PLANTED: RefCell<Vec<(String, bool)>> = const { RefCell::new(Vec::new()) };
}

fn canary(seen: bool) -> String {
    PLANTED.with_borrow_mut(|planted| {
        let text = format!("canary-{:05}-canary", planted.len());
        planted.push((text.clone(), seen));
        text
    })
}

fn plant(service: ServiceId, shape: &'static Shape, how: Shown) -> Plant {
    let seen = how == Shown::Whole;
    match &shape.kind {
        Kind::String if how == Shown::Host => Plant::Text(format!("https://{}/{}", canary(true), canary(false))),
        Kind::String => Plant::Text(canary(seen)),
        Kind::Blob => Plant::Blob(Bytes::from(canary(false))),
        Kind::List { member, .. } => {
            Plant::List(vec![plant(service, member.shape, how), plant(service, member.shape, how)])
        }
        Kind::Map { value, .. } => Plant::Map(BTreeMap::from([(canary(seen), plant(service, value.shape, how))])),
        Kind::Structure(members) => {
            let members = members.iter().map(|member| {
                let how = if seen { secrets::shown(service, member) } else { how };
                plant(service, member.shape, how)
            });
            Plant::Structure(Planted { shape, members: members.collect() })
        }
        Kind::Integer | Kind::Float | Kind::Boolean | Kind::Timestamp(_) => Plant::Number,
    }
}

impl Viewed for Plant {
    fn view(&self) -> View<'_> {
        match self {
            Self::Number => View::Int(7),
            Self::Text(text) => View::Str(text),
            Self::Blob(bytes) => View::Blob(bytes),
            Self::List(items) => View::List(items),
            Self::Map(entries) => View::Map(entries),
            Self::Structure(inner) => View::Structure(inner),
        }
    }
}

impl Structure for Planted {
    fn shape(&self) -> &'static Shape {
        self.shape
    }

    fn member(&self, index: usize) -> View<'_> {
        self.members[index].view()
    }
}

#[test]
fn no_secret_of_any_structure_of_any_service_is_shown() {
    let (mut hidden, mut seen) = (0, 0);
    for service in ServiceId::ALL {
        for shape in service.model().shapes.iter().filter(|shape| matches!(shape.kind, Kind::Structure(_))) {
            PLANTED.take();
            let Plant::Structure(structure) = plant(*service, shape, Shown::Whole) else { unreachable!() };
            let text = serde_json::to_string(&render(*service, &structure).members).unwrap();
            for (canary, is_seen) in PLANTED.take() {
                assert_eq!(text.contains(&canary), is_seen, "{service:?} {}: {canary} and {text}", shape.name);
                *if is_seen { &mut seen } else { &mut hidden } += 1;
            }
        }
    }
    assert!(hidden > 500 && seen > 1_000, "{hidden} hidden, {seen} seen");
}

#[test]
fn functions_are_shown_as_the_service_shows_them() {
    let variables = [("DATABASE_PASSWORD".to_owned(), "hunter2-hunter2".to_owned())].into();
    let input = CreateFunctionInput {
        function_name: "alert".into(),
        role: "arn:aws:iam::000000000000:role/worker".into(),
        timeout: Some(3),
        publish: Some(true),
        code: FunctionCode { zip_file: Some(Bytes::from_static(b"PK-code")), ..Default::default() },
        environment: Some(Environment { variables: Some(variables) }),
        kms_key_arn: Some("arn:aws:kms:::key/k".into()),
        ..Default::default()
    };
    assert_eq!(
        shown_of(ServiceId::Lambda, &input),
        json!({"functionName": "alert", "role": "arn:aws:iam::000000000000:role/worker", "timeout": 3, "publish": true,
               "code": {}, "environment": {}, "kMSKeyArn": "arn:aws:kms:::key/k"})
    );
}

#[test]
fn connections_targets_and_subscriptions_keep_their_secrets() {
    let input = CreateConnectionInput {
        name: "chat".into(),
        authorization_type: "API_KEY".into(),
        auth_parameters: CreateConnectionAuthRequestParameters {
            api_key_auth_parameters: Some(CreateConnectionApiKeyAuthRequestParameters {
                api_key_name: "x-api-key".into(),
                api_key_value: "very-secret-key".into(),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    assert_eq!(
        shown_of(ServiceId::Events, &input),
        json!({"name": "chat", "authorizationType": "API_KEY", "authParameters": HIDDEN})
    );
    let attributes =
        [("WebhookRoutingKey".to_owned(), "r".repeat(32)), ("WebhookFormat".to_owned(), "pagerduty".into())];
    let input = SubscribeInput {
        topic_arn: "arn:aws:sns:us-east-1:000000000000:t".into(),
        protocol: "https".into(),
        endpoint: Some("https://me:pass@hooks.example.com/services/T0/B0/XXXX?y=1".into()),
        attributes: Some(attributes.into()),
        ..Default::default()
    };
    assert_eq!(
        shown_of(ServiceId::Sns, &input),
        json!({"topicArn": "arn:aws:sns:us-east-1:000000000000:t", "protocol": "https",
               "endpoint": format!("https://hooks.example.com/{HIDDEN}"),
               "attributes": {"WebhookRoutingKey": HIDDEN, "WebhookFormat": "pagerduty"}})
    );
    for (name, shown) in [("WebhookRoutingKey", HIDDEN), ("DisplayName", "value")] {
        let input = SetSubscriptionAttributesInput {
            attribute_name: name.into(),
            attribute_value: Some("value".into()),
            ..Default::default()
        };
        assert_eq!(shown_of(ServiceId::Sns, &input)["attributeValue"], shown);
    }
}

#[test]
fn texts_lose_the_secrets_that_they_quote() {
    let input =
        PublishInput { message: "the launch code is 0000".into(), subject: Some("abc".into()), ..Default::default() };
    let rendered = render(ServiceId::Sns, &input);
    let scrubbed = rendered.scrub("Invalid parameter: 'the launch code is 0000' abc");
    assert_eq!(scrubbed, format!("Invalid parameter: '{HIDDEN}' abc"));
    assert_eq!(
        without_values("2 validation errors detected: Value 'it's me' at 'a' failed; Value 'x' at 'b' failed"),
        format!("2 validation errors detected: Value '{HIDDEN}' at 'a' failed; Value '{HIDDEN}' at 'b' failed")
    );
    assert_eq!(without_values("Value 'never ending"), format!("Value '{HIDDEN}"));
}

#[test]
fn times_and_numbers_are_written_plainly() {
    let input = StartReplayInput {
        replay_name: "r".into(),
        event_start_time: Timestamp::from_millis(1_700_000_000_123),
        ..Default::default()
    };
    assert_eq!(shown_of(ServiceId::Events, &input)["eventStartTime"], "2023-11-14T22:13:20Z");
}
