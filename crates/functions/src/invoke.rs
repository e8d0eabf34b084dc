//! How a function is called: look it up, find it an environment, wait for the outcome.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, ErrorKind, FunctionName, Invocation, Invoke, InvokeError, InvokeOutcome, Kinded, Scope};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::environment::{self, Freed, Parts, Served, Work};
use crate::functions::{Functions, key, owner};
use crate::pool::{Action, EnvironmentId, Input};
use crate::{Function, FunctionError, Qualifier, metrics};

/// The largest event of a synchronous call ("Lambda quotas": 6 MB).
const MAX_PAYLOAD_BYTES: usize = 6 << 20;
/// A call whose environment goes before it saw the call is given to another this many times.
const MAX_ENVIRONMENTS_A_CALL: u32 = 5;

fn refused(kind: ErrorKind, message: impl Into<String>) -> InvokeError {
    InvokeError::new(kind, message)
}

impl From<FunctionError> for InvokeError {
    fn from(error: FunctionError) -> Self {
        refused(error.kind(), error.to_string())
    }
}

/// Scope, name and qualifier in `function:NAME` or `function:NAME:QUALIFIER`.
fn address(arn: &Arn) -> Result<(Scope, FunctionName, Option<Qualifier>), InvokeError> {
    let not_found = || refused(ErrorKind::NotFound, format!("function not found: {arn}"));
    let scope = arn.scope().filter(|_| arn.service() == "lambda").ok_or_else(not_found)?;
    let resource = arn.resource_of("function").ok_or_else(not_found)?;
    let (name, qualifier) = match resource.split_once(':') {
        None => (resource, None),
        Some((name, qualifier)) => (name, Some(qualifier.parse().map_err(|_| not_found())?)),
    };
    Ok((scope, name.parse().map_err(|_| not_found())?, qualifier))
}

/// The client context as JSON on one line, as the Runtime API carries it in a header.
fn client_context(base64: &str) -> Result<String, InvokeError> {
    let invalid = || refused(ErrorKind::Invalid, "the client context must be a JSON object, base64 encoded");
    let json = STANDARD.decode(base64).map_err(|_| invalid())?;
    let value: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&json).map_err(|_| invalid())?;
    Ok(serde_json::Value::Object(value).to_string())
}

#[async_trait]
impl Invoke for Functions {
    async fn invoke(&self, call: Invocation) -> Result<InvokeOutcome, InvokeError> {
        let (scope, name, qualifier) = address(&call.function)?;
        if call.payload.len() > MAX_PAYLOAD_BYTES {
            let message = format!("the event has {} bytes, {MAX_PAYLOAD_BYTES} are allowed", call.payload.len());
            return Err(refused(ErrorKind::Invalid, message));
        }
        let client_context = call.client_context.as_deref().map(client_context).transpose()?;
        let request_id = call.request_id.unwrap_or_else(|| self.inner.env.rng.uuid());
        // A call without event is one with an empty object, as on AWS Lambda.
        let payload = if call.payload.is_empty() { Bytes::from_static(b"{}") } else { call.payload };
        for _ in 0..MAX_ENVIRONMENTS_A_CALL {
            let function = self.called(&scope, &name, qualifier.as_ref())?;
            let (answer, served) = oneshot::channel();
            self.dispatch(
                &function,
                Work {
                    request_id: request_id.clone(),
                    function_arn: call.function.to_string(),
                    payload: payload.clone(),
                    client_context: client_context.clone(),
                    want_log: call.want_log,
                    trace: call.trace.clone(),
                    answer,
                },
            )?;
            match served.await {
                Ok(Served::Done(outcome)) => return Ok(outcome),
                Ok(Served::Refused(error)) => return Err(error.into()),
                Ok(Served::Returned) | Err(_) => {}
            }
        }
        let message = format!("environments of function {name} keep going away before they take the call");
        Err(refused(ErrorKind::Unavailable, message))
    }

    async fn check(&self, function: &Arn) -> Result<(), InvokeError> {
        let (scope, name, qualifier) = address(function)?;
        self.resolve(&scope, &name, qualifier.as_ref())?;
        Ok(())
    }

    async fn timeout(&self, function: &Arn) -> Option<Duration> {
        let (scope, name, qualifier) = address(function).ok()?;
        Some(self.resolve(&scope, &name, qualifier.as_ref()).ok()?.settings.timeout.duration())
    }

    async fn is_stopped(&self, function: &Arn) -> bool {
        let Ok((scope, name, _)) = address(function) else { return false };
        matches!(self.reserved(&scope, &name), Ok(Some(0)))
    }

    fn role(&self, function: &Arn) -> Option<Arn> {
        let (scope, name, qualifier) = address(function).ok()?;
        Some(self.resolve(&scope, &name, qualifier.as_ref()).ok()?.settings.role.clone())
    }

    async fn dead_letters(&self, function: &Arn) -> Option<Arn> {
        let (scope, name, qualifier) = address(function).ok()?;
        self.resolve(&scope, &name, qualifier.as_ref()).ok()?.settings.dead_letters.clone()
    }
}

