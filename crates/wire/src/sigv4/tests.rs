//! AWS's published vectors, every check on its own, and the property that no tampering passes.

use std::time::Duration;

use base::{Principal, Timestamp};
use bytes::Bytes;
use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::*;

use presigned_requests::{presigned, whole};

mod presigned_requests;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const VECTOR_DATE: &str = "20150830T123600Z";

fn keys() -> Keys {
    Keys { access_key_id: "AKIDEXAMPLE".into(), secret_access_key: SECRET.into(), session_token: None }
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_basic(text).unwrap()
}

fn credential(token: Option<&str>, expires: Option<Timestamp>) -> Credential {
    Credential { secret: SECRET.into(), session_token: token.map(str::to_owned), expires, principal: Principal::Root }
}

fn verifier() -> Verifier {
    Verifier::new(Duration::from_secs(300))
}

fn verify(request: &Request<Bytes>, now: &str) -> Result<Verified, Rejection> {
    verifier().verify(request, time(now), |key| (key == "AKIDEXAMPLE").then(|| credential(None, None)))
}

fn get(uri: &str) -> Request<Bytes> {
    Request::builder().uri(uri).header("host", "example.amazonaws.com").body(Bytes::new()).unwrap()
}

fn signature(mut request: Request<Bytes>, region: &str, service: &str) -> String {
    sign(&mut request, &keys(), region, service, time(VECTOR_DATE)).unwrap();
    let header = request.headers()["authorization"].to_str().unwrap();
    header.rsplit_once("Signature=").unwrap().1.to_owned()
}

