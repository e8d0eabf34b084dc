//! Users.

use std::collections::BTreeSet;

use super::*;

pub(super) async fn create(
    service: &AccessManagement,
    call: &Call,
    input: CreateUserInput,
) -> Answer<CreateUserOutput> {
    let name = name(Class::User, &input.user_name)?;
    let kind = Kind::User { groups: BTreeSet::new(), keys: Vec::new() };
    let mut user = service.entity(call, name.clone(), input.path.as_deref(), "AIDA", kind)?;
    user.boundary = input.permissions_boundary;
    user.tags = tags::of_new(input.tags)?;
    let directory = service.change(move |directory| directory.create(user)).await?;
    let user = directory.entity(Class::User, &name).map_err(refused)?;
    Ok(CreateUserOutput { user: Some(shown::user(service.identities.account(), user)) })
}

pub(super) async fn get(service: &AccessManagement, call: &Call, input: GetUserInput) -> Answer<GetUserOutput> {
    let directory = service.directory();
    let name = user_or_caller(call, input.user_name.as_deref())?;
    let user = directory.entity(Class::User, &name).map_err(refused)?;
    Ok(GetUserOutput { user: shown::user(service.identities.account(), user), ..Default::default() })
}

pub(super) async fn list(service: &AccessManagement, _: &Call, input: ListUsersInput) -> Answer<ListUsersOutput> {
    let directory = service.directory();
    let users = directory.entities(Class::User).filter(|user| is_below(&user.path, input.path_prefix.as_deref()));
    let page = part(users.collect(), |user| user.name.key(), input.max_items, input.marker.as_deref())?;
    let account = service.identities.account();
    Ok(ListUsersOutput {
        users: page.items.into_iter().map(|user| shown::listed_user(account, user)).collect(),
        is_truncated: page.is_truncated,
        marker: page.marker,
        ..Default::default()
    })
}

pub(super) async fn update(service: &AccessManagement, _: &Call, input: UpdateUserInput) -> Answer<UpdateUserOutput> {
    let user = name(Class::User, &input.user_name)?;
    let new_name = input.new_user_name.as_deref().map(|new| name(Class::User, new)).transpose()?;
    let new_path = input.new_path.as_deref().map(|new| EntityPath::of(Some(new))).transpose().map_err(refused)?;
    service.change(move |directory| directory.rename(Class::User, &user, new_name, new_path)).await?;
    Ok(Default::default())
}

pub(super) async fn delete(service: &AccessManagement, _: &Call, input: DeleteUserInput) -> Answer<DeleteUserOutput> {
    let user = name(Class::User, &input.user_name)?;
    service.change(move |directory| directory.delete(Class::User, &user)).await?;
    Ok(Default::default())
}
