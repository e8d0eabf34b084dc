//! Requests whose signature is in their query string.

use super::*;

/// A request for `service` with its signature in the query string, good for `life` seconds; `edit` changes it unsigned.
pub(super) fn presigned(
    service: &str,
    life: Option<&str>,
    token: Option<&str>,
    edit: impl FnOnce(String) -> String,
) -> Request<Bytes> {
    let credential = CredentialScope {
        access_key: "AKIDEXAMPLE".into(),
        date: "20150830".into(),
        region: "us-east-1".into(),
        service: service.into(),
    };
    let mut query = format!(
        "b=2&a=x%20y&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F{}&X-Amz-Date={VECTOR_DATE}&\
         X-Amz-SignedHeaders=host%3Bx-amz-target",
        credential.text().replace('/', "%2F")
    );
    query.extend(life.map(|life| format!("&X-Amz-Expires={life}")));
    query.extend(token.map(|token| format!("&X-Amz-Security-Token={token}")));
    let build = |query: &str, body: &'static [u8]| {
        let builder = Request::builder().method("POST").uri(format!("/p?{query}"));
        let builder = builder.header("host", "localhost").header("x-amz-target", "Kinesis_20131202.PutRecord");
        builder.body(Bytes::from_static(body)).unwrap()
    };
    let payload_hash = if service == "s3" { "UNSIGNED-PAYLOAD".to_owned() } else { canonical::sha256_hex(b"{}") };
    let facts = canonical::Facts {
        headers: "host;x-amz-target",
        payload_hash: &payload_hash,
        date: VECTOR_DATE,
        scope: &credential,
    };
    let text = canonical::string_to_sign((&build(&query, b"{}")).into(), &facts, canonical::Query::Encoded);
    let signature = canonical::hex(&key::SigningKey::derive(SECRET, &credential).sign(&text));
    build(&edit(format!("{query}&X-Amz-Signature={signature}")), b"{}")
}

pub(super) fn whole(query: String) -> String {
    query
}

#[test]
fn a_presigned_request_is_good_from_its_date_for_its_life() {
    let hour = presigned("kinesis", Some("3600"), None, whole);
    assert_eq!(verify(&hour, VECTOR_DATE).unwrap().service, "kinesis");
    assert!(verify(&hour, "20150830T133600Z").is_ok());
    assert_eq!(
        refused(&hour, "20150830T133601Z"),
        (
            Reason::Mismatch,
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T133601Z - 3600 sec.)"
                .to_owned()
        )
    );
    assert!(verify(&hour, "20150830T123100Z").is_ok());
    assert!(refused(&hour, "20150830T123059Z").1.starts_with("Signature not yet current"));
    assert!(verify(&presigned("kinesis", Some("604800"), None, whole), "20150906T123600Z").is_ok());
    // Without a life of its own it is good as long as one in the header.
    let plain = presigned("kinesis", None, None, whole);
    assert!(verify(&plain, "20150830T124100Z").is_ok());
    assert!(refused(&plain, "20150830T124101Z").1.ends_with("- 5 min.)"));
}

