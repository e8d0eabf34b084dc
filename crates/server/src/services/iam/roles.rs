//! Roles.

use auth::directory::{Class, Kind};

use super::*;

/// How long a session may last where nobody says ("CreateRole", IAM API Reference).
const SESSION_SECONDS: u32 = 3_600;

fn show(service: &AccessManagement, directory: &Directory, name: &EntityName) -> Answer<Role> {
    let role = directory.entity(Class::Role, name).map_err(refused)?;
    let account = service.identities.account();
    // Of the role that is there now, not of one that had its name.
    let used = service.identities.last_use(&Identities::used_as(role)).filter(|used| used.at >= role.created);
    Ok(shown::role(account, role, used))
}

fn seconds(given: Option<i32>) -> Option<u32> {
    // The model has bounded it.
    given.and_then(|seconds| u32::try_from(seconds).ok())
}

pub(super) async fn create(
    service: &AccessManagement,
    call: &Call,
    input: CreateRoleInput,
) -> Answer<CreateRoleOutput> {
    let kind = Kind::Role {
        trust: input.assume_role_policy_document,
        max_session_seconds: seconds(input.max_session_duration).unwrap_or(SESSION_SECONDS),
        description: input.description,
    };
    let name = name(Class::Role, &input.role_name)?;
    let mut role = service.entity(call, name.clone(), input.path.as_deref(), "AROA", kind)?;
    role.boundary = input.permissions_boundary;
    role.tags = tags::of_new(input.tags)?;
    let directory = service.change(move |directory| directory.create(role)).await?;
    Ok(CreateRoleOutput { role: show(service, &directory, &name)?, ..Default::default() })
}

pub(super) async fn get(service: &AccessManagement, _: &Call, input: GetRoleInput) -> Answer<GetRoleOutput> {
    let name = name(Class::Role, &input.role_name)?;
    Ok(GetRoleOutput { role: show(service, &service.directory(), &name)?, ..Default::default() })
}

pub(super) async fn list(service: &AccessManagement, _: &Call, input: ListRolesInput) -> Answer<ListRolesOutput> {
    let directory = service.directory();
    let roles = directory.entities(Class::Role).filter(|role| is_below(&role.path, input.path_prefix.as_deref()));
    let page = part(roles.collect(), |role| role.name.key(), input.max_items, input.marker.as_deref())?;
    let account = service.identities.account();
    Ok(ListRolesOutput {
        roles: page.items.into_iter().map(|role| shown::listed_role(account, role)).collect(),
        is_truncated: page.is_truncated,
        marker: page.marker,
        ..Default::default()
    })
}

pub(super) async fn update(service: &AccessManagement, _: &Call, input: UpdateRoleInput) -> Answer<UpdateRoleOutput> {
    let name = name(Class::Role, &input.role_name)?;
    let (about, seconds) = (input.description, seconds(input.max_session_duration));
    service.change(move |directory| directory.update_role(&name, about.as_deref(), seconds)).await?;
    Ok(UpdateRoleOutput::default())
}

pub(super) async fn describe(
    service: &AccessManagement,
    _: &Call,
    input: UpdateRoleDescriptionInput,
) -> Answer<UpdateRoleDescriptionOutput> {
    let (role, about) = (name(Class::Role, &input.role_name)?, input.description);
    let of = role.clone();
    let directory = service.change(move |directory| directory.update_role(&of, Some(&about), None)).await?;
    Ok(UpdateRoleDescriptionOutput { role: Some(show(service, &directory, &role)?) })
}

pub(super) async fn trust(
    service: &AccessManagement,
    _: &Call,
    input: UpdateAssumeRolePolicyInput,
) -> Answer<UpdateAssumeRolePolicyOutput> {
    let role = name(Class::Role, &input.role_name)?;
    service.change(move |directory| directory.trust(&role, &input.policy_document)).await?;
    Ok(UpdateAssumeRolePolicyOutput::default())
}

pub(super) async fn delete(service: &AccessManagement, _: &Call, input: DeleteRoleInput) -> Answer<DeleteRoleOutput> {
    let role = name(Class::Role, &input.role_name)?;
    service.change(move |directory| directory.delete(Class::Role, &role)).await?;
    Ok(DeleteRoleOutput::default())
}
