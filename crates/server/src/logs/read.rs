//! Reading logs: the query, the lines, and waiting for more.

use std::time::Duration;

use base::{Arn, Kinded, Position, Scope, Timestamp};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Response, StatusCode};
use log::{LogError, ReadLimit, Slice, Stream};
use serde::Serialize;

use super::{Block, FORMAT, FunctionLogs, stream_key};
use crate::refusal::{Refusal, json};

const NEXT: HeaderName = HeaderName::from_static("x-tidegate-next");
/// What one answer holds, about.
const ANSWER: ReadLimit = ReadLimit { records: 1_000, bytes: 1 << 20 };
/// Longer waits would hold up a stopping server.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How often a log is looked for that does not exist yet.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Where to read from, and how long to wait for it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    after: Option<u64>,
    since: Option<i64>,
    wait: Duration,
}

impl Query {
    fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            let wrong = |_| format!("'{name}' must be a whole number");
            match name {
                "after" => query.after = Some(value.parse().map_err(wrong)?),
                "since" => query.since = Some(value.parse().map_err(wrong)?),
                "wait" => query.wait = Duration::from_secs(value.parse().map_err(wrong)?).min(MAX_WAIT),
                _ => return Err(format!("'{name}' is not known; known are after, since and wait")),
            }
        }
        Ok(query)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    stream: &'a str,
    line: &'a str,
}

impl FunctionLogs {
    /// Answers a read of the log of a function of this scope. `exists` says whether there is such a function now.
    pub async fn answer(
        &self,
        scope: &Scope,
        name: &str,
        query: &str,
        exists: bool,
    ) -> Result<Response<Bytes>, Refusal> {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(why) => return Ok(json(StatusCode::BAD_REQUEST, &serde_json::json!({ "message": why }))),
        };
        let not_found = || Refusal::NotFound(format!("there is no function {name} in {}", scope.region));
        let key = stream_key(&Arn::new("lambda", scope, format!("function:{name}"))).ok_or_else(not_found)?;
        let deadline = self.env.clock.instant() + query.wait;
        let stream = loop {
            match self.log.stream(&key) {
                Ok(stream) => break stream,
                Err(_) if !exists => return Err(not_found()),
                // It has not written anything yet.
                Err(_) if self.env.clock.instant() >= deadline => return Ok(lines(&[], query.after.unwrap_or(0))),
                Err(_) => self.env.clock.sleep(LOOK_AGAIN).await,
            }
        };
        match self.read(&stream, &query, deadline).await {
            Ok(slice) => Ok(lines(&slice.records, slice.next.get())),
            Err(error) => {
                tracing::error!(function = name, %error, "a function's log cannot be read");
                let status = if error.kind().is_transient() { 503 } else { 500 };
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Ok(json(status, &serde_json::json!({ "message": error.to_string() })))
            }
        }
    }

    async fn read(&self, stream: &Stream, query: &Query, deadline: Duration) -> Result<Slice, LogError> {
        let Some(shard) = stream.shards.first().map(|shard| shard.slot) else { return Ok(Slice::default()) };
        let from = match (query.after, query.since) {
            (Some(after), _) => Position::new(after),
            (None, Some(since)) => self.log.position_at(shard, Timestamp::from_millis(since)).await?,
            (None, None) => self.log.tail(shard)?.trim,
        };
        let slice = self.log.read(shard, from, ANSWER).await?;
        let left = deadline.saturating_sub(self.env.clock.instant());
        if !slice.records.is_empty() || left.is_zero() {
            return Ok(slice);
        }
        tokio::select! {
            waited = self.log.wait(shard, slice.next) => waited?,
            () = self.env.clock.sleep(left) => return Ok(slice),
        }
        self.log.read(shard, slice.next, ANSWER).await
    }
}

fn lines(records: &[log::Record], next: u64) -> Response<Bytes> {
    let mut body = Vec::new();
    for record in records {
        let block: Block = match serde_json::from_slice(&record.data) {
            Ok(block) => block,
            Err(error) => {
                tracing::error!(position = %record.position, %error, "a record of a function's log is unreadable");
                continue;
            }
        };
        if block.v != FORMAT {
            tracing::error!(position = %record.position, v = block.v, "a record of a function's log has another format");
            continue;
        }
        for (time, line) in &block.lines {
            // Writing to memory cannot fail, and a line is always JSON.
            let _ = serde_json::to_writer(&mut body, &Line { time: *time, stream: &block.stream, line });
            body.push(b'\n');
        }
    }
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(NEXT, HeaderValue::from(next));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_bounded() {
        assert_eq!(Query::parse(""), Ok(Query::default()));
        let query = Query::parse("after=7&wait=3600").unwrap();
        assert_eq!((query.after, query.wait), (Some(7), MAX_WAIT));
        assert!(Query::parse("after=x").unwrap_err().contains("'after'"));
        assert!(Query::parse("follow=1").unwrap_err().contains("'follow'"));
    }
}
