//! `tidegate stream ls`: which streams there are.

use anyhow::bail;
use base::Timestamp;
use clap::{ArgMatches, Command};
use serde::Deserialize;
use serde_json::json;

use super::api::{Kinesis, Mode, seconds};
use super::{Calls, Outcome, as_json, json_arg, print, table};

const ABOUT: &str = "\
List the streams of this account and region

Examples:
  tidegate stream ls
  tidegate stream ls | jq -r .name";

/// How it is called.
pub fn command(command: Command) -> Command {
    command.about(ABOUT.lines().next().unwrap_or_default()).long_about(ABOUT).arg(json_arg())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: String,
    stream_mode_details: Option<Mode>,
    #[serde(deserialize_with = "seconds")]
    stream_creation_timestamp: Timestamp,
}

/// Lists them.
pub fn run(calls: &Calls, args: &ArgMatches) -> anyhow::Result<Outcome> {
    let streams = calls.runtime.block_on(list(&calls.kinesis))?;
    if as_json(args) {
        for stream in &streams {
            let line = json!({
                "name": stream.stream_name, "arn": stream.stream_arn, "status": stream.stream_status,
                "mode": Mode::in_words(stream.stream_mode_details.as_ref()),
                "created": stream.stream_creation_timestamp.to_iso_secs(),
            });
            print(&format!("{line}\n"))?;
        }
    } else if streams.is_empty() {
        let region = calls.kinesis.region();
        print(&format!(
            "no streams in {region} yet; make one with: aws kinesis create-stream --stream-name NAME --shard-count 1\n"
        ))?;
    } else {
        let mut rows = vec![table::row(["NAME", "STATUS", "MODE", "CREATED"])];
        rows.extend(streams.iter().map(|stream| {
            let created = stream.stream_creation_timestamp.to_iso_secs();
            let mode = Mode::in_words(stream.stream_mode_details.as_ref());
            table::row([&stream.stream_name, &stream.stream_status, mode, &created])
        }));
        print(&table::columns(&rows))?;
    }
    Ok(Outcome::Done)
}

async fn list(kinesis: &Kinesis) -> anyhow::Result<Vec<Listed>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        stream_summaries: Vec<Listed>,
        has_more_streams: bool,
    }
    let mut streams: Vec<Listed> = Vec::new();
    loop {
        let after = streams.last().map(|stream| &stream.stream_name);
        let input = after.map_or_else(|| json!({}), |name| json!({ "ExclusiveStartStreamName": name }));
        let answer: Answer = kinesis.call("ListStreams", &input).await?;
        let none = answer.stream_summaries.is_empty();
        streams.extend(answer.stream_summaries);
        if !answer.has_more_streams {
            return Ok(streams);
        }
        if none {
            bail!("the server's list of streams does not end");
        }
    }
}
