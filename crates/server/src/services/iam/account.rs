//! What there is in the account.

use std::collections::BTreeMap;

use auth::{
    GROUP_INLINE_CHARACTERS, MANAGED_CHARACTERS, ROLE_INLINE_CHARACTERS, TRUST_CHARACTERS, USER_INLINE_CHARACTERS,
};

use super::*;

/// Counts and quotas of what is here; of the rest (devices, certificates, providers) nothing is said.
pub(super) async fn summary(
    service: &AccessManagement,
    _: &Call,
    _: GetAccountSummaryInput,
) -> Answer<GetAccountSummaryOutput> {
    let directory = service.directory();
    let count = |class| directory.entities(class).count();
    let versions: usize = directory.policies().map(|policy| policy.versions.len()).sum();
    let figures = [
        ("Users", count(Class::User)),
        ("UsersQuota", 5_000),
        ("Groups", count(Class::Group)),
        ("GroupsQuota", 300),
        ("GroupsPerUserQuota", 10),
        ("Roles", count(Class::Role)),
        ("RolesQuota", 1_000),
        ("Policies", directory.policies().count()),
        ("PoliciesQuota", 1_500),
        ("PolicyVersionsInUse", versions),
        ("VersionsPerPolicyQuota", 5),
        ("PolicySizeQuota", MANAGED_CHARACTERS),
        ("UserPolicySizeQuota", USER_INLINE_CHARACTERS),
        ("GroupPolicySizeQuota", GROUP_INLINE_CHARACTERS),
        ("RolePolicySizeQuota", ROLE_INLINE_CHARACTERS),
        ("AssumeRolePolicySizeQuota", TRUST_CHARACTERS),
        ("AttachedPoliciesPerUserQuota", 10),
        ("AttachedPoliciesPerGroupQuota", 10),
        ("AttachedPoliciesPerRoleQuota", 10),
        ("AccessKeysPerUserQuota", 2),
        ("AccountAccessKeysPresent", 1),
        ("AccountMFAEnabled", 0),
    ];
    let figure = |(name, number): (&str, usize)| (name.to_owned(), i32::try_from(number).unwrap_or(i32::MAX));
    let summary: BTreeMap<_, _> = figures.into_iter().map(figure).collect();
    Ok(GetAccountSummaryOutput { summary_map: Some(summary) })
}

/// An account has none here.
pub(super) async fn aliases(
    _: &AccessManagement,
    _: &Call,
    _: ListAccountAliasesInput,
) -> Answer<ListAccountAliasesOutput> {
    Ok(ListAccountAliasesOutput { is_truncated: Some(false), ..Default::default() })
}
