//! Requests that are finished even when nobody waits for their answer any more.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::answer::Answer;

/// Where the work of requests goes on when their connection ends.
#[derive(Clone)]
pub(super) struct Finisher {
    tracker: TaskTracker,
    runtime: Handle,
}

impl Finisher {
    /// One whose tasks `tracker` waits for. To be made inside the runtime.
    pub fn new(tracker: TaskTracker) -> Self {
        Self { tracker, runtime: Handle::current() }
    }

    /// Runs `work` as a part of its connection, as long as there is one, and then by itself: a client that goes away
    /// must not leave a change half made. A defect in it is that request's end, not the connection's.
    pub fn finishing<F: Future<Output = Answer> + Send + 'static>(&self, work: F) -> Finishing<F> {
        Finishing { work: Some(Box::pin(work)), finisher: self.clone() }
    }
}

/// A request's work.
pub(super) struct Finishing<F: Future<Output = Answer> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    finisher: Finisher,
}

impl<F: Future<Output = Answer> + Send + 'static> Future for Finishing<F> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let Some(work) = &mut self.work else { return Poll::Ready(failed()) };
        // What a defect leaves behind in the handler is guarded there: its locks hold whole values.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        let answer = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => answer,
            Err(defect) => {
                tracing::error!(error = message(&*defect), "a request ended in a defect");
                failed()
            }
        };
        self.work = None;
        Poll::Ready(answer)
    }
}

impl<F: Future<Output = Answer> + Send + 'static> Drop for Finishing<F> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let Finisher { tracker, runtime } = &self.finisher;
            tracker.spawn_on(async move { drop(work.await) }, runtime);
        }
    }
}

fn message(defect: &(dyn Any + Send)) -> &str {
    let text = defect.downcast_ref::<&str>().copied();
    text.or_else(|| defect.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

fn failed() -> Answer {
    let mut answer = Answer::new(Bytes::from_static(b"{\"message\":\"internal failure\"}").into());
    *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    answer
}
