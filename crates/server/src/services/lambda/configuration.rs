//! A function's configuration: from the wire, with what is not done refused, and back to it.

use std::sync::LazyLock;

use base::{Arn, Scope};
use functions::{Function, LayerUse, Settings, SettingsChange, Variables, Version};
use wire::lambda::*;
use wire::{ServiceError, only};

use super::{SERVICE, failed, invalid};

/// The machine's own: code runs as it is.
static ARCHITECTURE: LazyLock<&str> = LazyLock::new(|| match std::env::consts::ARCH {
    "aarch64" => "arm64",
    other => other,
});

fn not_done(option: &str) -> ServiceError {
    ServiceError::not_done(SERVICE, option)
}

/// Only code for this machine can run.
pub(super) fn architecture(asked: Option<&[String]>) -> Result<(), ServiceError> {
    match asked.unwrap_or_default() {
        [] => Ok(()),
        [one] if one == *ARCHITECTURE => Ok(()),
        _ => Err(invalid(format!("Architectures: this server runs code for {} only", *ARCHITECTURE))),
    }
}

/// Options that creation and change share and that are accepted only when they ask for what is done anyway.
struct Fixed<'a> {
    vpc: Option<&'a VpcConfig>,
    tracing: Option<&'a TracingConfig>,
    snap_start: Option<&'a SnapStart>,
    logging: Option<&'a LoggingConfig>,
    kms_key: Option<&'a str>,
}

impl Fixed<'_> {
    fn check(&self) -> Result<(), ServiceError> {
        if let Some(vpc) = self.vpc {
            only(SERVICE, vpc, &[])?;
        }
        if self.tracing.and_then(|t| t.mode.as_deref()).is_some_and(|mode| mode != "PassThrough") {
            return Err(not_done("TracingConfig with Mode Active"));
        }
        if self.snap_start.and_then(|s| s.apply_on.as_deref()).is_some_and(|on| on != "None") {
            return Err(not_done("SnapStart"));
        }
        if self.kms_key.is_some_and(|key| !key.is_empty()) {
            return Err(not_done("KMSKeyArn"));
        }
        if let Some(logging) = self.logging {
            only(SERVICE, logging, &["LogFormat"])?;
            if logging.log_format.as_deref().is_some_and(|format| format != "Text") {
                return Err(not_done("LoggingConfig with LogFormat JSON"));
            }
        }
        Ok(())
    }
}

fn role(scope: &Scope, text: &str) -> Result<Arn, ServiceError> {
    let arn: Arn = text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
    if arn.service() != "iam" || arn.resource_of("role").is_none() {
        return Err(invalid(format!("{arn} is not the ARN of a role")));
    }
    if arn.account() != Some(&scope.account) {
        return Err(ServiceError::of_kind(SERVICE, base::ErrorKind::Denied, "Cross-account pass role is not allowed."));
    }
    Ok(arn)
}

fn number<T: TryFrom<u32, Error = functions::FunctionError>>(value: i32) -> Result<T, ServiceError> {
    // The model refuses negative numbers before this.
    u32::try_from(value).unwrap_or(0).try_into().map_err(failed)
}

fn variables(environment: Environment) -> Result<Variables, ServiceError> {
    environment.variables.unwrap_or_default().try_into().map_err(failed)
}

/// A queue or a topic; an empty one takes it away.
fn dead_letters(config: DeadLetterConfig) -> Result<Option<Arn>, ServiceError> {
    let Some(text) = config.target_arn.filter(|text| !text.is_empty()) else { return Ok(None) };
    let arn: Arn = text.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
    match arn.service() {
        "sqs" | "sns" => Ok(Some(arn)),
        _ => Err(invalid(format!("TargetArn in DeadLetterConfig: {arn} is neither a queue nor a topic"))),
    }
}

