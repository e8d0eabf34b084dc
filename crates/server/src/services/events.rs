//! EventBridge: buses, rules, targets and events.
//!
//! Owns the translation between the wire and `flow::bus`, and the checks of an entry that the service makes before an
//! event exists. Must not know how events are stored, matched or sent.

mod api_destinations;
mod archives;
mod connections;
mod entries;
mod permissions;
mod replays;
mod targets;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Arn, BusName, Env, RuleName, Scope};
use flow::bus::{Buses, RuleSpec, RuleState, bus_arn, rule_arn};
use flow::{Archives, Destinations, Flow, FlowError};
use wire::events::*;
use wire::{Call, ServiceError, ServiceId, only};

use super::page::{BadToken, page};

const SERVICE: ServiceId = ServiceId::Events;
/// Items of a page when the caller names no limit.
const PAGE: usize = 100;

/// The service.
pub(crate) struct EventBridge {
    buses: Buses,
    archives: Archives,
    destinations: Destinations,
    env: Env,
}

impl EventBridge {
    pub fn new(flow: &Flow, env: Env) -> Arc<Self> {
        Arc::new(Self {
            buses: flow.buses.clone(),
            archives: flow.archives.clone(),
            destinations: flow.destinations.clone(),
            env,
        })
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::validation(SERVICE, message)
}

fn failed(error: FlowError) -> ServiceError {
    match error {
        FlowError::LimitExceeded(message) => ServiceError::new("LimitExceededException", message),
        error => ServiceError::from_kinded(SERVICE, &error),
    }
}

/// The error of describing what is not there.
fn undescribed(what: &str, error: FlowError) -> ServiceError {
    failed(match error {
        FlowError::NotFound(message) => FlowError::NotFound(format!("Failed to describe the {what}. {message}")),
        error => error,
    })
}

/// Code and message of an entry whose bus did not take it.
fn failed_entry(error: &FlowError) -> (String, String) {
    let error = ServiceError::from_kinded(SERVICE, error);
    (error.code.into_owned(), error.message)
}

fn bad_token(_: BadToken) -> ServiceError {
    invalid("the next token is not one of this listing; list again from the start")
}

/// A bus by name or ARN of this account and region; the default bus when none is named.
fn bus_of(scope: &Scope, text: Option<&str>) -> Result<BusName, ServiceError> {
    let text = text.unwrap_or("default");
    let name = match text.parse::<Arn>() {
        Err(_) => text.to_owned(),
        Ok(arn) => match arn.resource_of("event-bus") {
            Some(name) if arn.service() == "events" && arn.scope().as_ref() == Some(scope) => name.to_owned(),
            _ => return Err(invalid(format!("{arn} is not an event bus of this account and region"))),
        },
    };
    name.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

fn rule_name(text: &str) -> Result<RuleName, ServiceError> {
    text.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))
}

fn role(text: Option<&str>) -> Result<Option<Arn>, ServiceError> {
    let parsed = text.map(str::parse::<Arn>).transpose().map_err(|e| invalid(e.to_string()))?;
    match parsed {
        Some(arn) if arn.service() != "iam" => Err(invalid(format!("{arn} is not the ARN of a role"))),
        role => Ok(role),
    }
}

fn limit(limit: Option<i32>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).map_or(PAGE, |limit| limit.clamp(1, PAGE))
}

/// A pattern, refused as the service words it.
fn pattern(text: &str) -> Result<rules::Pattern, ServiceError> {
    rules::Pattern::parse(text).map_err(|e| ServiceError::new("InvalidEventPatternException", e.to_string()))
}

/// When a bus was created, which is when it was changed last. The default bus was always there.
fn changed(bus: &flow::bus::BusInfo) -> Option<base::Timestamp> {
    (bus.name.as_str() != "default").then_some(bus.created)
}

fn shown_rule(scope: &Scope, rule: flow::bus::Rule) -> Rule {
    Rule {
        arn: Some(rule_arn(scope, &rule.bus, &rule.name).to_string()),
        description: rule.description,
        event_bus_name: Some(rule.bus.to_string()),
        event_pattern: rule.pattern,
        schedule_expression: rule.schedule.map(|schedule| schedule.expression),
        name: Some(rule.name.to_string()),
        role_arn: rule.role.map(|role| role.to_string()),
        state: Some(rule.state.as_str().to_owned()),
        ..Rule::default()
    }
}

