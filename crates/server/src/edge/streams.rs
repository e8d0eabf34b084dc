//! The requests of one HTTP/2 connection, each a task, and the patience with each.
//!
//! HTTP/2 lets a client stop one answer while others flow, by giving it no room. An answer that has waited for room too
//! long is reset, alone: its bytes would be held for ever.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use base::Clock;
use futures::future::BoxFuture;
use hyper::rt::Executor;
use tokio_util::task::TaskTracker;

tokio::task_local! {
    static PROGRESS: Progress;
}

/// How far an answer has come: a count of the parts that left, odd once the last poll found no further part.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

/// Set while the answer's source, not its client, is what is waited for.
const WAITS_FOR_SOURCE: u64 = 1;
const PART: u64 = 2;

impl Progress {
    /// That of the request in whose task this is asked.
    pub fn current() -> Option<Self> {
        PROGRESS.try_with(Clone::clone).ok()
    }

    /// The answer's body was asked for a part, and had one or not.
    pub fn polled(&self, had_part: bool) {
        let parts = (self.0.load(Ordering::Relaxed) & !WAITS_FOR_SOURCE) + PART;
        self.0.store(if had_part { parts } else { parts | WAITS_FOR_SOURCE }, Ordering::Relaxed);
    }

    /// A value that changes with every part, when it is the client that is waited for.
    fn waits_for_client(&self) -> Option<u64> {
        let value = self.0.load(Ordering::Relaxed);
        (value != 0 && value & WAITS_FOR_SOURCE == 0).then_some(value)
    }
}

/// Runs the requests of one connection.
#[derive(Clone)]
pub(super) struct Streams {
    tracker: TaskTracker,
    clock: Arc<dyn Clock>,
    stall: Duration,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Streams {
    /// `tracker` waits for the requests; an answer may wait for room for `stall`.
    pub fn new(tracker: TaskTracker, clock: Arc<dyn Clock>, stall: Duration) -> Self {
        Self { tracker, clock, stall, counts: Arc::default() }
    }

    /// How many requests have begun, when none is under way.
    pub fn idle_after(&self) -> Option<u64> {
        let begun = self.counts.begun.load(Ordering::Relaxed);
        (begun == self.counts.ended.load(Ordering::Relaxed)).then_some(begun)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, request: F) {
        self.counts.begun.fetch_add(1, Ordering::Relaxed);
        self.tracker.spawn(Watched {
            request: Box::pin(request),
            progress: Progress::default(),
            seen: 0,
            patience: None,
            clock: Arc::clone(&self.clock),
            stall: self.stall,
            counts: Arc::clone(&self.counts),
        });
    }
}

/// One request, dropped (and so reset) when its client takes no part of its answer for too long.
struct Watched<F> {
    request: Pin<Box<F>>,
    progress: Progress,
    seen: u64,
    patience: Option<BoxFuture<'static, ()>>,
    clock: Arc<dyn Clock>,
    stall: Duration,
    counts: Arc<Counts>,
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if PROGRESS.sync_scope(this.progress.clone(), || this.request.as_mut().poll(context)).is_ready() {
            return Poll::Ready(());
        }
        let Some(parts) = this.progress.waits_for_client() else {
            this.patience = None;
            return Poll::Pending;
        };
        if this.patience.is_none() || parts != this.seen {
            (this.seen, this.patience) = (parts, Some(this.clock.sleep(this.stall)));
        }
        match &mut this.patience {
            Some(patience) => patience.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}