#[test]
fn the_published_vectors_come_out() {
    let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    for path in ["/", "//", "/./", "/example/..", "/example1/example2/../.."] {
        assert_eq!(signature(get(path), "us-east-1", "service"), vanilla, "{path}");
    }
    for (uri, expected) in [
        ("/?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        (
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
    ] {
        assert_eq!(signature(get(uri), "us-east-1", "service"), expected, "{uri}");
    }
    let mut post = get("/");
    *post.method_mut() = http::Method::POST;
    let expected = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
    assert_eq!(signature(post.clone(), "us-east-1", "service"), expected);
    post.headers_mut().insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    *post.body_mut() = Bytes::from_static(b"Param1=value1");
    let expected = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
    assert_eq!(signature(post, "us-east-1", "service"), expected);
}

#[test]
fn the_user_guide_s_example_comes_out() {
    let request = Request::builder()
        .uri("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(Bytes::new())
        .unwrap();
    let expected = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    assert_eq!(signature(request, "us-east-1", "iam"), expected);
}

#[test]
fn header_values_are_trimmed_joined_and_squeezed() {
    let mut request = get("/");
    request.headers_mut().append("my-header1", HeaderValue::from_static(" value1"));
    request.headers_mut().append("my-header2", HeaderValue::from_static(" \"a   b   c\" "));
    let expected = "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736";
    assert_eq!(signature(request, "us-east-1", "service"), expected);
    let mut request = get("/");
    for value in ["value2", "value2", "value1"] {
        request.headers_mut().append("my-header1", HeaderValue::from_static(value));
    }
    let expected = "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea";
    assert_eq!(signature(request, "us-east-1", "service"), expected);
}

#[test]
fn paths_are_encoded_twice_but_for_s3() {
    assert_eq!(canonical::path("/tags/arn%3Aaws", "lambda"), "/tags/arn%253Aaws");
    assert_eq!(canonical::path("/a b//c/", "es"), "/a%20b/c/");
    assert_eq!(canonical::path("/a//b%20c/../d", "s3"), "/a//b%20c/../d");
    assert_eq!(canonical::path("", "s3"), "/");
}

fn signed() -> Request<Bytes> {
    let mut request = Request::builder()
        .method("POST")
        .uri("/path?b=2&a=1")
        .header("host", "127.0.0.1:4566")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "Kinesis_20131202.PutRecord")
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    sign(&mut request, &keys(), "us-east-1", "kinesis", time(VECTOR_DATE)).unwrap();
    request
}

fn refused(request: &Request<Bytes>, now: &str) -> (Reason, String) {
    let rejection = verify(request, now).unwrap_err();
    (rejection.reason, rejection.message)
}

fn with_authorization(edit: impl FnOnce(&str) -> String) -> Request<Bytes> {
    let mut request = signed();
    let text = edit(request.headers()["authorization"].to_str().unwrap());
    request.headers_mut().insert("authorization", text.parse().unwrap());
    request
}

#[test]
fn a_signed_request_is_verified_and_its_key_kept() {
    let (verifier, credential) = (verifier(), credential(None, None));
    let verify = |credential: &Credential| verifier.verify(&signed(), time(VECTOR_DATE), |_| Some(credential.clone()));
    assert_eq!(credential.secret.kept_keys(), 0);
    for _ in 0..2 {
        let verified = verify(&credential).unwrap();
        assert_eq!((verified.access_key.as_str(), verified.region.as_str()), ("AKIDEXAMPLE", "us-east-1"));
        assert_eq!((verified.service.as_str(), verified.principal), ("kinesis", Principal::Root));
        assert_eq!(credential.secret.kept_keys(), 1);
    }
    let changed = Credential { secret: "changed".into(), ..credential.clone() };
    assert!(verify(&changed).is_err(), "a changed secret finds no old key");
    assert_eq!(changed.secret.kept_keys(), 0, "a caller that is not verified keeps no key");
    assert_eq!(verify(&Credential { secret: SECRET.into(), ..changed }).unwrap().service, "kinesis");
}

#[test]
fn few_keys_are_kept_and_each_is_that_of_its_scope() {
    let (verifier, credential) = (verifier(), credential(None, None));
    let now = time(VECTOR_DATE);
    for round in 0..3 {
        for n in 0..40 {
            for (region, service) in [(format!("r-{n}"), "kinesis"), ("us-east-1".to_owned(), "s")] {
                let mut request = signed();
                sign(&mut request, &keys(), &region, service, now).unwrap();
                let verified = verifier.verify(&request, now, |_| Some(credential.clone()));
                assert_eq!(
                    verified.map(|v| (v.region.to_string(), v.service)),
                    Ok((region, service.to_owned())),
                    "{round}"
                );
            }
        }
    }
    assert_eq!(credential.secret.kept_keys(), 16);
}

#[test]
fn no_secret_is_in_a_debug_print() {
    let request = presigned("kinesis", None, Some("hidden-token"), whole);
    let known = credential(Some("hidden-token"), None);
    let claim = verifier().claim(&request, time(VECTOR_DATE), |_| Some(known.clone())).unwrap();
    let printed = format!("{claim:?} {known:?} {:?}", known.secret);
    assert!(!printed.contains("hidden-token") && !printed.contains(SECRET), "{printed}");
    assert!(printed.contains("token not shown") && printed.contains("AKIDEXAMPLE"), "{printed}");
}

#[test]
fn the_date_must_be_near() {
    assert!(verify(&signed(), "20150830T124100Z").is_ok());
    let (reason, message) = refused(&signed(), "20150830T124101Z");
    assert_eq!(reason, Reason::Mismatch);
    assert_eq!(
        message,
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
    );
    assert!(verify(&signed(), "20150830T123100Z").is_ok());
    let (_, message) = refused(&signed(), "20150830T123059Z");
    assert!(message.starts_with("Signature not yet current: 20150830T123600Z is still later than"), "{message}");
}

#[test]
fn the_header_s_form_is_strict() {
    let mut none = signed();
    none.headers_mut().remove("authorization");
    assert_eq!(refused(&none, VECTOR_DATE).0, Reason::NoToken);
    let mut twice = signed();
    let value = twice.headers()["authorization"].clone();
    twice.headers_mut().append("authorization", value);
    assert_eq!(refused(&twice, VECTOR_DATE).0, Reason::Incomplete);
    let basic = with_authorization(|_| "Basic QUtJRDpzZWNyZXQ=".into());
    assert_eq!(refused(&basic, VECTOR_DATE).0, Reason::NoToken);
    for edit in [
        |text: &str| text.replace("SignedHeaders", "Signed"),
        |text: &str| text.split(", Signature").next().unwrap().to_owned(),
        |text: &str| format!("{text}, Signature=00"),
        |text: &str| text.replace("Signature=", "Signature=0"),
        |text: &str| text.replace("host;x-amz-date", "x-amz-date;host"),
        |text: &str| text.replace("AKIDEXAMPLE/", ""),
        |text: &str| text.replace("HMAC-SHA256", "HMAC-SHA512"),
        |text: &str| text.to_uppercase(),
    ] {
        let request = with_authorization(edit);
        let (reason, message) = refused(&request, VECTOR_DATE);
        assert_ne!(reason, Reason::Mismatch, "{message}");
    }
    let empty = with_authorization(|_| "AWS4-HMAC-SHA256 ".into());
    assert_eq!(
        refused(&empty, VECTOR_DATE).1,
        "Authorization header requires 'Credential' parameter. Authorization header requires 'SignedHeaders' \
         parameter. Authorization header requires 'Signature' parameter."
    );
}

#[test]
fn scope_and_date_belong_together() {
    let request = with_authorization(|text| text.replace("/20150830/", "/20150831/"));
    let (reason, message) = refused(&request, VECTOR_DATE);
    assert_eq!(reason, Reason::Mismatch);
    assert!(message.starts_with("Date in Credential scope does not match YYYYMMDD"), "{message}");
    for (from, to) in [("us-east-1", "us-east-2"), ("/kinesis/", "/lambda/"), ("aws4_request", "aws5_request")] {
        let request = with_authorization(|text| text.replace(from, to));
        assert_eq!(refused(&request, VECTOR_DATE).0, Reason::Mismatch, "{to}");
    }
}

#[test]
fn what_must_be_signed_is() {
    let without = |name: &str| with_authorization(|text| text.replace(name, ""));
    assert!(refused(&without("host;"), VECTOR_DATE).1.contains("'Host' or ':authority' must be"));
    assert!(refused(&without("x-amz-date;"), VECTOR_DATE).1.contains("'x-amz-date'"));
    assert!(refused(&without(";x-amz-target"), VECTOR_DATE).1.contains("'x-amz-target'"));
    let mut added = signed();
    added.headers_mut().insert("x-amz-client-context", HeaderValue::from_static("e30="));
    assert!(refused(&added, VECTOR_DATE).1.contains("'x-amz-client-context'"));
    let mut untold = signed();
    untold.headers_mut().insert("user-agent", HeaderValue::from_static("anything"));
    assert!(verify(&untold, VECTOR_DATE).is_ok());
}

/// As the AWS SDK for JavaScript (3.1143) sends it over HTTP/2.
#[test]
fn the_authority_may_be_signed_in_the_place_of_the_host() {
    let request = |uri: &str| {
        Request::post(uri)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "Kinesis_20131202.ListStreams")
            .header("content-length", "2")
            .header("x-amz-user-agent", "aws-sdk-js/3.1142.0")
            .header("amz-sdk-invocation-id", "bce6f153-24f1-4416-9fb0-e3fc453f1105")
            .header("amz-sdk-request", "attempt=1; max=1")
            .header("x-amz-date", "20261123T070417Z")
            .header("x-amz-content-sha256", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDX/20261123/eu-central-1/kinesis/aws4_request, \
                 SignedHeaders=:authority;amz-sdk-invocation-id;amz-sdk-request;content-length;content-type;\
                 x-amz-content-sha256;x-amz-date;x-amz-target;x-amz-user-agent, \
                 Signature=886f3c8037e0090c82f1a408f1a698c5e156c6e17f4a4ac6fc220148e2c22dd8",
            )
            .body(Bytes::from_static(b"{}"))
            .unwrap()
    };
    let verify = |request: &Request<Bytes>| {
        let credential = Credential { secret: "s".into(), ..credential(None, None) };
        verifier().verify(request, time("20261123T070420Z"), |_| Some(credential)).map_err(|r| r.reason)
    };
    assert!(verify(&request("http://127.0.0.1:7801/")).is_ok());
    assert_eq!(verify(&request("http://127.0.0.1:7802/")).unwrap_err(), Reason::Mismatch);
    assert_eq!(verify(&request("/")).unwrap_err(), Reason::Mismatch, "HTTP/1.1 has no authority");
}

