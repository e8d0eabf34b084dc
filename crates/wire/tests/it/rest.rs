//! restJson: labels, query strings, headers, payloads and statuses.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use wire::lambda::{self, Lambda};
use wire::{Call, ServiceError, Unidentified};

use crate::{Anybody, body, call, operation, soon, whole};

struct Functions;

#[async_trait]
impl Lambda for Functions {
    async fn create_function(
        &self,
        _: &Call,
        input: lambda::CreateFunctionInput,
    ) -> Result<lambda::CreateFunctionOutput, ServiceError> {
        Ok(lambda::FunctionConfiguration { function_name: Some(input.function_name), ..Default::default() })
    }

    async fn delete_function(
        &self,
        _: &Call,
        input: lambda::DeleteFunctionInput,
    ) -> Result<lambda::DeleteFunctionOutput, ServiceError> {
        match input.function_name.as_str() {
            "gone" => Err(ServiceError::new("ResourceNotFoundException", "Function not found: gone")),
            _ => Ok(lambda::DeleteFunctionOutput { status_code: Some(204) }),
        }
    }

    async fn invoke(&self, _: &Call, input: lambda::InvokeInput) -> Result<lambda::InvokeOutput, ServiceError> {
        let event = input.invocation_type.as_deref() == Some("Event");
        Ok(lambda::InvokeOutput {
            status_code: Some(if event { 202 } else { 200 }),
            function_error: Some("Unhandled".into()),
            log_result: input.qualifier,
            payload: input.payload,
            ..Default::default()
        })
    }
}

async fn send(request: Request<Bytes>) -> Response<Bytes> {
    whole(soon(lambda::dispatch(&Functions, &Anybody, &call(), operation("lambda", &request), &request)).await)
}

#[tokio::test]
async fn a_created_function_is_answered_with_201() {
    let input = r#"{"FunctionName": "alert", "Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": "UEs="}}"#;
    let response = send(Request::post("/2015-03-31/functions/").body(input.into()).unwrap()).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(body(&response), r#"{"FunctionName":"alert"}"#);
}

#[tokio::test]
async fn an_invocation_s_payload_is_the_body_both_ways() {
    let uri = "/2015-03-31/functions/alert/invocations?Qualifier=%24LATEST";
    let request = Request::post(uri).header("x-amz-invocation-type", "Event").body("not JSON".into()).unwrap();
    let response = send(request).await;
    assert_eq!((response.status().as_u16(), body(&response)), (202, "not JSON"));
    assert_eq!(response.headers()["x-amz-function-error"], "Unhandled");
    assert_eq!(response.headers()["x-amz-log-result"], "$LATEST");
}

#[tokio::test]
async fn an_answer_without_content_is_empty() {
    let response = send(Request::delete("/2015-03-31/functions/alert").body(Bytes::new()).unwrap()).await;
    assert_eq!((response.status().as_u16(), body(&response)), (204, ""));
}

#[tokio::test]
async fn errors_say_whose_fault_they_are() {
    let response = send(Request::delete("/2015-03-31/functions/gone").body(Bytes::new()).unwrap()).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["x-amzn-errortype"], "ResourceNotFoundException");
    assert_eq!(body(&response), r#"{"Message":"Function not found: gone","Type":"User"}"#);
    let response = send(Request::get("/2015-03-31/functions/alert").body(Bytes::new()).unwrap()).await;
    assert_eq!(response.status(), 501);
    assert_eq!(response.headers()["x-amzn-errortype"], "NotImplemented");
}

#[test]
fn the_nearest_template_is_found() {
    for (method, path, name) in [
        ("GET", "/2015-03-31/functions", "ListFunctions"),
        ("GET", "/2015-03-31/functions/", "ListFunctions"),
        ("GET", "/2015-03-31/functions/a", "GetFunction"),
        ("GET", "/2015-03-31/functions/a/configuration", "GetFunctionConfiguration"),
        ("PUT", "/2015-03-31/functions/a/code", "UpdateFunctionCode"),
        ("GET", "/2015-03-31/event-source-mappings/", "ListEventSourceMappings"),
        ("POST", "/2015-03-31/functions/a%2Fb/invocations", "Invoke"),
        ("GET", "/2015-03-31/functions/a/aliases", "ListAliases"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        assert_eq!(operation("lambda", &request).name, name, "{path}");
    }
    let request = Request::get("/2015-03-31/nothing/here/at/all").body(Bytes::new()).unwrap();
    let Err(Unidentified::Operation { error, .. }) = wire::identify("lambda", &request) else { panic!() };
    assert_eq!((&*error.code, error.status), ("UnknownOperationException", Some(404)));
    assert!(matches!(wire::identify("s3", &request), Err(Unidentified::Service)));
}

#[test]
fn what_the_path_carries_is_not_taken_from_the_body() {
    let request = Request::put("/2015-03-31/functions/mine/configuration")
        .body(r#"{"FunctionName": "other", "Timeout": 7}"#.into())
        .unwrap();
    let operation = operation("lambda", &request);
    let input: lambda::UpdateFunctionConfigurationInput = wire::protocol::read(operation, &request).unwrap();
    assert_eq!((input.function_name.as_str(), input.timeout), ("mine", Some(7)));
}
