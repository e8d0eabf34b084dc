//! Simulations: what the policies of somebody, or policies that are handed in, would decide. Nothing is executed.

use std::collections::BTreeSet;

use auth::{Attached, Context, Explanation, Layer, Outcome, Policies, Policy, PolicyKind, Request};
use base::{AccountId, Arn};
use wire::only;

use super::super::page::{behind, token_of};
use super::*;

/// A policy that takes part, and what it is called in answers.
struct Source {
    attached: Attached,
    id: String,
    kind: &'static str,
}

/// Everything that a simulation is made of, whichever operation asks.
struct Simulation {
    identity: Vec<Source>,
    boundary: Option<Source>,
    resource: Option<Source>,
    principal: auth::Principal,
    owner: Option<AccountId>,
    context: Context,
    actions: Vec<String>,
    resources: Vec<String>,
}

fn input_error(message: impl Into<String>) -> ServiceError {
    ServiceError::new("InvalidInput", message)
}

fn source(kind: PolicyKind, text: &str, id: String, of: &'static str) -> Answer<Source> {
    let policy = Policy::parse(kind, text).map_err(|error| input_error(format!("{id}: {error}")))?;
    Ok(Source { attached: Attached { name: id.as_str().into(), policy: Arc::new(policy) }, id, kind: of })
}

fn handed_in(list: &str, kind: PolicyKind, texts: &[String]) -> Answer<Vec<Source>> {
    let source = |(at, text): (usize, &String)| source(kind, text, format!("{list}.{}", at + 1), "none");
    texts.iter().enumerate().map(source).collect()
}

fn managed(directory: &Directory, arn: &str) -> Answer<Source> {
    let kind = if shown::find_aws_policy(arn).is_some() { "aws-managed" } else { "user-managed" };
    let id = arn.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Source { attached: directory.managed(arn).map_err(refused)?, id, kind })
}

/// The entity of an ARN.
fn entity_of<'d>(service: &AccessManagement, directory: &'d Directory, arn: &str) -> Answer<&'d Arc<Entity>> {
    let missing = || refused(DirectoryError::NoSuchEntity(format!("Entity {arn} does not exist.")));
    let parsed: Arn = arn.parse().map_err(|_| input_error(format!("Invalid Entity Arn: {arn}")))?;
    let (kind, name) = parsed.resource().split_once('/').ok_or_else(missing)?;
    let class = match kind {
        "user" => Class::User,
        "group" => Class::Group,
        "role" => Class::Role,
        _ => {
            return Err(input_error(format!(
                "Invalid Entity Arn: {arn} does not clearly define entity type and name."
            )));
        }
    };
    let name = name_of(class, name)?;
    let entity = directory.entity(class, &name).map_err(|_| missing())?;
    if entity.arn(service.identities.account()) == arn { Ok(entity) } else { Err(missing()) }
}

fn name_of(class: Class, path_and_name: &str) -> Answer<EntityName> {
    name(class, path_and_name.rsplit('/').next().unwrap_or_default())
}

/// What is attached to an entity, and for a user to their groups.
fn sources_of(directory: &Directory, entity: &Entity) -> Answer<Vec<Source>> {
    let class = entity.class();
    let of = match class {
        Class::User => "user",
        Class::Group => "group",
        Class::Role => "role",
    };
    let mut sources = Vec::new();
    for (policy, text) in &entity.inline {
        sources.push(source(PolicyKind::Inline, text, format!("{class}_{}_{policy}", entity.name), of)?);
    }
    for arn in &entity.attached {
        sources.push(managed(directory, arn)?);
    }
    if let Kind::User { groups, .. } = &entity.kind {
        for group in directory.entities(Class::Group).filter(|group| groups.contains(&group.name.key())) {
            sources.extend(sources_of(directory, group)?);
        }
    }
    Ok(sources)
}