#[test]
fn an_announced_hash_must_be_the_body_s() {
    for (hash, ok) in [
        ("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", true),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false),
        ("UNSIGNED-PAYLOAD", false),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", false),
    ] {
        let mut request = signed();
        request.headers_mut().insert("x-amz-content-sha256", HeaderValue::from_static(hash));
        sign(&mut request, &keys(), "us-east-1", "kinesis", time(VECTOR_DATE)).unwrap();
        assert_eq!(verify(&request, VECTOR_DATE).is_ok(), ok, "{hash}");
    }
}

#[test]
fn sessions_need_their_token_and_end() {
    let keys = Keys { session_token: Some("token".into()), ..keys() };
    let mut request = signed();
    sign(&mut request, &keys, "us-east-1", "kinesis", time(VECTOR_DATE)).unwrap();
    let ask = |request: &Request<Bytes>, credential: Credential| {
        verifier().verify(request, time(VECTOR_DATE), |_| Some(credential)).map_err(|r| r.reason)
    };
    let end = |text| Some(time(text));
    assert!(ask(&request, credential(Some("token"), end("20150830T130000Z"))).is_ok());
    assert_eq!(ask(&request, credential(Some("token"), end(VECTOR_DATE))), Err(Reason::ExpiredToken));
    assert_eq!(ask(&request, credential(Some("other"), None)), Err(Reason::UnknownKey));
    assert_eq!(ask(&request, credential(None, None)), Err(Reason::UnknownKey));
    assert_eq!(ask(&signed(), credential(Some("token"), None)), Err(Reason::UnknownKey));
    let unknown = verifier().verify(&signed(), time(VECTOR_DATE), |_| None).unwrap_err();
    assert_eq!(unknown.message, "The security token included in the request is invalid.");
}

