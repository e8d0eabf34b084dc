//! What an owner decides about asynchronous invocations, for a function, a version or an alias each on its own.
//!
//! Ranges and words are those of "PutFunctionEventInvokeConfig", AWS Lambda API Reference.

use std::time::Duration;

use base::{Arn, Batch, FunctionName, Scope, Table, Timestamp};
use serde::{Deserialize, Serialize};

use super::Invocations;
use crate::roles::not_permitted;
use crate::{FlowError, stored};

const TABLE: Table = Table("flow.invoke_configs");

/// Retries of a failed call when nothing is said: the most that are possible.
const MAX_RETRIES: u32 = 2;
/// How old an event may become: the most, and what holds when nothing is said.
pub(super) const MAX_AGE: Duration = Duration::from_secs(6 * 3_600);
/// The qualifier of calls that name none.
const LATEST: &str = "$LATEST";

/// The configuration of one qualifier of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvokeConfig {
    /// `$LATEST`, a version or an alias.
    pub qualifier: String,
    /// Retries of a failed call, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Seconds for which an event is tried, 60 to 21,600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_secs: Option<u32>,
    /// Who is told of what succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_success: Option<Arn>,
    /// Who is told of what was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Arn>,
    /// When it changed.
    pub modified: Timestamp,
}

/// New values; absent ones stay as they are in a change, and are the defaults in a new configuration.
#[derive(Debug, Clone, Default)]
pub struct InvokeConfigChange {
    /// See [`InvokeConfig::max_retries`].
    pub max_retries: Option<u32>,
    /// See [`InvokeConfig::max_age_secs`].
    pub max_age_secs: Option<u32>,
    /// See [`InvokeConfig::on_success`]; an inner `None` takes it away.
    pub on_success: Option<Option<Arn>>,
    /// See [`InvokeConfig::on_failure`]; an inner `None` takes it away.
    pub on_failure: Option<Option<Arn>>,
}

impl InvokeConfig {
    pub(super) fn retries(&self) -> u32 {
        self.max_retries.unwrap_or(MAX_RETRIES)
    }

    pub(super) fn age(&self) -> Duration {
        self.max_age_secs.map_or(MAX_AGE, |secs| Duration::from_secs(u64::from(secs)))
    }

    pub(super) fn none(qualifier: &str) -> Self {
        Self {
            qualifier: qualifier.to_owned(),
            max_retries: None,
            max_age_secs: None,
            on_success: None,
            on_failure: None,
            modified: Timestamp::from_millis(0),
        }
    }
}

/// The qualifier that a function's ARN names, as configurations are kept by.
pub(super) fn qualifier(function: &Arn) -> &str {
    function.resource().splitn(3, ':').nth(2).unwrap_or(LATEST)
}

/// The same ARN with its qualifier, whether it named one or not.
pub(super) fn qualified(function: &Arn) -> String {
    match function.resource().splitn(3, ':').nth(2) {
        Some(_) => function.to_string(),
        None => format!("{function}:{LATEST}"),
    }
}

/// Whether an ARN names this function, in whatever version.
fn is_function(arn: &Arn, scope: &Scope, function: &FunctionName) -> bool {
    let name = arn.resource_of("function").filter(|_| arn.service() == "lambda");
    let name = name.map(|name| name.split(':').next().unwrap_or(name));
    name == Some(function.as_str()) && arn.scope().as_ref() == Some(scope)
}

fn key(scope: &Scope, function: &FunctionName, qualifier: &str) -> Vec<u8> {
    stored::key(scope, &[function.as_str(), qualifier])
}

/// What the keys of all of a function's configurations begin with.
fn keys(scope: &Scope, function: &FunctionName) -> Vec<u8> {
    stored::key(scope, &[function.as_str()])
}

impl Invocations {
    /// The configuration of a qualifier, if it has one.
    pub fn config(
        &self,
        scope: &Scope,
        function: &FunctionName,
        qualifier: Option<&str>,
    ) -> Result<Option<InvokeConfig>, FlowError> {
        stored::get(&*self.inner.state, TABLE, &key(scope, function, qualifier.unwrap_or(LATEST)))
    }

    /// All configurations of a function, by qualifier.
    pub fn configs(&self, scope: &Scope, function: &FunctionName) -> Result<Vec<InvokeConfig>, FlowError> {
        stored::list(&*self.inner.state, TABLE, &keys(scope, function))
    }