#[async_trait]
impl Events for EventBridge {
    async fn create_event_bus(
        &self,
        call: &Call,
        input: CreateEventBusInput,
    ) -> Result<CreateEventBusOutput, ServiceError> {
        only(SERVICE, &input, &["Name", "Description"])?;
        let name = input.name.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))?;
        if input.name.contains('/') {
            return Err(invalid("Event bus name can't contain '/': those names are for partner event buses."));
        }
        let arn = self.buses.create_bus(&call.scope, &name, input.description.clone()).await.map_err(failed)?;
        let (event_bus_arn, description) = (Some(arn.to_string()), input.description);
        Ok(CreateEventBusOutput { event_bus_arn, description, ..Default::default() })
    }

    async fn delete_event_bus(
        &self,
        call: &Call,
        input: DeleteEventBusInput,
    ) -> Result<DeleteEventBusOutput, ServiceError> {
        let bus = bus_of(&call.scope, Some(&input.name))?;
        self.buses.delete_bus(&call.scope, &bus).await.map_err(failed)?;
        Ok(DeleteEventBusOutput::default())
    }

    async fn describe_event_bus(
        &self,
        call: &Call,
        input: DescribeEventBusInput,
    ) -> Result<DescribeEventBusOutput, ServiceError> {
        let bus = bus_of(&call.scope, input.name.as_deref())?;
        let info = self.buses.bus(&call.scope, &bus).map_err(failed)?;
        let created = changed(&info);
        Ok(DescribeEventBusOutput {
            arn: Some(bus_arn(&call.scope, &bus).to_string()),
            name: Some(bus.to_string()),
            description: info.description,
            creation_time: created,
            last_modified_time: created,
            policy: info.policy,
            ..Default::default()
        })
    }

    async fn put_permission(
        &self,
        call: &Call,
        input: PutPermissionInput,
    ) -> Result<PutPermissionOutput, ServiceError> {
        permissions::put(self, call, input).await
    }

    async fn remove_permission(
        &self,
        call: &Call,
        input: RemovePermissionInput,
    ) -> Result<RemovePermissionOutput, ServiceError> {
        permissions::remove(self, call, input).await
    }

    async fn list_event_buses(
        &self,
        call: &Call,
        input: ListEventBusesInput,
    ) -> Result<ListEventBusesOutput, ServiceError> {
        let mut buses = self.buses.buses(&call.scope).map_err(failed)?;
        buses.retain(|bus| input.name_prefix.as_ref().is_none_or(|prefix| bus.name.as_str().starts_with(prefix)));
        let key = |bus: &flow::bus::BusInfo| bus.name.to_string();
        let (buses, next_token) =
            page(buses, key, limit(input.limit), input.next_token.as_deref()).map_err(bad_token)?;
        let shown = buses.into_iter().map(|bus| EventBus {
            arn: Some(bus_arn(&call.scope, &bus.name).to_string()),
            name: Some(bus.name.to_string()),
            creation_time: changed(&bus),
            last_modified_time: changed(&bus),
            description: bus.description,
            policy: bus.policy,
            ..Default::default()
        });
        Ok(ListEventBusesOutput { event_buses: Some(shown.collect()), next_token })
    }

    async fn put_rule(&self, call: &Call, input: PutRuleInput) -> Result<PutRuleOutput, ServiceError> {
        let known = ["Name", "EventPattern", "ScheduleExpression", "State", "Description", "RoleArn", "EventBusName"];
        only(SERVICE, &input, &known)?;
        // An empty text asks for none.
        let asked = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (event_pattern, schedule) = (asked(input.event_pattern), asked(input.schedule_expression));
        if let Some(text) = &event_pattern {
            pattern(text)?;
        }
        let spec = RuleSpec {
            name: rule_name(&input.name)?,
            pattern: event_pattern,
            schedule,
            state: input.state.as_deref().map_or(Ok(RuleState::Enabled), str::parse).map_err(failed)?,
            description: input.description,
            role: role(input.role_arn.as_deref())?,
        };
        let bus = bus_of(&call.scope, input.event_bus_name.as_deref())?;
        let arn = self.buses.put_rule(&call.scope, &bus, spec).await.map_err(failed)?;
        Ok(PutRuleOutput { rule_arn: Some(arn.to_string()) })
    }

    async fn list_rules(&self, call: &Call, input: ListRulesInput) -> Result<ListRulesOutput, ServiceError> {
        let bus = bus_of(&call.scope, input.event_bus_name.as_deref())?;
        let mut rules = self.buses.rules(&call.scope, &bus).map_err(failed)?;
        rules.retain(|rule| input.name_prefix.as_ref().is_none_or(|prefix| rule.name.as_str().starts_with(prefix)));
        let key = |rule: &flow::bus::Rule| rule.name.to_string();
        let (rules, next_token) =
            page(rules, key, limit(input.limit), input.next_token.as_deref()).map_err(bad_token)?;
        let shown = rules.into_iter().map(|rule| shown_rule(&call.scope, rule)).collect();
        Ok(ListRulesOutput { rules: Some(shown), next_token })
    }

    async fn describe_rule(&self, call: &Call, input: DescribeRuleInput) -> Result<DescribeRuleOutput, ServiceError> {
        let bus = bus_of(&call.scope, input.event_bus_name.as_deref())?;
        let rule = self.buses.rule(&call.scope, &bus, &rule_name(&input.name)?).map_err(failed)?;
        let rule = shown_rule(&call.scope, rule);
        Ok(DescribeRuleOutput {
            arn: rule.arn,
            created_by: Some(call.scope.account.to_string()),
            description: rule.description,
            event_bus_name: rule.event_bus_name,
            event_pattern: rule.event_pattern,
            name: rule.name,
            role_arn: rule.role_arn,
            schedule_expression: rule.schedule_expression,
            state: rule.state,
            ..Default::default()
        })
    }

    async fn delete_rule(&self, call: &Call, input: DeleteRuleInput) -> Result<DeleteRuleOutput, ServiceError> {
        // `Force` deletes rules that AWS services manage; no rule here is one, so both values do the same.
        let bus = bus_of(&call.scope, input.event_bus_name.as_deref())?;
        self.buses.delete_rule(&call.scope, &bus, &rule_name(&input.name)?).await.map_err(failed)?;
        Ok(DeleteRuleOutput::default())
    }

    async fn enable_rule(&self, call: &Call, input: EnableRuleInput) -> Result<EnableRuleOutput, ServiceError> {
        let bus = bus_of(&call.scope, input.event_bus_name.as_deref())?;
        self.buses.set_rule_state(&call.scope, &bus, &rule_name(&input.name)?, true).await.map_err(failed)?;
        Ok(EnableRuleOutput::default())
    }

    async fn disable_rule(&self, call: &Call, input: DisableRuleInput) -> Result<DisableRuleOutput, ServiceError> {
        let bus = bus_of(&call.scope, input.event_bus_name.as_deref())?;
        self.buses.set_rule_state(&call.scope, &bus, &rule_name(&input.name)?, false).await.map_err(failed)?;
        Ok(DisableRuleOutput::default())
    }

    async fn put_targets(&self, call: &Call, input: PutTargetsInput) -> Result<PutTargetsOutput, ServiceError> {
        targets::put(self, call, input).await
    }

    async fn remove_targets(
        &self,
        call: &Call,
        input: RemoveTargetsInput,
    ) -> Result<RemoveTargetsOutput, ServiceError> {
        targets::remove(self, call, input).await
    }

    async fn list_targets_by_rule(
        &self,
        call: &Call,
        input: ListTargetsByRuleInput,
    ) -> Result<ListTargetsByRuleOutput, ServiceError> {
        targets::list(self, call, &input)
    }

    async fn list_rule_names_by_target(
        &self,
        call: &Call,
        input: ListRuleNamesByTargetInput,
    ) -> Result<ListRuleNamesByTargetOutput, ServiceError> {
        let bus = bus_of(&call.scope, input.event_bus_name.as_deref())?;
        let arn: Arn = input.target_arn.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
        let names = self.buses.rules_by_target(&call.scope, &bus, &arn).map_err(failed)?;
        let (names, next_token) =
            page(names, ToString::to_string, limit(input.limit), input.next_token.as_deref()).map_err(bad_token)?;
        let rule_names = Some(names.iter().map(ToString::to_string).collect());
        Ok(ListRuleNamesByTargetOutput { rule_names, next_token })
    }

    async fn put_events(&self, call: &Call, input: PutEventsInput) -> Result<PutEventsOutput, ServiceError> {
        entries::put(self, call, input).await
    }

    async fn create_archive(
        &self,
        call: &Call,
        input: CreateArchiveInput,
    ) -> Result<CreateArchiveOutput, ServiceError> {
        archives::create(self, call, input).await
    }

    async fn update_archive(
        &self,
        call: &Call,
        input: UpdateArchiveInput,
    ) -> Result<UpdateArchiveOutput, ServiceError> {
        archives::update(self, call, input).await
    }

    async fn describe_archive(
        &self,
        call: &Call,
        input: DescribeArchiveInput,
    ) -> Result<DescribeArchiveOutput, ServiceError> {
        archives::describe(self, call, input).await
    }

    async fn list_archives(&self, call: &Call, input: ListArchivesInput) -> Result<ListArchivesOutput, ServiceError> {
        archives::list(self, call, input).await
    }

    async fn delete_archive(
        &self,
        call: &Call,
        input: DeleteArchiveInput,
    ) -> Result<DeleteArchiveOutput, ServiceError> {
        archives::delete(self, call, input).await
    }

    async fn start_replay(&self, call: &Call, input: StartReplayInput) -> Result<StartReplayOutput, ServiceError> {
        replays::start(self, call, input).await
    }

    async fn describe_replay(
        &self,
        call: &Call,
        input: DescribeReplayInput,
    ) -> Result<DescribeReplayOutput, ServiceError> {
        replays::describe(self, call, &input)
    }

    async fn list_replays(&self, call: &Call, input: ListReplaysInput) -> Result<ListReplaysOutput, ServiceError> {
        replays::list(self, call, &input)
    }

    async fn cancel_replay(&self, call: &Call, input: CancelReplayInput) -> Result<CancelReplayOutput, ServiceError> {
        replays::cancel(self, call, input).await
    }

    async fn test_event_pattern(
        &self,
        _: &Call,
        input: TestEventPatternInput,
    ) -> Result<TestEventPatternOutput, ServiceError> {
        let event: serde_json::Value = serde_json::from_str(&input.event)
            .map_err(|e| invalid(format!("Parameter Event is not valid JSON: {e}")))?;
        let needed = ["id", "detail-type", "source", "account", "time", "region", "resources"];
        let missing: Vec<&str> = needed.into_iter().filter(|name| event.get(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(invalid(format!("Parameter Event is not valid: it lacks {}", missing.join(", "))));
        }
        let event = rules::Event::check(input.event.as_bytes())
            .map_err(|e| invalid(format!("Parameter Event is not valid JSON: {e}")))?;
        Ok(TestEventPatternOutput { result: Some(pattern(&input.event_pattern)?.matches_event(event)) })
    }

    async fn create_connection(
        &self,
        call: &Call,
        input: CreateConnectionInput,
    ) -> Result<CreateConnectionOutput, ServiceError> {
        connections::create(self, call, input).await
    }

    async fn update_connection(
        &self,
        call: &Call,
        input: UpdateConnectionInput,
    ) -> Result<UpdateConnectionOutput, ServiceError> {
        connections::update(self, call, input).await
    }

    async fn describe_connection(
        &self,
        call: &Call,
        input: DescribeConnectionInput,
    ) -> Result<DescribeConnectionOutput, ServiceError> {
        connections::describe(self, call, &input)
    }

    async fn list_connections(
        &self,
        call: &Call,
        input: ListConnectionsInput,
    ) -> Result<ListConnectionsOutput, ServiceError> {
        connections::list(self, call, &input)
    }

    async fn delete_connection(
        &self,
        call: &Call,
        input: DeleteConnectionInput,
    ) -> Result<DeleteConnectionOutput, ServiceError> {
        connections::delete(self, call, input).await
    }

    async fn deauthorize_connection(
        &self,
        call: &Call,
        input: DeauthorizeConnectionInput,
    ) -> Result<DeauthorizeConnectionOutput, ServiceError> {
        connections::deauthorize(self, call, input).await
    }

    async fn create_api_destination(
        &self,
        call: &Call,
        input: CreateApiDestinationInput,
    ) -> Result<CreateApiDestinationOutput, ServiceError> {
        api_destinations::create(self, call, input).await
    }

    async fn update_api_destination(
        &self,
        call: &Call,
        input: UpdateApiDestinationInput,
    ) -> Result<UpdateApiDestinationOutput, ServiceError> {
        api_destinations::update(self, call, input).await
    }

    async fn describe_api_destination(
        &self,
        call: &Call,
        input: DescribeApiDestinationInput,
    ) -> Result<DescribeApiDestinationOutput, ServiceError> {
        api_destinations::describe(self, call, &input)
    }

    async fn list_api_destinations(
        &self,
        call: &Call,
        input: ListApiDestinationsInput,
    ) -> Result<ListApiDestinationsOutput, ServiceError> {
        api_destinations::list(self, call, &input)
    }

    async fn delete_api_destination(
        &self,
        call: &Call,
        input: DeleteApiDestinationInput,
    ) -> Result<DeleteApiDestinationOutput, ServiceError> {
        api_destinations::delete(self, call, input).await
    }
}
