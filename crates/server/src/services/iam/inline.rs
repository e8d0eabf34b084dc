//! Policies inside users, groups and roles.

use super::*;

/// The four operations of a class, whose inputs and outputs differ in names only.
macro_rules! operations {
    ($class:ident, $field:ident: $put:ident($put_in:ty) -> $put_out:ty; $get:ident($get_in:ty) -> $get_out:ident;
     $list:ident($list_in:ty) -> $list_out:ident; $delete:ident($delete_in:ty) -> $delete_out:ty) => {
        pub(super) async fn $put(service: &AccessManagement, _: &Call, input: $put_in) -> Answer<$put_out> {
            put(service, Class::$class, &input.$field, &input.policy_name, input.policy_document).await?;
            Ok(Default::default())
        }

        pub(super) async fn $get(service: &AccessManagement, _: &Call, input: $get_in) -> Answer<$get_out> {
            let ($field, policy_name, policy_document) =
                get(service, Class::$class, &input.$field, &input.policy_name)?;
            Ok($get_out { $field, policy_name, policy_document, ..Default::default() })
        }

        pub(super) async fn $list(service: &AccessManagement, _: &Call, input: $list_in) -> Answer<$list_out> {
            let (max, marker) = (input.max_items, input.marker.as_deref());
            let Page { items, is_truncated, marker } = list(service, Class::$class, &input.$field, max, marker)?;
            Ok($list_out { policy_names: items, is_truncated, marker, ..Default::default() })
        }

        pub(super) async fn $delete(service: &AccessManagement, _: &Call, input: $delete_in) -> Answer<$delete_out> {
            delete(service, Class::$class, &input.$field, &input.policy_name).await?;
            Ok(Default::default())
        }
    };
}

operations! {
    Role, role_name:
    put_of_role(PutRolePolicyInput) -> PutRolePolicyOutput;
    get_of_role(GetRolePolicyInput) -> GetRolePolicyOutput;
    list_of_role(ListRolePoliciesInput) -> ListRolePoliciesOutput;
    delete_of_role(DeleteRolePolicyInput) -> DeleteRolePolicyOutput
}
operations! {
    User, user_name:
    put_of_user(PutUserPolicyInput) -> PutUserPolicyOutput;
    get_of_user(GetUserPolicyInput) -> GetUserPolicyOutput;
    list_of_user(ListUserPoliciesInput) -> ListUserPoliciesOutput;
    delete_of_user(DeleteUserPolicyInput) -> DeleteUserPolicyOutput
}
operations! {
    Group, group_name:
    put_of_group(PutGroupPolicyInput) -> PutGroupPolicyOutput;
    get_of_group(GetGroupPolicyInput) -> GetGroupPolicyOutput;
    list_of_group(ListGroupPoliciesInput) -> ListGroupPoliciesOutput;
    delete_of_group(DeleteGroupPolicyInput) -> DeleteGroupPolicyOutput
}

async fn put(service: &AccessManagement, class: Class, of: &str, policy: &str, document: String) -> Answer<()> {
    let (of, policy) = (name(class, of)?, policy_name(policy)?);
    service.change(move |directory| directory.put_inline(class, &of, &policy, &document)).await.map(drop)
}

fn get(service: &AccessManagement, class: Class, of: &str, policy: &str) -> Answer<(String, String, String)> {
    let (of, policy, directory) = (name(class, of)?, policy_name(policy)?, service.directory());
    let entity = directory.entity(class, &of).map_err(refused)?;
    let found = entity.inline.get_key_value(&policy).ok_or_else(|| {
        let message = format!("The {class} policy with name {policy} cannot be found.");
        refused(DirectoryError::NoSuchEntity(message))
    })?;
    Ok((entity.name.to_string(), found.0.to_string(), shown::document(found.1)))
}

fn list(
    service: &AccessManagement,
    class: Class,
    of: &str,
    max: Option<i32>,
    marker: Option<&str>,
) -> Answer<Page<String>> {
    let (of, directory) = (name(class, of)?, service.directory());
    let entity = directory.entity(class, &of).map_err(refused)?;
    part(entity.inline.keys().map(EntityName::to_string).collect(), String::clone, max, marker)
}

async fn delete(service: &AccessManagement, class: Class, of: &str, policy: &str) -> Answer<()> {
    let (of, policy) = (name(class, of)?, policy_name(policy)?);
    service.change(move |directory| directory.delete_inline(class, &of, &policy)).await.map(drop)
}
