//! From intake to the webhook: PutEvents → rule → stream → warm Python function → topic → HTTP.

use serde_json::json;

use super::latency::{ACCOUNT, Receiver, call, confirm, create_function, json_call, rule};
use crate::contenders::{Contender, Server};
use crate::load::{REGION, Request};
use crate::options::Options;
use crate::report::Row;

/// The handler as a user would write it for AWS.
const HANDLER: &str = r#"
import base64, json, os, boto3
sns = boto3.client("sns")
def handler(event, context):
    for record in event["Records"]:
        detail = json.loads(base64.b64decode(record["kinesis"]["data"]))["detail"]
        sns.publish(TopicArn=os.environ["TOPIC"], Message=str(detail["n"]))
"#;

/// One event at a time: milliseconds from the intake to the webhook.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let server = Server::fresh(contender, options).await?;
    let mut receiver = Receiver::listen().await?;
    pipeline(&server, &mut receiver).await?;
    let name =
        "intake to webhook: PutEvents, rule, stream, warm Python function with boto3, topic, HTTP; one at a time";
    receiver.one_at_a_time(&server, options.duration(), name).await
}

async fn pipeline(server: &Server, receiver: &mut Receiver) -> anyhow::Result<()> {
    let stream = format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/bench");
    let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:bench");
    json_call(server, "kinesis", "Kinesis_20131202.CreateStream", json!({"StreamName": "bench", "ShardCount": 1}))
        .await?;
    call(server, &Request::query("sns", "Action=CreateTopic&Version=2010-03-31&Name=bench")).await?;
    let hook = format!("http%3A%2F%2F{}%2Fhook", receiver.address);
    let subscribe = format!("Action=Subscribe&Version=2010-03-31&TopicArn={topic}&Protocol=http&Endpoint={hook}");
    call(server, &Request::query("sns", &subscribe)).await?;
    let url = receiver.confirmation().await?;
    confirm(server, &url).await?;
    create_function(server, HANDLER, ("TOPIC", &topic)).await?;
    let mapping = json!({"EventSourceArn": stream, "FunctionName": "bench", "StartingPosition": "TRIM_HORIZON"});
    call(server, &Request::rest("lambda", "/2015-03-31/event-source-mappings", mapping.to_string().as_bytes())).await?;
    rule(server, &stream).await
}
