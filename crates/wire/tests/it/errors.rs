//! The table from kinds to codes, and options that are refused.

use base::ErrorKind;
use bytes::Bytes;
use http::Request;
use wire::model::Protocol;
use wire::{ServiceError, ServiceId, Unidentified, kinesis};

#[test]
fn every_kind_has_a_code_in_every_service_and_its_status_is_the_model_s() {
    use ErrorKind::{Conflict, Corrupt, Denied, Internal, Invalid, NotFound, Throttled, Unavailable};
    for service in ServiceId::ALL {
        for kind in [Invalid, NotFound, Conflict, Throttled, Denied, Unavailable, Corrupt, Internal] {
            let error = ServiceError::of_kind(*service, kind, "x");
            let status = error.status.unwrap();
            assert!(status >= 500 || !matches!(kind, Unavailable | Corrupt | Internal), "{error}");
            assert!(status < 500 || !matches!(kind, Invalid | NotFound | Conflict | Denied), "{error}");
            if let Some(shape) = service.model().error(&error.code) {
                assert_eq!(shape.status, status, "{} {error}", service.model().name);
            }
        }
    }
}

#[test]
fn unknown_operations_have_their_protocol_s_code() {
    for service in ServiceId::ALL {
        let error = ServiceError::unknown_operation(*service, "Fly");
        let expected = match service.model().protocol {
            Protocol::Query => "InvalidAction",
            Protocol::AwsJson | Protocol::RestJson => "UnknownOperationException",
        };
        assert_eq!(error.code, expected);
    }
}

#[test]
fn options_that_are_not_done_are_refused_by_name() {
    let known = ["StreamName", "Records"];
    let mut input = kinesis::PutRecordsInput { stream_name: Some("a".into()), ..Default::default() };
    assert_eq!(wire::only(ServiceId::Kinesis, &input, &known), Ok(()));
    input.dry_run = Some(true);
    let error = wire::only(ServiceId::Kinesis, &input, &known).unwrap_err();
    assert_eq!(error.message, "DryRun in PutRecordsInput of kinesis is not available in this version of Tidegate");
}

#[test]
fn a_target_of_another_service_is_refused_by_the_signature_s_scope() {
    let ask = |target: Option<&str>| {
        let mut request = Request::post("/");
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        match wire::identify("kinesis", &request.body(Bytes::new()).unwrap()) {
            Err(Unidentified::Operation { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    };
    let scoped = ask(Some("AWSEvents.PutEvents"));
    assert_eq!(scoped.code, "InvalidSignatureException");
    assert_eq!(scoped.message, "Credential should be scoped to correct service: 'events'.");
    for target in [None, Some("PutRecord"), Some("Kinesis_20131202.Fly"), Some("Kinesis_20131202PutRecord.")] {
        assert_eq!(ask(target).code, "UnknownOperationException");
    }
}

#[test]
fn a_target_is_there_once() {
    let request = Request::post("/")
        .header("x-amz-target", "Kinesis_20131202.ListStreams")
        .header("x-amz-target", "Kinesis_20131202.DeleteStream");
    match wire::identify("kinesis", &request.body(Bytes::new()).unwrap()) {
        Err(Unidentified::Operation { error, .. }) => assert_eq!(error.code, "SerializationException"),
        other => panic!("{other:?}"),
    }
}
