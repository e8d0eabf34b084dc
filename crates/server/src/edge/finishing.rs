//! Requests that are finished even when nobody waits for their answer any more.
//!
//! Promises that a connection never has more of them than it may have requests at once, left behind or not: one that
//! has not begun waits for its turn, and is forgotten with its client. A connection's place is free once they ended. A
//! request that only waits can tell by its [`Left`] that nobody is there any more.

use std::any::Any;
use std::future::Future;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;

/// Among a request's extensions: cancelled when its client is gone.
#[derive(Clone, Default)]
pub struct Left(pub CancellationToken);

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
}

/// Among a request's extensions: who is at the other end of its connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came by TLS.
    pub secure: bool,
}

/// A connection's place among all connections.
pub(super) struct Place {
    /// Given back when nothing of the connection is left.
    _permit: OwnedSemaphorePermit,
    peer: Peer,
}

impl Place {
    pub fn new(permit: OwnedSemaphorePermit, peer: Peer) -> Self {
        Self { _permit: permit, peer }
    }
}

/// A place, shared with the work that its connection leaves behind.
pub(super) type Seat = Arc<Place>;

/// Where the requests of one connection are worked on.
pub(super) struct Workplace {
    finisher: Finisher,
    seat: Seat,
    turns: Arc<Semaphore>,
}

impl Workplace {
    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.seat.peer
    }

    /// For `at_once` requests.
    pub fn new(finisher: Finisher, seat: Seat, at_once: usize) -> Self {
        Self { finisher, seat, turns: Arc::new(Semaphore::new(at_once)) }
    }

    /// Runs `work` as a part of its connection, as long as there is one, and then by itself: a client that goes away
    /// must not leave a change half made. A defect in it is that request's end, not the connection's.
    pub fn finishing<F: Future<Output = Answer> + Send + 'static>(&self, left: Left, work: F) -> Finishing<F> {
        let turns = Arc::clone(&self.turns);
        let turn = match Arc::clone(&turns).try_acquire_owned() {
            Ok(turn) => Turn::Has(turn),
            Err(_) => Turn::Waits(Box::pin(async move { turns.acquire_owned().await.ok() })),
        };
        let (finisher, seat) = (self.finisher.clone(), Arc::clone(&self.seat));
        Finishing { work: Some(Box::pin(work)), turn, finisher, seat, left }
    }
}

enum Turn {
    Has(OwnedSemaphorePermit),
    Waits(BoxFuture<'static, Option<OwnedSemaphorePermit>>),
    Over,
}

/// A request's work.
pub(super) struct Finishing<F: Future<Output = Answer> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    turn: Turn,
    finisher: Finisher,
    seat: Seat,
    left: Left,
}

impl<F: Future<Output = Answer> + Send + 'static> Future for Finishing<F> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        if let Turn::Waits(turn) = &mut self.turn {
            match turn.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(turn) => self.turn = turn.map_or(Turn::Over, Turn::Has),
            }
        }
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
        self.turn = Turn::Over;
        Poll::Ready(answer)
    }
}

impl<F: Future<Output = Answer> + Send + 'static> Drop for Finishing<F> {
    fn drop(&mut self) {
        // What has not had its turn has changed nothing yet.
        let (Some(work), Turn::Has(turn)) = (self.work.take(), std::mem::replace(&mut self.turn, Turn::Over)) else {
            return;
        };
        self.left.0.cancel();
        let (seat, Finisher { tracker, runtime }) = (Arc::clone(&self.seat), &self.finisher);
        let left = async move {
            drop(work.await);
            drop((turn, seat));
        };
        tracker.spawn_on(left, runtime);
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
