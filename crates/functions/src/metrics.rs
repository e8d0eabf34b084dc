//! The metrics of functions, one line a call site.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::Function;

fn labels(function: &Function) -> [(&'static str, String); 2] {
    [("function", function.name.to_string()), ("region", function.scope.region.to_string())]
}

/// An invocation ended.
pub(crate) fn invocation(function: &Function, duration: Duration, failed: bool) {
    counter!("tidegate_lambda_invocations_total", &labels(function)).increment(1);
    histogram!("tidegate_lambda_duration_seconds", &labels(function)).record(duration.as_secs_f64());
    if failed {
        counter!("tidegate_lambda_errors_total", &labels(function)).increment(1);
    }
}

/// A call found no environment.
pub(crate) fn throttle(function: &Function) {
    counter!("tidegate_lambda_throttles_total", &labels(function)).increment(1);
}

/// An environment was started.
pub(crate) fn cold_start(function: &Function) {
    counter!("tidegate_function_cold_starts_total", &labels(function)).increment(1);
    // Shown as zero before the first of each: a rate can only be computed from a counter that is there.
    for name in ["tidegate_lambda_errors_total", "tidegate_lambda_throttles_total"] {
        counter!(name, &labels(function)).increment(0);
    }
}

/// How many environments a function has now.
pub(crate) fn environments(function: &Function, busy: usize, idle: usize) {
    gauge!("tidegate_lambda_concurrent_executions", &labels(function)).set(busy as f64);
    gauge!("tidegate_function_idle_environments", &labels(function)).set(idle as f64);
}
