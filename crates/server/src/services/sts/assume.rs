//! AssumeRole: what is asked for is read, decided, and becomes a session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use auth::directory::{Class, Directory, Entity, EntityName, Kind, tags_of};
use auth::{Attached, Policy, PolicyError, PolicyKind, SESSION_CHARACTERS};
use base::{Arn, Principal};
use wire::sts::{AssumeRoleInput, AssumeRoleOutput, AssumedRoleUser};
use wire::{Call, ServiceError, only};

use super::{SERVICE, TokenService, denied, invalid, shown, trust};
use crate::auth::{Made, Session};

/// What is executed; a source identity, devices and contexts of other providers are refused by name.
const KNOWN: &[&str] = &[
    "DurationSeconds",
    "ExternalId",
    "Policy",
    "PolicyArns",
    "RoleArn",
    "RoleSessionName",
    "Tags",
    "TransitiveTagKeys",
];
/// How long a session is good for where nobody says, and the longest that a session of a role may make ("AssumeRole", AWS
/// STS API Reference).
const SECONDS: u32 = 3_600;
/// "IAM and AWS STS quotas" (IAM User Guide).
const MANAGED_POLICIES: usize = 10;

pub(super) fn role(
    service: &TokenService,
    call: &Call,
    input: AssumeRoleInput,
) -> Result<AssumeRoleOutput, ServiceError> {
    only(SERVICE, &input, KNOWN)?;
    if call.principal == Principal::Root {
        return Err(denied("Roles may not be assumed by root accounts."));
    }
    let (directory, account) = (service.identities.directory(), service.identities.account());
    let own = service.session_of(call);
    let tags = tags(&input, own.as_deref())?;
    let asked = trust::Asked { call, input: &input, tags: &tags, session: own.as_deref() };
    let role = find(&directory, service, &input.role_arn).filter(|role| asked.is_allowed(service, role));
    let role = role.ok_or_else(|| trust::denial(call, &input.role_arn))?;
    let (role_arn, name) = (role.arn(account), input.role_session_name.clone());
    let seconds = seconds(&input, role, &call.principal)?;
    let made = Made {
        principal: Principal::Session {
            role: role_arn.parse().map_err(|_| trust::denial(call, &input.role_arn))?,
            role_id: role.id.clone(),
            name: name.clone(),
        },
        lifetime: Duration::from_secs(seconds.into()),
        policies: policies(&directory, &input)?,
        transitive: tags.transitive,
        tags: tags.all.into_iter().collect(),
    };
    let user = AssumedRoleUser {
        assumed_role_id: made.principal.id(account),
        arn: made.principal.arn(account),
        ..Default::default()
    };
    let credentials = Some(shown(service.make(made)?));
    Ok(AssumeRoleOutput { credentials, assumed_role_user: Some(user), ..Default::default() })
}

fn find<'d>(directory: &'d Directory, service: &TokenService, arn: &str) -> Option<&'d Arc<Entity>> {
    let parsed: Arn = arn.parse().ok()?;
    let name = EntityName::of(Class::Role, parsed.resource_of("role")?.rsplit('/').next()?).ok()?;
    let role = directory.entity(Class::Role, &name).ok()?;
    (role.arn(service.identities.account()) == arn).then_some(role)
}

fn seconds(input: &AssumeRoleInput, role: &Entity, caller: &Principal) -> Result<u32, ServiceError> {
    let asked = input.duration_seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(SECONDS);
    let most = if let Kind::Role { max_session_seconds, .. } = &role.kind { *max_session_seconds } else { SECONDS };
    if asked > most {
        return Err(invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    if asked > SECONDS && matches!(caller, Principal::Session { .. }) {
        let message =
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err(invalid(message));
    }
    Ok(asked)
}

/// The tags of the session to be.
pub(super) struct Tags {
    /// Those that the call gives.
    pub given: BTreeMap<String, String>,
    /// With those that the caller's own session hands on.
    pub all: BTreeMap<String, String>,
    /// The keys of those that go on to the next session.
    pub transitive: Vec<String>,
}

fn tags(input: &AssumeRoleInput, own: Option<&Session>) -> Result<Tags, ServiceError> {
    let given = input.tags.iter().flatten().map(|tag| (tag.key.clone(), tag.value.clone()));
    let given = tags_of(given).map_err(|error| invalid(error.to_string()))?;
    let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
    let mut transitive = input.transitive_tag_keys.clone().unwrap_or_default();
    if let Some(key) = transitive.iter().find(|key| !given.keys().any(|tag| same(tag, key))) {
        return Err(invalid(format!("The transitive tag key {key} is not among the session's tags.")));
    }
    let mut all = given.clone();
    for key in own.map(|own| &own.transitive).into_iter().flatten() {
        // What was handed on cannot be given another value.
        if given.keys().any(|tag| same(tag, key)) {
            return Err(invalid(format!("The tag {key} was handed on by the caller's session and cannot be set.")));
        }
        let value = own.and_then(|own| own.tags.iter().find(|(tag, _)| same(tag, key)));
        all.extend(value.cloned());
        transitive.push(key.clone());
    }
    Ok(Tags { given, all, transitive })
}

/// The session's own policies; none where none are given.
fn policies(directory: &Directory, input: &AssumeRoleInput) -> Result<Option<Vec<Attached>>, ServiceError> {
    let arns: Vec<&str> = input.policy_arns.iter().flatten().filter_map(|policy| policy.arn.as_deref()).collect();
    if input.policy.is_none() && arns.is_empty() {
        return Ok(None);
    }
    if arns.len() > MANAGED_POLICIES {
        return Err(invalid(format!("A session has {MANAGED_POLICIES} managed policies at most.")));
    }
    let malformed = |error: PolicyError| ServiceError::new("MalformedPolicyDocument", error.to_string());
    let mut policies = Vec::new();
    if let Some(text) = &input.policy {
        if text.chars().count() > SESSION_CHARACTERS {
            let message = format!("The session policy is longer than {SESSION_CHARACTERS} characters.");
            return Err(ServiceError::new("PackedPolicyTooLarge", message));
        }
        let policy = Policy::parse(PolicyKind::Session, text).map_err(malformed)?;
        policies.push(Attached { name: "session policy".into(), policy: Arc::new(policy) });
    }
    for arn in arns {
        policies.push(directory.managed(arn).map_err(|error| invalid(error.to_string()))?);
    }
    Ok(Some(policies))
}