/// When an environment may be started, and the word to the one that waits for its end.
struct Turn {
    id: EnvironmentId,
    after: Option<CancellationToken>,
    /// Given also when its task breaks.
    gone: DropGuard,
}

impl Functions {
    /// The version that a call gets.
    fn called(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Result<Arc<Function>, FunctionError> {
        let Some(Qualifier::Alias(alias)) = qualifier else { return self.resolve(scope, name, qualifier) };
        match self.find_alias(scope, name, alias) {
            Some(alias) => self.version(scope, name, self.drawn(&alias)),
            None => self.resolve(scope, name, qualifier),
        }
    }

    /// Gives the call to a warm environment or starts one for it.
    fn dispatch(&self, function: &Arc<Function>, work: Work) -> Result<(), InvokeError> {
        let inner = &self.inner;
        if inner.tasks.stopping().is_cancelled() {
            return Err(refused(ErrorKind::Unavailable, "the server is stopping"));
        }
        let mut work = Some(work);
        let mut to_start = None;
        let mut environments = inner.environments.lock().unwrap_or_else(PoisonError::into_inner);
        while work.is_some() && to_start.is_none() {
            let actions = environments.pool.step(inner.env.clock.instant(), Input::Acquire(owner(function)));
            for action in actions {
                match action {
                    Action::Retire(id) => _ = environments.ways.remove(&id),
                    Action::Throttle(why) => {
                        metrics::throttle(function);
                        let message = format!("function {} is throttled: {why}", function.name);
                        return Err(InvokeError { limit: Some(why.limit()), ..refused(ErrorKind::Throttled, message) });
                    }
                    Action::Start(id, after) => {
                        let (way, receiver) = mpsc::channel(1);
                        environments.ways.insert(id, way);
                        let (gone, after) = (CancellationToken::new(), after.and_then(|id| environments.gone.get(&id)));
                        let turn = Turn { id, after: after.cloned(), gone: gone.clone().drop_guard() };
                        environments.gone.insert(id, gone);
                        to_start = work.take().map(|work| (turn, receiver, work));
                    }
                    Action::Assign(id) => {
                        let Some(taken) = work.take() else { continue };
                        let sent = match environments.ways.get(&id) {
                            Some(way) => way.try_send(taken).map_err(mpsc::error::TrySendError::into_inner),
                            None => Err(taken),
                        };
                        // It went at this moment: the next round finds another.
                        if let Err(back) = sent {
                            work = Some(back);
                            environments.ways.remove(&id);
                            environments.pool.step(inner.env.clock.instant(), Input::Ended(id));
                        }
                    }
                }
            }
        }
        let (busy, idle) = environments.pool.count(&key(&function.scope, &function.name));
        drop(environments);
        metrics::environments(function, busy, idle);
        if let Some((turn, receiver, work)) = to_start {
            self.start(turn, function, receiver, work);
        }
        Ok(())
    }

    fn start(&self, turn: Turn, function: &Arc<Function>, work: mpsc::Receiver<Work>, first: Work) {
        let (inner, id) = (&self.inner, turn.id);
        let pool = self.clone();
        let of = Arc::clone(function);
        let freed = Arc::new(move |freed| pool.freed(id, &of, freed));
        let mut parts = Parts {
            env: inner.env.clone(),
            config: Arc::clone(&inner.config),
            packages: inner.packages.clone(),
            interpreters: Arc::clone(&inner.interpreters),
            keyring: Arc::clone(&inner.keyring),
            walls: Arc::clone(&inner.walls),
            users: inner.users.clone(),
            logs: Arc::clone(&inner.logs),
            function: Arc::clone(function),
            opt: None,
            work,
            freed,
            stopping: inner.tasks.stopping(),
        };
        let (functions, function) = (self.clone(), Arc::clone(function));
        inner.tasks.spawn_infallible(format!("function:{}", function.name), async move {
            if let Some(before) = turn.after {
                before.cancelled().await;
            }
            match functions.opt(&function.settings).await {
                Ok(opt) => {
                    parts.opt = opt;
                    environment::run(parts, first).await;
                }
                Err(error) => environment::refuse(parts, first, error),
            }
            drop(turn.gone);
            // What it ran may be old by now, and it was the last to hold it.
            if !functions.codes(&function.scope, &function.name).contains(&function.code) {
                functions.sweep(&function.scope, &function.name).await;
            }
        });
    }

    fn freed(&self, id: EnvironmentId, function: &Function, freed: Freed) {
        match freed {
            Freed::Released => self.step(Input::Released(id)),
            Freed::Ending => self.step(Input::Ending(id)),
            Freed::Ended => {
                self.step(Input::Ended(id));
                let mut environments = self.inner.environments.lock().unwrap_or_else(PoisonError::into_inner);
                environments.ways.remove(&id);
                if let Some(gone) = environments.gone.remove(&id) {
                    gone.cancel();
                }
            }
        }
        let environments = self.inner.environments.lock().unwrap_or_else(PoisonError::into_inner);
        let (busy, idle) = environments.pool.count(&key(&function.scope, &function.name));
        drop(environments);
        metrics::environments(function, busy, idle);
    }
}
