//! Groups and who is in them.

use super::*;

pub(super) async fn create(
    service: &AccessManagement,
    call: &Call,
    input: CreateGroupInput,
) -> Answer<CreateGroupOutput> {
    let name = name(Class::Group, &input.group_name)?;
    let group = service.entity(call, name.clone(), input.path.as_deref(), "AGPA", Kind::Group)?;
    let directory = service.change(move |directory| directory.create(group)).await?;
    let group = directory.entity(Class::Group, &name).map_err(refused)?;
    Ok(CreateGroupOutput { group: shown::group(service.identities.account(), group), ..Default::default() })
}

/// The group and a page of its users.
pub(super) async fn get(service: &AccessManagement, _: &Call, input: GetGroupInput) -> Answer<GetGroupOutput> {
    let (directory, account) = (service.directory(), service.identities.account());
    let group = directory.entity(Class::Group, &name(Class::Group, &input.group_name)?).map_err(refused)?;
    let users = directory.members(&group.name).collect();
    let page = part(users, |user: &&Arc<Entity>| user.name.key(), input.max_items, input.marker.as_deref())?;
    Ok(GetGroupOutput {
        group: shown::group(account, group),
        users: page.items.into_iter().map(|user| shown::listed_user(account, user)).collect(),
        is_truncated: page.is_truncated,
        marker: page.marker,
        ..Default::default()
    })
}

pub(super) async fn list(service: &AccessManagement, _: &Call, input: ListGroupsInput) -> Answer<ListGroupsOutput> {
    let (directory, account) = (service.directory(), service.identities.account());
    let groups = directory.entities(Class::Group).filter(|group| is_below(&group.path, input.path_prefix.as_deref()));
    let page = part(groups.collect(), |group| group.name.key(), input.max_items, input.marker.as_deref())?;
    Ok(ListGroupsOutput {
        groups: page.items.into_iter().map(|group| shown::group(account, group)).collect(),
        is_truncated: page.is_truncated,
        marker: page.marker,
        ..Default::default()
    })
}

pub(super) async fn list_of_user(
    service: &AccessManagement,
    _: &Call,
    input: ListGroupsForUserInput,
) -> Answer<ListGroupsForUserOutput> {
    let (directory, account) = (service.directory(), service.identities.account());
    let user = directory.entity(Class::User, &name(Class::User, &input.user_name)?).map_err(refused)?;
    let Kind::User { groups: of, .. } = &user.kind else { return Ok(Default::default()) };
    let groups = directory.entities(Class::Group).filter(|group| of.contains(&group.name.key()));
    let page = part(groups.collect(), |group| group.name.key(), input.max_items, input.marker.as_deref())?;
    Ok(ListGroupsForUserOutput {
        groups: page.items.into_iter().map(|group| shown::group(account, group)).collect(),
        is_truncated: page.is_truncated,
        marker: page.marker,
        ..Default::default()
    })
}

pub(super) async fn update(service: &AccessManagement, _: &Call, input: UpdateGroupInput) -> Answer<UpdateGroupOutput> {
    let group = name(Class::Group, &input.group_name)?;
    let new_name = input.new_group_name.as_deref().map(|new| name(Class::Group, new)).transpose()?;
    let new_path = input.new_path.as_deref().map(|new| EntityPath::of(Some(new))).transpose().map_err(refused)?;
    service.change(move |directory| directory.rename(Class::Group, &group, new_name, new_path)).await?;
    Ok(Default::default())
}

pub(super) async fn delete(service: &AccessManagement, _: &Call, input: DeleteGroupInput) -> Answer<DeleteGroupOutput> {
    let group = name(Class::Group, &input.group_name)?;
    service.change(move |directory| directory.delete(Class::Group, &group)).await?;
    Ok(Default::default())
}

pub(super) async fn join(
    service: &AccessManagement,
    _: &Call,
    input: AddUserToGroupInput,
) -> Answer<AddUserToGroupOutput> {
    let (user, group) = (name(Class::User, &input.user_name)?, name(Class::Group, &input.group_name)?);
    service.change(move |directory| directory.join(&user, &group)).await?;
    Ok(Default::default())
}

pub(super) async fn leave(
    service: &AccessManagement,
    _: &Call,
    input: RemoveUserFromGroupInput,
) -> Answer<RemoveUserFromGroupOutput> {
    let (user, group) = (name(Class::User, &input.user_name)?, name(Class::Group, &input.group_name)?);
    service.change(move |directory| directory.leave(&user, &group)).await?;
    Ok(Default::default())
}