/// The settings of a new function.
pub(super) fn settings(scope: &Scope, input: CreateFunctionInput) -> Result<Settings, ServiceError> {
    only(
        SERVICE,
        &input,
        &[
            "FunctionName",
            "Runtime",
            "Role",
            "Handler",
            "Code",
            "Description",
            "Timeout",
            "MemorySize",
            "Environment",
            "Tags",
            "PackageType",
            "Architectures",
            "Publish",
            "VpcConfig",
            "DeadLetterConfig",
            "TracingConfig",
            "EphemeralStorage",
            "SnapStart",
            "LoggingConfig",
            "KMSKeyArn",
        ],
    )?;
    let fixed = Fixed {
        vpc: input.vpc_config.as_ref(),
        tracing: input.tracing_config.as_ref(),
        snap_start: input.snap_start.as_ref(),
        logging: input.logging_config.as_ref(),
        kms_key: input.kms_key_arn.as_deref(),
    };
    fixed.check()?;
    architecture(input.architectures.as_deref())?;
    if input.package_type.as_deref().is_some_and(|kind| kind != "Zip") {
        return Err(not_done("PackageType Image"));
    }
    let (Some(runtime), Some(handler)) = (input.runtime, input.handler) else {
        return Err(invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    };
    Ok(Settings {
        runtime: runtime.parse().map_err(failed)?,
        role: role(scope, &input.role)?,
        handler: handler.try_into().map_err(failed)?,
        description: input.description.unwrap_or_default(),
        timeout: input.timeout.map(number).transpose()?.unwrap_or_default(),
        memory: input.memory_size.map(number).transpose()?.unwrap_or_default(),
        temporary: input.ephemeral_storage.map(|storage| number(storage.size)).transpose()?.unwrap_or_default(),
        variables: input.environment.map(variables).transpose()?.unwrap_or_default(),
        dead_letters: input.dead_letter_config.map(dead_letters).transpose()?.flatten(),
        layers: Vec::new(),
    })
}

/// What a change of configuration asks for.
pub(super) fn change(scope: &Scope, input: UpdateFunctionConfigurationInput) -> Result<SettingsChange, ServiceError> {
    only(
        SERVICE,
        &input,
        &[
            "FunctionName",
            "Runtime",
            "Role",
            "Handler",
            "Description",
            "Timeout",
            "MemorySize",
            "Environment",
            "RevisionId",
            "VpcConfig",
            "DeadLetterConfig",
            "TracingConfig",
            "EphemeralStorage",
            "SnapStart",
            "LoggingConfig",
            "KMSKeyArn",
        ],
    )?;
    let fixed = Fixed {
        vpc: input.vpc_config.as_ref(),
        tracing: input.tracing_config.as_ref(),
        snap_start: input.snap_start.as_ref(),
        logging: input.logging_config.as_ref(),
        kms_key: input.kms_key_arn.as_deref(),
    };
    fixed.check()?;
    Ok(SettingsChange {
        runtime: input.runtime.map(|runtime| runtime.parse().map_err(failed)).transpose()?,
        role: input.role.map(|text| role(scope, &text)).transpose()?,
        handler: input.handler.map(|handler| handler.try_into().map_err(failed)).transpose()?,
        description: input.description,
        timeout: input.timeout.map(number).transpose()?,
        memory: input.memory_size.map(number).transpose()?,
        temporary: input.ephemeral_storage.map(|storage| number(storage.size)).transpose()?,
        variables: input.environment.map(variables).transpose()?,
        dead_letters: input.dead_letter_config.map(dead_letters).transpose()?,
        layers: None,
    })
}

fn layer(used: &LayerUse) -> Layer {
    Layer { arn: Some(used.arn.to_string()), code_size: i64::try_from(used.code.size).ok(), ..Default::default() }
}

/// A function as the service shows it: a published version by its own ARN.
pub(super) fn shown(function: &Function) -> FunctionConfiguration {
    match function.version {
        Version::Latest => shown_as(function, &function.arn()),
        Version::Number(_) => shown_as(function, &function.qualified_arn()),
    }
}

/// The same by the ARN that was asked for.
pub(super) fn shown_as(function: &Function, arn: &Arn) -> FunctionConfiguration {
    let settings = &function.settings;
    let text = |text: &str| Some(text.to_owned());
    let variables: std::collections::BTreeMap<String, String> = settings.variables.clone().into();
    FunctionConfiguration {
        function_name: text(function.name.as_str()),
        function_arn: Some(arn.to_string()),
        runtime: text(settings.runtime.as_str()),
        role: Some(settings.role.to_string()),
        handler: text(settings.handler.as_str()),
        code_size: i64::try_from(function.code.size).ok(),
        code_sha256: text(&function.code.sha256),
        description: text(&settings.description),
        timeout: i32::try_from(settings.timeout.secs()).ok(),
        memory_size: i32::try_from(settings.memory.mb()).ok(),
        last_modified: Some(function.last_modified.format("%Y-%m-%dT%H:%M:%S%.3f+0000")),
        version: Some(function.version.to_string()),
        revision_id: text(&function.revision),
        environment: (!variables.is_empty()).then_some(EnvironmentResponse { variables: Some(variables), error: None }),
        dead_letter_config: settings
            .dead_letters
            .as_ref()
            .map(|arn| DeadLetterConfig { target_arn: Some(arn.to_string()) }),
        layers: (!settings.layers.is_empty()).then(|| settings.layers.iter().map(layer).collect()),
        state: text("Active"),
        last_update_status: text("Successful"),
        package_type: text("Zip"),
        architectures: Some(vec![(*ARCHITECTURE).to_owned()]),
        tracing_config: Some(TracingConfigResponse { mode: text("PassThrough") }),
        ephemeral_storage: i32::try_from(settings.temporary.mb())
            .ok()
            .map(|size| EphemeralStorage { size, ..Default::default() }),
        snap_start: Some(SnapStartResponse { apply_on: text("None"), optimization_status: text("Off") }),
        logging_config: Some(LoggingConfig {
            log_format: text("Text"),
            log_group: Some(format!("/aws/lambda/{}", function.name)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
