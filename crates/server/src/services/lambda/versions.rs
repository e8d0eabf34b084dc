//! Versions and aliases: the translation between the wire and `functions`.

use std::sync::Arc;

use base::{FunctionName, Scope};
use functions::{Alias, AliasChange, AliasName, Function, Publication, Qualifier, Version, Weighted};
use wire::lambda::*;
use wire::{Call, ServiceError, only};

use super::super::page::page;
use super::address::unqualified;
use super::{LambdaService, SERVICE, bad_marker, configuration, failed, flow_failed, invalid, page_size};

/// Versions and aliases on a page ("ListVersionsByFunction", "ListAliases": 50 at most when not asked otherwise).
const ITEMS_A_PAGE: usize = 50;

fn version(text: String) -> Result<Version, ServiceError> {
    text.parse().map_err(failed)
}

fn alias_name(text: String) -> Result<AliasName, ServiceError> {
    text.try_into().map_err(failed)
}

/// The other version of an alias; one at most.
fn routing(config: Option<AliasRoutingConfiguration>) -> Result<Option<Option<Weighted>>, ServiceError> {
    let Some(config) = config else { return Ok(None) };
    let mut weights = config.additional_version_weights.unwrap_or_default().into_iter();
    let first = weights.next().map(|(text, weight)| Ok(Weighted { version: version(text)?, weight }));
    if weights.next().is_some() {
        return Err(invalid("Number of items in AdditionalVersionWeights cannot be greater than 1"));
    }
    first.transpose().map(Some)
}

/// An alias as the service shows it.
fn shown(scope: &Scope, function: &FunctionName, alias: &Alias) -> AliasConfiguration {
    let arn = base::Arn::new("lambda", scope, format!("function:{function}:{}", alias.name));
    let routing = alias.other.map(|other| AliasRoutingConfiguration {
        additional_version_weights: Some([(other.version.to_string(), other.weight)].into()),
    });
    AliasConfiguration {
        alias_arn: Some(arn.to_string()),
        name: Some(alias.name.to_string()),
        function_version: Some(alias.version.to_string()),
        description: Some(alias.description.clone()),
        routing_config: routing,
        revision_id: Some(alias.revision.clone()),
    }
}

/// Orders versions on pages: what changes first, then by number.
fn place(function: &Arc<Function>) -> String {
    match function.version {
        Version::Latest => "0".to_owned(),
        Version::Number(number) => format!("{number:020}"),
    }
}

impl LambdaService {
    pub(super) async fn publish(
        &self,
        call: &Call,
        input: PublishVersionInput,
    ) -> Result<FunctionConfiguration, ServiceError> {
        only(SERVICE, &input, &["FunctionName", "CodeSha256", "Description", "RevisionId"])?;
        let at = unqualified(&call.scope, &input.function_name)?;
        let publication =
            Publication { code_sha256: input.code_sha256, description: input.description, revision: input.revision_id };
        let published = self.functions.publish(&call.scope, &at.name, publication).await.map_err(failed)?;
        Ok(configuration::shown(&published))
    }

    pub(super) fn list_versions(
        &self,
        call: &Call,
        input: ListVersionsByFunctionInput,
    ) -> Result<ListVersionsByFunctionOutput, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        let all = self.functions.versions(&call.scope, &at.name).map_err(failed)?;
        let size = page_size(input.max_items, ITEMS_A_PAGE);
        let (versions, next_marker) = page(all, place, size, input.marker.as_deref()).map_err(bad_marker)?;
        let versions = Some(versions.iter().map(|f| configuration::shown_as(f, &f.qualified_arn())).collect());
        Ok(ListVersionsByFunctionOutput { versions, next_marker })
    }

    pub(super) async fn new_alias(
        &self,
        call: &Call,
        input: CreateAliasInput,
    ) -> Result<AliasConfiguration, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        let change = AliasChange {
            version: Some(version(input.function_version)?),
            description: input.description,
            other: routing(input.routing_config)?,
            revision: None,
        };
        let made = self.functions.create_alias(&call.scope, &at.name, alias_name(input.name)?, change).await;
        Ok(shown(&call.scope, &at.name, &*made.map_err(failed)?))
    }

    pub(super) async fn change_alias(
        &self,
        call: &Call,
        input: UpdateAliasInput,
    ) -> Result<AliasConfiguration, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        let change = AliasChange {
            version: input.function_version.map(version).transpose()?,
            description: input.description,
            other: routing(input.routing_config)?,
            revision: input.revision_id,
        };
        let changed = self.functions.update_alias(&call.scope, &at.name, &alias_name(input.name)?, change).await;
        Ok(shown(&call.scope, &at.name, &*changed.map_err(failed)?))
    }

    pub(super) fn one_alias(&self, call: &Call, input: GetAliasInput) -> Result<AliasConfiguration, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        let alias = self.functions.alias(&call.scope, &at.name, &alias_name(input.name)?).map_err(failed)?;
        Ok(shown(&call.scope, &at.name, &alias))
    }

    pub(super) fn all_aliases(&self, call: &Call, input: ListAliasesInput) -> Result<ListAliasesOutput, ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        let mut all = self.functions.aliases(&call.scope, &at.name).map_err(failed)?;
        if let Some(wanted) = input.function_version.map(version).transpose()? {
            all.retain(|alias| alias.version == wanted || alias.other.is_some_and(|other| other.version == wanted));
        }
        let size = page_size(input.max_items, ITEMS_A_PAGE);
        let (aliases, next_marker) =
            page(all, |alias| alias.name.to_string(), size, input.marker.as_deref()).map_err(bad_marker)?;
        let aliases = Some(aliases.iter().map(|alias| shown(&call.scope, &at.name, alias)).collect());
        Ok(ListAliasesOutput { aliases, next_marker })
    }

    pub(super) async fn no_alias(&self, call: &Call, input: DeleteAliasInput) -> Result<(), ServiceError> {
        let at = unqualified(&call.scope, &input.function_name)?;
        let name = alias_name(input.name)?;
        self.functions.get(&call.scope, &at.name).map_err(failed)?;
        // First what is configured for it: interrupted, the alias is still there to be deleted again.
        let forgotten = self.invocations.forget_config(&call.scope, &at.name, Some(name.as_str())).await;
        forgotten.map_err(flow_failed)?;
        self.functions.delete_alias(&call.scope, &at.name, &name).await.map_err(failed)
    }

    /// Deletes a version of a function.
    pub(super) async fn delete_qualified(
        &self,
        call: &Call,
        name: &FunctionName,
        qualifier: &Qualifier,
    ) -> Result<(), ServiceError> {
        match qualifier {
            Qualifier::Version(Version::Number(number)) => {
                self.functions.delete_version(&call.scope, name, *number).await.map_err(failed)?;
                // Its number is never another's, so what an interruption leaves is nobody's.
                let forgotten = self.invocations.forget_config(&call.scope, name, Some(&number.to_string())).await;
                forgotten.map(drop).map_err(flow_failed)
            }
            Qualifier::Version(Version::Latest) => {
                Err(invalid("$LATEST version cannot be deleted without deleting the function."))
            }
            Qualifier::Alias(_) => Err(invalid("Deletion of aliases is not currently supported. Use DeleteAlias.")),
        }
    }
}
