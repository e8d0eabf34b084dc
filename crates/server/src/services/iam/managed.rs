//! Managed policies: the account's own with their versions, and AWS's.

use std::collections::BTreeMap;

use auth::directory::{CustomerPolicy, PolicyVersion as Version};
use auth::{ManagedPolicy, managed_policies};

use super::*;

/// A managed policy of the one kind or the other.
enum Managed<'d> {
    Own(&'d CustomerPolicy),
    Aws(&'static ManagedPolicy),
}

/// The policy of an ARN.
fn find<'d>(directory: &'d Directory, arn: &str) -> Answer<Managed<'d>> {
    match shown::find_aws_policy(arn) {
        Some(policy) => Ok(Managed::Aws(policy)),
        None => directory.policy(arn).map(|policy| Managed::Own(policy)).map_err(refused),
    }
}

/// The ARN of a policy that can be changed.
fn own(arn: String) -> Answer<String> {
    match shown::find_aws_policy(&arn) {
        Some(_) => Err(ServiceError::new("AccessDenied", format!("Policy {arn} is AWS's own and cannot be changed."))
            .with_status(403)),
        None => Ok(arn),
    }
}

fn no_version(arn: &str, version: &str) -> ServiceError {
    let message = format!("Policy {arn} version {version} does not exist or is not attachable.");
    refused(DirectoryError::NoSuchEntity(message))
}

/// The number of a version's id, such as `v2`.
fn number(arn: &str, id: &str) -> Answer<u32> {
    id.strip_prefix('v').and_then(|digits| digits.parse().ok()).ok_or_else(|| no_version(arn, id))
}

fn show(number: u32, version: &Version, policy: &CustomerPolicy) -> PolicyVersion {
    PolicyVersion {
        version_id: Some(format!("v{number}")),
        is_default_version: Some(policy.default == number),
        create_date: Some(version.created),
        document: None,
    }
}

fn show_aws(policy: &ManagedPolicy) -> PolicyVersion {
    PolicyVersion {
        version_id: Some(policy.version.clone()),
        is_default_version: Some(true),
        create_date: policy.updated.parse().ok(),
        document: None,
    }
}

pub(super) async fn create(
    service: &AccessManagement,
    call: &Call,
    input: CreatePolicyInput,
) -> Answer<CreatePolicyOutput> {
    let version = Version { document: input.policy_document, created: call.now };
    let policy = CustomerPolicy {
        name: policy_name(&input.policy_name)?,
        path: EntityPath::of(input.path.as_deref()).map_err(refused)?,
        id: service.identities.unique_id("ANPA"),
        created: call.now,
        updated: call.now,
        description: input.description,
        default: 1,
        next: 2,
        versions: BTreeMap::from([(1, version)]),
        tags: tags::of_new(input.tags)?,
    };
    let account = service.identities.account();
    let arn = policy.arn(account);
    let directory = service.change(move |directory| directory.create_policy(policy)).await?;
    let policy = directory.policy(&arn).map_err(refused)?;
    Ok(CreatePolicyOutput { policy: Some(shown::policy(&directory, account, policy)) })
}

pub(super) async fn get(service: &AccessManagement, _: &Call, input: GetPolicyInput) -> Answer<GetPolicyOutput> {
    let directory = service.directory();
    let policy = match find(&directory, &input.policy_arn)? {
        Managed::Own(policy) => shown::policy(&directory, service.identities.account(), policy),
        Managed::Aws(policy) => shown::aws_policy(&directory, policy),
    };
    Ok(GetPolicyOutput { policy: Some(policy) })
}

