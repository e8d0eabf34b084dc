//! The pipeline: rule → stream → function → topic → webhook, and stream → delivery → index.

use std::io::{Cursor, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use base::Clock;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::aws::{self, Query};
use super::screen::Screen;
use super::stage::Stage;
use super::webhook::Webhook;

const STREAM: &str = "trail";
const FUNCTION: &str = "alert";

/// What reading a stream takes.
const READS: [&str; 4] =
    ["kinesis:DescribeStream*", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"];

const CODE: [(&str, &str); 2] =
    [("alert.py", include_str!("alert.py")), ("plain_sns.py", include_str!("plain_sns.py"))];

/// How long anything may take to become ready.
const READY_TIME: Duration = Duration::from_secs(60);

/// Names of what was made.
pub struct Pipeline {
    stream: String,
    function: String,
}

impl Pipeline {
    /// The index.
    pub const INDEX: &'static str = "trail";

    /// Makes all parts, telling each.
    pub async fn make(stage: &Stage, webhook: &mut Webhook, screen: &mut Screen) -> anyhow::Result<Self> {
        let client = stage.client();
        let input = json!({"StreamName": STREAM, "ShardCount": 2});
        aws::json(client, "kinesis", "Kinesis_20131202.CreateStream", "1.1", &input).await?;
        wait_for_stream(stage).await?;
        screen.step("stream", &format!("kinesis {STREAM}, 2 shards"));

        let topic = aws::query(client, Query::Sns, "CreateTopic", &[("Name", "alerts")], "TopicArn").await?;
        let endpoint = webhook.url();
        let subscription = [("TopicArn", topic.as_str()), ("Protocol", "http"), ("Endpoint", endpoint.as_str())];
        aws::query(client, Query::Sns, "Subscribe", &subscription, "SubscriptionArn").await?;
        webhook.confirm(client).await?;
        screen.step("topic", &format!("sns alerts → {endpoint}, subscription confirmed"));

        let stream = stage.arn("kinesis", &format!("stream/{STREAM}"));
        let may = json!([
            {"Effect": "Allow", "Action": READS, "Resource": stream},
            {"Effect": "Allow", "Action": "sns:Publish", "Resource": topic},
        ]);
        let role = role(stage, FUNCTION, "lambda.amazonaws.com", &may).await?;
        let package = package()?;
        let input = json!({
            "FunctionName": FUNCTION, "Runtime": "python3.13", "Handler": "alert.handler", "Role": role,
            "Code": {"ZipFile": STANDARD.encode(&package)}, "Timeout": 30,
            "Environment": {"Variables": {"TOPIC_ARN": topic}},
        });
        aws::rest(client, "lambda", Method::POST, "/2015-03-31/functions", Some(&input)).await?;
        wait_for_function(stage).await?;
        let this = Self { stream, function: FUNCTION.to_owned() };
        let input = json!({
            "EventSourceArn": this.stream, "FunctionName": FUNCTION, "StartingPosition": "TRIM_HORIZON", "BatchSize": 100,
        });
        aws::rest(client, "lambda", Method::POST, "/2015-03-31/event-source-mappings/", Some(&input)).await?;
        screen
            .step("function", &format!("lambda {FUNCTION}, Python, {} bytes zipped; reads the stream", package.len()));

        this.deliver(stage).await?;
        screen.step("delivery", &format!("firehose {STREAM} → search index {}", Self::INDEX));
        this.rule(stage).await?;
        screen.step("rule", "eventbridge writes: what CloudTrail says was changed → stream");
        Ok(this)
    }

    async fn deliver(&self, stage: &Stage) -> anyhow::Result<()> {
        let may = json!([
            {"Effect": "Allow", "Action": READS, "Resource": self.stream},
            {"Effect": "Allow", "Action": "es:ESHttp*", "Resource": stage.arn("es", "domain/tidegate/*")},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::backup/*"},
        ]);
        let role = role(stage, "delivery", "firehose.amazonaws.com", &may).await?;
        let input = json!({
            "DeliveryStreamName": STREAM,
            "DeliveryStreamType": "KinesisStreamAsSource",
            "KinesisStreamSourceConfiguration": {"KinesisStreamARN": self.stream, "RoleARN": role},
            "AmazonopensearchserviceDestinationConfiguration": {
                "RoleARN": role, "DomainARN": stage.arn("es", "domain/tidegate"), "IndexName": Self::INDEX,
                "IndexRotationPeriod": "NoRotation", "S3BackupMode": "FailedDocumentsOnly",
                "BufferingHints": {"IntervalInSeconds": 1, "SizeInMBs": 1},
                "S3Configuration": {"RoleARN": role, "BucketARN": "arn:aws:s3:::backup", "Prefix": "trail/"},
            },
        });
        aws::json(stage.client(), "firehose", "Firehose_20150804.CreateDeliveryStream", "1.1", &input).await?;
        Ok(())
    }

    async fn rule(&self, stage: &Stage) -> anyhow::Result<()> {
        let pattern = json!({"source": [{"prefix": "aws."}], "detail-type": [{"suffix": " via CloudTrail"}]});
        let rule = json!({"Name": "writes", "EventPattern": pattern.to_string(), "State": "ENABLED"});
        aws::json(stage.client(), "events", "AWSEvents.PutRule", "1.1", &rule).await?;
        let may = json!([{"Effect": "Allow", "Action": "kinesis:PutRecord*", "Resource": self.stream}]);
        let role = role(stage, "writes", "events.amazonaws.com", &may).await?;
        let targets = json!({"Rule": "writes", "Targets": [{"Id": "stream", "Arn": self.stream, "RoleArn": role}]});
        let answer = aws::json(stage.client(), "events", "AWSEvents.PutTargets", "1.1", &targets).await?;
        if answer["FailedEntryCount"] != 0 {
            bail!("PutTargets failed: {answer}");
        }
        Ok(())
    }

    /// Calls the function twice at once: an environment for each shard is then warm, and no start is in an alert's time.
    pub async fn warm_up(&self, stage: &Stage, screen: &mut Screen, clock: &dyn Clock) -> anyhow::Result<()> {
        let started = clock.instant();
        let path = format!("/2015-03-31/functions/{}/invocations", self.function);
        let nothing = json!({"Records": []});
        let call = || aws::rest(stage.client(), "lambda", Method::POST, &path, Some(&nothing));
        let (first, second) = tokio::try_join!(call(), call())?;
        if let Some(message) =
            [&first, &second].iter().find_map(|answer| answer.get("errorMessage").and_then(Value::as_str))
        {
            bail!("the demo's function does not work: {message}; look at TIDEGATE_RUNTIMES_PYTHON_INTERPRETER");
        }
        let took = clock.instant().saturating_sub(started);
        screen.step(
            "warm-up",
            &format!("two environments of the function started and answered within {} ms", took.as_millis()),
        );
        Ok(())
    }
}

/// Makes a role that one service may act as, and that may do no more than its part of the pipeline needs; its ARN.
async fn role(stage: &Stage, name: &str, service: &str, may: &Value) -> anyhow::Result<String> {
    let policy = |statements: &Value| json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let trust = policy(&json!([{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]));
    let parameters = [("RoleName", name), ("AssumeRolePolicyDocument", &trust)];
    let arn = aws::query(stage.client(), Query::Iam, "CreateRole", &parameters, "Arn").await?;
    let may = policy(may);
    let parameters = [("RoleName", name), ("PolicyName", "needed"), ("PolicyDocument", &may)];
    aws::query(stage.client(), Query::Iam, "PutRolePolicy", &parameters, "RequestId").await?;
    Ok(arn)
}

fn package() -> anyhow::Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in CODE {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).context("the function cannot be packed")?;
        zip.write_all(text.as_bytes()).context("the function cannot be packed")?;
    }
    Ok(zip.finish().context("the function cannot be packed")?.into_inner())
}

async fn wait_for_stream(stage: &Stage) -> anyhow::Result<()> {
    let input = json!({"StreamName": STREAM});
    until("the stream is active", async || {
        let operation = "Kinesis_20131202.DescribeStreamSummary";
        let answer = aws::json(stage.client(), "kinesis", operation, "1.1", &input).await?;
        Ok(answer["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")
    })
    .await
}

async fn wait_for_function(stage: &Stage) -> anyhow::Result<()> {
    let path = format!("/2015-03-31/functions/{FUNCTION}/configuration");
    until("the function is active", async || {
        let answer = aws::rest(stage.client(), "lambda", Method::GET, &path, None).await?;
        anyhow::ensure!(answer["State"] != "Failed", "the demo's function cannot be set up: {}", answer["StateReason"]);
        Ok(answer["State"] == "Active")
    })
    .await
}

/// Asks until the answer is yes.
///
/// # Errors
/// It was not within a minute, or asking failed.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let clock = base::SystemClock::new();
    while !holds().await? {
        if clock.instant() > READY_TIME {
            bail!("waited a minute in vain until {what}");
        }
        clock.sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_holds_the_code() {
        let mut archive = zip::ZipArchive::new(Cursor::new(package().unwrap())).unwrap();
        assert_eq!(archive.len(), CODE.len());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut archive.by_name("alert.py").unwrap(), &mut text).unwrap();
        assert!(text.contains("def handler(event, context)"));
    }
}
