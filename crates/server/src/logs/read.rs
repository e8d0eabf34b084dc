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
const MORE: HeaderName = HeaderName::from_static("x-tidegate-more");
/// Answers' worth that a search reads without finding anything, before it lets its caller say whether to go on.
const SEARCHED: usize = 16;
/// Texts in one query.
const MAX_TEXTS: usize = 8;
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
    /// A line contains each of these.
    texts: Vec<String>,
    /// Its log stream's name contains this.
    stream: Option<String>,
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
                "match" => query.texts.push(decoded(name, value)?),
                "stream" => query.stream = Some(decoded(name, value)?),
                _ => return Err(format!("'{name}' is not known; known are after, since, wait, match and stream")),
            }
        }
        if query.texts.len() > MAX_TEXTS {
            return Err(format!("'match' may be there at most {MAX_TEXTS} times"));
        }
        Ok(query)
    }

    /// Whether everything is asked for.
    fn is_all(&self) -> bool {
        self.texts.is_empty() && self.stream.is_none()
    }

    fn wants(&self, stream: &str, line: &str) -> bool {
        self.texts.iter().all(|text| line.contains(text.as_str()))
            && self.stream.as_ref().is_none_or(|part| stream.contains(part.as_str()))
    }
}

fn decoded(name: &str, value: &str) -> Result<String, String> {
    let text = percent_encoding::percent_decode_str(value).decode_utf8();
    text.map(Into::into).map_err(|_| format!("'{name}' must be percent-encoded UTF-8"))
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
                Err(_) if self.env.clock.instant() >= deadline => {
                    return Ok(answer(Vec::new(), query.after.unwrap_or(0), false));
                }
                Err(_) => self.env.clock.sleep(LOOK_AGAIN).await,
            }
        };
        match self.search(&stream, query, deadline).await {
            Ok(found) => Ok(found),
            Err(error) => {
                tracing::error!(function = name, %error, "a function's log cannot be read");
                let status = if error.kind().is_transient() { 503 } else { 500 };
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Ok(json(status, &serde_json::json!({ "message": error.to_string() })))
            }
        }
    }

    /// Reads until there is a line that is asked for, or no more for now.
    async fn search(&self, stream: &Stream, mut query: Query, deadline: Duration) -> Result<Response<Bytes>, LogError> {
        for _ in 0..SEARCHED {
            let slice = self.read(stream, &query, deadline).await?;
            let found = lines(&slice.records, &query);
            if !found.is_empty() || slice.records.is_empty() || query.is_all() {
                return Ok(answer(found, slice.next.get(), false));
            }
            query.after = Some(slice.next.get());
        }
        Ok(answer(Vec::new(), query.after.unwrap_or(0), true))
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

/// The lines of these records that are asked for, as JSON.
fn lines(records: &[log::Record], query: &Query) -> Vec<u8> {
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
        for (time, line) in block.lines.iter().filter(|(_, line)| query.wants(&block.stream, line)) {
            // Writing to memory cannot fail, and a line is always JSON.
            let _ = serde_json::to_writer(&mut body, &Line { time: *time, stream: &block.stream, line });
            body.push(b'\n');
        }
    }
    body
}

fn answer(body: Vec<u8>, next: u64, more: bool) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(NEXT, HeaderValue::from(next));
    if more {
        response.headers_mut().insert(MORE, HeaderValue::from_static("true"));
    }
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
        let search = Query::parse("match=Task%20timed&match=%5B1%5D&stream=LATEST").unwrap();
        assert!(search.wants("2026/[$LATEST]a", "Task timed out [1]"));
        assert!(!search.wants("2026/[$LATEST]a", "Task timed out") && !search.wants("2026/[1]a", "Task timed out [1]"));
        assert!(Query::parse(&"match=a&".repeat(9)).unwrap_err().contains("at most 8"));
        assert!(Query::parse("after=x").unwrap_err().contains("'after'"));
        assert!(Query::parse("follow=1").unwrap_err().contains("'follow'"));
    }
}