/// The caller that a resource's policy sees.
fn caller(account: &AccountId, arn: &str) -> Answer<auth::Principal> {
    let wrong = || input_error(format!("Invalid CallerArn {arn}: it has to be a user's"));
    let parsed: Arn = arn.parse().map_err(|_| wrong())?;
    let of = parsed.account().unwrap_or(account);
    let user = parsed.resource_of("user").filter(|_| parsed.service() == "iam").ok_or_else(wrong)?;
    let (path, name) = user.rsplit_once('/').map_or(("/".to_owned(), user), |(path, name)| (format!("/{path}/"), name));
    Ok(auth::Principal::user(of, &path, name, ""))
}

fn owner(text: Option<&str>) -> Answer<Option<AccountId>> {
    let Some(text) = text else { return Ok(None) };
    let of_arn = text.parse::<Arn>().ok().and_then(|arn| arn.account().cloned());
    match of_arn.or_else(|| text.parse().ok()) {
        Some(account) => Ok(Some(account)),
        None => Err(input_error(format!("Invalid ResourceOwner {text}: expected an account's id or ARN"))),
    }
}

fn told(context: &mut Context, entries: Option<Vec<ContextEntry>>) {
    for entry in entries.into_iter().flatten() {
        if let Some(key) = entry.context_key_name {
            context.set_all(&key, entry.context_key_values.unwrap_or_default());
        }
    }
}

fn checked(actions: Vec<String>) -> Answer<Vec<String>> {
    match actions.iter().find(|action| !action.contains(':')) {
        Some(wrong) => Err(input_error(format!("Invalid action {wrong}: expected SERVICE:ACTION"))),
        None => Ok(actions),
    }
}

fn one_boundary(mut boundaries: Vec<Source>) -> Answer<Option<Source>> {
    match boundaries.len() {
        0 | 1 => Ok(boundaries.pop()),
        _ => Err(input_error("There is one permissions boundary at most.")),
    }
}

/// What both operations say.
struct Given {
    policies: Vec<String>,
    boundaries: Vec<String>,
    resource_policy: Option<String>,
    owner: Option<String>,
    entries: Option<Vec<ContextEntry>>,
    actions: Vec<String>,
    resources: Option<Vec<String>>,
    max: Option<i32>,
    marker: Option<String>,
}

pub(super) async fn principal(
    service: &AccessManagement,
    _: &Call,
    input: SimulatePrincipalPolicyInput,
) -> Answer<SimulatePrincipalPolicyOutput> {
    let known = [
        "ActionNames",
        "CallerArn",
        "ContextEntries",
        "MaxItems",
        "Marker",
        "PermissionsBoundaryPolicyInputList",
        "PolicyInputList",
        "PolicySourceArn",
        "ResourceArns",
        "ResourceOwner",
        "ResourcePolicy",
    ];
    only(SERVICE, &input, &known)?;
    let (directory, account) = (service.directory(), service.identities.account());
    let entity = entity_of(service, &directory, &input.policy_source_arn)?;
    let (path, title) = (entity.path.as_str(), entity.name.as_str());
    let principal = match (&input.caller_arn, entity.class()) {
        (Some(arn), _) => caller(account, arn)?,
        (None, Class::User) => auth::Principal::user(account, path, title, &entity.id),
        (None, Class::Role) if input.resource_policy.is_none() => {
            auth::Principal::session(account, path, title, &entity.id, "simulation")
        }
        (None, Class::Group) if input.resource_policy.is_none() => {
            auth::Principal::user(account, "/", "simulation", "")
        }
        (None, _) => {
            return Err(input_error("A CallerArn is required with a ResourcePolicy unless a user is simulated."));
        }
    };
    let is_somebody = input.caller_arn.is_some() || entity.class() != Class::Group;
    // Of another caller, nothing but the name is known.
    let principal = if input.caller_arn.is_none() { principal.with_tags(entity.tags.clone()) } else { principal };
    let context = if is_somebody { Context::of(&principal) } else { Context::new() };
    let boundary = entity.boundary.as_deref().map(|arn| managed(&directory, arn)).transpose()?;
    let identity = sources_of(&directory, entity)?;
    let given = Given {
        policies: input.policy_input_list.unwrap_or_default(),
        boundaries: input.permissions_boundary_policy_input_list.unwrap_or_default(),
        resource_policy: input.resource_policy,
        owner: input.resource_owner,
        entries: input.context_entries,
        actions: input.action_names,
        resources: input.resource_arns,
        max: input.max_items,
        marker: input.marker,
    };
    simulate(given, identity, boundary, principal, context)
}