#[test]
fn a_head_alone_tells_strangers_apart_but_proves_nothing() {
    let look = |request: &Request<Bytes>, now: &str| {
        let head = request.clone().map(|_| ());
        let looked = verifier().claim(&head, time(now), |key| (key == "AKIDEXAMPLE").then(|| credential(None, None)));
        looked.map(|_| ()).map_err(|rejection| rejection.reason)
    };
    let mut forged = signed();
    *forged.body_mut() = Bytes::from_static(b"{\"other\":1}");
    assert_eq!(look(&forged, VECTOR_DATE), Ok(()));
    assert_eq!(refused(&forged, VECTOR_DATE).0, Reason::Mismatch);
    assert_eq!(look(&get("/"), VECTOR_DATE), Err(Reason::NoToken));
    assert_eq!(look(&signed(), "20150830T130000Z"), Err(Reason::Mismatch));
    let stranger = with_authorization(|text| text.replace("AKIDEXAMPLE", "AKIDSTRANGER"));
    assert_eq!(look(&stranger, VECTOR_DATE), Err(Reason::UnknownKey));
    let unsigned_target = with_authorization(|text| text.replace(";x-amz-target", ""));
    assert_eq!(look(&unsigned_target, VECTOR_DATE), Err(Reason::Mismatch));
}

#[test]
fn what_ends_while_the_body_comes_is_no_proof() {
    let prove = |known: Credential, now: &str| {
        let request = presigned("kinesis", None, Some("token"), whole);
        let head = request.clone().map(|_| ());
        let claim = verifier().claim(&head, time(VECTOR_DATE), |_| Some(known)).unwrap();
        claim.prove(request.body(), time(now)).map(|_| ()).map_err(|rejection| rejection.reason)
    };
    let (soon, later) = ("20150830T123610Z", "20150830T123620Z");
    let session = || credential(Some("token"), Some(time(later)));
    assert_eq!((prove(session(), soon), prove(session(), later)), (Ok(()), Err(Reason::ExpiredToken)));
    let signed = signed();
    let known = credential(None, None);
    let claim = verifier().claim(&signed, time(VECTOR_DATE), |_| Some(known.clone())).unwrap();
    assert_eq!(claim.prove(signed.body(), time("20150830T130000Z")).unwrap_err().reason, Reason::Mismatch);
}

#[test]
fn a_date_header_will_do() {
    // Signed by hand: `sign` itself always sets X-Amz-Date.
    for (date, expected) in [("20150830T123600Z", true), ("Sun, 30 Aug 2015 12:36:00 GMT", true), ("yesterday", false)]
    {
        let mut request = get("/");
        request.headers_mut().insert("date", date.parse().unwrap());
        let scope = CredentialScope {
            access_key: "AKIDEXAMPLE".into(),
            date: "20150830".into(),
            region: "us-east-1".into(),
            service: "service".into(),
        };
        let empty = canonical::sha256_hex(b"");
        let facts = canonical::Facts { headers: "date;host", payload_hash: &empty, date: VECTOR_DATE, scope: &scope };
        let text = canonical::string_to_sign((&request).into(), &facts, canonical::Query::Encoded);
        let signature = canonical::hex(&key::SigningKey::derive(SECRET, &scope).sign(&text));
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{}, SignedHeaders=date;host, Signature={signature}",
            scope.text()
        );
        request.headers_mut().insert("authorization", value.parse().unwrap());
        assert_eq!(verify(&request, VECTOR_DATE).is_ok(), expected, "{date}");
    }
}

