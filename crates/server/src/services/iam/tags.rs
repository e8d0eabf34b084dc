//! Tags of users, roles and policies.

use std::collections::BTreeMap;

use auth::directory::tags_of;

use super::*;

/// The tags that something is made with.
pub(super) fn of_new(given: Option<Vec<Tag>>) -> Answer<BTreeMap<String, String>> {
    read(given.unwrap_or_default())
}

fn read(given: Vec<Tag>) -> Answer<BTreeMap<String, String>> {
    tags_of(given.into_iter().map(|tag| (tag.key, tag.value))).map_err(refused)
}

fn listed(tags: &BTreeMap<String, String>, max: Option<i32>, marker: Option<&str>) -> Answer<Page<Tag>> {
    part(shown::tags(tags), |tag| tag.key.clone(), max, marker)
}

/// The three operations of a class, whose inputs and outputs differ in names only.
macro_rules! operations {
    ($class:ident, $field:ident: $tag:ident($tag_in:ty) -> $tag_out:ty; $untag:ident($untag_in:ty) -> $untag_out:ty;
     $list:ident($list_in:ty) -> $list_out:ident) => {
        pub(super) async fn $tag(service: &AccessManagement, _: &Call, input: $tag_in) -> Answer<$tag_out> {
            let (of, tags) = (name(Class::$class, &input.$field)?, read(input.tags)?);
            service.change(move |directory| directory.tag(Class::$class, &of, tags)).await?;
            Ok(Default::default())
        }

        pub(super) async fn $untag(service: &AccessManagement, _: &Call, input: $untag_in) -> Answer<$untag_out> {
            let of = name(Class::$class, &input.$field)?;
            service.change(move |directory| directory.untag(Class::$class, &of, &input.tag_keys)).await?;
            Ok(Default::default())
        }

        pub(super) async fn $list(service: &AccessManagement, _: &Call, input: $list_in) -> Answer<$list_out> {
            let directory = service.directory();
            let entity = directory.entity(Class::$class, &name(Class::$class, &input.$field)?).map_err(refused)?;
            let page = listed(&entity.tags, input.max_items, input.marker.as_deref())?;
            let (is_truncated, marker) = (page.is_truncated, page.marker);
            Ok($list_out { tags: page.items, is_truncated, marker, ..Default::default() })
        }
    };
}

operations! {
    Role, role_name:
    tag_role(TagRoleInput) -> TagRoleOutput;
    untag_role(UntagRoleInput) -> UntagRoleOutput;
    list_of_role(ListRoleTagsInput) -> ListRoleTagsOutput
}
operations! {
    User, user_name:
    tag_user(TagUserInput) -> TagUserOutput;
    untag_user(UntagUserInput) -> UntagUserOutput;
    list_of_user(ListUserTagsInput) -> ListUserTagsOutput
}

pub(super) async fn tag_policy(service: &AccessManagement, _: &Call, input: TagPolicyInput) -> Answer<TagPolicyOutput> {
    let tags = read(input.tags)?;
    service.change(move |directory| directory.tag_policy(&input.policy_arn, tags)).await?;
    Ok(Default::default())
}

pub(super) async fn untag_policy(
    service: &AccessManagement,
    _: &Call,
    input: UntagPolicyInput,
) -> Answer<UntagPolicyOutput> {
    service.change(move |directory| directory.untag_policy(&input.policy_arn, &input.tag_keys)).await?;
    Ok(Default::default())
}

pub(super) async fn list_of_policy(
    service: &AccessManagement,
    _: &Call,
    input: ListPolicyTagsInput,
) -> Answer<ListPolicyTagsOutput> {
    let directory = service.directory();
    let policy = directory.policy(&input.policy_arn).map_err(refused)?;
    let page = listed(&policy.tags, input.max_items, input.marker.as_deref())?;
    let (is_truncated, marker) = (page.is_truncated, page.marker);
    Ok(ListPolicyTagsOutput { tags: page.items, is_truncated, marker, ..Default::default() })
}
