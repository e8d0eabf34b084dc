//! Lambda: functions, their invocations, and event-source mappings.
//!
//! Owns the translation between the wire and the rooms `functions` and `flow::mapping`, and the words of Lambda's
//! errors. An option of a call is done or refused by its name. Must not know how functions run or streams are read.

mod address;
mod configuration;
mod mappings;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Arn, ErrorKind, Invocation, Invoke, InvokeError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flow::{FlowError, Invocations, Mappings};
use functions::{CodeChange, FunctionError, Functions, NewFunction, PackageError};
use wire::lambda::*;
use wire::{Call, ServiceError, ServiceId, only};

use super::page::{BadToken, page};
use address::{Address, address};

const SERVICE: ServiceId = ServiceId::Lambda;
/// Functions on a page ("ListFunctions": 50 at most).
const FUNCTIONS_A_PAGE: usize = 50;
/// The largest event of a synchronous and of an asynchronous call ("Lambda quotas": 6 MB and 1 MB).
const MAX_SYNC_BYTES: usize = 6 << 20;
const MAX_ASYNC_BYTES: usize = 1 << 20;

/// The service.
pub(crate) struct LambdaService {
    functions: Functions,
    invocations: Invocations,
    mappings: Mappings,
}

impl LambdaService {
    pub fn new(functions: Functions, invocations: Invocations, mappings: Mappings) -> Arc<Self> {
        Arc::new(Self { functions, invocations, mappings })
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::of_kind(SERVICE, ErrorKind::Invalid, message)
}

fn not_found(arn: &Arn) -> ServiceError {
    ServiceError::of_kind(SERVICE, ErrorKind::NotFound, format!("Function not found: {arn}"))
}

fn failed(error: FunctionError) -> ServiceError {
    match error {
        FunctionError::NotFound(arn) => not_found(&arn),
        FunctionError::Exists(name) => {
            ServiceError::of_kind(SERVICE, ErrorKind::Conflict, format!("Function already exist: {name}"))
        }
        FunctionError::RevisionMismatch { .. } => ServiceError::new(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
             retrieve the latest Revision Id",
        ),
        FunctionError::Changing(name) => ServiceError::of_kind(
            SERVICE,
            ErrorKind::Conflict,
            format!("The operation cannot be performed at this time. An update is in progress for resource: {name}"),
        ),
        FunctionError::Package(error @ PackageError::ArchiveTooLarge(_)) => {
            ServiceError::new("RequestTooLargeException", error.to_string())
        }
        error => ServiceError::from_kinded(SERVICE, &error),
    }
}

fn not_called(error: InvokeError) -> ServiceError {
    ServiceError::of_kind(SERVICE, error.kind, error.message)
}

fn flow_failed(error: FlowError) -> ServiceError {
    ServiceError::from_kinded(SERVICE, &error)
}

fn bad_marker(_: BadToken) -> ServiceError {
    invalid("Marker is not one of this listing; list again from the start")
}

fn too_large(length: usize, kind: &str, limit: usize) -> ServiceError {
    ServiceError::new(
        "RequestTooLargeException",
        format!("{length} byte payload is too large for the {kind} invocation type (limit {limit} bytes)"),
    )
}

fn page_size(max_items: Option<i32>, most: usize) -> usize {
    max_items.and_then(|n| usize::try_from(n).ok()).map_or(most, |n| n.clamp(1, most))
}

#[async_trait]
impl Lambda for LambdaService {
    async fn create_function(
        &self,
        call: &Call,
        mut input: CreateFunctionInput,
    ) -> Result<CreateFunctionOutput, ServiceError> {
        let Address { name, .. } = address(&call.scope, &input.function_name, None)?;
        only(SERVICE, &input.code, &["ZipFile"])?;
        let archive = input.code.zip_file.take().ok_or_else(no_code)?;
        let tags = input.tags.take().unwrap_or_default();
        let settings = configuration::settings(&call.scope, input)?;
        let new = NewFunction { name, settings, tags };
        let function = self.functions.create(&call.scope, new, archive).await.map_err(failed)?;
        Ok(configuration::shown(&function))
    }

