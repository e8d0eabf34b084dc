//! One statement of a policy: who, what, on what, under which conditions, and whether that is allowed or denied.

use std::collections::BTreeSet;

use crate::action::{Action, Actions, strings};
use crate::arn_pattern::{ArnParts, ArnPattern, parts};
use crate::condition::Condition;
use crate::error::{PolicyError, shown};
use crate::json::Node;
use crate::kind::PolicyKind;
use crate::named::{Principals, Reach};
use crate::operator::Operator;
use crate::place::Place;
use crate::{Context, Principal};

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Allows what it matches, unless something denies it.
    Allow,
    /// Denies what it matches.
    Deny,
}

/// A place in a document's text, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A compiled statement.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sid: Option<Box<str>>,
    pub(crate) effect: Effect,
    pub(crate) span: [Position; 2],
    pub(crate) actions: Actions,
    principals: Option<Principals>,
    resources: Option<Resources>,
    conditions: Box<[Condition]>,
}

#[derive(Debug, Clone)]
struct Resources {
    negated: bool,
    patterns: Box<[ArnPattern]>,
}

/// A request as statements see it.
pub(crate) struct Probe<'r> {
    pub(crate) principal: &'r Principal,
    /// Whether the caller has a permissions boundary.
    pub(crate) bounded: bool,
    pub(crate) action: Action,
    pub(crate) resource: &'r str,
    pub(crate) arn: Option<ArnParts<'r>>,
    pub(crate) context: &'r Context,
}