pub(super) async fn custom(
    service: &AccessManagement,
    _: &Call,
    input: SimulateCustomPolicyInput,
) -> Answer<SimulateCustomPolicyOutput> {
    let known = [
        "ActionNames",
        "CallerArn",
        "ContextEntries",
        "MaxItems",
        "Marker",
        "PermissionsBoundaryPolicyInputList",
        "PolicyInputList",
        "ResourceArns",
        "ResourceOwner",
        "ResourcePolicy",
    ];
    only(SERVICE, &input, &known)?;
    let account = service.identities.account();
    let (principal, context) = match &input.caller_arn {
        Some(arn) => {
            let principal = caller(account, arn)?;
            let context = Context::of(&principal);
            (principal, context)
        }
        None if input.resource_policy.is_some() => {
            return Err(input_error("A CallerArn is required with a ResourcePolicy."));
        }
        // Nobody in particular: nothing is known of the caller.
        None => (auth::Principal::user(account, "/", "simulation", ""), Context::new()),
    };
    let given = Given {
        policies: input.policy_input_list,
        boundaries: input.permissions_boundary_policy_input_list.unwrap_or_default(),
        resource_policy: input.resource_policy,
        owner: input.resource_owner,
        entries: input.context_entries,
        actions: input.action_names,
        resources: input.resource_arns,
        max: input.max_items,
        marker: input.marker,
    };
    simulate(given, Vec::new(), None, principal, context)
}

fn simulate(
    given: Given,
    mut identity: Vec<Source>,
    boundary: Option<Source>,
    principal: auth::Principal,
    mut context: Context,
) -> Answer<SimulatePrincipalPolicyOutput> {
    identity.extend(handed_in("PolicyInputList", PolicyKind::Inline, &given.policies)?);
    let bounds = handed_in("PermissionsBoundaryPolicyInputList", PolicyKind::Inline, &given.boundaries)?;
    let resource = given.resource_policy.as_deref();
    let resource = resource.map(|text| source(PolicyKind::Resource, text, "ResourcePolicy".to_owned(), "resource"));
    told(&mut context, given.entries);
    let simulation = Simulation {
        identity,
        boundary: one_boundary(bounds)?.or(boundary),
        resource: resource.transpose()?,
        principal,
        owner: owner(given.owner.as_deref())?,
        context,
        actions: checked(given.actions)?,
        resources: given.resources.filter(|arns| !arns.is_empty()).unwrap_or(vec!["*".to_owned()]),
    };
    simulation.page(given.max, given.marker.as_deref())
}

