//! Every refusal with the code that AWS gives.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use wire::sigv4::sign;

use crate::fixture::{ACCESS_KEY, Fixture, SECRET, json_code, now, root, signed, text};

#[tokio::test]
async fn a_right_signature_is_let_in() {
    let fixture = Fixture::start(&[]).await;
    let answer = fixture.send(signed(fixture.who_am_i(), "sts")).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    assert!(text(&answer).contains("<Arn>arn:aws:iam::000000000000:root</Arn>"));
    assert_eq!(answer.headers()["x-amzn-requestid"].len(), 36);
}

#[tokio::test]
async fn json_refusals_have_their_codes() {
    let fixture = Fixture::start(&[]).await;
    let altered = |change: fn(&mut Request<Bytes>)| {
        let mut request = signed(fixture.list_streams(), "kinesis");
        change(&mut request);
        request
    };
    let by = |id: &str, secret: &str, token: Option<&str>, late: i64| {
        let mut keys = root();
        keys.access_key_id = id.to_owned();
        keys.secret_access_key = secret.to_owned();
        keys.session_token = token.map(str::to_owned);
        let when = if late < 0 {
            now() - Duration::from_secs(late.unsigned_abs())
        } else {
            now() + Duration::from_secs(late as u64)
        };
        let mut request = fixture.list_streams();
        sign(&mut request, &keys, "us-east-1", "kinesis", when).unwrap();
        request
    };
    let cases = [
        ("no signature", fixture.list_streams(), "MissingAuthenticationTokenException"),
        (
            "half a header",
            altered(|r| {
                r.headers_mut().insert("authorization", "AWS4-HMAC-SHA256 Credential=x".parse().unwrap());
            }),
            "IncompleteSignatureException",
        ),
        (
            "no header at all",
            altered(|r| {
                r.headers_mut().insert("authorization", "nonsense".parse().unwrap());
            }),
            "IncompleteSignatureException",
        ),
        (
            "tampered body",
            altered(|r| *r.body_mut() = Bytes::from_static(b"{\"Limit\":1}")),
            "InvalidSignatureException",
        ),
        (
            "tampered target",
            altered(|r| {
                r.headers_mut().insert("x-amz-target", "Kinesis_20131202.DeleteStream".parse().unwrap());
            }),
            "InvalidSignatureException",
        ),
        (
            "added header",
            altered(|r| {
                r.headers_mut().insert("x-amz-other", "1".parse().unwrap());
            }),
            "InvalidSignatureException",
        ),
        ("wrong secret", by(ACCESS_KEY, "wrong", None, 0), "InvalidSignatureException"),
        ("unknown key", by("AKIANOTHERENOTHERE00", SECRET, None, 0), "UnrecognizedClientException"),
        ("a token that is not ours", by(ACCESS_KEY, SECRET, Some("token"), 0), "UnrecognizedClientException"),
        ("too old", by(ACCESS_KEY, SECRET, None, -360), "InvalidSignatureException"),
        ("too early", by(ACCESS_KEY, SECRET, None, 360), "InvalidSignatureException"),
    ];
    for (name, request, code) in cases {
        let answer = fixture.send(request).await;
        assert_eq!((answer.status().as_u16(), json_code(&answer).as_str()), (400, code), "{name}");
        assert!(!text(&answer).contains(SECRET));
    }
}

#[tokio::test]
async fn query_and_rest_refusals_have_theirs() {
    let fixture = Fixture::start(&[]).await;
    let mut wrong = fixture.who_am_i();
    sign(&mut wrong, &wire::sigv4::Keys { secret_access_key: "wrong".into(), ..root() }, "us-east-1", "sts", now())
        .unwrap();
    let answer = fixture.send(wrong).await;
    assert_eq!(answer.status(), 403);
    assert!(text(&answer).contains("<Code>SignatureDoesNotMatch</Code>"));
    let answer = fixture.send(fixture.request("GET", "/2015-03-31/functions", &[], "")).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["x-amzn-errortype"], "MissingAuthenticationTokenException");
}

#[tokio::test]
async fn a_signature_is_good_for_its_service_only() {
    let fixture = Fixture::start(&[]).await;
    let answer = fixture.send(signed(fixture.list_streams(), "sns")).await;
    assert!(answer.status().is_client_error() && !text(&answer).contains("StreamNames"), "{}", text(&answer));
    for absent in ["s3", "dynamodb", "aoss"] {
        let answer = fixture.send(signed(fixture.list_streams(), absent)).await;
        assert_eq!(answer.status(), 501, "{}", text(&answer));
        assert!(text(&answer).contains(&format!("the service '{absent}' is not available")), "{}", text(&answer));
    }
    let answer = fixture.send(signed(fixture.request("GET", "/_tidegate/metrics", &[], ""), "kinesis")).await;
    assert_eq!(answer.status(), 403, "{}", text(&answer));
}

#[tokio::test]
async fn the_confirmation_link_confirms_and_does_nothing_else() {
    let fixture = Fixture::start(&[]).await;
    for path in [
        "/?Action=DeleteTopic&Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:000000000000:t",
        "/?Action=ListTopics&Version=2010-03-31",
    ] {
        let answer = fixture.send(fixture.request("GET", path, &[], "")).await;
        assert!(answer.status().is_client_error() || answer.status() == 501, "{path}: {}", text(&answer));
        assert!(!text(&answer).contains("DeleteTopicResponse") && !text(&answer).contains("ListTopicsResponse"));
    }
}
