//! Lambda: functions, their invocations, and event-source mappings.
//!
//! Owns the translation between the wire and the rooms `functions` and `flow::mapping`, and the words of Lambda's
//! errors. An option of a call is done or refused by its name. Must not know how functions run or streams are read.

mod address;
mod belongings;
mod configuration;
mod invoke_config;
mod layers;
mod mappings;
mod roles;
mod versions;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Arn, Authorizer, ConcurrencyLimit, ErrorKind, Invocation, Invoke, InvokeError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flow::{FlowError, Invocations, Mappings};
use functions::{
    CodeChange, Function, FunctionError, Functions, NewFunction, PackageError, Settings, SettingsChange, Version,
};
use tokio::sync::Semaphore;
use wire::lambda::*;
use wire::{Call, ServiceError, ServiceId, only};

use super::page::{BadToken, page};
use address::{address, unqualified};

const SERVICE: ServiceId = ServiceId::Lambda;
/// Functions on a page ("ListFunctions": 50 at most).
const FUNCTIONS_A_PAGE: usize = 50;
/// The largest event of a synchronous and of an asynchronous call ("Lambda quotas": 6 MB and 1 MB).
const MAX_SYNC_BYTES: usize = 6 << 20;
const MAX_ASYNC_BYTES: usize = 1 << 20;
/// What a throttled caller is asked to wait.
const RETRY_AFTER_SECS: u32 = 1;

/// The service.
pub(crate) struct LambdaService {
    functions: Functions,
    invocations: Invocations,
    mappings: Mappings,
    /// Knows the roles that functions may have.
    authorizer: Arc<dyn Authorizer>,
    /// Held while what is left of a deleted function is removed and one of its name created.
    creating: Semaphore,
}

