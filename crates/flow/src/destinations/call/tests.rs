use super::*;
use crate::destinations::{Parameters, Secret};

fn parameter(key: &str, value: &str) -> Parameter {
    Parameter { key: key.into(), value: Secret::new(value.into()), is_secret: true }
}

#[test]
fn a_call_is_made_of_destination_connection_and_target() {
    let destination = ApiDestination {
        name: "d".into(),
        id: "1".into(),
        description: None,
        connection: "arn:aws:events:us-east-1:000000000000:connection/c/1".parse().unwrap(),
        endpoint: "https://example.com/users/*/alerts?v=1".into(),
        method: "POST".into(),
        rate: 1,
        created: Timestamp::default(),
        modified: Timestamp::default(),
    };
    let authorization = Authorization {
        credentials: Credentials::ApiKey { name: "x-key".into(), value: Secret::new("k".into()) },
        parameters: Parameters {
            headers: vec![parameter("x-both", "connection")],
            query: vec![parameter("q", "a b")],
            body: vec![parameter("team", "soc")],
        },
    };
    let target = HttpParameters {
        path: vec!["$.detail.user".into()],
        headers: [("x-both".into(), "target".into()), ("x-one".into(), "$.id".into())].into(),
        query: BTreeMap::new(),
    };
    let event = Bytes::from_static(br#"{"id":"e","detail":{"user":"kim/../x"}}"#);
    let Ok(request) = request(&destination, &authorization, None, &target, (&event, &Bytes::from_static(b"{\"a\":1}")))
    else {
        panic!("it can be made")
    };
    assert_eq!(request.uri(), "https://example.com/users/kim%2F..%2Fx/alerts?v=1&q=a%20b");
    let header = |name: &str| request.headers()[name].to_str().unwrap();
    assert_eq!((header("x-key"), header("x-both"), header("x-one")), ("k", "connection", "e"));
    assert_eq!(header("user-agent"), "Amazon/EventBridge/ApiDestinations");
    assert_eq!(request.body(), r#"{"a":1,"team":"soc"}"#);
    assert!(!format!("{:?}", request.headers()).contains("connection"), "values are not shown");
}

#[test]
fn what_no_call_could_carry_is_refused_when_it_is_configured() {
    let with = |headers: &[(&str, &str)], path: &[&str]| HttpParameters {
        path: path.iter().map(|value| (*value).to_owned()).collect(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        query: BTreeMap::new(),
    };
    let (plain, one) = ("https://example.com/a", "https://example.com/*/a");
    for (parameters, endpoint, ok) in [
        (with(&[("x-a", "b"), ("x-b", "$.detail.a")], &["$.id"]), one, true),
        (with(&[], &[]), plain, true),
        (with(&[], &[]), one, false),
        (with(&[], &["a"]), plain, false),
        (with(&[("Content-Length", "1")], &[]), plain, false),
        (with(&[("host", "$.detail.host")], &[]), plain, false),
        (with(&[("a b", "1")], &[]), plain, false),
        (with(&[("x-a", "1\n2")], &[]), plain, false),
    ] {
        assert_eq!(parameters.check(endpoint).is_ok(), ok, "{parameters:?} {endpoint}");
    }
    let key = |name: &str| Credentials::ApiKey { name: name.into(), value: Secret::new("k".into()) };
    let of = |credentials: Credentials, header: &str| Authorization {
        credentials,
        parameters: Parameters { headers: vec![parameter(header, "v")], ..Parameters::default() },
    };
    assert!(of(key("x-key"), "x-a").check().is_ok());
    for bad in [of(key("Content-Length"), "x-a"), of(key("x-key"), "Host"), of(key(""), "x-a")] {
        let error = bad.check().unwrap_err().to_string();
        assert!(error.contains("header"), "{error}");
    }
}

#[test]
fn answers_are_judged_by_their_code_and_retry_after() {
    let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
    let judged = |status: u16, after: Option<&str>| {
        let mut answer = Response::builder().status(status);
        if let Some(after) = after {
            answer = answer.header("retry-after", after);
        }
        match judge(&answer.body(Bytes::new()).unwrap(), now) {
            Attempted::Done => "done".to_owned(),
            Attempted::Failed(_) => "again".to_owned(),
            Attempted::FailedFor(_, wait) => format!("again in {}", wait.as_secs()),
            Attempted::Later(_) => "later".to_owned(),
            Attempted::Refused(_) => "over".to_owned(),
        }
    };
    for (status, after, expected) in [
        (204, None, "done"),
        (401, None, "again"),
        (407, None, "again"),
        (409, None, "again"),
        (429, Some("120"), "again in 120"),
        (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), "again in 30"),
        (503, Some("-1"), "over"),
        (500, Some("soon"), "again"),
        (302, None, "over"),
        (400, Some("120"), "over"),
        (404, None, "over"),
    ] {
        assert_eq!(judged(status, after), expected, "{status} {after:?}");
    }
}