#[test]
fn a_query_may_be_signed_as_it_was_sent() {
    // As botocore signs a URL with a query: the pairs sorted, nothing decoded.
    assert_eq!(canonical::canonical_query("q=a+b&m=x,y", canonical::Query::Verbatim), "m=x,y&q=a+b");
    assert_eq!(canonical::canonical_query("q=a+b&m=x,y&e", canonical::Query::Encoded), "e=&m=x%2Cy&q=a%20b");
}

#[test]
fn secrets_are_not_printed() {
    let session = Keys { session_token: Some("TOKEN".into()), ..keys() };
    let mut request = signed();
    sign(&mut request, &session, "us-east-1", "kinesis", time(VECTOR_DATE)).unwrap();
    let printed = format!("{session:?} {:?} {:?} {request:?}", credential(Some("TOKEN"), None), verifier());
    assert!(!printed.contains("wJalr") && !printed.contains("TOKEN"), "{printed}");
}

/// What may be changed on the way.
#[derive(Debug, Clone)]
enum Tampering {
    Method,
    Path(String),
    Query(String),
    Body(Vec<u8>),
    Header(&'static str, String),
    Signature(usize),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    prop_oneof![
        Just(Tampering::Method),
        "[a-z]{1,8}".prop_map(Tampering::Path),
        "[a-z]{1,3}=[a-z0-9]{0,3}".prop_map(Tampering::Query),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Tampering::Body),
        (prop::sample::select(vec!["host", "content-type", "x-amz-target", "x-amz-date"]), "[a-z0-9]{1,8}")
            .prop_map(|(name, value)| Tampering::Header(name, value)),
        (0usize..64).prop_map(Tampering::Signature),
    ]
}

proptest! {
    #[test]
    fn signing_verifies_and_tampering_does_not(
        path in "(/[a-zA-Z0-9:%20._~-]{0,8}){1,3}",
        query in "([a-z]{1,3}=[a-zA-Z0-9+%20*,]{0,5}&?){0,3}",
        body in prop::collection::vec(any::<u8>(), 0..60),
        header in "[ -~]{0,20}",
        tampering in tampering(),
    ) {
        // A lone percent sign is no URI of a client's.
        let path = path.replace('%', "%25");
        let query = query.replace('%', "%25");
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("{path}?{query}"))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("x-amz-target", "A.B")
            .header("x-amz-note", header.trim())
            .body(Bytes::from(body.clone()))
            .unwrap();
        sign(&mut request, &keys(), "us-east-1", "kinesis", time(VECTOR_DATE)).unwrap();
        prop_assert!(verify(&request, VECTOR_DATE).is_ok());
        match tampering {
            Tampering::Method => *request.method_mut() = http::Method::PUT,
            Tampering::Path(more) => *request.uri_mut() = format!("{path}/{more}?{query}").parse().unwrap(),
            Tampering::Query(more) => {
                let end = if query.is_empty() || query.ends_with('&') { "" } else { "&" };
                *request.uri_mut() = format!("{path}?{query}{end}{more}").parse().unwrap();
            }
            Tampering::Body(other) if other != body => *request.body_mut() = other.into(),
            Tampering::Body(_) => return Ok(()),
            Tampering::Header(name, value) => { request.headers_mut().insert(name, value.parse().unwrap()); }
            Tampering::Signature(place) => {
                let text = request.headers()["authorization"].to_str().unwrap().to_owned();
                let at = text.len() - 64 + place;
                let other = if &text[at..=at] == "0" { "1" } else { "0" };
                let text = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                request.headers_mut().insert("authorization", text.parse().unwrap());
            }
        }
        prop_assert!(verify(&request, VECTOR_DATE).is_err());
    }

    #[test]
    fn no_header_makes_the_parser_panic(text in "[ -~]{0,200}") {
        let mut request = get("/");
        request.headers_mut().insert("authorization", text.parse().unwrap());
        prop_assert!(verify(&request, VECTOR_DATE).is_err());
    }
}