/// The members of a statement that were read so far.
struct Reader<'a, 'p> {
    kind: PolicyKind,
    variables: bool,
    place: &'p Place<'p>,
    members: Vec<(String, Node<'a>)>,
}

const MEMBERS: &[&str] =
    &["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

impl Statement {
    /// Reads a statement. `variables` says whether the policy's version has them.
    pub(crate) fn read(
        kind: PolicyKind,
        variables: bool,
        place: &Place<'_>,
        node: &Node<'_>,
    ) -> Result<Self, PolicyError> {
        let members = node
            .members()
            .ok_or_else(|| PolicyError::syntax(place, format!("expected an object, not {}", node.what())))?;
        only_once(place, &members, MEMBERS)?;
        let reader = Reader { kind, variables, place, members };
        let span = node.span().map(|(line, column)| Position { line, column });
        Ok(Self {
            sid: reader.sid()?,
            effect: reader.effect()?,
            span,
            principals: reader.principals()?,
            actions: reader.actions()?,
            resources: reader.resources()?,
            conditions: reader.conditions()?,
        })
    }

    /// The keys that its conditions and variables look at, as they are written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let patterns: &[ArnPattern] = self.resources.as_ref().map_or(&[], |resources| &resources.patterns);
        let conditions = self.conditions.iter().flat_map(Condition::keys);
        patterns.iter().flat_map(ArnPattern::variables).chain(conditions)
    }

    /// Whether it is about the request, whose action matches already, and how it reaches the caller.
    pub(crate) fn applies(&self, probe: &Probe<'_>) -> Option<Reach> {
        if !self.is_about(probe) {
            return None;
        }
        let reach = match &self.principals {
            None => Reach::Direct,
            Some(principals) => principals.reach(probe.principal, probe.bounded)?,
        };
        self.conditions.iter().all(|condition| condition.holds(probe.context)).then_some(reach)
    }

    fn is_about(&self, probe: &Probe<'_>) -> bool {
        let Some(Resources { negated, patterns }) = &self.resources else { return true };
        let mut unresolved = false;
        for pattern in patterns {
            match pattern.matches(probe.resource, probe.arn.as_ref(), probe.context) {
                Some(true) => return !negated,
                Some(false) => {}
                None => unresolved = true,
            }
        }
        // "All but nobody knows what" must not allow everything; it may deny everything.
        *negated && !(unresolved && self.effect == Effect::Allow)
    }
}

impl<'a> Reader<'a, '_> {
    fn member(&self, name: &str) -> Option<&Node<'a>> {
        self.members.iter().find(|(held, _)| held == name).map(|(_, node)| node)
    }

    fn sid(&self) -> Result<Option<Box<str>>, PolicyError> {
        let Some(node) = self.member("Sid") else { return Ok(None) };
        let place = self.place.member("Sid");
        let sid = node.text().ok_or_else(|| PolicyError::syntax(place, "expected a string"))?;
        // Services allow more in policies on resources.
        if self.kind != PolicyKind::Resource && !sid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let text = "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular \
                        expression [0-9A-Za-z]*";
            return Err(PolicyError::malformed(text, place, format!("{} is not", shown(&sid))));
        }
        Ok((!sid.is_empty()).then(|| sid.into()))
    }

    fn effect(&self) -> Result<Effect, PolicyError> {
        let place = self.place.member("Effect");
        let effect = self.member("Effect").and_then(Node::text);
        match effect.as_deref() {
            Some("Allow") => Ok(Effect::Allow),
            Some("Deny") => Ok(Effect::Deny),
            Some(other) if other.eq_ignore_ascii_case("allow") || other.eq_ignore_ascii_case("deny") => {
                Err(PolicyError::legacy(place, format!("expected Allow or Deny, not {}", shown(other))))
            }
            _ => Err(PolicyError::syntax(place, "expected Allow or Deny")),
        }
    }

    fn principals(&self) -> Result<Option<Principals>, PolicyError> {
        let (plain, negated) = (self.member("Principal"), self.member("NotPrincipal"));
        let name = if negated.is_some() { "NotPrincipal" } else { "Principal" };
        let place = self.place.member(name);
        if !self.kind.names_principals() {
            return match plain.or(negated) {
                None => Ok(None),
                Some(_) => {
                    let text = "Policy document should not specify a principal.";
                    Err(PolicyError::malformed(text, place, "whom it is about follows from where it is attached"))
                }
            };
        }
        match (plain, negated) {
            (Some(node), None) => Principals::read(self.kind, &place, false, node).map(Some),
            (None, None) => {
                Err(PolicyError::malformed("Missing required field Principal", place, "whom it is about is not said"))
            }
            (Some(_), Some(_)) => Err(PolicyError::syntax(place, "Principal and NotPrincipal exclude each other")),
            (None, Some(node)) => {
                if self.kind == PolicyKind::Trust || self.effect()? == Effect::Allow {
                    let text = "Allow with NotPrincipal is not allowed.";
                    return Err(PolicyError::malformed(text, place, "it is for Deny in policies on resources only"));
                }
                Principals::read(self.kind, &place, true, node).map(Some)
            }
        }
    }

    /// The one of two members that exclude each other that is there.
    fn either(&self, plain: &'static str, negated: &'static str) -> Result<Option<(&'static str, bool)>, PolicyError> {
        match (self.member(plain), self.member(negated)) {
            (Some(_), Some(_)) => Err(PolicyError::syntax(
                self.place.member(negated),
                format!("{plain} and {negated} exclude each other"),
            )),
            (Some(_), None) => Ok(Some((plain, false))),
            (None, Some(_)) => Ok(Some((negated, true))),
            (None, None) => Ok(None),
        }
    }

    fn actions(&self) -> Result<Actions, PolicyError> {
        let Some((name, negated)) = self.either("Action", "NotAction")? else {
            let text = if self.kind.names_principals() {
                "Missing required field Action"
            } else {
                "Policy statement must contain actions."
            };
            return Err(PolicyError::malformed(text, self.place, "there is neither Action nor NotAction"));
        };
        let place = self.place.member(name);
        let texts = self.member(name).map_or(Ok(Vec::new()), |node| strings(node, &place))?;
        Actions::read(self.kind, &place, negated, texts)
    }

    fn resources(&self) -> Result<Option<Resources>, PolicyError> {
        let missing = "Policy statement must contain resources.";
        let Some((name, negated)) = self.either("Resource", "NotResource")? else {
            return match self.kind.names_principals() {
                true => Ok(None),
                false => Err(PolicyError::malformed(missing, self.place, "there is neither Resource nor NotResource")),
            };
        };
        let place = self.place.member(name);
        if self.kind == PolicyKind::Trust {
            let text =
                if negated { "AssumeRole policy must not contain resources." } else { "Has prohibited field Resource" };
            return Err(PolicyError::malformed(text, place, "a trust policy is about its role"));
        }
        let texts = self.member(name).map_or(Ok(Vec::new()), |node| strings(node, &place))?;
        if texts.is_empty() {
            return Err(PolicyError::malformed(missing, place, "it is empty"));
        }
        let mut patterns = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            patterns.push(resource(&place.element(index), text, self.variables)?);
        }
        Ok(Some(Resources { negated, patterns: patterns.into() }))
    }

    fn conditions(&self) -> Result<Box<[Condition]>, PolicyError> {
        let Some(node) = self.member("Condition") else { return Ok(Box::default()) };
        let place = self.place.member("Condition");
        let object = |node: &Node<'a>, place: &Place<'_>| {
            node.members().ok_or_else(|| PolicyError::syntax(place, format!("expected an object, not {}", node.what())))
        };
        let mut conditions = Vec::new();
        let operators = object(node, &place)?;
        once(&place, &operators)?;
        for (name, node) in &operators {
            let place = place.member(name);
            let operator = Operator::read(name)
                .ok_or_else(|| PolicyError::syntax(place, "there is no such condition operator"))?;
            let keys = object(node, &place)?;
            once(&place, &keys)?;
            for (key, node) in &keys {
                let place = place.member(key);
                let values = scalars(node, &place)?;
                conditions.push(Condition::read(&place, operator, key, &values, self.variables)?);
            }
        }
        Ok(conditions.into())
    }
}