pub(super) async fn list(service: &AccessManagement, _: &Call, input: ListPoliciesInput) -> Answer<ListPoliciesOutput> {
    let (directory, account) = (service.directory(), service.identities.account());
    let scope = input.scope.as_deref().unwrap_or("All");
    let mut policies = Vec::new();
    if scope != "Local" {
        policies.extend(managed_policies().iter().map(|policy| (false, shown::aws_policy(&directory, policy))));
    }
    if scope != "AWS" {
        policies.extend(directory.policies().map(|policy| (true, shown::listed_policy(&directory, account, policy))));
    }
    let (prefix, only_attached) = (input.path_prefix.as_deref().unwrap_or("/"), input.only_attached == Some(true));
    policies.retain(|(_, policy)| {
        let (attached, bounds) = (policy.attachment_count > Some(0), policy.permissions_boundary_usage_count > Some(0));
        let used = match input.policy_usage_filter.as_deref() {
            Some("PermissionsBoundary") => bounds,
            Some(_) => attached,
            None => attached || bounds || !only_attached,
        };
        used && policy.path.as_deref().is_some_and(|path| path.starts_with(prefix))
    });
    let order = |(own, policy): &(bool, Policy)| {
        format!("{}/{}", u8::from(*own), policy.policy_name.as_deref().unwrap_or_default().to_ascii_lowercase())
    };
    policies.sort_by_key(order);
    let page = part(policies, order, input.max_items, input.marker.as_deref())?;
    Ok(ListPoliciesOutput {
        policies: Some(page.items.into_iter().map(|(_, policy)| policy).collect()),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn delete(
    service: &AccessManagement,
    _: &Call,
    input: DeletePolicyInput,
) -> Answer<DeletePolicyOutput> {
    let arn = own(input.policy_arn)?;
    service.change(move |directory| directory.delete_policy(&arn)).await?;
    Ok(Default::default())
}

pub(super) async fn add_version(
    service: &AccessManagement,
    call: &Call,
    input: CreatePolicyVersionInput,
) -> Answer<CreatePolicyVersionOutput> {
    let (arn, now, as_default) = (own(input.policy_arn)?, call.now, input.set_as_default == Some(true));
    let (of, document) = (arn.clone(), input.policy_document);
    let directory = service.change(move |directory| directory.add_version(&of, &document, as_default, now)).await?;
    let policy = directory.policy(&arn).map_err(refused)?;
    // The step has just added the greatest.
    let added = policy.versions.last_key_value();
    Ok(CreatePolicyVersionOutput { policy_version: added.map(|(number, version)| show(*number, version, policy)) })
}

pub(super) async fn get_version(
    service: &AccessManagement,
    _: &Call,
    input: GetPolicyVersionInput,
) -> Answer<GetPolicyVersionOutput> {
    let (arn, id, directory) = (&input.policy_arn, &input.version_id, service.directory());
    let (text, version) = match find(&directory, arn)? {
        Managed::Own(policy) => {
            let number = number(arn, id)?;
            let version = policy.versions.get(&number).ok_or_else(|| no_version(arn, id))?;
            (&*version.document, show(number, version, policy))
        }
        Managed::Aws(policy) if policy.version == *id => (policy.document(), show_aws(policy)),
        // Of AWS's own, the default version is known here, and no other.
        Managed::Aws(_) => return Err(no_version(arn, id)),
    };
    let version = PolicyVersion { document: Some(shown::document(text)), ..version };
    Ok(GetPolicyVersionOutput { policy_version: Some(version) })
}

pub(super) async fn list_versions(
    service: &AccessManagement,
    _: &Call,
    input: ListPolicyVersionsInput,
) -> Answer<ListPolicyVersionsOutput> {
    let directory = service.directory();
    let versions: Vec<_> = match find(&directory, &input.policy_arn)? {
        Managed::Own(policy) => policy.versions.iter().map(|(n, version)| (*n, show(*n, version, policy))).collect(),
        Managed::Aws(policy) => vec![(0, show_aws(policy))],
    };
    // The newest first; a policy has numbers of ten digits at most.
    let newest = versions.into_iter().rev().collect();
    let page = part(newest, |(n, _)| format!("{:010}", u32::MAX - n), input.max_items, input.marker.as_deref())?;
    Ok(ListPolicyVersionsOutput {
        versions: Some(page.items.into_iter().map(|(_, version)| version).collect()),
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn set_default(
    service: &AccessManagement,
    call: &Call,
    input: SetDefaultPolicyVersionInput,
) -> Answer<SetDefaultPolicyVersionOutput> {
    let (arn, now) = (own(input.policy_arn)?, call.now);
    let number = number(&arn, &input.version_id)?;
    service.change(move |directory| directory.set_default_version(&arn, number, now)).await?;
    Ok(Default::default())
}

pub(super) async fn delete_version(
    service: &AccessManagement,
    call: &Call,
    input: DeletePolicyVersionInput,
) -> Answer<DeletePolicyVersionOutput> {
    let (arn, now) = (own(input.policy_arn)?, call.now);
    let number = number(&arn, &input.version_id)?;
    service.change(move |directory| directory.delete_version(&arn, number, now)).await?;
    Ok(Default::default())
}
