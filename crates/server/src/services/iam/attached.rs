//! Managed policies where they are attached.

use super::*;

/// The three operations of a class, whose inputs and outputs differ in names only.
macro_rules! operations {
    ($class:ident, $field:ident: $attach:ident($attach_in:ty) -> $attach_out:ty;
     $detach:ident($detach_in:ty) -> $detach_out:ty; $list:ident($list_in:ty) -> $list_out:ident) => {
        pub(super) async fn $attach(service: &AccessManagement, _: &Call, input: $attach_in) -> Answer<$attach_out> {
            let (of, arn) = (name(Class::$class, &input.$field)?, input.policy_arn);
            service.change(move |directory| directory.attach(Class::$class, &of, &arn)).await?;
            Ok(Default::default())
        }

        pub(super) async fn $detach(service: &AccessManagement, _: &Call, input: $detach_in) -> Answer<$detach_out> {
            let (of, arn) = (name(Class::$class, &input.$field)?, input.policy_arn);
            service.change(move |directory| directory.detach(Class::$class, &of, &arn)).await?;
            Ok(Default::default())
        }

        pub(super) async fn $list(service: &AccessManagement, _: &Call, input: $list_in) -> Answer<$list_out> {
            let directory = service.directory();
            let entity = directory.entity(Class::$class, &name(Class::$class, &input.$field)?).map_err(refused)?;
            let policies = attached(entity, input.path_prefix.as_deref());
            let page = part(policies, order, input.max_items, input.marker.as_deref())?;
            let (is_truncated, marker) = (page.is_truncated, page.marker);
            Ok($list_out { attached_policies: Some(page.items), is_truncated, marker })
        }
    };
}

operations! {
    Role, role_name:
    attach_to_role(AttachRolePolicyInput) -> AttachRolePolicyOutput;
    detach_from_role(DetachRolePolicyInput) -> DetachRolePolicyOutput;
    list_of_role(ListAttachedRolePoliciesInput) -> ListAttachedRolePoliciesOutput
}
operations! {
    User, user_name:
    attach_to_user(AttachUserPolicyInput) -> AttachUserPolicyOutput;
    detach_from_user(DetachUserPolicyInput) -> DetachUserPolicyOutput;
    list_of_user(ListAttachedUserPoliciesInput) -> ListAttachedUserPoliciesOutput
}
operations! {
    Group, group_name:
    attach_to_group(AttachGroupPolicyInput) -> AttachGroupPolicyOutput;
    detach_from_group(DetachGroupPolicyInput) -> DetachGroupPolicyOutput;
    list_of_group(ListAttachedGroupPoliciesInput) -> ListAttachedGroupPoliciesOutput
}

/// The policies of an entity in the order of their names; two of AWS's and the account's own may share one.
fn attached(entity: &Entity, prefix: Option<&str>) -> Vec<AttachedPolicy> {
    let is_meant = |arn: &&String| prefix.is_none_or(|prefix| path_of(arn).starts_with(prefix));
    let show = |arn: &String| AttachedPolicy {
        policy_name: arn.rsplit('/').next().map(str::to_owned),
        policy_arn: Some(arn.clone()),
    };
    let mut policies: Vec<_> = entity.attached.iter().filter(is_meant).map(show).collect();
    policies.sort_by_key(order);
    policies
}

fn order(policy: &AttachedPolicy) -> String {
    let is_aws = policy.policy_arn.as_deref().is_some_and(|arn| arn.starts_with("arn:aws:iam::aws:"));
    format!("{}/{is_aws}", policy.policy_name.as_deref().unwrap_or_default())
}

/// The path in a policy's ARN.
fn path_of(arn: &str) -> &str {
    let resource = arn.splitn(6, ':').nth(5).and_then(|resource| resource.strip_prefix("policy")).unwrap_or_default();
    resource.rfind('/').map_or("", |end| &resource[..=end])
}

pub(super) async fn entities(
    service: &AccessManagement,
    _: &Call,
    input: ListEntitiesForPolicyInput,
) -> Answer<ListEntitiesForPolicyOutput> {
    let (arn, directory) = (&input.policy_arn, service.directory());
    if shown::find_aws_policy(arn).is_none() {
        directory.policy(arn).map_err(refused)?;
    }
    let class = match input.entity_filter.as_deref() {
        None => None,
        Some("User") => Some(Class::User),
        Some("Group") => Some(Class::Group),
        Some("Role") => Some(Class::Role),
        Some(other) => {
            return Err(invalid(format!("EntityFilter {other} does not name entities: use User, Group or Role")));
        }
    };
    let is_meant = |entity: &&Arc<Entity>| {
        let used = match input.policy_usage_filter.as_deref() {
            Some("PermissionsBoundary") => entity.boundary.as_ref() == Some(arn),
            Some(_) => entity.attached.contains(arn),
            None => true,
        };
        used && class.is_none_or(|class| entity.class() == class)
            && is_below(&entity.path, input.path_prefix.as_deref())
    };
    let order = |entity: &&Arc<Entity>| format!("{}/{}", entity.class(), entity.name.key());
    let mut all: Vec<_> = directory.users_of(arn).filter(is_meant).collect();
    all.sort_by_key(order);
    let page = part(all, order, input.max_items, input.marker.as_deref())?;
    let (mut users, mut groups, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    for entity in page.items {
        let (name, id) = (Some(entity.name.to_string()), Some(entity.id.clone()));
        match entity.class() {
            Class::User => users.push(PolicyUser { user_name: name, user_id: id }),
            Class::Group => groups.push(PolicyGroup { group_name: name, group_id: id }),
            Class::Role => roles.push(PolicyRole { role_name: name, role_id: id }),
        }
    }
    Ok(ListEntitiesForPolicyOutput {
        policy_users: Some(users),
        policy_groups: Some(groups),
        policy_roles: Some(roles),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}
