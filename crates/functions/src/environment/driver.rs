//! The driver of an environment: one task that takes every event of its process in turn and acts on it.
//!
//! Promises that an invocation handed to the process gets exactly one outcome; one that was not handed over yet when
//! the process went is given back. The place is freed before the answer goes out, so that a caller who calls again at
//! once finds it warm. What takes too long or too much is answered for at once; its process, killed already, may take
//! longer to go than the caller may wait.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use base::{Env, InvokeOutcome};
use bytes::Bytes;
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::api::{ApiCall, Body, NextEvent, Refusal};
use super::lines::Tail;
use super::output::{Batch, Output};
use super::proc::Memory;
use super::process::Process;
use super::report::{self, Failure, Usage};
use super::work::{Freed, Served, Work, trace_id};
use crate::{Function, metrics};

/// How often the memory of a busy process is looked at. What it takes in between is not stopped, only seen at the end.
const MEMORY_PERIOD: Duration = Duration::from_millis(100);
/// How long a runtime that reported an error at its start may take to exit.
const INIT_ERROR_GRACE: Duration = Duration::from_secs(1);
/// The most output that is read in one go: what a pipe holds, twice.
const DRAIN_BYTES: usize = 128 << 10;
/// The most output that is read of a process that is gone: a descendant may still write.
const LAST_DRAIN_BYTES: usize = 1 << 20;

struct Current {
    work: Work,
    /// Since when the process has it.
    begun: Option<Duration>,
    deadline: Duration,
    tail: Tail,
    peak_bytes: u64,
}

/// The start of the process, until its first request for an event.
struct Init {
    began: Duration,
    deadline: Duration,
    took: Option<Duration>,
    /// Shown in the report of the first invocation only.
    shown: bool,
    error: Option<Bytes>,
}

pub(super) struct Driver {
    pub env: Env,
    pub function: Arc<Function>,
    pub process: Process,
    pub api: mpsc::Receiver<ApiCall>,
    pub work: mpsc::Receiver<Work>,
    pub output: Output,
    pub log: mpsc::Sender<Batch>,
    pub freed: Arc<dyn Fn(Freed) + Send + Sync>,
    pub stopping: CancellationToken,
}

enum Event {
    Api(ApiCall),
    Exited,
    Work(Work),
    Retired,
    Timer,
    /// There is room in the log's queue, and something to write to it or to read.
    Output,
}

/// What the loop does after an event.
enum Step {
    Go,
    /// The process is to be ended; the running invocation fails so.
    End(Option<Failure>),
}

pub(super) struct Running {
    d: Driver,
    next: Option<oneshot::Sender<Result<NextEvent, Refusal>>>,
    current: Option<Current>,
    /// Begun when what the one before wrote is on its way to the log.
    waiting: Option<Work>,
    init: Init,
    pending: Batch,
}

impl Driver {
    /// Drives the environment from its first invocation to its end. `began` is when its start began.
    pub async fn run(self, first: Work, began: Duration, init_timeout: Duration) {
        let deadline = self.env.clock.instant() + init_timeout;
        let init = Init { began, deadline, took: None, shown: false, error: None };
        let mut running = Running { d: self, next: None, current: None, waiting: None, init, pending: Vec::new() };
        running.take(first);
        let failure = loop {
            let event = running.next_event().await;
            match running.handle(event) {
                Step::Go => {}
                Step::End(failure) => break failure,
            }
        };
        running.end(failure).await;
    }
}

impl Running {
    fn instant(&self) -> Duration {
        self.d.env.clock.instant()
    }

    /// When to look next: at a deadline, or at the memory of a busy process.
    fn timer(&self) -> Option<Duration> {
        let current = self.current.as_ref()?;
        let deadline = if self.init.took.is_none() { self.init.deadline } else { current.deadline };
        Some(deadline.saturating_sub(self.instant()).min(MEMORY_PERIOD))
    }

