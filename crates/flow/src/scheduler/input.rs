//! What a run's target gets.
//!
//! Owns the context attributes ("Adding context attributes", EventBridge Scheduler User Guide) and the notification of
//! a schedule without input. Pure.

use base::{Arn, Scope, Timestamp};
use serde_json::json;

/// What a run's input may name.
pub(super) struct Context<'a> {
    pub schedule: &'a Arn,
    /// The instant.
    pub at: Timestamp,
    pub execution_id: &'a str,
    /// From 1 on.
    pub attempt: u32,
}

/// The input with its context attributes filled in.
pub(super) fn fill(input: &str, context: &Context<'_>) -> String {
    if !input.contains("<aws.scheduler.") {
        return input.to_owned();
    }
    input
        .replace("<aws.scheduler.schedule-arn>", &context.schedule.to_string())
        .replace("<aws.scheduler.scheduled-time>", &context.at.to_iso_secs())
        .replace("<aws.scheduler.execution-id>", context.execution_id)
        .replace("<aws.scheduler.attempt-number>", &context.attempt.to_string())
}

/// The notification of a schedule that has no input.
pub(super) fn notification(scope: &Scope, context: &Context<'_>) -> String {
    // The service writes the members in this order, the detail as text.
    let text = |value: &str| json!(value).to_string();
    format!(
        r#"{{"version":"0","id":{},"detail-type":"Scheduled Event","source":"aws.scheduler","account":{},"time":{},"region":{},"resources":[{}],"detail":"{{}}"}}"#,
        text(context.execution_id),
        text(scope.account.as_str()),
        text(&context.at.to_iso_secs()),
        text(scope.region.as_str()),
        text(&context.schedule.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_attributes_are_filled_in_and_others_stay() {
        let arn: Arn = "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s".parse().unwrap();
        let at = "2026-05-01T10:00:00Z".parse().unwrap();
        let context = Context { schedule: &arn, at, execution_id: "e", attempt: 2 };
        let input = "<aws.scheduler.scheduled-time> <aws.scheduler.execution-id> <aws.scheduler.attempt-number> \
                     <aws.scheduler.schedule-arn> <aws.scheduler.other> <other>";
        assert_eq!(fill(input, &context), format!("2026-05-01T10:00:00Z e 2 {arn} <aws.scheduler.other> <other>"));
        let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let event: serde_json::Value = serde_json::from_str(&notification(&scope, &context)).unwrap();
        assert_eq!((&event["source"], &event["detail"]), (&json!("aws.scheduler"), &json!("{}")));
    }
}