impl LambdaService {
    pub fn new(
        functions: Functions,
        invocations: Invocations,
        mappings: Mappings,
        authorizer: Arc<dyn Authorizer>,
    ) -> Arc<Self> {
        Arc::new(Self { functions, invocations, mappings, authorizer, creating: Semaphore::new(1) })
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
        FunctionError::PolicyTooLong(_) => ServiceError::new("PolicyLengthExceededException", error.to_string()),
        FunctionError::Package(error @ PackageError::ArchiveTooLarge(_)) => {
            ServiceError::new("RequestEntityTooLargeException", error.to_string()).with_status(413)
        }
        FunctionError::StorageFull(_) => ServiceError::new("CodeStorageExceededException", error.to_string()),
        error => ServiceError::from_kinded(SERVICE, &error),
    }
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
        let name = unqualified(&call.scope, &input.function_name)?.name;
        only(SERVICE, &input.code, &["ZipFile"])?;
        let archive = input.code.zip_file.take().ok_or_else(no_code)?;
        let (tags, publish) = (input.tags.take().unwrap_or_default(), input.publish.unwrap_or(false));
        let layers = self.layers_of(call, input.layers.take().unwrap_or_default())?;
        let settings = Settings { layers, ..configuration::settings(&call.scope, input)? };
        self.check_role(call, &name, &settings.role)?;
        self.check_dead_letters(call, &name, Some(&settings.role), settings.dead_letters.as_ref()).await?;
        let new = NewFunction { name, settings, tags, publish };
        let function = self.create(call, new, archive).await?;
        Ok(configuration::shown(&function))
    }

    async fn get_function(&self, call: &Call, input: GetFunctionInput) -> Result<GetFunctionOutput, ServiceError> {
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        let function = self.functions.resolve(&call.scope, &at.name, at.qualifier.as_ref()).map_err(failed)?;
        let reserved = self.reserved(call, &at.name)?;
        let tags = self.functions.get(&call.scope, &at.name).map_err(failed)?.tags.clone();
        Ok(GetFunctionOutput {
            configuration: Some(configuration::shown_as(&function, &at.arn)),
            // Without a location: the archive is not given out.
            code: Some(FunctionCodeLocation { repository_type: Some("S3".to_owned()), ..Default::default() }),
            tags: Some(tags).filter(|tags| !tags.is_empty()),
            concurrency: reserved.map(|n| Concurrency { reserved_concurrent_executions: Some(n) }),
            ..Default::default()
        })
    }

    /// No code is signed here. Terraform asks this with every look at a function.
    async fn get_function_code_signing_config(
        &self,
        call: &Call,
        input: GetFunctionCodeSigningConfigInput,
    ) -> Result<GetFunctionCodeSigningConfigOutput, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        let function = self.functions.get(&call.scope, &at.name).map_err(failed)?;
        Ok(GetFunctionCodeSigningConfigOutput {
            function_name: function.name.to_string(),
            code_signing_config_arn: None,
            missing: Default::default(),
        })
    }

    async fn get_function_configuration(
        &self,
        call: &Call,
        input: GetFunctionConfigurationInput,
    ) -> Result<GetFunctionConfigurationOutput, ServiceError> {
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        let function = self.functions.resolve(&call.scope, &at.name, at.qualifier.as_ref()).map_err(failed)?;
        Ok(configuration::shown_as(&function, &at.arn))
    }

    async fn list_functions(
        &self,
        call: &Call,
        input: ListFunctionsInput,
    ) -> Result<ListFunctionsOutput, ServiceError> {
        only(SERVICE, &input, &["Marker", "MaxItems", "FunctionVersion"])?;
        let size = page_size(input.max_items, FUNCTIONS_A_PAGE);
        // The model refuses what is not ALL.
        let every_version = input.function_version.is_some();
        let mut all = self.functions.list(&call.scope);
        if every_version {
            all = all.iter().flat_map(|f| self.functions.versions(&call.scope, &f.name).unwrap_or_default()).collect();
        }
        let (functions, next_marker) = page(all, place, size, input.marker.as_deref()).map_err(bad_marker)?;
        let shown = |f: &Arc<Function>| match every_version {
            true => configuration::shown_as(f, &f.qualified_arn()),
            false => configuration::shown(f),
        };
        let functions = Some(functions.iter().map(shown).collect());
        Ok(ListFunctionsOutput { functions, next_marker })
    }

    async fn update_function_code(
        &self,
        call: &Call,
        input: UpdateFunctionCodeInput,
    ) -> Result<UpdateFunctionCodeOutput, ServiceError> {
        let known = ["FunctionName", "ZipFile", "RevisionId", "DryRun", "Publish", "Architectures"];
        only(SERVICE, &input, &known)?;
        configuration::architecture(input.architectures.as_deref())?;
        let at = unqualified(&call.scope, &input.function_name)?;
        let publish = input.publish == Some(true) && input.dry_run != Some(true);
        let change = CodeChange {
            archive: input.zip_file.ok_or_else(no_code)?,
            revision: input.revision_id,
            dry_run: input.dry_run.unwrap_or(false),
            publish,
        };
        let function = self.functions.update_code(&call.scope, &at.name, change).await.map_err(failed)?;
        Ok(configuration::shown(&function))
    }

    async fn update_function_configuration(
        &self,
        call: &Call,
        mut input: UpdateFunctionConfigurationInput,
    ) -> Result<UpdateFunctionConfigurationOutput, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        let revision = input.revision_id.clone();
        let layers = input.layers.take().map(|layers| self.layers_of(call, layers)).transpose()?;
        let change = SettingsChange { layers, ..configuration::change(&call.scope, input)? };
        if let Some(role) = &change.role {
            self.check_role(call, &at.name, role)?;
        }
        let to = change.dead_letters.as_ref().and_then(Option::as_ref);
        self.check_dead_letters(call, &at.name, change.role.as_ref(), to).await?;
        let updated = self.functions.update_settings(&call.scope, &at.name, change, revision.as_deref()).await;
        Ok(configuration::shown(&*updated.map_err(failed)?))
    }

    async fn delete_function(
        &self,
        call: &Call,
        input: DeleteFunctionInput,
    ) -> Result<DeleteFunctionOutput, ServiceError> {
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        if let Some(qualifier) = &at.qualifier {
            self.delete_qualified(call, &at.name, qualifier).await?;
            return Ok(DeleteFunctionOutput { status_code: Some(204) });
        }
        self.functions.delete(&call.scope, &at.name).await.map_err(failed)?;
        self.invocations.remove(&call.scope, &at.name).await.map_err(flow_failed)?;
        Ok(DeleteFunctionOutput { status_code: Some(204) })
    }

    async fn invoke(&self, call: &Call, input: InvokeInput) -> Result<InvokeOutput, ServiceError> {
        let known = ["FunctionName", "InvocationType", "LogType", "ClientContext", "Payload", "Qualifier"];
        only(SERVICE, &input, &known)?;
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        self.functions.resolve(&call.scope, &at.name, at.qualifier.as_ref()).map_err(failed)?;
        let payload = input.payload.unwrap_or_default();
        let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
        let kind = input.invocation_type.as_deref().unwrap_or("RequestResponse");
        let limit = if kind == "Event" { MAX_ASYNC_BYTES } else { MAX_SYNC_BYTES };
        if payload.len() > limit {
            return Err(too_large(payload.len(), kind, limit));
        }
        check_json(&payload)?;
        check_client_context(input.client_context.as_deref())?;
        let invocation = Invocation {
            function: at.arn,
            payload,
            request_id: Some(call.request_id.clone()),
            client_context: input.client_context,
            want_log: input.log_type.as_deref() == Some("Tail"),
            trace: call.trace.clone(),
        };
        match kind {
            "DryRun" => Ok(InvokeOutput { status_code: Some(204), ..Default::default() }),
            "Event" => {
                self.invocations.submit(invocation).await.map_err(flow_failed)?;
                Ok(InvokeOutput { status_code: Some(202), ..Default::default() })
            }
            _ => {
                let outcome = self.functions.invoke(invocation).await;
                let outcome = outcome.map_err(not_called)?;
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

    async fn publish_version(
        &self,
        call: &Call,
        input: PublishVersionInput,
    ) -> Result<PublishVersionOutput, ServiceError> {
        self.publish(call, input).await
    }

    async fn list_versions_by_function(
        &self,
        call: &Call,
        input: ListVersionsByFunctionInput,
    ) -> Result<ListVersionsByFunctionOutput, ServiceError> {
        self.list_versions(call, input)
    }

    async fn create_alias(&self, call: &Call, input: CreateAliasInput) -> Result<CreateAliasOutput, ServiceError> {
        self.new_alias(call, input).await
    }

    async fn update_alias(&self, call: &Call, input: UpdateAliasInput) -> Result<UpdateAliasOutput, ServiceError> {
        self.change_alias(call, input).await
    }

    async fn get_alias(&self, call: &Call, input: GetAliasInput) -> Result<GetAliasOutput, ServiceError> {
        self.one_alias(call, input)
    }

    async fn list_aliases(&self, call: &Call, input: ListAliasesInput) -> Result<ListAliasesOutput, ServiceError> {
        self.all_aliases(call, input)
    }

    async fn delete_alias(&self, call: &Call, input: DeleteAliasInput) -> Result<DeleteAliasOutput, ServiceError> {
        self.no_alias(call, input).await.map(|()| Default::default())
    }

    async fn tag_resource(&self, call: &Call, input: TagResourceInput) -> Result<TagResourceOutput, ServiceError> {
        self.tag(call, input).await.map(|()| Default::default())
    }

    async fn untag_resource(
        &self,
        call: &Call,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, ServiceError> {
        self.untag(call, input).await.map(|()| Default::default())
    }

    async fn list_tags(&self, call: &Call, input: ListTagsInput) -> Result<ListTagsOutput, ServiceError> {
        self.tags(call, input)
    }

    async fn put_function_concurrency(
        &self,
        call: &Call,
        input: PutFunctionConcurrencyInput,
    ) -> Result<PutFunctionConcurrencyOutput, ServiceError> {
        self.reserve(call, &input.function_name, Some(input.reserved_concurrent_executions)).await?;
        Ok(Concurrency { reserved_concurrent_executions: Some(input.reserved_concurrent_executions) })
    }

    async fn get_function_concurrency(
        &self,
        call: &Call,
        input: GetFunctionConcurrencyInput,
    ) -> Result<GetFunctionConcurrencyOutput, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        Ok(GetFunctionConcurrencyOutput { reserved_concurrent_executions: self.reserved(call, &at.name)? })
    }

    async fn delete_function_concurrency(
        &self,
        call: &Call,
        input: DeleteFunctionConcurrencyInput,
    ) -> Result<DeleteFunctionConcurrencyOutput, ServiceError> {
        self.reserve(call, &input.function_name, None).await.map(|()| Default::default())
    }

    async fn publish_layer_version(
        &self,
        call: &Call,
        input: PublishLayerVersionInput,
    ) -> Result<PublishLayerVersionOutput, ServiceError> {
        self.new_layer(call, input).await
    }

    async fn get_layer_version(
        &self,
        call: &Call,
        input: GetLayerVersionInput,
    ) -> Result<GetLayerVersionOutput, ServiceError> {
        self.one_layer(call, input)
    }

    async fn get_layer_version_by_arn(
        &self,
        call: &Call,
        input: GetLayerVersionByArnInput,
    ) -> Result<GetLayerVersionByArnOutput, ServiceError> {
        self.layer_by_arn(call, &input.arn)
    }

    async fn list_layers(&self, call: &Call, input: ListLayersInput) -> Result<ListLayersOutput, ServiceError> {
        self.all_layers(call, input)
    }

    async fn list_layer_versions(
        &self,
        call: &Call,
        input: ListLayerVersionsInput,
    ) -> Result<ListLayerVersionsOutput, ServiceError> {
        self.all_layer_versions(call, input)
    }

    async fn delete_layer_version(
        &self,
        call: &Call,
        input: DeleteLayerVersionInput,
    ) -> Result<DeleteLayerVersionOutput, ServiceError> {
        self.no_layer(call, input).await.map(|()| Default::default())
    }

    async fn get_account_settings(
        &self,
        call: &Call,
        _: GetAccountSettingsInput,
    ) -> Result<GetAccountSettingsOutput, ServiceError> {
        Ok(self.account(call))
    }

    async fn add_permission(
        &self,
        call: &Call,
        input: AddPermissionInput,
    ) -> Result<AddPermissionOutput, ServiceError> {
        self.permit(call, input).await
    }

    async fn remove_permission(
        &self,
        call: &Call,
        input: RemovePermissionInput,
    ) -> Result<RemovePermissionOutput, ServiceError> {
        self.forbid(call, input).await.map(|()| Default::default())
    }

    async fn get_policy(&self, call: &Call, input: GetPolicyInput) -> Result<GetPolicyOutput, ServiceError> {
        self.policy(call, input)
    }

    async fn put_function_event_invoke_config(
        &self,
        call: &Call,
        input: PutFunctionEventInvokeConfigInput,
    ) -> Result<PutFunctionEventInvokeConfigOutput, ServiceError> {
        self.put_config(call, input).await
    }

    async fn update_function_event_invoke_config(
        &self,
        call: &Call,
        input: UpdateFunctionEventInvokeConfigInput,
    ) -> Result<UpdateFunctionEventInvokeConfigOutput, ServiceError> {
        self.update_config(call, input).await
    }

    async fn get_function_event_invoke_config(
        &self,
        call: &Call,
        input: GetFunctionEventInvokeConfigInput,
    ) -> Result<GetFunctionEventInvokeConfigOutput, ServiceError> {
        self.get_config(call, input)
    }

    async fn delete_function_event_invoke_config(
        &self,
        call: &Call,
        input: DeleteFunctionEventInvokeConfigInput,
    ) -> Result<DeleteFunctionEventInvokeConfigOutput, ServiceError> {
        self.delete_config(call, input).await.map(|()| Default::default())
    }

    async fn list_function_event_invoke_configs(
        &self,
        call: &Call,
        input: ListFunctionEventInvokeConfigsInput,
    ) -> Result<ListFunctionEventInvokeConfigsOutput, ServiceError> {
        self.list_configs(call, input)
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
        Ok(mappings::shown(&call.scope, view))
    }
}

/// Orders functions and their versions on pages. A zero sorts before everything that a name may have.
fn place(function: &Arc<Function>) -> String {
    match function.version {
        Version::Latest => format!("{}\0", function.name),
        Version::Number(number) => format!("{}\0{number:020}", function.name),
    }
}

impl LambdaService {
    /// Creates a function that has nothing of another one with its name: neither its events nor what was configured for
    /// them.
    async fn create(&self, call: &Call, new: NewFunction, archive: Bytes) -> Result<Arc<Function>, ServiceError> {
        let name = new.name.clone();
        // Of two calls at once the second must not remove what the first one's function has by then.
        let turn = self.creating.acquire().await;
        // Asked in this order: what is left while there is a function is that function's.
        let has_left = self.invocations.has_left(&call.scope, &name).map_err(flow_failed)?;
        if !has_left || self.functions.get(&call.scope, &name).is_ok() {
            drop(turn);
            return self.functions.create(&call.scope, new, archive).await.map_err(failed);
        }
        self.invocations.remove(&call.scope, &name).await.map_err(flow_failed)?;
        self.functions.create(&call.scope, new, archive).await.map_err(failed)
    }
}

/// Why a function was not called.
fn not_called(error: InvokeError) -> ServiceError {
    if error.kind != ErrorKind::Throttled {
        return ServiceError::of_kind(SERVICE, error.kind, error.message);
    }
    let reason = match error.limit {
        Some(ConcurrencyLimit::Reserved) => "ReservedFunctionConcurrentInvocationLimitExceeded",
        Some(ConcurrencyLimit::Common) | None => "ConcurrentInvocationLimitExceeded",
    };
    let message = format!("Rate Exceeded. {}", error.message);
    ServiceError::of_kind(SERVICE, error.kind, message).throttled_by(reason, RETRY_AFTER_SECS)
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