    async fn next_event(&mut self) -> Event {
        let timer = self.timer();
        if timer == Some(Duration::ZERO) {
            return Event::Timer;
        }
        let d = &mut self.d;
        let (idle, written) = (self.current.is_none() && self.waiting.is_none(), self.pending.is_empty());
        let (log, output) = (&d.log, &d.output);
        let has_output = async {
            // The permit is given back at once; nobody else sends.
            drop(log.reserve().await);
            if written {
                output.readable().await;
            }
        };
        tokio::select! {
            biased;
            Some(call) = d.api.recv() => Event::Api(call),
            () = d.process.exited() => Event::Exited,
            work = d.work.recv(), if idle => work.map_or(Event::Retired, Event::Work),
            () = d.env.clock.sleep(timer.unwrap_or_default()), if timer.is_some() => Event::Timer,
            () = d.stopping.cancelled(), if idle => Event::Retired,
            () = has_output, if d.output.is_open() || !written => Event::Output,
        }
    }

    fn handle(&mut self, event: Event) -> Step {
        match event {
            Event::Api(ApiCall::Next(reply)) => self.on_next(reply),
            Event::Api(ApiCall::Response { request_id, body, reply }) => self.on_answer(&request_id, body, reply, Ok),
            Event::Api(ApiCall::Error { request_id, body, reply }) => {
                self.on_answer(&request_id, body, reply, |document| Err(Failure::Reported(document)));
            }
            Event::Api(ApiCall::InitError { body, reply }) => self.on_init_error(body, reply),
            Event::Exited => return Step::End(None),
            Event::Work(work) if self.pending.is_empty() => self.take(work),
            Event::Work(work) => self.waiting = Some(work),
            Event::Retired => return Step::End(None),
            Event::Timer => return self.on_timer(),
            Event::Output => {
                self.read_output(DRAIN_BYTES / 2);
                self.flush();
                if self.pending.is_empty() {
                    self.waiting.take().into_iter().for_each(|work| self.take(work));
                }
            }
        }
        Step::Go
    }

    fn take(&mut self, work: Work) {
        let deadline = self.instant() + self.d.function.settings.timeout.duration();
        self.current = Some(Current { work, begun: None, deadline, tail: Tail::default(), peak_bytes: 0 });
        self.hand_over();
    }

    fn on_next(&mut self, reply: oneshot::Sender<Result<NextEvent, Refusal>>) {
        if self.current.as_ref().is_some_and(|current| current.begun.is_some()) {
            // A runtime that stopped listening does not miss the refusal.
            let _ = reply.send(Err(Refusal::WrongState));
            return;
        }
        if self.init.took.is_none() {
            self.init.took = Some(self.instant().saturating_sub(self.init.began));
        }
        self.next = Some(reply);
        self.hand_over();
    }

    /// Gives the invocation to the process, when both are there.
    fn hand_over(&mut self) {
        let now = self.instant();
        let timeout = self.d.function.settings.timeout.duration();
        if self.next.is_none() || self.current.as_ref().is_none_or(|current| current.begun.is_some()) {
            return;
        }
        // What the process wrote before it has the event stands before the event's first line.
        self.read_output(DRAIN_BYTES);
        let (Some(current), Some(next)) = (self.current.as_mut(), self.next.take()) else { return };
        let event = NextEvent {
            request_id: current.work.request_id.clone(),
            deadline_ms: (self.d.env.clock.now() + timeout).millis(),
            function_arn: current.work.function_arn.clone(),
            trace_id: current.work.trace.clone().unwrap_or_else(|| trace_id(&self.d.env)),
            client_context: current.work.client_context.clone(),
            payload: current.work.payload.clone(),
        };
        // When the request was given up meanwhile, the runtime asks again.
        if next.send(Ok(event)).is_ok() {
            (current.begun, current.deadline) = (Some(now), now + timeout);
            let line = report::start_line(&current.work.request_id, self.d.function.version);
            self.write(line);
        }
    }

