//! The decision: what all policies that apply say together.
//!
//! "Policy evaluation logic", its table "Resource-based policies and implicit denies in other policy types (same
//! account)", and "Cross-account policy evaluation logic" (IAM User Guide).

use std::fmt;
use std::sync::Arc;

use base::AccountId;

use crate::action::Action;
use crate::arn_pattern::ArnParts;
use crate::named::Reach;
use crate::principal::Kind;
use crate::statement::{Effect, Position, Probe};
use crate::{Context, Policy, PolicyKind, Principal};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// The caller.
    pub principal: &'r Principal,
    /// Service and operation, such as `kinesis:PutRecord`.
    pub action: &'r str,
    /// The resource's ARN, or `*` when the operation is about none.
    pub resource: &'r str,
    /// The account that the resource belongs to; the caller's own when absent.
    pub owner: Option<&'r AccountId>,
    /// What is known of the request.
    pub context: &'r Context,
}

/// A policy where it is attached.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Its ARN, or its name where it has none: it is told with what it decides.
    pub name: Arc<str>,
    /// What it says.
    pub policy: Arc<Policy>,
}

/// The policies that apply to a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policies<'p> {
    /// Those of the caller: a user's own and their groups', or a role's.
    pub identity: &'p [Attached],
    /// The permissions boundary of the user or role.
    pub boundary: Option<&'p Attached>,
    /// Those that were given when the session was made; none if none were.
    pub session: Option<&'p [Attached]>,
    /// The resource's own; for `sts:AssumeRole` the role's trust policy, which has to allow.
    pub resource: Option<&'p Attached>,
}

/// A kind of policy, as it takes part in a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// No policy: the owner of the account may.
    Root,
    /// The caller's policies.
    Identity,
    /// The permissions boundary.
    Boundary,
    /// The session's policies.
    Session,
    /// The resource's policy.
    Resource,
    /// The role's trust policy.
    Trust,
}

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It may.
    Allowed,
    /// A statement denies it.
    ExplicitDeny,
    /// No statement allows it.
    ImplicitDeny,
}

/// A statement that applies to a request.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'p> {
    /// The kind of policy that it is in.
    pub layer: Layer,
    /// The policy that it is in.
    pub policy: &'p Attached,
    /// Its number there, from 0.
    pub index: usize,
}

/// The decision, with what made it.
#[derive(Debug, Clone, Copy)]
#[must_use = "a decision that nobody looks at denies nothing"]
pub struct Decision<'p> {
    /// How it ends.
    pub outcome: Outcome,
    /// The kind of policy that decided; of an implicit deny the first that had to allow and did not.
    pub layer: Layer,
    /// The statement that decided; absent for an implicit deny, and for the account's owner.
    pub by: Option<Matched<'p>>,
}

impl Matched<'_> {
    /// The statement's name, if it has one.
    pub fn sid(&self) -> Option<&str> {
        self.policy.policy.statement(self.index).sid.as_deref()
    }

    /// Whether it allows or denies.
    pub fn effect(&self) -> Effect {
        self.policy.policy.statement(self.index).effect
    }

    /// Where it begins and ends in the text that was read: behind its first and behind its last character.
    pub fn span(&self) -> [Position; 2] {
        self.policy.policy.statement(self.index).span
    }
}

impl Decision<'_> {
    /// Whether the request may.
    pub fn is_allowed(&self) -> bool {
        self.outcome == Outcome::Allowed
    }

    /// What the caller is told when it may not, as the services say it ("Troubleshoot access denied error messages",
    /// IAM User Guide); none when it may.
    pub fn denial(&self, request: &Request<'_>) -> Option<String> {
        let because = match self.outcome {
            Outcome::Allowed => return None,
            Outcome::ExplicitDeny => match self.layer {
                Layer::Trust => "with an explicit deny in the role trust policy".to_owned(),
                Layer::Identity => "with an explicit deny in an identity-based policy".to_owned(),
                layer => format!("with an explicit deny in a {layer}"),
            },
            Outcome::ImplicitDeny => format!("because no {} allows the {} action", self.layer, request.action),
        };
        let (who, resource) = (request.principal.arn(), request.resource);
        Some(format!("User: {who} is not authorized to perform: {} on resource: {resource} {because}", request.action))
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "owner of the account",
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::Resource => "resource-based policy",
            Self::Trust => "role trust policy",
        })
    }
}

impl<'p> Policies<'p> {
    /// Every policy with its layer, in the order in which explicit denies are told.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Layer, &'p Attached)> {
        let resource = self.resource.into_iter().map(|attached| (resource_layer(attached), attached));
        let identity = self.identity.iter().map(|attached| (Layer::Identity, attached));
        let boundary = self.boundary.into_iter().map(|attached| (Layer::Boundary, attached));
        let session = self.session.into_iter().flatten().map(|attached| (Layer::Session, attached));
        resource.chain(identity).chain(boundary).chain(session)
    }

    /// What the resource's policy is for.
    fn resource_layer(&self) -> Layer {
        self.resource.map_or(Layer::Resource, resource_layer)
    }
}

