//! One attempt of a run, and the dead letter of one that is given up.

use std::collections::BTreeMap;

use base::{Arn, BusName, Delivery, ErrorKind, Event, Kinded, PartitionKey, TargetError};

use super::config::{Schedule, ScheduleSpec, ScheduleTarget, schedule_arn};
use super::input::{Context, fill, notification};
use super::room::Schedules;
use super::runs::Run;
use crate::FlowError;
use crate::dead_letter::{Letter, text};
use crate::producer::producer_id;
use crate::roles::{Acting, Denial};
use crate::spool::{End, Why};

/// Characters of an error message that a dead letter keeps.
const MAX_MESSAGE: usize = 1_024;

/// The attribute that says whether a dead letter's payload is cut.
const TRUNCATED: &str = "IS_PAYLOAD_TRUNCATED";
/// Bytes of a payload that a dead letter keeps whatever its attributes take.
const LEAST_PAYLOAD: usize = 64;

/// How an attempt ended.
pub(super) enum Attempt {
    Done,
    /// It may succeed later.
    Failed(TargetError),
    /// It never will.
    Refused(TargetError),
}

fn payload(schedule: &Schedule, run: &Run) -> String {
    let arn = schedule_arn(&run.scope, &run.group, &run.name);
    let execution_id = run.execution_id();
    let context = Context { schedule: &arn, at: run.instant, execution_id: &execution_id, attempt: run.attempts + 1 };
    match &schedule.spec.target.input {
        Some(input) => fill(input, &context),
        None => notification(&run.scope, &context),
    }
}

/// Who assumes the roles of schedules.
const SERVICE: &str = "scheduler.amazonaws.com";

impl Schedules {
    /// Refuses a role that the schedule could not use.
    pub(super) fn check_role(&self, schedule: &Arn, spec: &ScheduleSpec) -> Result<(), FlowError> {
        let session = schedule.resource().rsplit('/').next().unwrap_or_default();
        let acting = Acting { service: SERVICE, role: &spec.target.role, session, source: schedule };
        let refused = |_| {
            let message = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.";
            FlowError::Invalid(message.to_owned())
        };
        self.roles().assume(&acting).map_err(refused)
    }

    /// Whether the schedule's role may hand something to `to`.
    fn permit(&self, schedule: &Schedule, run: &Run, to: &Arn) -> Result<(), Denial> {
        let source = schedule_arn(&run.scope, &run.group, &run.name);
        let (role, session) = (&schedule.spec.target.role, run.name.as_str());
        self.roles().permit_delivery(&Acting { service: SERVICE, role, session, source: &source }, to)
    }

    pub(super) async fn attempt(&self, schedule: &Schedule, run: &Run) -> Attempt {
        let target = &schedule.spec.target;
        if let Err(denial) = self.permit(schedule, run, &target.arn) {
            // Only its owner can change that, so it is not tried again.
            return Attempt::Refused(denial.into());
        }
        let payload = payload(schedule, run);
        let done = match &target.event {
            Some(_) => self.put_event(schedule, run, &payload).await,
            None => self.deliver(target, run, payload).await,
        };
        match done {
            Ok(()) => Attempt::Done,
            Err(error) if error.kind.is_transient() => Attempt::Failed(error),
            Err(error) => Attempt::Refused(error),
        }
    }

    async fn deliver(&self, target: &ScheduleTarget, run: &Run, payload: String) -> Result<(), TargetError> {
        let key = target.partition_key.as_ref().or(target.message_group.as_ref());
        let partition_key: Option<PartitionKey> = key.and_then(|key| key.parse().ok());
        let id = run.execution_id();
        let producer = producer_id(&[b"schedule-run", id.as_bytes()]);
        let delivery = Delivery { position: run.at, payload: payload.into(), partition_key };
        self.router().deliver(&target.arn, producer, &[delivery]).await
    }

