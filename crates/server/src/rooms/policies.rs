//! What the owners of resources said that decides who may use them, where their rooms keep it.
//!
//! Promises an answer from the moment on that the rooms of functions and streams are open: what the room of flow keeps
//! is read where it is stored, since its first step is asked for before it is at work.

use std::sync::Arc;

use base::{Arn, ErrorKind, FunctionName, Kinded, StateStore};
use functions::{Functions, Qualifier};
use log::{Log, StreamKey, StreamKind};

use crate::auth::{Attached, Compiled, ResourcePolicies};
use crate::streams::SettingsTable;

/// Asks the rooms.
pub(super) struct RoomPolicies {
    functions: Functions,
    log: Log,
    settings: SettingsTable,
    state: Arc<dyn StateStore>,
    compiled: Compiled,
}

impl RoomPolicies {
    /// Of the resources of these rooms, and of what flow keeps in the state store.
    pub fn new(functions: Functions, log: Log, settings: SettingsTable, state: Arc<dyn StateStore>) -> Self {
        Self { functions, log, settings, state, compiled: Compiled::default() }
    }

    /// Of a function, a version or an alias.
    fn of_function(&self, arn: &Arn) -> Result<Option<String>, String> {
        let (Some(scope), Some(resource)) = (arn.scope(), arn.resource_of("function")) else { return Ok(None) };
        let (name, qualifier) = resource.split_once(':').map_or((resource, None), |(name, of)| (name, Some(of)));
        let Ok(name) = name.parse::<FunctionName>() else { return Ok(None) };
        let qualifier = match qualifier.map(str::parse::<Qualifier>).transpose() {
            Ok(qualifier) => qualifier,
            Err(_) => return Ok(None),
        };
        match self.functions.policy(&scope, &name, qualifier.as_ref()) {
            Ok((text, _)) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(arn, &error)),
        }
    }

    /// Of a stream or a registered consumer.
    fn of_stream(&self, arn: &Arn) -> Option<String> {
        let (scope, resource) = (arn.scope()?, arn.resource_of("stream")?);
        let (name, consumer) = resource.split_once('/').map_or((resource, None), |(name, of)| (name, Some(of)));
        let stream = self.log.stream(&StreamKey { kind: StreamKind::Kinesis, scope, name: name.to_owned() }).ok()?;
        let settings = self.settings.of(stream.id);
        let Some(consumer) = consumer else { return settings.policy.clone() };
        let (name, epoch) = consumer.strip_prefix("consumer/")?.rsplit_once(':')?;
        let found = settings.consumers.get(name).filter(|found| epoch.parse() == Ok(found.epoch))?;
        found.policy.clone()
    }
}

fn unreadable(arn: &Arn, error: &dyn std::error::Error) -> String {
    format!("the policy of {arn} cannot be read: {error}")
}

impl ResourcePolicies for RoomPolicies {
    fn policy_of(&self, resource: &str) -> Result<Option<Attached>, String> {
        let Ok(arn) = resource.parse::<Arn>() else { return Ok(None) };
        let text = match arn.service() {
            "lambda" => self.of_function(&arn)?,
            "kinesis" => self.of_stream(&arn),
            _ => {
                let owned = flow::owned(&*self.state, &arn).map_err(|error| unreadable(&arn, &error))?;
                owned.and_then(|owned| owned.policy)
            }
        };
        text.map(|text| self.compiled.of(resource, text)).transpose()
    }
}