    fn on_answer(
        &mut self,
        request_id: &str,
        body: Body,
        reply: oneshot::Sender<Result<(), Refusal>>,
        result: impl FnOnce(Bytes) -> Result<Bytes, Failure>,
    ) {
        let running = self.current.as_ref().filter(|current| current.begun.is_some());
        let verdict = match running {
            None => Err(Refusal::WrongState),
            Some(current) if current.work.request_id != request_id => Err(Refusal::WrongRequest),
            Some(_) => match body {
                Ok(body) => {
                    self.finish(result(body), Freed::Released);
                    Ok(())
                }
                Err(length) => {
                    self.finish(Err(Failure::ResponseTooLarge(length)), Freed::Released);
                    Err(Refusal::TooLarge)
                }
            },
        };
        // A runtime that does not wait for the verdict does not need it.
        let _ = reply.send(verdict);
    }

    fn on_init_error(&mut self, body: Body, reply: oneshot::Sender<Result<(), Refusal>>) {
        let verdict = match body {
            _ if self.init.took.is_some() => Err(Refusal::WrongState),
            Err(_) => Err(Refusal::TooLarge),
            Ok(document) => {
                self.init.error = Some(document);
                self.init.deadline = self.instant() + INIT_ERROR_GRACE;
                Ok(())
            }
        };
        // As above.
        let _ = reply.send(verdict);
    }

    fn on_timer(&mut self) -> Step {
        let now = self.instant();
        let settings = &self.d.function.settings;
        let Some(current) = self.current.as_mut() else { return Step::Go };
        if self.init.took.is_none() && now >= self.init.deadline {
            let after = self.init.deadline.saturating_sub(self.init.began);
            return Step::End(Some(Failure::InitTimedOut { after }));
        }
        if self.init.took.is_some() && now >= current.deadline {
            let timeout = settings.timeout.duration();
            return Step::End(Some(Failure::TimedOut { at: self.d.env.clock.now(), timeout }));
        }
        let memory = self.d.process.memory(&self.d.env);
        current.peak_bytes = current.peak_bytes.max(memory.peak);
        if memory.resident > settings.memory.bytes() {
            return Step::End(Some(Failure::OutOfMemory));
        }
        self.flush();
        Step::Go
    }

    fn write(&mut self, line: String) {
        if let Some(current) = self.current.as_mut().filter(|current| current.work.want_log) {
            current.tail.push(&line);
        }
        self.pending.push((self.d.env.clock.now(), line));
    }

    fn read_output(&mut self, limit: usize) {
        let (now, pending) = (self.d.env.clock.now(), &mut self.pending);
        let mut tail = self.current.as_mut().filter(|current| current.work.want_log).map(|current| &mut current.tail);
        self.d.output.read(limit, |line| {
            if let Some(tail) = tail.as_mut() {
                tail.push(&line);
            }
            pending.push((now, line));
        });
    }

