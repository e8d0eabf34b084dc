//! Calls of AWS services, in the protocol of each.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Response};
use serde_json::Value;

use crate::client::{Client, Target};

/// A call of a JSON service: Kinesis, EventBridge, Firehose. `operation` is its target, such as
/// `Kinesis_20131202.CreateStream`.
pub async fn json(
    client: &Client,
    service: &str,
    operation: &str,
    version: &str,
    input: &Value,
) -> anyhow::Result<Value> {
    let kind = format!("application/x-amz-json-{version}");
    let headers = [("x-amz-target", operation), ("content-type", kind.as_str())];
    let target = Target { service, method: Method::POST, path: "/", headers: &headers };
    let answer = client.call(&target, Bytes::from(input.to_string())).await?;
    body(&answer, operation)
}

/// A call of a REST service with JSON bodies: Lambda, search.
pub async fn rest(
    client: &Client,
    service: &str,
    method: Method,
    path: &str,
    input: Option<&Value>,
) -> anyhow::Result<Value> {
    let operation = format!("{method} {path}");
    let headers = [("content-type", "application/json")];
    let target = Target { service, method, path, headers: &headers };
    let input = input.map_or_else(Bytes::new, |input| Bytes::from(input.to_string()));
    let answer = client.call(&target, input).await?;
    body(&answer, &operation)
}

/// A service that takes forms and answers XML.
#[derive(Clone, Copy)]
pub enum Query {
    Iam,
    Sns,
}

/// A call of such a service. The answer is the text of the element `wanted`.
pub async fn query(
    client: &Client,
    service: Query,
    action: &str,
    parameters: &[(&str, &str)],
    wanted: &str,
) -> anyhow::Result<String> {
    let (service, version) = match service {
        Query::Iam => ("iam", "2010-05-08"),
        Query::Sns => ("sns", "2010-03-31"),
    };
    let mut form = format!("Action={action}&Version={version}");
    for (name, value) in parameters {
        form += &format!("&{name}={}", encoded(value));
    }
    let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let target = Target { service, method: Method::POST, path: "/", headers: &headers };
    let answer = client.call(&target, Bytes::from(form)).await?;
    check(&answer, action)?;
    let text = String::from_utf8_lossy(answer.body());
    let element =
        text.split_once(&format!("<{wanted}>")).and_then(|(_, rest)| rest.split_once(&format!("</{wanted}>")));
    element.map(|(text, _)| text.to_owned()).with_context(|| format!("{action} answered without {wanted}: {text}"))
}

fn check(answer: &Response<Bytes>, operation: &str) -> anyhow::Result<()> {
    if !answer.status().is_success() {
        bail!(
            "{operation} failed with status {}: {}",
            answer.status().as_u16(),
            String::from_utf8_lossy(answer.body())
        );
    }
    Ok(())
}

fn body(answer: &Response<Bytes>, operation: &str) -> anyhow::Result<Value> {
    check(answer, operation)?;
    if answer.body().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(answer.body()).with_context(|| format!("{operation} answered no JSON"))
}

fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_values_are_encoded() {
        assert_eq!(encoded("http://127.0.0.1:80/é?"), "http%3A%2F%2F127.0.0.1%3A80%2F%C3%A9%3F");
    }
}
