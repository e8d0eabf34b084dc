//! What belongs to a function beside its versions: tags, which mappings have as well, reserved concurrency, its policy.

use std::collections::BTreeMap;

use base::{Arn, FunctionName};
use functions::{Capacity, Permission};
use wire::lambda::*;
use wire::{Call, ServiceError, only};

use super::address::{address, unqualified};
use super::{LambdaService, SERVICE, failed, flow_failed, invalid};

/// Bytes of an archive and of what it unpacks to ("Lambda quotas"), as `functions` holds to them.
const ZIPPED_BYTES: i64 = 50 << 20;
const UNZIPPED_BYTES: i64 = 250 << 20;

/// What has tags.
enum Tagged {
    Function(FunctionName),
    /// By its id.
    Mapping(String),
}

impl LambdaService {
    /// What a call about tags names by its ARN.
    fn tagged(&self, call: &Call, resource: &str) -> Result<Tagged, ServiceError> {
        let arn: Arn = resource.parse().map_err(|e: base::ArnError| invalid(e.to_string()))?;
        let mapping = arn.resource_of("event-source-mapping").filter(|_| arn.service() == "lambda");
        if let Some(id) = mapping {
            if arn.scope().as_ref() != Some(&call.scope) {
                return Err(invalid(format!("{resource} is not of this account and region")));
            }
            return Ok(Tagged::Mapping(id.to_owned()));
        }
        let at = unqualified(&call.scope, resource)?;
        self.functions.get(&call.scope, &at.name).map_err(failed)?;
        Ok(Tagged::Function(at.name))
    }

    async fn retag(
        &self,
        call: &Call,
        resource: &str,
        set: BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), ServiceError> {
        match self.tagged(call, resource)? {
            Tagged::Function(name) => self.functions.tag(&call.scope, &name, set, remove).await.map_err(failed),
            Tagged::Mapping(id) => self.mappings.tag(&call.scope, &id, &set, remove).await.map_err(flow_failed),
        }
    }

    pub(super) async fn tag(&self, call: &Call, input: TagResourceInput) -> Result<(), ServiceError> {
        self.retag(call, &input.resource, input.tags, &[]).await
    }

    pub(super) async fn untag(&self, call: &Call, input: UntagResourceInput) -> Result<(), ServiceError> {
        self.retag(call, &input.resource, BTreeMap::new(), &input.tag_keys).await
    }

    pub(super) fn tags(&self, call: &Call, input: ListTagsInput) -> Result<ListTagsOutput, ServiceError> {
        let tags = match self.tagged(call, &input.resource)? {
            Tagged::Function(name) => self.functions.get(&call.scope, &name).map_err(failed)?.tags.clone(),
            Tagged::Mapping(id) => self.mappings.get(&call.scope, &id).map_err(flow_failed)?.mapping.tags,
        };
        Ok(ListTagsOutput { tags: Some(tags) })
    }

    pub(super) async fn reserve(
        &self,
        call: &Call,
        function: &str,
        environments: Option<i32>,
    ) -> Result<(), ServiceError> {
        let at = unqualified(&call.scope, function)?;
        // The model refuses negative numbers before this.
        let environments = environments.map(|n| u32::try_from(n).unwrap_or(0));
        self.functions.reserve(&call.scope, &at.name, environments).await.map_err(failed)
    }

    /// What is set aside for a function, as the service shows it.
    pub(super) fn reserved(&self, call: &Call, name: &FunctionName) -> Result<Option<i32>, ServiceError> {
        let reserved = self.functions.reserved(&call.scope, name).map_err(failed)?;
        Ok(reserved.and_then(|n| i32::try_from(n).ok()))
    }

    pub(super) fn account(&self, call: &Call) -> GetAccountSettingsOutput {
        let Capacity { total, common } = self.functions.capacity();
        let all = self.functions.list(&call.scope);
        GetAccountSettingsOutput {
            account_limit: Some(AccountLimit {
                code_size_unzipped: Some(UNZIPPED_BYTES),
                code_size_zipped: Some(ZIPPED_BYTES),
                total_code_size: i64::try_from(self.functions.code_storage()).ok(),
                concurrent_executions: i32::try_from(total).ok(),
                unreserved_concurrent_executions: i32::try_from(common).ok(),
            }),
            account_usage: Some(AccountUsage {
                total_code_size: i64::try_from(self.functions.code_bytes()).ok(),
                function_count: i64::try_from(all.len()).ok(),
            }),
        }
    }

    pub(super) async fn permit(
        &self,
        call: &Call,
        input: AddPermissionInput,
    ) -> Result<AddPermissionOutput, ServiceError> {
        let known = [
            "FunctionName",
            "StatementId",
            "Action",
            "Principal",
            "SourceArn",
            "SourceAccount",
            "EventSourceToken",
            "PrincipalOrgID",
            "Qualifier",
            "RevisionId",
        ];
        only(SERVICE, &input, &known)?;
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        let permission = Permission {
            id: input.statement_id,
            action: input.action,
            principal: input.principal,
            source_arn: input.source_arn,
            source_account: input.source_account,
            organisation: input.principal_org_id,
            token: input.event_source_token,
        };
        let revision = input.revision_id.as_deref();
        let added = self.functions.permit(&call.scope, &at.name, at.qualifier.as_ref(), permission, revision).await;
        Ok(AddPermissionOutput { statement: Some(added.map_err(failed)?) })
    }

    pub(super) async fn forbid(&self, call: &Call, input: RemovePermissionInput) -> Result<(), ServiceError> {
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        let (id, revision) = (&input.statement_id, input.revision_id.as_deref());
        self.functions.forbid(&call.scope, &at.name, at.qualifier.as_ref(), id, revision).await.map_err(failed)
    }

    pub(super) fn policy(&self, call: &Call, input: GetPolicyInput) -> Result<GetPolicyOutput, ServiceError> {
        let at = address(&call.scope, &input.function_name, input.qualifier.as_deref())?;
        let found = self.functions.policy(&call.scope, &at.name, at.qualifier.as_ref());
        let (policy, revision) = found.map_err(failed)?;
        Ok(GetPolicyOutput { policy: Some(policy), revision_id: Some(revision) })
    }
}