    async fn get_function(&self, call: &Call, input: GetFunctionInput) -> Result<GetFunctionOutput, ServiceError> {
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        let function = self.functions.get(&call.scope, &at.name).map_err(failed)?;
        Ok(GetFunctionOutput {
            configuration: Some(configuration::shown(&function)),
            // Without a location: the archive is not given out.
            code: Some(FunctionCodeLocation { repository_type: Some("S3".to_owned()), ..Default::default() }),
            tags: (!function.tags.is_empty()).then(|| function.tags.clone()),
            ..Default::default()
        })
    }

    async fn get_function_configuration(
        &self,
        call: &Call,
        input: GetFunctionConfigurationInput,
    ) -> Result<GetFunctionConfigurationOutput, ServiceError> {
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        Ok(configuration::shown(&*self.functions.get(&call.scope, &at.name).map_err(failed)?))
    }

    async fn list_functions(
        &self,
        call: &Call,
        input: ListFunctionsInput,
    ) -> Result<ListFunctionsOutput, ServiceError> {
        // `FunctionVersion` ALL asks for every version: there is one of each.
        only(SERVICE, &input, &["Marker", "MaxItems", "FunctionVersion"])?;
        let size = page_size(input.max_items, FUNCTIONS_A_PAGE);
        let all = self.functions.list(&call.scope);
        let (functions, next_marker) =
            page(all, |f| f.name.to_string(), size, input.marker.as_deref()).map_err(bad_marker)?;
        let functions = Some(functions.iter().map(|f| configuration::shown(f)).collect());
        Ok(ListFunctionsOutput { functions, next_marker })
    }

    async fn update_function_code(
        &self,
        call: &Call,
        input: UpdateFunctionCodeInput,
    ) -> Result<UpdateFunctionCodeOutput, ServiceError> {
        let known = ["FunctionName", "ZipFile", "RevisionId", "DryRun", "Publish", "Architectures"];
        only(SERVICE, &input, &known)?;
        configuration::not_published(input.publish)?;
        configuration::architecture(input.architectures.as_deref())?;
        let at = address(&call.scope, &input.function_name, None)?;
        let change = CodeChange {
            archive: input.zip_file.ok_or_else(no_code)?,
            revision: input.revision_id,
            dry_run: input.dry_run.unwrap_or(false),
        };
        let function = self.functions.update_code(&call.scope, &at.name, change).await.map_err(failed)?;
        Ok(configuration::shown(&function))
    }

    async fn update_function_configuration(
        &self,
        call: &Call,
        input: UpdateFunctionConfigurationInput,
    ) -> Result<UpdateFunctionConfigurationOutput, ServiceError> {
        let at = address(&call.scope, &input.function_name, None)?;
        let revision = input.revision_id.clone();
        let change = configuration::change(&call.scope, input)?;
        let updated = self.functions.update_settings(&call.scope, &at.name, change, revision.as_deref()).await;
        Ok(configuration::shown(&*updated.map_err(failed)?))
    }

    async fn delete_function(
        &self,
        call: &Call,
        input: DeleteFunctionInput,
    ) -> Result<DeleteFunctionOutput, ServiceError> {
        let at = address(&call.scope, &input.function_name, None)?;
        if input.qualifier.is_some() {
            return Err(invalid("$LATEST version cannot be deleted without deleting the function."));
        }
        self.functions.delete(&call.scope, &at.name).await.map_err(failed)?;
        self.invocations.remove(&call.scope, &at.name).await.map_err(flow_failed)?;
        Ok(DeleteFunctionOutput { status_code: Some(204) })
    }

