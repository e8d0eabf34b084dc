//! Who may use an event bus: its policy, whole or a statement at a time.

use flow::FlowError;
use flow::bus::bus_arn;
use serde_json::json;
use wire::events::*;
use wire::{Call, ServiceError, only};

use super::{EventBridge, SERVICE, bus_of, failed, invalid};
use crate::services::policies::{Document, grant, is_account, is_of};

/// Bytes of a policy, at most ("Amazon EventBridge quotas").
const MAX_BYTES: usize = 10_240;

fn missing(message: &str) -> ServiceError {
    ServiceError::new("ResourceNotFoundException", message.to_owned())
}

fn bounded(text: Option<String>) -> Result<Option<String>, ServiceError> {
    match text.as_ref().map_or(0, String::len) {
        bytes if bytes > MAX_BYTES => {
            let message = format!("The policy has {bytes} bytes, and {MAX_BYTES} are the most.");
            Err(ServiceError::new("PolicyLengthExceededException", message))
        }
        _ => Ok(text),
    }
}

/// What a call asks for.
enum Wanted {
    /// The whole policy is this.
    Whole(String),
    /// There is a statement of this name.
    Statement(String, serde_json::Value),
}

fn wanted(input: PutPermissionInput, bus: &str) -> Result<Wanted, ServiceError> {
    let PutPermissionInput { action, principal, statement_id, condition, policy, .. } = input;
    if let Some(policy) = policy {
        if action.is_some() || principal.is_some() || statement_id.is_some() || condition.is_some() {
            return Err(invalid("Policy cannot be given with Action, Principal, StatementId or Condition."));
        }
        let document = Document::read(&policy).map_err(|why| invalid(format!("The policy is not valid: {why}")))?;
        return match document.actions().find(|action| !is_of("events", action)) {
            Some(action) => Err(invalid(format!("The policy is not valid: {action} is no operation of event buses"))),
            None => Ok(Wanted::Whole(policy)),
        };
    }
    let required = |value: Option<String>, name: &str| {
        value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| invalid(format!("Parameter {name} is not valid. Reason: it is absent.")))
    };
    let (action, principal) = (required(action, "Action")?, required(principal, "Principal")?);
    let id = required(statement_id, "StatementId")?;
    if action != "events:PutEvents" {
        return Err(invalid("Provided value in parameter 'action' is not supported."));
    }
    let mut statement = grant(&id, std::slice::from_ref(&principal), &[action], bus);
    match (&*principal, condition) {
        ("*", None) => statement["Principal"] = json!("*"),
        ("*", Some(given)) => {
            statement["Principal"] = json!("*");
            if given.r#type != "StringEquals" || given.key != "aws:PrincipalOrgID" {
                return Err(invalid("Condition takes the type StringEquals and the key aws:PrincipalOrgID."));
            }
            statement["Condition"] = json!({ given.r#type: { given.key: given.value } });
        }
        (_, Some(_)) => return Err(invalid("Condition can be given only with the Principal '*'.")),
        (account, None) if is_account(account) => {}
        _ => return Err(invalid("Principal must be an account's 12 digits, or '*'.")),
    }
    Ok(Wanted::Statement(id, statement))
}

/// Changes a bus's policy. What refuses says so in the service's words, which the room does not know.
async fn change(
    service: &EventBridge,
    call: &Call,
    bus: Option<&str>,
    mut change: impl FnMut(Option<Document>) -> Result<Option<String>, ServiceError> + Send,
) -> Result<(), ServiceError> {
    let (bus, mut refused) = (bus_of(&call.scope, bus)?, None);
    let changed = service.buses.change_bus_policy(&call.scope, &bus, |text| {
        let document = text.map(Document::read).transpose().map_err(FlowError::Invalid)?;
        change(document).and_then(bounded).map_err(|error| {
            let message = error.message.clone();
            refused = Some(error);
            FlowError::Conflict(message)
        })
    });
    changed.await.map_err(|error| refused.take().unwrap_or_else(|| failed(error)))
}

pub(super) async fn put(
    service: &EventBridge,
    call: &Call,
    input: PutPermissionInput,
) -> Result<PutPermissionOutput, ServiceError> {
    only(SERVICE, &input, &["EventBusName", "Action", "Principal", "StatementId", "Condition", "Policy"])?;
    let name = input.event_bus_name.clone();
    let arn = bus_arn(&call.scope, &bus_of(&call.scope, name.as_deref())?).to_string();
    let wanted = wanted(input, &arn)?;
    change(service, call, name.as_deref(), |document| match &wanted {
        Wanted::Whole(text) => Ok(Some(text.clone())),
        Wanted::Statement(id, statement) => {
            let mut document = document.unwrap_or_else(|| Document::new("2012-10-17", None));
            // One of the same name is replaced.
            document.remove(id);
            document.add(statement.clone());
            Ok(document.text())
        }
    })
    .await?;
    Ok(PutPermissionOutput::default())
}

pub(super) async fn remove(
    service: &EventBridge,
    call: &Call,
    input: RemovePermissionInput,
) -> Result<RemovePermissionOutput, ServiceError> {
    only(SERVICE, &input, &["EventBusName", "StatementId", "RemoveAllPermissions"])?;
    let all = input.remove_all_permissions.unwrap_or_default();
    change(service, call, input.event_bus_name.as_deref(), |document| {
        if all {
            return Ok(None);
        }
        let id = input
            .statement_id
            .as_deref()
            .ok_or_else(|| invalid("StatementId or RemoveAllPermissions must be given."))?;
        let mut document = document.ok_or_else(|| missing("EventBus does not have a policy."))?;
        match document.remove(id) {
            true => Ok(document.text()),
            false => Err(missing("Statement with the provided id does not exist.")),
        }
    })
    .await?;
    Ok(RemovePermissionOutput::default())
}
