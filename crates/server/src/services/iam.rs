//! IAM: users, groups, roles, their keys and policies.
//!
//! Owns the translation between the wire and the directory of `identity`. Promises that what is answered is durable, and
//! that a secret is in one answer and in no other. Must not know what an entity may hold or who may call what: the first
//! are the directory's rules, the second is decided before a call comes here.

mod access_keys;
mod account;
mod attached;
mod boundaries;
mod groups;
mod inline;
mod managed;
mod roles;
mod shown;
mod simulate;
mod tags;
mod users;

use std::sync::Arc;

use async_trait::async_trait;
use auth::directory::{Change, Class, Directory, DirectoryError, Entity, EntityName, EntityPath, Kind};
use base::Principal;
use wire::iam::*;
use wire::{Call, ServiceError, ServiceId};

use super::page::page;
use crate::identity::{Identities, IdentityError};

const SERVICE: ServiceId = ServiceId::Iam;
/// Items of a page where a call does not say ("MaxItems", IAM API Reference).
const PAGE: usize = 100;

type Answer<T> = Result<T, ServiceError>;

/// The service.
pub(crate) struct AccessManagement {
    identities: Identities,
}

/// A part of a list.
struct Page<T> {
    items: Vec<T>,
    is_truncated: Option<bool>,
    marker: Option<String>,
}

impl AccessManagement {
    pub fn new(identities: Identities) -> Arc<Self> {
        Arc::new(Self { identities })
    }

    fn directory(&self) -> Arc<Directory> {
        self.identities.directory()
    }

    async fn change(
        &self,
        step: impl FnOnce(&Directory) -> Result<Vec<Change>, DirectoryError> + Send + 'static,
    ) -> Answer<Arc<Directory>> {
        self.identities.change(step).await.map_err(failed)
    }

    /// An entity with nothing attached to it.
    fn entity(&self, call: &Call, name: EntityName, path: Option<&str>, prefix: &str, kind: Kind) -> Answer<Entity> {
        Ok(Entity {
            name,
            path: EntityPath::of(path).map_err(refused)?,
            id: self.identities.unique_id(prefix),
            created: call.now,
            inline: Default::default(),
            attached: Default::default(),
            boundary: None,
            tags: Default::default(),
            kind,
        })
    }
}

fn refused(error: DirectoryError) -> ServiceError {
    // The status is the one that the model has for the code.
    ServiceError::new(error.code(), error.to_string())
}

fn failed(error: IdentityError) -> ServiceError {
    match error {
        IdentityError::Refused(error) => refused(error),
        error => ServiceError::from_kinded(SERVICE, &error),
    }
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new("ValidationError", message)
}

fn name(class: Class, text: &str) -> Answer<EntityName> {
    EntityName::of(class, text).map_err(refused)
}

fn policy_name(text: &str) -> Answer<EntityName> {
    EntityName::of_policy(text).map_err(refused)
}

/// The user that a call names, or who calls.
fn user_or_caller(call: &Call, text: Option<&str>) -> Answer<EntityName> {
    match (text, &call.principal) {
        (Some(text), _) => name(Class::User, text),
        (None, Principal::User { arn, .. }) => name(Class::User, arn.resource().rsplit('/').next().unwrap_or_default()),
        (None, _) => Err(invalid("Must specify userName when calling with non-User credentials")),
    }
}

/// The page that a call asks for of what `key` orders.
fn part<T>(items: Vec<T>, key: impl Fn(&T) -> String, max: Option<i32>, marker: Option<&str>) -> Answer<Page<T>> {
    let limit = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAGE);
    let (items, marker) = page(items, key, limit, marker)
        .map_err(|_| invalid("Invalid Marker: it is not one of this listing; list again from the start"))?;
    Ok(Page { items, is_truncated: Some(marker.is_some()), marker })
}

/// Whether a path is below a prefix, if one is given.
fn is_below(path: &EntityPath, prefix: Option<&str>) -> bool {
    prefix.is_none_or(|prefix| path.as_str().starts_with(prefix))
}

/// Each operation and the function that does it.
macro_rules! operations {
    ($($method:ident($input:ty) -> $output:ty: $module:ident::$does:ident;)+) => {
        #[async_trait]
        impl Iam for AccessManagement {
            $(async fn $method(&self, call: &Call, input: $input) -> Answer<$output> {
                $module::$does(self, call, input).await
            })+
        }
    };
}