impl Simulation {
    /// A page of the results; only these are computed, for there is one of each action and each resource.
    fn page(&self, max: Option<i32>, marker: Option<&str>) -> Answer<SimulatePrincipalPolicyOutput> {
        let wrong = || invalid("Invalid Marker: it is not one of this simulation; begin again");
        let from: usize = match marker {
            Some(marker) => behind(marker).ok().and_then(|at| at.parse().ok()).ok_or_else(wrong)?,
            None => 0,
        };
        let all = self.actions.len().saturating_mul(self.resources.len());
        let limit = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAGE);
        let end = all.min(from.saturating_add(limit));
        let attached: Vec<Attached> = self.identity.iter().map(|source| source.attached.clone()).collect();
        let result = |at: usize| {
            let (action, resource) =
                (&self.actions[at / self.resources.len()], &self.resources[at % self.resources.len()]);
            self.result(&attached, action, resource)
        };
        Ok(SimulatePrincipalPolicyOutput {
            evaluation_results: Some((from..end).map(result).collect()),
            is_truncated: Some(end < all),
            marker: (end < all).then(|| token_of(&end.to_string())),
        })
    }

    fn result(&self, identity: &[Attached], action: &str, resource: &str) -> EvaluationResult {
        let policies = Policies {
            identity,
            boundary: self.boundary.as_ref().map(|source| &source.attached),
            session: None,
            resource: self.resource.as_ref().map(|source| &source.attached),
        };
        let (principal, owner) = (&self.principal, self.owner.as_ref());
        let told = policies.explain(&Request { principal, action, resource, owner, context: &self.context });
        let bounded = self.boundary.as_ref().map(|_| PermissionsBoundaryDecisionDetail {
            allowed_by_permissions_boundary: Some(is_within_boundary(&told)),
        });
        EvaluationResult {
            eval_action_name: action.to_owned(),
            eval_resource_name: Some(resource.to_owned()),
            eval_decision: match told.decision.outcome {
                Outcome::Allowed => "allowed",
                Outcome::ExplicitDeny => "explicitDeny",
                Outcome::ImplicitDeny => "implicitDeny",
            }
            .to_owned(),
            matched_statements: Some(told.deciding().map(|matched| self.statement(identity, matched)).collect()),
            missing_context_values: Some(told.missing.iter().map(|key| (*key).to_owned()).collect()),
            permissions_boundary_decision_detail: bounded,
            ..Default::default()
        }
    }

    fn statement(&self, identity: &[Attached], matched: &auth::Matched<'_>) -> Statement {
        let source = match matched.layer {
            Layer::Boundary => self.boundary.as_ref(),
            Layer::Resource | Layer::Trust => self.resource.as_ref(),
            Layer::Identity | Layer::Session | Layer::Root => {
                let at = identity.iter().position(|attached| std::ptr::eq(attached, matched.policy));
                at.and_then(|at| self.identity.get(at))
            }
        };
        let place = |position: auth::Position| Position {
            line: i32::try_from(position.line).ok(),
            column: i32::try_from(position.column).ok(),
        };
        let [start, end] = matched.span();
        Statement {
            source_policy_id: source.map(|source| source.id.clone()),
            source_policy_type: source.map(|source| source.kind.to_owned()),
            start_position: Some(place(start)),
            end_position: Some(place(end)),
        }
    }
}

/// Whether the boundary allows, and does not deny.
fn is_within_boundary(told: &Explanation<'_>) -> bool {
    let mut of_boundary = told.matched.iter().filter(|matched| matched.layer == Layer::Boundary).peekable();
    of_boundary.peek().is_some() && of_boundary.all(|matched| matched.effect() == auth::Effect::Allow)
}

pub(super) async fn keys_of_principal(
    service: &AccessManagement,
    _: &Call,
    input: GetContextKeysForPrincipalPolicyInput,
) -> Answer<GetContextKeysForPrincipalPolicyOutput> {
    let directory = service.directory();
    let entity = entity_of(service, &directory, &input.policy_source_arn)?;
    let mut sources = sources_of(&directory, entity)?;
    let more = input.policy_input_list.unwrap_or_default();
    sources.extend(handed_in("PolicyInputList", PolicyKind::Inline, &more)?);
    Ok(keys(&sources))
}

pub(super) async fn keys_of_custom(
    _: &AccessManagement,
    _: &Call,
    input: GetContextKeysForCustomPolicyInput,
) -> Answer<GetContextKeysForCustomPolicyOutput> {
    Ok(keys(&handed_in("PolicyInputList", PolicyKind::Inline, &input.policy_input_list)?))
}

/// The keys that policies look at, each once.
fn keys(sources: &[Source]) -> GetContextKeysForCustomPolicyOutput {
    let mut seen = BTreeSet::new();
    let all = sources.iter().flat_map(|source| source.attached.policy.context_keys());
    let names = all.filter(|key| seen.insert(key.to_ascii_lowercase())).map(str::to_owned).collect();
    GetContextKeysForCustomPolicyOutput { context_key_names: Some(names) }
}
