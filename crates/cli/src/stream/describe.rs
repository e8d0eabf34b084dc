//! `tidegate stream describe`: a stream with its shards, tags and consumers.

use std::collections::BTreeMap;

use anyhow::bail;
use clap::{ArgMatches, Command};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Kinesis, Shard, StreamAddress, Summary};
use super::{Calls, Outcome, as_json, json_arg, print, shards, stream_arg, stream_of, table};
use crate::figures::thousands;

const ABOUT: &str = "\
Show a stream: settings, tags, consumers, and every shard that still holds records

Examples:
  tidegate stream describe events
  tidegate stream describe events | jq -r '.shards[] | select(.open).id'";

/// How it is called.
pub fn command(command: Command) -> Command {
    let command = command.about(ABOUT.lines().next().unwrap_or_default()).long_about(ABOUT);
    command.arg(stream_arg()).arg(json_arg())
}

/// All that is shown.
struct Description {
    summary: Summary,
    shards: Vec<Shard>,
    tags: BTreeMap<String, String>,
    consumers: Vec<Consumer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Consumer {
    consumer_name: String,
    consumer_status: String,
}

/// Shows it.
pub fn run(calls: &Calls, args: &ArgMatches) -> anyhow::Result<Outcome> {
    let description = calls.runtime.block_on(describe(&calls.kinesis, stream_of(args)?))?;
    print(&if as_json(args) { format!("{}\n", description.to_json()) } else { description.to_text() })?;
    Ok(Outcome::Done)
}

async fn describe(kinesis: &Kinesis, stream: &StreamAddress) -> anyhow::Result<Description> {
    let summary = kinesis.summary(stream).await?;
    let shards = kinesis.shards(stream).await?;
    let tags = tags(kinesis, &summary.stream_arn).await?;
    let consumers = consumers(kinesis, &summary.stream_arn).await?;
    Ok(Description { summary, shards, tags, consumers })
}

async fn tags(kinesis: &Kinesis, arn: &str) -> anyhow::Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Tag {
        key: String,
        value: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        tags: Vec<Tag>,
    }
    let answer: Answer = kinesis.call("ListTagsForResource", &json!({ "ResourceARN": arn })).await?;
    Ok(answer.tags.into_iter().map(|tag| (tag.key, tag.value.unwrap_or_default())).collect())
}

async fn consumers(kinesis: &Kinesis, arn: &str) -> anyhow::Result<Vec<Consumer>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        consumers: Vec<Consumer>,
        next_token: Option<String>,
    }
    let mut answer: Answer = kinesis.call("ListStreamConsumers", &json!({ "StreamARN": arn })).await?;
    let mut consumers = answer.consumers;
    while let Some(token) = answer.next_token {
        answer = kinesis.call("ListStreamConsumers", &json!({ "StreamARN": arn, "NextToken": token })).await?;
        if answer.consumers.is_empty() && answer.next_token.is_some() {
            bail!("the server's list of consumers does not end");
        }
        consumers.append(&mut answer.consumers);
    }
    Ok(consumers)
}

impl Description {
    fn to_json(&self) -> Value {
        let summary = &self.summary;
        let consumers = self.consumers.iter().map(|c| json!({ "name": c.consumer_name, "status": c.consumer_status }));
        let shards = self.shards.iter().map(|shard| {
            json!({
                "id": shard.shard_id, "open": shard.is_open(), "parents": shard.parents().collect::<Vec<_>>(),
                "starting_hash_key": shard.hash_key_range.starting_hash_key.to_string(),
                "ending_hash_key": shard.hash_key_range.ending_hash_key.to_string(),
            })
        });
        json!({
            "name": summary.stream_name, "arn": summary.stream_arn, "status": summary.stream_status,
            "mode": summary.mode(), "retention_hours": summary.retention_period_hours,
            "encryption_key": self.encryption_key(), "max_record_bytes": summary.max_record_bytes(),
            "created": summary.stream_creation_timestamp.to_iso_secs(),
            "shard_metrics": self.shard_metrics(), "tags": self.tags,
            "consumers": consumers.collect::<Vec<_>>(), "shards": shards.collect::<Vec<_>>(),
        })
    }