#[test]
fn a_presigned_request_s_parameters_are_strict() {
    type Edit = fn(String) -> String;
    let edits: [(Edit, Reason, &str); 12] = [
        (|q| q.replace("X-Amz-Algorithm", "X-Amz-Algorithn"), Reason::NoToken, "Missing Authentication Token"),
        (|q| q.replace("HMAC-SHA256", "HMAC-SHA512"), Reason::Incomplete, "X-Amz-Algorithm only supports"),
        (
            |q| q.split("&X-Amz-Date").next().unwrap_or_default().to_owned(),
            Reason::Incomplete,
            "AWS query-string parameters must include 'X-Amz-Signature'. AWS query-string parameters must include \
             'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. Re-examine",
        ),
        (|q| format!("{q}&X-Amz-Expires=1"), Reason::Incomplete, "the query string has X-Amz-Expires twice"),
        (|q| format!("{q}&X-Amz%2DSignature=1"), Reason::Incomplete, "the query string has X-Amz-Signature twice"),
        (|q| q.replace("=3600", "=-1"), Reason::Incomplete, "X-Amz-Expires must be non-negative"),
        (|q| q.replace("=3600", "=1h"), Reason::Incomplete, "X-Amz-Expires should be a number"),
        (|q| q.replace("=3600", "=604801"), Reason::Incomplete, "X-Amz-Expires must be less than a week"),
        (|q| q.replace("=3600", "=99999999999999999999"), Reason::Incomplete, "X-Amz-Expires must be less than a week"),
        (|q| q.replace("T123600Z", ""), Reason::Incomplete, "Date must be in ISO-8601"),
        (|q| q.replace("host%3B", ""), Reason::Mismatch, "'Host' or ':authority' must be"),
        (|q| q.replace("%3Bx-amz-target", ""), Reason::Mismatch, "'x-amz-target'"),
    ];
    for (edit, reason, message) in edits {
        let (found, text) = refused(&presigned("kinesis", Some("3600"), None, edit), VECTOR_DATE);
        assert!(found == reason && text.contains(message), "{message}: {text}");
    }
    let mut both = presigned("kinesis", Some("3600"), None, whole);
    both.headers_mut().insert("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 x"));
    assert_eq!(refused(&both, VECTOR_DATE).0, Reason::Mismatch);
    assert!(refused(&both, VECTOR_DATE).1.starts_with("Found both 'X-Amz-Algorithm'"));
}

#[test]
fn a_presigned_request_is_signed_over_all_but_its_signature() {
    let edits: [fn(String) -> String; 6] = [
        |q| q.replace("b=2", "b=3"),
        |q| q.replace("=3600", "=3601"),
        |q| format!("{q}&c=1"),
        |q| q.replace("b=2&", ""),
        |q| q.replace("us-east-1", "us-east-2"),
        |q| q.replace("X-Amz-Signature=", "X-Amz-Signature=0")[..q.len()].to_owned(),
    ];
    for edit in edits {
        assert_eq!(refused(&presigned("kinesis", Some("3600"), None, edit), VECTOR_DATE).0, Reason::Mismatch);
    }
    let other_body = |service| {
        let mut request = presigned(service, Some("3600"), None, whole);
        *request.body_mut() = Bytes::from_static(b"{\"other\":1}");
        request
    };
    assert_eq!(refused(&other_body("kinesis"), VECTOR_DATE).0, Reason::Mismatch);
    // S3's signers do not know the body; another hash that is announced must be signed, and is checked.
    assert!(verify(&other_body("s3"), VECTOR_DATE).is_ok());
    let mut announced = other_body("s3");
    announced.headers_mut().insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
    assert!(refused(&announced, VECTOR_DATE).1.contains("must be a 'SignedHeader'"));
}

#[test]
fn a_presigned_session_has_its_token_in_the_query() {
    let ask = |request: &Request<Bytes>, token: Option<&str>| {
        let verified = verifier().verify(request, time(VECTOR_DATE), |_| Some(credential(token, None)));
        verified.map(|_| ()).map_err(|rejection| rejection.reason)
    };
    let mut request = presigned("kinesis", Some("60"), Some("a%2Bb%3D%3D"), whole);
    assert_eq!(ask(&request, Some("a+b==")), Ok(()));
    assert_eq!(ask(&request, Some("other")), Err(Reason::UnknownKey));
    assert_eq!(ask(&request, None), Err(Reason::UnknownKey));
    assert_eq!(ask(&presigned("kinesis", Some("60"), None, whole), Some("a+b==")), Err(Reason::UnknownKey));
    request.headers_mut().insert("x-amz-security-token", HeaderValue::from_static("a+b=="));
    assert!(ask(&request, Some("a+b==")).is_err());
}

#[test]
fn the_parameters_of_a_signature_can_be_taken_out() {
    let plain = |uri: &str| without_signature(&uri.parse().unwrap()).map(|uri| uri.to_string());
    let uri = presigned("kinesis", Some("60"), Some("t"), whole).uri().to_string();
    assert_eq!(plain(&uri).as_deref(), Some("/p?b=2&a=x%20y"));
    assert_eq!(plain("http://h:1/?X-Amz-Algorithm=x").as_deref(), Some("http://h:1/"));
    assert_eq!(plain("/?a=1&X-Amz-Date=2"), None);
}