fn resource_layer(attached: &Attached) -> Layer {
    if attached.policy.kind() == PolicyKind::Trust { Layer::Trust } else { Layer::Resource }
}

impl<'r> Request<'r> {
    pub(crate) fn probe(&self, policies: &Policies<'_>) -> Probe<'r> {
        Probe {
            principal: self.principal,
            bounded: policies.boundary.is_some(),
            action: Action::of(self.action),
            resource: self.resource,
            arn: ArnParts::of(self.resource),
            context: self.context,
        }
    }

    /// Whether the resource is somebody else's.
    fn is_cross_account(&self) -> bool {
        self.owner.is_some_and(|owner| self.principal.account() != Some(owner))
    }
}

/// What allows, layer by layer.
#[derive(Debug, Default)]
pub(crate) struct Allows<'p> {
    identity: Option<Matched<'p>>,
    boundary: Option<Matched<'p>>,
    session: Option<Matched<'p>>,
    resource: Option<(Matched<'p>, Reach)>,
}

impl<'p> Allows<'p> {
    pub(crate) fn add(&mut self, matched: Matched<'p>, reach: Reach) {
        let place = match matched.layer {
            Layer::Resource | Layer::Trust => {
                // One that names nobody was read for something else: it gives nobody anything.
                if !matched.policy.policy.kind().names_principals() {
                    return;
                }
                if self.resource.is_none_or(|(_, held)| held < reach) {
                    self.resource = Some((matched, reach));
                }
                return;
            }
            Layer::Boundary => &mut self.boundary,
            Layer::Session => &mut self.session,
            Layer::Identity | Layer::Root => &mut self.identity,
        };
        place.get_or_insert(matched);
    }

    /// Whether another statement of this layer that allows would change nothing.
    fn is_settled(&self, layer: Layer) -> bool {
        match layer {
            Layer::Identity | Layer::Root => self.identity.is_some(),
            Layer::Boundary => self.boundary.is_some(),
            Layer::Session => self.session.is_some(),
            Layer::Resource | Layer::Trust => self.resource.is_some_and(|(_, reach)| reach == Reach::Direct),
        }
    }

    /// The decision where nothing denies.
    pub(crate) fn conclude(&self, request: &Request<'_>, policies: &Policies<'p>) -> Decision<'p> {
        let allowed = |layer, by| Decision { outcome: Outcome::Allowed, layer, by };
        let denied = |layer| Decision { outcome: Outcome::ImplicitDeny, layer, by: None };
        let on_resource = policies.resource_layer();
        let resource = self.resource.map(|(matched, _)| matched);
        let reach = self.resource.map(|(_, reach)| reach);
        // Services and strangers have nothing but what a resource's policy gives them.
        if matches!(request.principal.kind(), Kind::Service | Kind::Anonymous) {
            return resource.map_or(denied(on_resource), |matched| allowed(on_resource, Some(matched)));
        }
        let cross = request.is_cross_account();
        if !cross && reach == Some(Reach::Direct) {
            return allowed(on_resource, resource);
        }
        let must_allow = cross || on_resource == Layer::Trust;
        let by_role = !cross && reach == Some(Reach::Role);
        let by_identity = match request.principal.kind() {
            Kind::Root => Some((Layer::Root, None)),
            _ => self.identity.map(|matched| (Layer::Identity, Some(matched))),
        };
        let (layer, by) = match by_identity {
            Some(allows) => allows,
            None if by_role => (on_resource, resource),
            None => return denied(Layer::Identity),
        };
        if policies.boundary.is_some() && self.boundary.is_none() {
            return denied(Layer::Boundary);
        }
        if policies.session.is_some() && self.session.is_none() {
            return denied(Layer::Session);
        }
        if must_allow && resource.is_none() {
            return denied(on_resource);
        }
        if must_allow { allowed(on_resource, resource) } else { allowed(layer, by) }
    }
}

impl<'p> Policies<'p> {
    /// Decides a request. Denied unless allowed; what denies wins over what allows.
    pub fn decide(&self, request: &Request<'_>) -> Decision<'p> {
        let probe = request.probe(self);
        let mut allows = Allows::default();
        for (layer, attached) in self.all() {
            for (index, statement) in attached.policy.about(&probe.action) {
                if statement.effect == Effect::Allow && allows.is_settled(layer) {
                    continue;
                }
                let Some(reach) = statement.applies(&probe) else { continue };
                let matched = Matched { layer, policy: attached, index };
                match statement.effect {
                    Effect::Deny => return Decision { outcome: Outcome::ExplicitDeny, layer, by: Some(matched) },
                    Effect::Allow => allows.add(matched, reach),
                }
            }
        }
        allows.conclude(request, self)
    }
}
