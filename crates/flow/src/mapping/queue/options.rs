//! Which options a mapping of a queue has, and their limits ("CreateEventSourceMapping", Lambda API Reference). Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use base::Arn;

use crate::FlowError;
use crate::mapping::settings::{Mapping, MappingChange, StartingPosition};

/// Messages in a batch when nothing is said.
pub(in crate::mapping) const BATCH_SIZE: u32 = 10;
/// The same for FIFO queues at most, and for others when no time is given to gather more.
const SMALL_BATCH: u32 = 10;
const CONCURRENCY: RangeInclusive<u32> = 2..=1_000;

/// Whether a source is a queue.
pub(in crate::mapping) fn is_queue(source: &Arn) -> bool {
    source.service() == "sqs"
}

/// What the options are checked against.
#[derive(Debug, Clone, Copy)]
pub(in crate::mapping) struct Facts {
    pub fifo: bool,
    /// How long the queue hides a message that was received.
    pub visibility: Duration,
    /// How long a call of the function may take, where it is known and to be looked at.
    pub timeout: Option<Duration>,
}

fn invalid(message: impl Into<String>) -> FlowError {
    FlowError::Invalid(message.into())
}

fn of_streams(name: &str) -> FlowError {
    invalid(format!("{name} is not valid for SQS event sources."))
}

/// What a mapping is created with, when its queue is not there or something is said that only streams have.
pub(in crate::mapping) fn new(start: Option<StartingPosition>, facts: Option<Facts>) -> Result<Facts, FlowError> {
    if start.is_some() {
        return Err(of_streams("StartingPosition"));
    }
    facts.ok_or_else(|| {
        invalid(
            "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS Error \
             Message: The specified queue does not exist.",
        )
    })
}

/// Changes what only mappings of queues have. Refuses what only those of streams have.
pub(in crate::mapping) fn apply(mapping: &mut Mapping, change: &MappingChange) -> Result<(), FlowError> {
    // Whole, so that whoever adds an option decides about it here.
    let MappingChange {
        function: _,
        enabled: _,
        batch_size: _,
        window_secs: _,
        filters: _,
        report_item_failures: _,
        event_counts: _,
        tags: _,
        max_concurrency,
        max_retries,
        max_age_secs,
        bisect,
        on_failure,
        parallelization,
        tumbling_secs,
    } = change;
    let others = [
        ("MaximumRetryAttempts", max_retries.is_some()),
        ("MaximumRecordAgeInSeconds", max_age_secs.is_some()),
        ("BisectBatchOnFunctionError", bisect.is_some()),
        ("DestinationConfig", on_failure.is_some()),
        ("ParallelizationFactor", parallelization.is_some()),
        ("TumblingWindowInSeconds", tumbling_secs.is_some()),
    ];
    if let Some((name, _)) = others.iter().find(|(_, given)| *given) {
        return Err(of_streams(name));
    }
    if let Some(most) = *max_concurrency {
        if most.is_some_and(|most| !CONCURRENCY.contains(&most)) {
            let (from, to) = (CONCURRENCY.start(), CONCURRENCY.end());
            return Err(invalid(format!("MaximumConcurrency must be {from} to {to}")));
        }
        mapping.max_concurrency = most;
    }
    Ok(())
}

/// Whether a mapping goes with its queue and its function.
pub(in crate::mapping) fn check(mapping: &Mapping, facts: &Facts) -> Result<(), FlowError> {
    let (size, window) = (mapping.batch_size, mapping.window_secs);
    if facts.fifo && window > 0 {
        return Err(invalid("Batching window is not supported for FIFO queues"));
    }
    if facts.fifo && size > SMALL_BATCH {
        return Err(invalid(format!("Maximum batch size must be between 1 and {SMALL_BATCH} inclusive")));
    }
    if size > SMALL_BATCH && window == 0 {
        return Err(invalid(format!(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than {SMALL_BATCH}"
        )));
    }
    match facts.timeout {
        Some(timeout) if facts.visibility < timeout => Err(invalid(format!(
            "Queue visibility timeout: {} seconds is less than Function timeout: {} seconds",
            facts.visibility.as_secs(),
            timeout.as_secs()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Scope, Timestamp};

    use crate::mapping::settings::MappingSpec;

    fn mapping(batch_size: u32, window_secs: u32) -> Mapping {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let spec = MappingSpec {
            function: Arn::new("lambda", &scope, "function:f"),
            role: Arn::global("iam", &scope.account, "role/r"),
            source: Arn::new("sqs", &scope, "q"),
            start: None,
            settings: MappingChange::default(),
        };
        Mapping { batch_size, window_secs, ..Mapping::new("m".into(), &spec, Timestamp::from_millis(0)) }
    }

    fn said(result: Result<(), FlowError>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn sizes_and_windows_go_with_the_kind_of_queue() {
        let secs = Duration::from_secs;
        let of = |size, window, fifo| {
            said(check(&mapping(size, window), &Facts { fifo, visibility: secs(30), timeout: Some(secs(30)) }))
        };
        for good in [of(10, 0, false), of(10_000, 1, false), of(1, 300, false), of(10, 0, true), of(1, 0, true)] {
            assert_eq!(good, "");
        }
        assert!(of(11, 0, false).contains("must be greater than 0 if maximum batch size is greater than 10"));
        assert!(of(11, 0, true).contains("between 1 and 10"));
        assert_eq!(of(100, 5, true), "Batching window is not supported for FIFO queues");
    }

    #[test]
    fn a_message_is_invisible_for_as_long_as_the_function_may_take() {
        let secs = Duration::from_secs;
        let of = |visibility, timeout| said(check(&mapping(10, 0), &Facts { fifo: false, visibility, timeout }));
        assert_eq!(
            of(secs(30), Some(secs(31))),
            "Queue visibility timeout: 30 seconds is less than Function timeout: 31 seconds"
        );
        assert_eq!((of(secs(30), Some(secs(30))), of(secs(0), None)), (String::new(), String::new()));
    }

    #[test]
    fn what_only_streams_have_is_refused_by_name() {
        let refused = |change: MappingChange| said(apply(&mut mapping(10, 0), &change));
        let none = MappingChange::default;
        let started = new(Some(StartingPosition::Latest), None).map(drop);
        assert_eq!(said(started), "StartingPosition is not valid for SQS event sources.");
        assert!(said(new(None, None).map(drop)).contains("NonExistentQueue"));
        assert!(refused(MappingChange { max_retries: Some(-1), ..none() }).starts_with("MaximumRetryAttempts"));
        assert!(refused(MappingChange { max_age_secs: Some(60), ..none() }).starts_with("MaximumRecordAge"));
        assert!(refused(MappingChange { bisect: Some(false), ..none() }).starts_with("BisectBatch"));
        assert_eq!(refused(MappingChange { max_concurrency: Some(Some(2)), ..none() }), "");
        for wrong in [1, 1_001] {
            let change = MappingChange { max_concurrency: Some(Some(wrong)), ..none() };
            assert!(refused(change).contains("2 to 1000"));
        }
    }

    #[test]
    fn a_bound_of_concurrency_is_taken_away_again() {
        let mut mapping = mapping(10, 0);
        let set = |most| MappingChange { max_concurrency: Some(most), ..MappingChange::default() };
        apply(&mut mapping, &set(Some(7))).unwrap();
        apply(&mut mapping, &MappingChange::default()).unwrap();
        assert_eq!(mapping.max_concurrency, Some(7));
        apply(&mut mapping, &set(None)).unwrap();
        assert_eq!(mapping.max_concurrency, None);
    }
}
