//! Entities as answers show them.

use auth::directory::{CustomerPolicy, Directory, Entity, Kind};
use auth::{ManagedPolicy, managed_policies};
use base::AccountId;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use wire::iam::{AttachedPermissionsBoundary, Group, Policy, Role, RoleLastUsed, Tag, User};

use crate::identity::LastUse;

/// Documents are encoded as RFC 3986 has it ("PolicyVersion", IAM API Reference).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A policy's document.
pub(super) fn document(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Tags, or none where there are none: lists of entities leave them out.
pub(super) fn tags<'t>(tags: impl IntoIterator<Item = (&'t String, &'t String)>) -> Vec<Tag> {
    let tag = |(key, value): (&String, &String)| Tag { key: key.clone(), value: value.clone(), ..Tag::default() };
    tags.into_iter().map(tag).collect()
}

fn boundary(entity: &Entity) -> Option<AttachedPermissionsBoundary> {
    entity.boundary.clone().map(|arn| AttachedPermissionsBoundary {
        permissions_boundary_type: Some("Policy".to_owned()),
        permissions_boundary_arn: Some(arn),
    })
}

/// A user, without tags and boundary: as lists show them.
pub(super) fn listed_user(account: &AccountId, user: &Entity) -> User {
    User {
        path: user.path.to_string(),
        user_name: user.name.to_string(),
        user_id: user.id.clone(),
        arn: user.arn(account),
        create_date: user.created,
        ..User::default()
    }
}

/// A user.
pub(super) fn user(account: &AccountId, user: &Entity) -> User {
    let tags = (!user.tags.is_empty()).then(|| tags(&user.tags));
    User { permissions_boundary: boundary(user), tags, ..listed_user(account, user) }
}

/// A group.
pub(super) fn group(account: &AccountId, group: &Entity) -> Group {
    Group {
        path: group.path.to_string(),
        group_name: group.name.to_string(),
        group_id: group.id.clone(),
        arn: group.arn(account),
        create_date: group.created,
        ..Group::default()
    }
}

/// A role, without tags, boundary and last use: as lists show them.
pub(super) fn listed_role(account: &AccountId, role: &Entity) -> Role {
    let mut shown = Role {
        path: role.path.to_string(),
        role_name: role.name.to_string(),
        role_id: role.id.clone(),
        arn: role.arn(account),
        create_date: role.created,
        ..Role::default()
    };
    if let Kind::Role { trust, max_session_seconds, description } = &role.kind {
        shown.assume_role_policy_document = Some(document(trust));
        shown.max_session_duration = i32::try_from(*max_session_seconds).ok();
        shown.description = description.clone();
    }
    shown
}

/// A role.
pub(super) fn role(account: &AccountId, role: &Entity, used: Option<LastUse>) -> Role {
    let tags = (!role.tags.is_empty()).then(|| tags(&role.tags));
    let role_last_used = match used {
        Some(used) => RoleLastUsed { last_used_date: Some(used.at), region: Some(used.region) },
        None => RoleLastUsed::default(),
    };
    Role {
        permissions_boundary: boundary(role),
        tags,
        role_last_used: Some(role_last_used),
        ..listed_role(account, role)
    }
}

/// How many have a policy attached, and of how many it is the boundary.
fn uses(directory: &Directory, arn: &str) -> (Option<i32>, Option<i32>) {
    let (mut attached, mut bounds) = (0, 0);
    for entity in directory.users_of(arn) {
        attached += i32::from(entity.attached.contains(arn));
        bounds += i32::from(entity.boundary.as_deref() == Some(arn));
    }
    (Some(attached), Some(bounds))
}

/// A managed policy of the account's own, without its description and tags: as lists show it.
pub(super) fn listed_policy(directory: &Directory, account: &AccountId, policy: &CustomerPolicy) -> Policy {
    let arn = policy.arn(account);
    let (attachment_count, permissions_boundary_usage_count) = uses(directory, &arn);
    Policy {
        policy_name: Some(policy.name.to_string()),
        policy_id: Some(policy.id.clone()),
        arn: Some(arn),
        path: Some(policy.path.to_string()),
        default_version_id: Some(format!("v{}", policy.default)),
        attachment_count,
        permissions_boundary_usage_count,
        is_attachable: Some(true),
        create_date: Some(policy.created),
        update_date: Some(policy.updated),
        ..Policy::default()
    }
}

/// A managed policy of the account's own.
pub(super) fn policy(directory: &Directory, account: &AccountId, policy: &CustomerPolicy) -> Policy {
    let tags = (!policy.tags.is_empty()).then(|| tags(&policy.tags));
    Policy { description: policy.description.clone(), tags, ..listed_policy(directory, account, policy) }
}

/// A managed policy of AWS's own. Its id is not known here, and when it was made is shown as when it was changed last.
pub(super) fn aws_policy(directory: &Directory, policy: &ManagedPolicy) -> Policy {
    let arn = policy.arn();
    let (attachment_count, permissions_boundary_usage_count) = uses(directory, &arn);
    let updated = policy.updated.parse().ok();
    Policy {
        policy_name: Some(policy.name.clone()),
        arn: Some(arn),
        path: Some(policy.path.clone()),
        default_version_id: Some(policy.version.clone()),
        attachment_count,
        permissions_boundary_usage_count,
        is_attachable: Some(true),
        create_date: updated,
        update_date: updated,
        ..Policy::default()
    }
}

/// A managed policy of AWS's own, by its ARN.
pub(super) fn find_aws_policy(arn: &str) -> Option<&'static ManagedPolicy> {
    managed_policies().iter().find(|policy| policy.arn() == arn)
}