    /// Sets the configuration of a qualifier; with `anew`, what is not said becomes the default.
    pub async fn configure(
        &self,
        scope: &Scope,
        function: &FunctionName,
        qualifier: Option<&str>,
        change: InvokeConfigChange,
        anew: bool,
    ) -> Result<InvokeConfig, FlowError> {
        let qualifier = qualifier.unwrap_or(LATEST);
        for destination in [&change.on_success, &change.on_failure].into_iter().flatten().flatten() {
            if is_function(destination, scope, function) {
                let message = "You can't specify the function as a destination for itself.".to_owned();
                return Err(FlowError::Invalid(message));
            }
            self.check_destination(scope, destination).await?;
            let at = Arn::new("lambda", scope, format!("function:{function}"));
            self.check_permission(&at, destination)?;
        }
        let old = match self.config(scope, function, Some(qualifier))? {
            Some(old) if !anew => old,
            _ => InvokeConfig::none(qualifier),
        };
        let config = InvokeConfig {
            qualifier: old.qualifier,
            max_retries: change.max_retries.or(old.max_retries),
            max_age_secs: change.max_age_secs.or(old.max_age_secs),
            on_success: change.on_success.unwrap_or(old.on_success),
            on_failure: change.on_failure.unwrap_or(old.on_failure),
            modified: self.inner.consumers.env.clock.now(),
        };
        let row = stored::encode("invoke configuration", &config)?;
        self.inner.state.commit(Batch::new().put(TABLE, key(scope, function, qualifier), row)).await?;
        Ok(config)
    }

    /// Removes the configuration of a qualifier; `false` when there is none.
    pub async fn forget_config(
        &self,
        scope: &Scope,
        function: &FunctionName,
        qualifier: Option<&str>,
    ) -> Result<bool, FlowError> {
        let there = self.config(scope, function, qualifier)?.is_some();
        let key = key(scope, function, qualifier.unwrap_or(LATEST));
        self.inner.state.commit(Batch::new().delete(TABLE, key)).await?;
        Ok(there)
    }

    /// The removal of all configurations of a function.
    pub(super) fn without_configs(
        &self,
        batch: Batch,
        scope: &Scope,
        function: &FunctionName,
    ) -> Result<Batch, FlowError> {
        let all = self.configs(scope, function)?;
        Ok(all.iter().fold(batch, |batch, config| batch.delete(TABLE, key(scope, function, &config.qualifier))))
    }

    /// Whether a function's role may tell results to `destination`.
    fn check_permission(&self, function: &Arn, destination: &Arn) -> Result<(), FlowError> {
        let (Some(outlets), Some(role)) = (self.outlets(), self.inner.invoke.role(function)) else { return Ok(()) };
        outlets.look(function, &role, destination).map_err(|denial| {
            let call = denial.action.split_once(':').map_or("", |(_, call)| call);
            FlowError::Invalid(format!(
                "The function's execution role does not have permissions to call {call} on {destination}"
            ))
        })
    }

    /// Whether a queue or topic can be where a function with this role puts what it gives up.
    pub async fn check_dead_letters(
        &self,
        scope: &Scope,
        function: &Arn,
        role: &Arn,
        to: &Arn,
    ) -> Result<(), FlowError> {
        self.check_destination(scope, to).await?;
        let Some(outlets) = self.outlets() else { return Ok(()) };
        outlets.look(function, role, to).map_err(|denial| not_permitted(&denial.action))
    }

    /// Whether results of a function of this account and region can be told to `destination`.
    async fn check_destination(&self, scope: &Scope, destination: &Arn) -> Result<(), FlowError> {
        let invalid =
            |why: &str| Err(FlowError::Invalid(format!("The destination ARN {destination} is invalid. It {why}.")));
        match destination.service() {
            "sqs" | "sns" if destination.resource().ends_with(".fifo") => {
                return invalid("is FIFO; results go to standard queues and topics only");
            }
            "sqs" | "sns" | "lambda" => {}
            "events" if destination.resource_of("event-bus").is_some() => {}
            "s3" => return invalid("is a bucket, which is not available in this version of Tidegate"),
            _ => return invalid("is not the ARN of a queue, a topic, a function or an event bus"),
        }
        if destination.scope().as_ref() != Some(scope) {
            return invalid("is not in this account and region");
        }
        let Some(outlets) = self.outlets() else {
            return Err(FlowError::Unavailable("the server is starting or stopping".to_owned()));
        };
        match outlets.router.check(destination).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind.is_transient() => Err(FlowError::Unavailable(error.message)),
            Err(error) => invalid(&format!("cannot be used: {}", error.message)),
        }
    }
}
