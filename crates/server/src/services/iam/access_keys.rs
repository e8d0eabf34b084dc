//! Users' access keys. A secret is in the answer that makes its key, and in no other.

use super::*;

fn status(active: bool) -> String {
    if active { "Active" } else { "Inactive" }.to_owned()
}

pub(super) async fn create(
    service: &AccessManagement,
    call: &Call,
    input: CreateAccessKeyInput,
) -> Answer<CreateAccessKeyOutput> {
    let user = user_or_caller(call, input.user_name.as_deref())?;
    let (key, secret) = service.identities.new_key(call.now).map_err(failed)?;
    let (id, of) = (key.id.clone(), user.clone());
    let directory = service.change(move |directory| directory.add_key(&of, key)).await?;
    let user = directory.entity(Class::User, &user).map_err(refused)?;
    let access_key = AccessKey {
        user_name: user.name.to_string(),
        access_key_id: id,
        status: status(true),
        secret_access_key: secret.to_string(),
        create_date: Some(call.now),
        ..Default::default()
    };
    Ok(CreateAccessKeyOutput { access_key, ..Default::default() })
}

pub(super) async fn list(
    service: &AccessManagement,
    call: &Call,
    input: ListAccessKeysInput,
) -> Answer<ListAccessKeysOutput> {
    let (directory, user) = (service.directory(), user_or_caller(call, input.user_name.as_deref())?);
    let user = directory.entity(Class::User, &user).map_err(refused)?;
    let Kind::User { keys, .. } = &user.kind else { return Ok(Default::default()) };
    let mut keys: Vec<_> = keys.iter().collect();
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    let page = part(keys, |key| key.id.clone(), input.max_items, input.marker.as_deref())?;
    let show = |key: &auth::directory::AccessKey| AccessKeyMetadata {
        user_name: Some(user.name.to_string()),
        access_key_id: Some(key.id.clone()),
        status: Some(status(key.active)),
        create_date: Some(key.created),
    };
    Ok(ListAccessKeysOutput {
        access_key_metadata: page.items.into_iter().map(show).collect(),
        is_truncated: page.is_truncated,
        marker: page.marker,
        ..Default::default()
    })
}

pub(super) async fn update(
    service: &AccessManagement,
    call: &Call,
    input: UpdateAccessKeyInput,
) -> Answer<UpdateAccessKeyOutput> {
    let user = user_or_caller(call, input.user_name.as_deref())?;
    let active = match &*input.status {
        "Active" => true,
        "Inactive" => false,
        // The model knows Expired, too, which is not for callers to set.
        other => return Err(ServiceError::new("InvalidInput", format!("A key's status cannot be set to {other}."))),
    };
    service.change(move |directory| directory.set_key_active(&user, &input.access_key_id, active)).await?;
    Ok(Default::default())
}

pub(super) async fn delete(
    service: &AccessManagement,
    call: &Call,
    input: DeleteAccessKeyInput,
) -> Answer<DeleteAccessKeyOutput> {
    let user = user_or_caller(call, input.user_name.as_deref())?;
    service.change(move |directory| directory.delete_key(&user, &input.access_key_id)).await?;
    Ok(Default::default())
}

pub(super) async fn last_used(
    service: &AccessManagement,
    _: &Call,
    input: GetAccessKeyLastUsedInput,
) -> Answer<GetAccessKeyLastUsedOutput> {
    let (id, directory) = (&input.access_key_id, service.directory());
    let holder = directory.key_holder(id).ok_or_else(|| {
        refused(DirectoryError::NoSuchEntity(format!("The Access Key with id {id:.128} cannot be found.")))
    })?;
    let used = match service.identities.last_use(id) {
        Some(used) => AccessKeyLastUsed {
            last_used_date: Some(used.at),
            service_name: used.service,
            region: used.region,
            ..Default::default()
        },
        None => AccessKeyLastUsed { service_name: "N/A".to_owned(), region: "N/A".to_owned(), ..Default::default() },
    };
    Ok(GetAccessKeyLastUsedOutput { user_name: Some(holder.name.to_string()), access_key_last_used: Some(used) })
}
