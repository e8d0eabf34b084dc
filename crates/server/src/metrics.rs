//! What the server measures of itself, and the Prometheus text of everything that any room measures.
//!
//! The recorder is the process's: the `metrics` facade has one. Promises base units (seconds, bytes) and few label
//! values: an operation is named only when the service's model knows it.

mod described;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use base::{Env, OpenMode};
use metrics::{Counter, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds in seconds: fine around a disk's sync and a function's run, coarse up to a function's longest.
const SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 900.0,
];
/// Upper bounds in bytes.
const BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// Upper bounds of how many things shared one sync.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 10_000.0];

/// Lines of a function's log were dropped.
pub(crate) fn function_log_dropped() {
    counter!("tidegate_function_log_dropped_total").increment(1);
}

/// Log records that an ingest call brought: `accepted`, `duplicate` or `rejected`.
pub(crate) fn ingested(result: &'static str, records: usize) {
    counter!("tidegate_ingest_records_total", "result" => result).increment(records as u64);
}

/// A mail's fate: `sent` to the mail server, `kept` in the outbox, `refused` or `failed`.
pub(crate) fn mailed(outcome: &'static str) {
    counter!("tidegate_mails_total", "outcome" => outcome).increment(1);
}

/// Mails that newer ones pushed out of the outbox.
pub(crate) fn mails_dropped(mails: usize) {
    counter!("tidegate_mail_outbox_dropped_total").increment(mails as u64);
}

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the process's recorder, once. `None` when the process has another one already.
pub(crate) fn install() -> Option<&'static PrometheusHandle> {
    RECORDER.get_or_init(|| {
        let bounds = [("_seconds", SECONDS), ("_bytes", BYTES), ("_batches", COUNTS), ("_operations", COUNTS)];
        let builder = bounds.iter().try_fold(PrometheusBuilder::new(), |builder, (suffix, bounds)| {
            builder.set_buckets_for_metric(Matcher::Suffix((*suffix).to_owned()), bounds)
        });
        let recorder = builder.ok()?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        described::describe();
        Some(handle)
    });
    RECORDER.get().and_then(Option::as_ref)
}

/// One answered request.
pub(crate) struct Answered {
    pub service: &'static str,
    pub operation: &'static str,
    pub status: u16,
    pub took: Duration,
    pub bytes_in: usize,
    pub bytes_out: usize,
}

/// The series that one kind of answer belongs to, looked up once: a look-up costs more than the count.
struct Series {
    duration: Histogram,
    bytes_in: Counter,
    bytes_out: Counter,
    requests: Counter,
}

impl Series {
    fn of(service: &'static str, operation: &'static str, status: u16) -> Self {
        let status = status.to_string();
        Self {
            duration: histogram!("tidegate_request_duration_seconds", "service" => service, "operation" => operation),
            bytes_in: counter!("tidegate_request_body_bytes_total", "service" => service),
            bytes_out: counter!("tidegate_response_body_bytes_total", "service" => service),
            requests: counter!("tidegate_requests_total", "service" => service, "operation" => operation, "status" => status),
        }
    }
}

/// By service, operation and status, of which there are few.
type AllSeries = HashMap<(&'static str, &'static str, u16), Arc<Series>>;

pub(crate) fn answered(request: &Answered) {
    static KNOWN: OnceLock<RwLock<AllSeries>> = OnceLock::new();
    let (known, key) = (KNOWN.get_or_init(RwLock::default), (request.service, request.operation, request.status));
    let found = known.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    let series = found.unwrap_or_else(|| {
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_insert_with(|| Arc::new(Series::of(key.0, key.1, key.2))))
    });
    series.duration.record(request.took.as_secs_f64());
    series.bytes_in.increment(request.bytes_in as u64);
    series.bytes_out.increment(request.bytes_out as u64);
    series.requests.increment(1);
}

/// Bytes of an answer left after its head.
pub(crate) fn sent(service: &'static str, bytes: usize) {
    counter!("tidegate_response_body_bytes_total", "service" => service).increment(bytes as u64);
}

pub(crate) fn handshake_failed() {
    counter!("tidegate_tls_handshake_failures_total").increment(1);
}

pub(crate) fn refused(code: &str) {
    counter!("tidegate_refused_requests_total", "code" => code.to_owned()).increment(1);
}

pub(crate) fn denied(action: &str, refused: bool) {
    counter!("tidegate_denied_total", "action" => action.to_owned(), "refused" => refused.to_string()).increment(1);
}

pub(crate) fn connections(change: f64) {
    gauge!("tidegate_connections").increment(change);
}

pub(crate) fn sessions(held: usize) {
    gauge!("tidegate_sessions").set(held as f64);
}

/// A call's record is in the audit trail.
pub(crate) fn audited() {
    counter!("tidegate_audit_records_total").increment(1);
}

/// A call's record could not be written.
pub(crate) fn audit_failed() {
    counter!("tidegate_audit_failures_total").increment(1);
}

/// A reconciler ran.
pub(crate) fn reconciled(name: &'static str, at: base::Timestamp) {
    gauge!("tidegate_reconciler_last_run_timestamp_seconds", "reconciler" => name).set(at.secs_f64());
}

/// An on-demand stream's shards were split or merged.
pub(crate) fn scaled(splits: usize, merges: usize) {
    counter!("tidegate_on_demand_reshards_total", "kind" => "split").increment(splits as u64);
    counter!("tidegate_on_demand_reshards_total", "kind" => "merge").increment(merges as u64);
}

/// An on-demand stream could not be scaled.
pub(crate) fn scaling_failed() {
    counter!("tidegate_on_demand_failures_total").increment(1);
}

/// Folds the samples of histograms into their buckets.
pub(crate) fn upkeep() {
    if let Some(recorder) = install() {
        recorder.run_upkeep();
    }
}

/// The process's own figures, taken when asked for.
pub(crate) fn process(env: &Env) {
    gauge!("tidegate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("tidegate_uptime_seconds").set(env.clock.instant().as_secs_f64());
    if let Some(bytes) = resident_bytes(env) {
        gauge!("tidegate_resident_memory_bytes").set(bytes as f64);
    }
}

/// `VmRSS` of `/proc/self/status` ("proc_pid_status(5)"). Absent where there is no such file.
fn resident_bytes(env: &Env) -> Option<u64> {
    let file = env.fs.open("/proc/self/status".as_ref(), OpenMode::Read).ok()?;
    let mut buf = [0; 4096];
    let n = file.read_at(&mut buf, 0).ok()?;
    let line = std::str::from_utf8(&buf[..n]).ok()?.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
