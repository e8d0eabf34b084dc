//! Named background tasks: who runs, what happens on an error, and how all of them stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Clock, RetryPolicy, Rng};

/// What happens when a task ends with an error.
#[derive(Debug, Clone)]
pub enum OnError {
    /// The whole group is cancelled: the process cannot do its work without this task.
    StopAll,
    /// The task is started again after the policy's delay; when the policy gives up, it is logged and left.
    Restart(RetryPolicy),
    /// It is logged, nothing else: the task's work is optional.
    Log,
}

/// A set of named tasks that stop together. Cloning gives another handle to the same group.
#[derive(Clone)]
pub struct TaskGroup {
    tracker: TaskTracker,
    /// The groups that this one is a child of: they wait for its tasks too.
    above: Vec<TaskTracker>,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl TaskGroup {
    /// An empty group.
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { tracker: TaskTracker::new(), above: Vec::new(), stop: CancellationToken::new(), clock, rng }
    }

    /// A group that is stopped with this one, which waits for its tasks too, but can be stopped on its own: for a
    /// resource that can be deleted.
    pub fn child(&self) -> Self {
        let above = self.above.iter().chain([&self.tracker]).cloned().collect();
        Self { tracker: TaskTracker::new(), above, stop: self.stop.child_token(), ..self.clone() }
    }

    /// Cancelled when the group stops: tasks select on it, finish what they hold and return.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `make()` as a task called `name`; `make` is called again for each restart.
    pub fn spawn<F, Fut, E>(&self, name: impl Into<String>, on_error: OnError, mut make: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send,
        E: std::fmt::Display + Send,
    {
        let (name, group) = (name.into(), self.clone());
        let seen_above: Vec<_> = self.above.iter().map(TaskTracker::token).collect();
        self.tracker.spawn(async move {
            let _seen_above = seen_above;
            let mut failures = 0;
            loop {
                let started = group.clock.instant();
                let Err(error) = make().await else { return };
                let error = error.to_string();
                crate::task::metric_task_error(&name);
                match &on_error {
                    OnError::StopAll => {
                        tracing::error!(task = name, error, "a task the server cannot do without failed; stopping");
                        group.stop.cancel();
                        return;
                    }
                    OnError::Log => return tracing::warn!(task = name, error, "a background task failed"),
                    OnError::Restart(policy) => {
                        // A run that lasted is a success: the next failure is a first one.
                        let lasted = group.clock.instant().saturating_sub(started) > policy.max_delay;
                        failures = if lasted { 1 } else { failures + 1 };
                        let Some(delay) = policy.next_delay(failures, Duration::ZERO, &*group.rng) else {
                            return tracing::error!(task = name, error, "a background task failed for good");
                        };
                        tracing::warn!(task = name, error, ?delay, "a background task failed; it is started again");
                        tokio::select! {
                            () = group.clock.sleep(delay) => {}
                            () = group.stop.cancelled() => return,
                        }
                    }
                }
            }
        });
    }

    /// Runs a task that cannot fail.
    pub fn spawn_infallible(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let mut task = Some(Box::pin(task));
        self.spawn(name, OnError::Log, move || {
            let task = task.take();
            async move {
                if let Some(task) = task {
                    task.await;
                }
                Ok::<(), std::convert::Infallible>(())
            }
        });
    }

    /// Whether none of its tasks runs.
    pub fn is_idle(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until every task has ended by itself; none may be added any more.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Asks every task to stop and waits until all have, at most `deadline`. `false` when some had not.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => true,
            () = self.clock.sleep(deadline) => false,
        }
    }
}

fn metric_task_error(task: &str) {
    // The instance after ':' is left out: a label's values must stay few.
    let kind = task.split(':').next().unwrap_or(task).to_owned();
    metrics::counter!("tidegate_task_errors_total", "task" => kind).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SeededRng, TestClock, Timestamp};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn group() -> TaskGroup {
        TaskGroup::new(Arc::new(TestClock::at(Timestamp::from_millis(0))), Arc::new(SeededRng::new(1)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_task_is_started_again() {
        let (group, runs) = (group(), Arc::new(AtomicU32::new(0)));
        let policy = RetryPolicy {
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(1),
            max_attempts: Some(3),
            max_age: None,
        };
        let counted = Arc::clone(&runs);
        group.spawn("fails", OnError::Restart(policy), move || {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Err::<(), _>("broken"))
        });
        group.tracker.close();
        group.tracker.wait().await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert!(!group.stopping().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_needed_task_that_fails_stops_all() {
        let group = group();
        let stopping = group.stopping();
        group.spawn("needed", OnError::StopAll, || std::future::ready(Err::<(), _>("broken")));
        stopping.cancelled().await;
        assert!(group.stop(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_waits_for_the_tasks_of_children() {
        let group = group();
        let grandchild = group.child().child();
        let (stopping, done) = (grandchild.stopping(), Arc::new(AtomicU32::new(0)));
        let (clock, counted) = (Arc::clone(&group.clock), Arc::clone(&done));
        grandchild.spawn_infallible("slow to stop", async move {
            stopping.cancelled().await;
            clock.sleep(Duration::from_secs(5)).await;
            counted.fetch_add(1, Ordering::SeqCst);
        });
        assert!(group.stop(Duration::from_secs(10)).await);
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_reported() {
        let group = group();
        group.spawn_infallible("deaf", std::future::pending());
        assert!(!group.stop(Duration::from_secs(1)).await);
    }
}