    async fn put_event(&self, schedule: &Schedule, run: &Run, detail: &str) -> Result<(), TargetError> {
        let target = &schedule.spec.target;
        let refused = |message: String| TargetError { kind: ErrorKind::Invalid, message };
        let Some(kind) = &target.event else { return Err(refused("an event bus needs a source".to_owned())) };
        let bus: Option<BusName> = target.arn.resource_of("event-bus").and_then(|name| name.parse().ok());
        let bus = bus.ok_or_else(|| refused(format!("{} is not the ARN of an event bus", target.arn)))?;
        let event = Event {
            id: run.execution_id(),
            detail_type: kind.detail_type.clone(),
            source: kind.source.clone(),
            account: run.scope.account.clone(),
            time: run.instant,
            region: run.scope.region.clone(),
            resources: vec![schedule_arn(&run.scope, &run.group, &run.name).to_string()],
            detail: Event::compact(detail).map_err(|e| refused(format!("the input is not a JSON object: {e}")))?,
        };
        let put = self.buses().put_new_events(&run.scope, &bus, &[event]).await;
        put.map(drop).map_err(|error| TargetError { kind: error.kind(), message: error.to_string() })
    }

    /// Writes a run to its dead-letter queue, if it has one. A queue that cannot take it now is an error; one that
    /// never will is logged, and the run is lost.
    pub(super) async fn give_up(
        &self,
        schedule: &Schedule,
        run: &Run,
        end: &End,
        kind: ErrorKind,
    ) -> Result<(), FlowError> {
        let target = &schedule.spec.target;
        let (name, attempts, reason) = (&run.name, end.attempts, &end.reason);
        tracing::error!(schedule = %name, at = %run.instant, attempts, reason, "a schedule's run is given up");
        let Some(queue) = &target.dead_letter else { return Ok(()) };
        let (id, mut body) = (run.execution_id(), payload(schedule, run));
        let mut attributes = said(run, &target.arn, end, kind, &id);
        // The service cuts what its queue would not take.
        if let Some(room) = self.dead_letters().room(queue, &attributes).filter(|room| *room < body.len()) {
            body.truncate(body.floor_char_boundary(room.max(LEAST_PAYLOAD)));
            attributes.insert(TRUNCATED.to_owned(), text("true"));
        }
        let letter = Letter { id, body: body.into(), attributes, order: None };
        // As the service does, with the schedule's own role.
        let permitted = self.permit(schedule, run, queue).map_err(|denial| FlowError::Denied(denial.message));
        let sent = match permitted {
            Ok(()) => self.dead_letters().send(queue, letter).await,
            Err(denied) => Err(denied),
        };
        match sent {
            Err(error) if error.kind().is_transient() => Err(error),
            Err(error) => {
                tracing::error!(schedule = %name, %queue, %error, "a dead letter is lost");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// "Configuring a schedule's dead-letter queue", EventBridge Scheduler User Guide.
fn said(run: &Run, target: &Arn, end: &End, kind: ErrorKind, id: &str) -> BTreeMap<String, crate::queue::Attribute> {
    let condition = match end.why {
        Why::Attempts => Some("MaximumRetryAttempts"),
        Why::Age => Some("MaximumEventAgeInSeconds"),
        Why::Refused => None,
    };
    let code = match kind {
        ErrorKind::NotFound => "ResourceNotFoundException",
        ErrorKind::Invalid | ErrorKind::Conflict => "ValidationException",
        ErrorKind::Denied => "AccessDeniedException",
        ErrorKind::Throttled => "ThrottlingException",
        ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Internal => "InternalServerException",
    };
    let message: String = end.reason.chars().take(MAX_MESSAGE).collect();
    let schedule = schedule_arn(&run.scope, &run.group, &run.name).to_string();
    let said = [
        ("ERROR_CODE", Some(code.to_owned())),
        ("ERROR_MESSAGE", Some(message)),
        ("EXECUTION_ID", Some(id.to_owned())),
        ("EXHAUSTED_RETRY_CONDITION", condition.map(str::to_owned)),
        (TRUNCATED, Some("false".to_owned())),
        ("RETRY_ATTEMPTS", Some(end.attempts.saturating_sub(1).to_string())),
        ("SCHEDULED_TIME", Some(run.instant.to_iso_secs())),
        ("SCHEDULE_ARN", Some(schedule)),
        ("TARGET_ARN", Some(target.to_string())),
    ];
    said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), text(value?)))).collect()
}