    /// Hands the lines to the log when its queue has room; else they wait, and so does everything that makes more.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if let Ok(permit) = self.d.log.try_reserve() {
            permit.send(std::mem::take(&mut self.pending));
        }
    }

    /// Closes the running invocation: its remaining output, its report, its place in the pool, its answer.
    fn finish(&mut self, result: Result<Bytes, Failure>, freed: Freed) {
        self.read_output(if freed == Freed::Ended { LAST_DRAIN_BYTES } else { DRAIN_BYTES });
        if let Some(line) = self.d.output.finish_line() {
            self.write(line);
        }
        let Some(begun) = self.current.as_ref().map(|current| current.begun) else { return };
        let now = self.instant();
        let timeout = self.d.function.settings.timeout.duration();
        let duration = begun.map_or(Duration::ZERO, |begun| now.saturating_sub(begun)).min(timeout);
        // What is being killed is not asked once more: the kernel may take its time to say.
        let memory = match freed {
            Freed::Ending => Memory::default(),
            Freed::Released | Freed::Ended => self.d.process.memory(&self.d.env),
        };
        let (failure, payload) = match result {
            Ok(payload) => (None, payload),
            Err(failure) => (Some(failure), Bytes::new()),
        };
        self.write_report(begun.is_some(), duration, memory.peak, failure.as_ref());
        let Some(current) = self.current.take() else { return };
        self.flush();
        let request_id = current.work.request_id;
        let payload = failure.as_ref().map_or(payload, |failure| failure.document(&request_id));
        metrics::invocation(&self.d.function, duration, failure.is_some());
        (self.d.freed)(freed);
        let outcome = InvokeOutcome {
            request_id,
            payload,
            error: failure.map(|_| "Unhandled".to_owned()),
            log_tail: current.work.want_log.then(|| current.tail.into_text()),
            executed_version: self.d.function.version.to_string(),
            duration,
        };
        // A caller that does not wait any more gets no answer; the function has run all the same.
        let _ = current.work.answer.send(Served::Done(outcome));
    }

    fn write_report(&mut self, started: bool, duration: Duration, peak: u64, failure: Option<&Failure>) {
        let Some(current) = self.current.as_ref() else { return };
        let (request_id, peak) = (current.work.request_id.clone(), peak.max(current.peak_bytes));
        let init = if self.init.shown { None } else { self.init.took };
        self.init.shown = true;
        let usage = Usage { duration, init, memory_mb: self.d.function.settings.memory.mb(), used_bytes: peak };
        let mut lines = Vec::with_capacity(4);
        if !started {
            lines.push(report::start_line(&request_id, self.d.function.version));
        }
        lines.extend(failure.map(|failure| failure.line(&request_id)).filter(|line| !line.is_empty()));
        lines.push(report::end_line(&request_id));
        lines.push(report::report_line(&request_id, &usage, failure));
        for line in lines {
            self.write(line);
        }
    }

    /// Ends the process. The invocation that it had fails by `failure`, at once; or by how the process ended.
    async fn end(mut self, failure: Option<Failure>) {
        self.d.process.kill(&self.d.env);
        match failure {
            Some(failure) => {
                let reported = self.reported().unwrap_or(failure);
                self.finish(Err(reported), Freed::Ending);
            }
            None if self.current.is_none() => (self.d.freed)(Freed::Ending),
            None => {}
        }
        let status = self.d.process.end(&self.d.env).await;
        if self.current.as_ref().is_some_and(|current| current.begun.is_some() || self.init.took.is_none()) {
            let failure = self.reported().unwrap_or_else(|| self.cause(status));
            self.finish(Err(failure), Freed::Ended);
        }
        // Of what was answered for before, or what was written between two invocations.
        self.read_output(LAST_DRAIN_BYTES);
        let rest = self.d.output.finish_line();
        rest.into_iter().for_each(|line| self.write(line));
        (self.d.freed)(Freed::Ended);
        for work in self.current.take().map(|current| current.work).into_iter().chain(self.waiting.take()) {
            // It went between two invocations, before it saw this one. A caller that is gone does not call again.
            let _ = work.answer.send(Served::Returned);
        }
        if !self.pending.is_empty() {
            // The log's task ends only after this queue is closed.
            let _ = self.d.log.send(self.pending).await;
        }
        if let Process::Walled(process) = self.d.process {
            process.clean(&self.d.env).await;
        }
    }

    /// What the runtime said at its start.
    fn reported(&mut self) -> Option<Failure> {
        self.init.error.take().filter(|_| self.init.took.is_none()).map(Failure::Reported)
    }

    /// How an invocation failed whose process went by itself.
    fn cause(&self, status: io::Result<ExitStatus>) -> Failure {
        match status {
            Ok(status) if self.d.process.ran_out_of_memory(&self.d.env) && killed(status) => Failure::OutOfMemory,
            Ok(status) => Failure::Exited(status),
            Err(error) => {
                tracing::error!(%error, function = %self.d.function.name, "a function's process is lost");
                Failure::Exited(ExitStatus::default())
            }
        }
    }
}

fn killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(Signal::KILL.as_raw())
}
