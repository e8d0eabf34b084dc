//! The words around an invocation: log lines and error documents, as AWS Lambda writes them. Pure.

use std::process::ExitStatus;
use std::time::Duration;

use base::Timestamp;
use bytes::Bytes;
use serde_json::json;

use super::api::MAX_RESPONSE_BYTES;
use super::process::describe;
use crate::Version;

/// How an invocation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The runtime said so, in its own document.
    Reported(Bytes),
    /// It took longer than it may.
    TimedOut { at: Timestamp, timeout: Duration },
    /// The process did not ask for its first event in time.
    InitTimedOut { after: Duration },
    /// The process exited.
    Exited(ExitStatus),
    /// It took more memory than it may and was killed.
    OutOfMemory,
    /// The answer has this many bytes.
    ResponseTooLarge(u64),
    /// There is nothing that could be started; what would be is said.
    NoBootstrap { remedy: String },
}

impl Failure {
    /// The document that the caller gets.
    pub fn document(&self, request_id: &str) -> Bytes {
        let (kind, message) = match self {
            Self::Reported(document) => return document.clone(),
            Self::TimedOut { .. } => {
                return json!({ "errorMessage": self.line(request_id) }).to_string().into();
            }
            Self::InitTimedOut { .. } => ("Sandbox.Timedout", self.line(request_id)),
            Self::Exited(_) => ("Runtime.ExitError", self.line(request_id)),
            Self::OutOfMemory => ("Runtime.OutOfMemory", self.line(request_id)),
            Self::ResponseTooLarge(length) => (
                "Function.ResponseSizeTooLarge",
                format!(
                    "Response payload size ({length} bytes) exceeded maximum allowed payload size \
                     ({MAX_RESPONSE_BYTES} bytes)."
                ),
            ),
            Self::NoBootstrap { .. } => ("Runtime.InvalidEntrypoint", self.line(request_id)),
        };
        json!({ "errorType": kind, "errorMessage": message }).to_string().into()
    }

    /// The line in the log.
    pub fn line(&self, request_id: &str) -> String {
        match self {
            Self::TimedOut { at, timeout } => {
                format!("{} {request_id} Task timed out after {:.2} seconds", at.to_iso_millis(), timeout.as_secs_f64())
            }
            Self::InitTimedOut { after } => {
                format!(
                    "RequestId: {request_id} Error: the init phase timed out after {:.2} seconds",
                    after.as_secs_f64()
                )
            }
            Self::Exited(status) => match describe(*status) {
                Some(how) => format!("RequestId: {request_id} Error: Runtime exited with error: {how}"),
                None => format!("RequestId: {request_id} Error: Runtime exited without providing a reason"),
            },
            Self::OutOfMemory => format!("RequestId: {request_id} Error: Runtime exited with error: signal: killed"),
            Self::NoBootstrap { remedy } => {
                format!("RequestId: {request_id} Error: Couldn't find valid bootstrap(s): {remedy}")
            }
            Self::ResponseTooLarge(length) => {
                format!("RequestId: {request_id} Error: Response payload size of {length} bytes is too large")
            }
            // The runtime has logged it itself.
            Self::Reported(_) => String::new(),
        }
    }

    fn status(&self) -> Option<&'static str> {
        match self {
            Self::TimedOut { .. } | Self::InitTimedOut { .. } => Some("Status: timeout"),
            Self::Exited(_) => Some("Status: error\tError Type: Runtime.ExitError"),
            Self::NoBootstrap { .. } => Some("Status: error\tError Type: Runtime.InvalidEntrypoint"),
            Self::OutOfMemory => Some("Status: error\tError Type: Runtime.OutOfMemory"),
            Self::ResponseTooLarge(_) | Self::Reported(_) => None,
        }
    }
}

/// The line before an invocation's output.
pub(crate) fn start_line(request_id: &str, version: Version) -> String {
    format!("START RequestId: {request_id} Version: {version}")
}

/// The line after it.
pub(crate) fn end_line(request_id: &str) -> String {
    format!("END RequestId: {request_id}")
}

/// What an invocation took.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    pub duration: Duration,
    /// Of the first invocation of an environment only.
    pub init: Option<Duration>,
    pub memory_mb: u32,
    pub used_bytes: u64,
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1_000.0
}

/// The line that closes an invocation, with tabs as AWS Lambda writes it.
pub(crate) fn report_line(request_id: &str, usage: &Usage, failure: Option<&Failure>) -> String {
    let billed = (usage.duration + usage.init.unwrap_or_default()).as_micros().div_ceil(1_000);
    let mut line = format!(
        "REPORT RequestId: {request_id}\tDuration: {:.2} ms\tBilled Duration: {billed} ms\tMemory Size: {} MB\t\
         Max Memory Used: {} MB\t",
        ms(usage.duration),
        usage.memory_mb,
        usage.used_bytes.div_ceil(1 << 20),
    );
    if let Some(init) = usage.init {
        line.push_str(&format!("Init Duration: {:.2} ms\t", ms(init)));
    }
    if let Some(status) = failure.and_then(Failure::status) {
        line.push_str(status);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_those_of_lambda() {
        let usage =
            Usage { duration: Duration::from_micros(12_345), init: None, memory_mb: 128, used_bytes: (39 << 20) + 1 };
        assert_eq!(
            report_line("id", &usage, None),
            "REPORT RequestId: id\tDuration: 12.35 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\t"
        );
        let at = "2026-11-23T04:05:06.789Z".parse().unwrap();
        let failure = Failure::TimedOut { at, timeout: Duration::from_secs(3) };
        assert_eq!(
            failure.document("id"),
            r#"{"errorMessage":"2026-11-23T04:05:06.789Z id Task timed out after 3.00 seconds"}"#
        );
        let cold = Usage { init: Some(Duration::from_millis(100)), ..usage };
        let line = report_line("id", &cold, Some(&failure));
        assert!(line.ends_with("\tInit Duration: 100.00 ms\tStatus: timeout"), "{line}");
        assert!(line.contains("Billed Duration: 113 ms"), "{line}");
    }
}