    async fn invoke(&self, call: &Call, input: InvokeInput) -> Result<InvokeOutput, ServiceError> {
        let known = ["FunctionName", "InvocationType", "LogType", "ClientContext", "Payload", "Qualifier"];
        only(SERVICE, &input, &known)?;
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        self.functions.get(&call.scope, &at.name).map_err(failed)?;
        let payload = input.payload.unwrap_or_default();
        let kind = input.invocation_type.as_deref().unwrap_or("RequestResponse");
        let limit = if kind == "Event" { MAX_ASYNC_BYTES } else { MAX_SYNC_BYTES };
        if payload.len() > limit {
            return Err(too_large(payload.len(), kind, limit));
        }
        check_json(&payload)?;
        check_client_context(input.client_context.as_deref())?;
        match kind {
            "DryRun" => Ok(InvokeOutput { status_code: Some(204), ..Default::default() }),
            "Event" => {
                let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
                let taken = self.invocations.submit(&at.arn, payload, input.client_context).await;
                taken.map_err(flow_failed)?;
                Ok(InvokeOutput { status_code: Some(202), ..Default::default() })
            }
            _ => {
                let invocation = Invocation {
                    function: at.arn,
                    payload,
                    request_id: Some(call.request_id.clone()),
                    client_context: input.client_context,
                    want_log: input.log_type.as_deref() == Some("Tail"),
                };
                let outcome = self.functions.invoke(invocation).await.map_err(not_called)?;
                Ok(InvokeOutput {
                    status_code: Some(200),
                    executed_version: Some(outcome.executed_version),
                    function_error: outcome.error,
                    log_result: outcome.log_tail.map(|tail| STANDARD.encode(tail)),
                    payload: Some(outcome.payload),
                    ..Default::default()
                })
            }
        }
    }

    async fn create_event_source_mapping(
        &self,
        call: &Call,
        input: CreateEventSourceMappingInput,
    ) -> Result<CreateEventSourceMappingOutput, ServiceError> {
        self.create_mapping(call, input).await
    }

    async fn get_event_source_mapping(
        &self,
        call: &Call,
        input: GetEventSourceMappingInput,
    ) -> Result<GetEventSourceMappingOutput, ServiceError> {
        let view = self.mappings.get(&call.scope, &input.uuid).map_err(flow_failed)?;
        Ok(mappings::shown(&call.scope, view))
    }

    async fn list_event_source_mappings(
        &self,
        call: &Call,
        input: ListEventSourceMappingsInput,
    ) -> Result<ListEventSourceMappingsOutput, ServiceError> {
        self.list_mappings(call, input)
    }

    async fn update_event_source_mapping(
        &self,
        call: &Call,
        input: UpdateEventSourceMappingInput,
    ) -> Result<UpdateEventSourceMappingOutput, ServiceError> {
        self.update_mapping(call, input).await
    }

    async fn delete_event_source_mapping(
        &self,
        call: &Call,
        input: DeleteEventSourceMappingInput,
    ) -> Result<DeleteEventSourceMappingOutput, ServiceError> {
        let view = self.mappings.delete(&call.scope, &input.uuid).await.map_err(flow_failed)?;
        Ok(EventSourceMappingConfiguration { state: Some("Deleting".to_owned()), ..mappings::shown(&call.scope, view) })
    }
}

fn no_code() -> ServiceError {
    invalid("Please provide a source for function code.")
}

/// Checked before the call is taken: one that is not waited for could not be told afterwards.
fn check_client_context(base64: Option<&str>) -> Result<(), ServiceError> {
    let Some(base64) = base64 else { return Ok(()) };
    let json = STANDARD.decode(base64).ok();
    let object = json.and_then(|json| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&json).ok());
    object.map(|_| ()).ok_or_else(|| {
        let message = "Client context must be a valid Base64-encoded JSON object.";
        ServiceError::new("InvalidRequestContentException", message)
    })
}

fn check_json(payload: &Bytes) -> Result<(), ServiceError> {
    if payload.is_empty() {
        return Ok(());
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(payload).map(|_| ()).map_err(|error| {
        ServiceError::new("InvalidRequestContentException", format!("Could not parse request body into json: {error}"))
    })
}