    fn encryption_key(&self) -> Option<&str> {
        let encrypted = self.summary.encryption_type.as_deref().is_some_and(|kind| kind != "NONE");
        encrypted.then(|| self.summary.key_id.as_deref().unwrap_or("its own key"))
    }

    fn shard_metrics(&self) -> Vec<&str> {
        self.summary.enhanced_monitoring.iter().flat_map(|m| &m.shard_level_metrics).map(String::as_str).collect()
    }

    fn to_text(&self) -> String {
        let summary = &self.summary;
        let encryption = self.encryption_key().map_or("none".to_owned(), |key| format!("on disk, under {key}"));
        let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        let joined = |words: Vec<String>| or_none(words.join(", "));
        let kib = thousands((summary.max_record_bytes() / 1_024) as u64);
        let facts = [
            ("status", summary.stream_status.clone()),
            ("mode", summary.mode().to_owned()),
            ("arn", summary.stream_arn.clone()),
            ("created", summary.stream_creation_timestamp.to_iso_secs()),
            ("retention", retention(summary.retention_period_hours)),
            ("encryption", encryption),
            ("record size", format!("up to {kib} KiB")),
            ("shard metrics", joined(self.shard_metrics().iter().map(|m| (*m).to_owned()).collect())),
            ("tags", joined(self.tags.iter().map(|(key, value)| format!("{key}={value}")).collect())),
            ("consumers", joined(self.consumers.iter().map(Consumer::in_words).collect())),
            ("shards", format!("{} open of {}", summary.open_shard_count, self.shards.len())),
        ];
        let facts: Vec<_> = facts.iter().map(|(name, value)| table::row([&format!("  {name}"), value])).collect();
        format!("{}\n{}\n{}", summary.stream_name, table::columns(&facts), self.shard_table())
    }

    fn shard_table(&self) -> String {
        let mut rows = vec![table::row(["SHARD", "STATE", "SHARE", "HASH KEYS", "TO", "PARENTS"])];
        rows.extend(self.shards.iter().map(|shard| {
            let state = if shard.is_open() { "open" } else { "closed" };
            let share = format!("{:.1} %", shards::share(shard));
            let range = shard.hash_key_range;
            let parents: Vec<String> = shard.parents().map(|parent| parent.to_string()).collect();
            table::row([
                &shard.shard_id.to_string(),
                state,
                &share,
                &range.starting_hash_key.to_string(),
                &range.ending_hash_key.to_string(),
                &parents.join(", "),
            ])
        }));
        table::columns(&rows)
    }
}

impl Consumer {
    fn in_words(&self) -> String {
        match self.consumer_status.as_str() {
            "ACTIVE" => self.consumer_name.clone(),
            status => format!("{} ({status})", self.consumer_name),
        }
    }
}

fn retention(hours: u64) -> String {
    if hours.is_multiple_of(24) && hours > 24 { format!("{} days", hours / 24) } else { format!("{hours} h") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::shards::tests::shard;

    #[test]
    fn a_stream_reads_as_a_page() {
        let summary = serde_json::from_value(json!({
            "StreamName": "events", "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/events",
            "StreamStatus": "ACTIVE", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "RetentionPeriodHours": 168,
            "StreamCreationTimestamp": 1_700_000_000.5, "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis",
            "OpenShardCount": 1, "EnhancedMonitoring": [{"ShardLevelMetrics": ["IncomingBytes"]}],
        }));
        let description = Description {
            summary: summary.unwrap(),
            shards: vec![shard(0, 0, u128::MAX, &[], false), shard(1, 0, u128::MAX, &[0], true)],
            tags: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
            consumers: vec![Consumer { consumer_name: "app".to_owned(), consumer_status: "CREATING".to_owned() }],
        };
        let text = description.to_text();
        for line in [
            "events",
            "  mode           on demand",
            "  retention      7 days",
            "  encryption     on disk, under alias/aws/kinesis",
            "  record size    up to 1,024 KiB",
            "  tags           team=blue",
            "  consumers      app (CREATING)",
            "  shards         1 open of 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.contains("shardId-000000000001  open    100.0 %  0"), "{text}");
        assert_eq!(description.to_json()["shards"][0]["open"], false);
    }
}
