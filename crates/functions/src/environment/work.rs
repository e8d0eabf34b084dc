//! An invocation on its way through an environment, and the words for what became of it.

use base::{Env, InvokeOutcome};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::FunctionError;

/// An invocation on its way to an environment.
#[derive(Debug)]
pub(crate) struct Work {
    pub request_id: String,
    /// As it was called, qualifier and all.
    pub function_arn: String,
    pub payload: Bytes,
    /// JSON on one line.
    pub client_context: Option<String>,
    pub want_log: bool,
    /// The tracing header that the call came with.
    pub trace: Option<String>,
    pub answer: oneshot::Sender<Served>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Served {
    /// It ran, well or not.
    Done(InvokeOutcome),
    /// The environment went before the process saw it: it may be given to another.
    Returned,
    /// An environment cannot be started.
    Refused(FunctionError),
}

/// Tells the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freed {
    /// Ready for the next call.
    Released,
    /// Its call is over, and it takes no other: what is left of it is being ended.
    Ending,
    /// Gone.
    Ended,
}

/// In the form of AWS X-Ray's header; never sampled.
pub(super) fn trace_id(env: &Env) -> String {
    let secs = u32::try_from(env.clock.now().millis() / 1_000).unwrap_or(0);
    let (a, b, parent) = (env.rng.u64(), env.rng.u64() as u32, env.rng.u64());
    format!("Root=1-{secs:08x}-{a:016x}{b:08x};Parent={parent:016x};Sampled=0")
}