operations! {
    create_role(CreateRoleInput) -> CreateRoleOutput: roles::create;
    get_role(GetRoleInput) -> GetRoleOutput: roles::get;
    list_roles(ListRolesInput) -> ListRolesOutput: roles::list;
    update_role(UpdateRoleInput) -> UpdateRoleOutput: roles::update;
    update_role_description(UpdateRoleDescriptionInput) -> UpdateRoleDescriptionOutput: roles::describe;
    update_assume_role_policy(UpdateAssumeRolePolicyInput) -> UpdateAssumeRolePolicyOutput: roles::trust;
    delete_role(DeleteRoleInput) -> DeleteRoleOutput: roles::delete;

    put_role_policy(PutRolePolicyInput) -> PutRolePolicyOutput: inline::put_of_role;
    get_role_policy(GetRolePolicyInput) -> GetRolePolicyOutput: inline::get_of_role;
    list_role_policies(ListRolePoliciesInput) -> ListRolePoliciesOutput: inline::list_of_role;
    delete_role_policy(DeleteRolePolicyInput) -> DeleteRolePolicyOutput: inline::delete_of_role;
    put_user_policy(PutUserPolicyInput) -> PutUserPolicyOutput: inline::put_of_user;
    get_user_policy(GetUserPolicyInput) -> GetUserPolicyOutput: inline::get_of_user;
    list_user_policies(ListUserPoliciesInput) -> ListUserPoliciesOutput: inline::list_of_user;
    delete_user_policy(DeleteUserPolicyInput) -> DeleteUserPolicyOutput: inline::delete_of_user;
    put_group_policy(PutGroupPolicyInput) -> PutGroupPolicyOutput: inline::put_of_group;
    get_group_policy(GetGroupPolicyInput) -> GetGroupPolicyOutput: inline::get_of_group;
    list_group_policies(ListGroupPoliciesInput) -> ListGroupPoliciesOutput: inline::list_of_group;
    delete_group_policy(DeleteGroupPolicyInput) -> DeleteGroupPolicyOutput: inline::delete_of_group;

    attach_role_policy(AttachRolePolicyInput) -> AttachRolePolicyOutput: attached::attach_to_role;
    detach_role_policy(DetachRolePolicyInput) -> DetachRolePolicyOutput: attached::detach_from_role;
    list_attached_role_policies(ListAttachedRolePoliciesInput) -> ListAttachedRolePoliciesOutput: attached::list_of_role;
    attach_user_policy(AttachUserPolicyInput) -> AttachUserPolicyOutput: attached::attach_to_user;
    detach_user_policy(DetachUserPolicyInput) -> DetachUserPolicyOutput: attached::detach_from_user;
    list_attached_user_policies(ListAttachedUserPoliciesInput) -> ListAttachedUserPoliciesOutput: attached::list_of_user;
    attach_group_policy(AttachGroupPolicyInput) -> AttachGroupPolicyOutput: attached::attach_to_group;
    detach_group_policy(DetachGroupPolicyInput) -> DetachGroupPolicyOutput: attached::detach_from_group;
    list_attached_group_policies(ListAttachedGroupPoliciesInput) -> ListAttachedGroupPoliciesOutput: attached::list_of_group;

    put_role_permissions_boundary(PutRolePermissionsBoundaryInput) -> PutRolePermissionsBoundaryOutput: boundaries::put_on_role;
    delete_role_permissions_boundary(DeleteRolePermissionsBoundaryInput) -> DeleteRolePermissionsBoundaryOutput: boundaries::delete_of_role;
    put_user_permissions_boundary(PutUserPermissionsBoundaryInput) -> PutUserPermissionsBoundaryOutput: boundaries::put_on_user;
    delete_user_permissions_boundary(DeleteUserPermissionsBoundaryInput) -> DeleteUserPermissionsBoundaryOutput: boundaries::delete_of_user;

    create_user(CreateUserInput) -> CreateUserOutput: users::create;
    get_user(GetUserInput) -> GetUserOutput: users::get;
    list_users(ListUsersInput) -> ListUsersOutput: users::list;
    update_user(UpdateUserInput) -> UpdateUserOutput: users::update;
    delete_user(DeleteUserInput) -> DeleteUserOutput: users::delete;
    create_group(CreateGroupInput) -> CreateGroupOutput: groups::create;
    get_group(GetGroupInput) -> GetGroupOutput: groups::get;
    list_groups(ListGroupsInput) -> ListGroupsOutput: groups::list;
    list_groups_for_user(ListGroupsForUserInput) -> ListGroupsForUserOutput: groups::list_of_user;
    update_group(UpdateGroupInput) -> UpdateGroupOutput: groups::update;
    delete_group(DeleteGroupInput) -> DeleteGroupOutput: groups::delete;
    add_user_to_group(AddUserToGroupInput) -> AddUserToGroupOutput: groups::join;
    remove_user_from_group(RemoveUserFromGroupInput) -> RemoveUserFromGroupOutput: groups::leave;
    create_access_key(CreateAccessKeyInput) -> CreateAccessKeyOutput: access_keys::create;
    list_access_keys(ListAccessKeysInput) -> ListAccessKeysOutput: access_keys::list;
    update_access_key(UpdateAccessKeyInput) -> UpdateAccessKeyOutput: access_keys::update;
    delete_access_key(DeleteAccessKeyInput) -> DeleteAccessKeyOutput: access_keys::delete;

    get_access_key_last_used(GetAccessKeyLastUsedInput) -> GetAccessKeyLastUsedOutput: access_keys::last_used;

    create_policy(CreatePolicyInput) -> CreatePolicyOutput: managed::create;
    get_policy(GetPolicyInput) -> GetPolicyOutput: managed::get;
    list_policies(ListPoliciesInput) -> ListPoliciesOutput: managed::list;
    delete_policy(DeletePolicyInput) -> DeletePolicyOutput: managed::delete;
    create_policy_version(CreatePolicyVersionInput) -> CreatePolicyVersionOutput: managed::add_version;
    get_policy_version(GetPolicyVersionInput) -> GetPolicyVersionOutput: managed::get_version;
    list_policy_versions(ListPolicyVersionsInput) -> ListPolicyVersionsOutput: managed::list_versions;
    set_default_policy_version(SetDefaultPolicyVersionInput) -> SetDefaultPolicyVersionOutput: managed::set_default;
    delete_policy_version(DeletePolicyVersionInput) -> DeletePolicyVersionOutput: managed::delete_version;
    list_entities_for_policy(ListEntitiesForPolicyInput) -> ListEntitiesForPolicyOutput: attached::entities;

    tag_role(TagRoleInput) -> TagRoleOutput: tags::tag_role;
    untag_role(UntagRoleInput) -> UntagRoleOutput: tags::untag_role;
    list_role_tags(ListRoleTagsInput) -> ListRoleTagsOutput: tags::list_of_role;
    tag_user(TagUserInput) -> TagUserOutput: tags::tag_user;
    untag_user(UntagUserInput) -> UntagUserOutput: tags::untag_user;
    list_user_tags(ListUserTagsInput) -> ListUserTagsOutput: tags::list_of_user;
    tag_policy(TagPolicyInput) -> TagPolicyOutput: tags::tag_policy;
    untag_policy(UntagPolicyInput) -> UntagPolicyOutput: tags::untag_policy;
    list_policy_tags(ListPolicyTagsInput) -> ListPolicyTagsOutput: tags::list_of_policy;

    simulate_principal_policy(SimulatePrincipalPolicyInput) -> SimulatePrincipalPolicyOutput: simulate::principal;
    simulate_custom_policy(SimulateCustomPolicyInput) -> SimulateCustomPolicyOutput: simulate::custom;
    get_context_keys_for_principal_policy(GetContextKeysForPrincipalPolicyInput) -> GetContextKeysForPrincipalPolicyOutput: simulate::keys_of_principal;
    get_context_keys_for_custom_policy(GetContextKeysForCustomPolicyInput) -> GetContextKeysForCustomPolicyOutput: simulate::keys_of_custom;
    get_account_summary(GetAccountSummaryInput) -> GetAccountSummaryOutput: account::summary;
    list_account_aliases(ListAccountAliasesInput) -> ListAccountAliasesOutput: account::aliases;
}
