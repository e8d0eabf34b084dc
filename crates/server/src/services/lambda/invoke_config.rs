//! What becomes of asynchronous invocations: the translation between the wire and `flow::invocations`.

use base::{Arn, Scope};
use flow::invocations::{InvokeConfig, InvokeConfigChange};
use wire::lambda::*;
use wire::{Call, ServiceError};

use super::super::page::page;
use super::address::{Address, address, unqualified};
use super::{LambdaService, bad_marker, failed, flow_failed, invalid, page_size};

/// Configurations on a page ("ListFunctionEventInvokeConfigs": 50 at most).
const CONFIGS_A_PAGE: usize = 50;

/// A destination: an empty one takes it away.
fn destination(text: Option<String>) -> Result<Option<Arn>, ServiceError> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))).transpose()
}

/// The model has checked ranges before this.
fn number(value: Option<i32>) -> Option<u32> {
    value.and_then(|n| u32::try_from(n).ok())
}

fn change(
    retries: Option<i32>,
    age: Option<i32>,
    destinations: Option<DestinationConfig>,
) -> Result<InvokeConfigChange, ServiceError> {
    if retries.is_none() && age.is_none() && destinations.is_none() {
        return Err(invalid("You must specify at least one of error handling or destination setting."));
    }
    let DestinationConfig { on_success, on_failure } = destinations.unwrap_or_default();
    Ok(InvokeConfigChange {
        max_retries: number(retries),
        max_age_secs: number(age),
        on_success: on_success.map(|to| destination(to.destination)).transpose()?,
        on_failure: on_failure.map(|to| destination(to.destination)).transpose()?,
    })
}

/// A configuration as the service shows it.
fn shown(scope: &Scope, at: &Address, config: InvokeConfig) -> FunctionEventInvokeConfig {
    let arn = Arn::new("lambda", scope, format!("function:{}:{}", at.name, config.qualifier));
    let text = |arn: Option<Arn>| arn.map(|arn| arn.to_string());
    FunctionEventInvokeConfig {
        last_modified: Some(config.modified),
        function_arn: Some(arn.to_string()),
        maximum_retry_attempts: config.max_retries.and_then(|n| i32::try_from(n).ok()),
        maximum_event_age_in_seconds: config.max_age_secs.and_then(|n| i32::try_from(n).ok()),
        destination_config: Some(DestinationConfig {
            on_success: Some(OnSuccess { destination: text(config.on_success) }),
            on_failure: Some(OnFailure { destination: text(config.on_failure) }),
        }),
    }
}

impl LambdaService {
    /// The function that a configuration is of, which has to be there with its qualifier.
    fn configured(&self, call: &Call, function: &str, qualifier: Option<&str>) -> Result<Address, ServiceError> {
        let at = address(&call.scope, function, qualifier)?;
        self.functions.resolve(&call.scope, &at.name, at.qualifier.as_ref()).map_err(failed)?;
        Ok(at)
    }

    pub(super) async fn put_config(
        &self,
        call: &Call,
        input: PutFunctionEventInvokeConfigInput,
    ) -> Result<FunctionEventInvokeConfig, ServiceError> {
        let at = self.configured(call, &input.function_name, input.qualifier.as_deref())?;
        let change =
            change(input.maximum_retry_attempts, input.maximum_event_age_in_seconds, input.destination_config)?;
        self.configure(call, at, change, true).await
    }

    pub(super) async fn update_config(
        &self,
        call: &Call,
        input: UpdateFunctionEventInvokeConfigInput,
    ) -> Result<FunctionEventInvokeConfig, ServiceError> {
        let at = self.configured(call, &input.function_name, input.qualifier.as_deref())?;
        self.config_at(call, &at)?;
        let change =
            change(input.maximum_retry_attempts, input.maximum_event_age_in_seconds, input.destination_config)?;
        self.configure(call, at, change, false).await
    }

    async fn configure(
        &self,
        call: &Call,
        at: Address,
        change: InvokeConfigChange,
        anew: bool,
    ) -> Result<FunctionEventInvokeConfig, ServiceError> {
        let qualifier = at.qualifier.as_ref().map(ToString::to_string);
        let config = self.invocations.configure(&call.scope, &at.name, qualifier.as_deref(), change, anew).await;
        Ok(shown(&call.scope, &at, config.map_err(flow_failed)?))
    }

    fn config_at(&self, call: &Call, at: &Address) -> Result<InvokeConfig, ServiceError> {
        let qualifier = at.qualifier.as_ref().map(ToString::to_string);
        let found = self.invocations.config(&call.scope, &at.name, qualifier.as_deref()).map_err(flow_failed)?;
        found.ok_or_else(|| no_config(call, at))
    }

    pub(super) fn get_config(
        &self,
        call: &Call,
        input: GetFunctionEventInvokeConfigInput,
    ) -> Result<FunctionEventInvokeConfig, ServiceError> {
        let at = self.configured(call, &input.function_name, input.qualifier.as_deref())?;
        let config = self.config_at(call, &at)?;
        Ok(shown(&call.scope, &at, config))
    }

    pub(super) async fn delete_config(
        &self,
        call: &Call,
        input: DeleteFunctionEventInvokeConfigInput,
    ) -> Result<(), ServiceError> {
        let at = self.configured(call, &input.function_name, input.qualifier.as_deref())?;
        let qualifier = at.qualifier.as_ref().map(ToString::to_string);
        let there = self.invocations.forget_config(&call.scope, &at.name, qualifier.as_deref()).await;
        if there.map_err(flow_failed)? { Ok(()) } else { Err(no_config(call, &at)) }
    }

    pub(super) fn list_configs(
        &self,
        call: &Call,
        input: ListFunctionEventInvokeConfigsInput,
    ) -> Result<ListFunctionEventInvokeConfigsOutput, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        self.functions.get(&call.scope, &at.name).map_err(failed)?;
        let all = self.invocations.configs(&call.scope, &at.name).map_err(flow_failed)?;
        let size = page_size(input.max_items, CONFIGS_A_PAGE);
        let (configs, next_marker) =
            page(all, |config| config.qualifier.clone(), size, input.marker.as_deref()).map_err(bad_marker)?;
        let function_event_invoke_configs =
            Some(configs.into_iter().map(|config| shown(&call.scope, &at, config)).collect());
        Ok(ListFunctionEventInvokeConfigsOutput { function_event_invoke_configs, next_marker })
    }
}

fn no_config(call: &Call, at: &Address) -> ServiceError {
    let qualifier = at.qualifier.as_ref().map_or_else(|| "$LATEST".to_owned(), ToString::to_string);
    let arn = Arn::new("lambda", &call.scope, format!("function:{}:{qualifier}", at.name));
    let message = format!("The function {arn} doesn't have an EventInvokeConfig");
    ServiceError::of_kind(super::SERVICE, base::ErrorKind::NotFound, message)
}