/// Refuses members that come twice.
fn once(place: &Place<'_>, members: &[(String, Node<'_>)]) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    match members.iter().find(|(name, _)| !seen.insert(name)) {
        Some((name, _)) => Err(PolicyError::syntax(place.member(name), "it comes twice")),
        None => Ok(()),
    }
}

/// Refuses members that come twice, and others than `known`.
pub(crate) fn only_once(place: &Place<'_>, members: &[(String, Node<'_>)], known: &[&str]) -> Result<(), PolicyError> {
    if let Some((name, _)) = members.iter().find(|(name, _)| !known.contains(&&**name)) {
        return Err(PolicyError::syntax(place.member(name), format!("it is none of {}", known.join(", "))));
    }
    once(place, members)
}

/// A value, or several. Numbers and booleans may come without quotation marks.
fn scalars(node: &Node<'_>, place: &Place<'_>) -> Result<Vec<String>, PolicyError> {
    let wrong = |place: &Place<'_>, node: &Node<'_>| {
        PolicyError::syntax(place, format!("expected a value or an array of values, not {}", node.what()))
    };
    if let Some(value) = node.scalar() {
        return Ok(vec![value]);
    }
    let elements = node.elements().ok_or_else(|| wrong(place, node))?;
    let each = elements.iter().enumerate();
    each.map(|(index, node)| node.scalar().ok_or_else(|| wrong(&place.element(index), node))).collect()
}

/// Reads a resource, in the service's order of complaints.
fn resource(place: &Place<'_>, text: &str, variables: bool) -> Result<ArnPattern, PolicyError> {
    let expected = "expected arn:partition:service:region:account:resource or *";
    let wrong = |message: String| PolicyError::malformed(message, place, expected);
    let compiled = ArnPattern::read(text, variables, true).map_err(|reason| PolicyError::syntax(place, reason))?;
    if text == "*" {
        return Ok(compiled);
    }
    let parts = parts(text, variables);
    let part = |index: usize| parts.get(index).copied();
    let not_arn = || wrong(format!("Resource {text:.300} must be in ARN format or \"*\"."));
    let partition = part(1).ok_or_else(not_arn)?;
    let known = partition == "*" || partition == "aws" || partition.starts_with("aws-");
    if partition.is_empty() {
        return Err(PolicyError::legacy(place, expected));
    }
    if !known {
        let rest: Vec<&str> = (2..6).map(|index| part(index).unwrap_or("*")).collect();
        let rest = rest.join(":");
        return Err(wrong(format!(
            "Partition \"{partition:.50}\" is not valid for resource \"arn:{partition:.50}:{rest:.300}\"."
        )));
    }
    if part(0) != Some("arn") {
        return Err(not_arn());
    }
    let vendor = "Resource vendor must be fully qualified and cannot contain regexes.";
    let service = part(2).ok_or_else(|| wrong(vendor.to_owned()))?;
    if service.is_empty() || parts.len() == 5 {
        return Err(PolicyError::legacy(place, expected));
    }
    if service.contains(['*', '?', '$']) {
        return Err(wrong(vendor.to_owned()));
    }
    let region = part(3).unwrap_or_default();
    match service {
        "iam" if !region.is_empty() => {
            Err(wrong(format!("IAM resource {text:.300} cannot contain region information.")))
        }
        // An access point has region and account, a bucket neither.
        "s3" if !region.is_empty() && part(4) == Some("") => {
            Err(wrong(format!("Resource {text:.300} can not contain region information.")))
        }
        _ => Ok(compiled),
    }
}
