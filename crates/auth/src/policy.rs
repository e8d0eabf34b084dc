//! A policy document: read, checked, and compiled once.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::error::{PolicyError, shown};
use crate::json::Node;
use crate::kind::{PolicyKind, TEXT_BYTES};
use crate::listing::Listing;
use crate::place::Place;
use crate::statement::{Statement, only_once};

/// A policy that is well formed for its kind.
#[derive(Debug, Clone)]
pub struct Policy {
    kind: PolicyKind,
    statements: Box<[Statement]>,
    listing: Listing,
    characters: usize,
}

impl Policy {
    /// Reads a document, or refuses it in the service's words with the place of the first mistake.
    pub fn parse(kind: PolicyKind, text: &str) -> Result<Self, PolicyError> {
        let document = Place::DOCUMENT;
        if text.len() > TEXT_BYTES {
            return Err(PolicyError::syntax(document, format!("it is longer than {TEXT_BYTES} bytes")));
        }
        let node = Node::read(text).map_err(|reason| not_json(kind, reason))?;
        let members = node
            .members()
            .ok_or_else(|| PolicyError::syntax(document, format!("expected an object, not {}", node.what())))?;
        only_once(&document, &members, &["Version", "Id", "Statement"])?;
        let member = |name: &str| members.iter().find(|(held, _)| held == name).map(|(_, node)| node);
        if member("Id").is_some_and(|id| id.text().is_none()) {
            return Err(PolicyError::syntax(document.member("Id"), "expected a string"));
        }
        let variables = has_variables(kind, member("Version"))?;
        let statements = statements(kind, variables, member("Statement"))?;
        let characters = text.chars().filter(|c| !c.is_whitespace()).count();
        if let Some((quota, limit)) = kind.quota().filter(|(_, limit)| characters > *limit) {
            return Err(PolicyError::TooLong { quota, limit });
        }
        Ok(Self { kind, listing: Listing::of(&statements), statements: statements.into(), characters })
    }

    /// What it is for.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// Its length as quotas count it: characters without white space.
    pub fn characters(&self) -> usize {
        self.characters
    }

    /// The keys that its conditions and variables look at, as they are written; each once, whatever its case.
    pub fn context_keys(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let keys = self.statements.iter().flat_map(Statement::keys);
        keys.filter(|key| seen.insert(key.to_ascii_lowercase())).collect()
    }

    pub(crate) fn statement(&self, index: usize) -> &Statement {
        &self.statements[index]
    }

    /// The statements whose actions match, in their order.
    #[inline]
    pub(crate) fn about<'p>(&'p self, action: &'p Action) -> impl Iterator<Item = (usize, &'p Statement)> {
        self.listing.matching(&self.statements, action).map(|index| (index, &self.statements[index]))
    }
}

fn not_json(kind: PolicyKind, reason: String) -> PolicyError {
    let text = if kind.names_principals() { "This policy contains invalid Json" } else { "Syntax errors in policy." };
    PolicyError::malformed(text, Place::DOCUMENT, reason)
}

/// Whether the policy's version knows variables.
fn has_variables(kind: PolicyKind, version: Option<&Node<'_>>) -> Result<bool, PolicyError> {
    let document = Place::DOCUMENT;
    let place = document.member("Version");
    let version = match version {
        None => None,
        Some(node) => Some(node.text().ok_or_else(|| PolicyError::syntax(place, "expected a string"))?),
    };
    match version.as_deref() {
        Some("2012-10-17") => Ok(true),
        None | Some("2008-10-17") if kind == PolicyKind::Managed => {
            let text = "Policy document must be version 2012-10-17 or greater.";
            Err(PolicyError::malformed(text, place, "it is absent or 2008-10-17"))
        }
        None | Some("2008-10-17") => Ok(false),
        Some(other) => {
            let reason = format!("expected 2012-10-17 or 2008-10-17, not {}", shown(other));
            Err(PolicyError::syntax(place, reason))
        }
    }
}

fn statements(kind: PolicyKind, variables: bool, node: Option<&Node<'_>>) -> Result<Vec<Statement>, PolicyError> {
    let document = Place::DOCUMENT;
    let place = document.member("Statement");
    let none = |reason: &str| {
        let text = match kind.names_principals() {
            true => "Could not parse the policy: Statement is empty!",
            false => "Syntax errors in policy.",
        };
        PolicyError::malformed(text, place, reason)
    };
    let node = node.ok_or_else(|| none("there is none"))?;
    let nodes = match node.elements() {
        Some(nodes) if nodes.is_empty() => return Err(none("it is empty")),
        Some(nodes) => nodes,
        None => return Ok(vec![Statement::read(kind, variables, &place, node)?]),
    };
    let mut statements: Vec<Statement> = Vec::with_capacity(nodes.len());
    let mut sids = BTreeSet::new();
    for (index, node) in nodes.iter().enumerate() {
        let place = place.element(index);
        let statement = Statement::read(kind, variables, &place, node)?;
        // What else is unique is for the service whose resource it is.
        if let Some(sid) = statement.sid.clone().filter(|_| kind != PolicyKind::Resource)
            && !sids.insert(sid.clone())
        {
            let text = "Statement IDs (SID) in a single policy must be unique.";
            return Err(PolicyError::malformed(text, place.member("Sid"), format!("{} comes twice", shown(&sid))));
        }
        statements.push(statement);
    }
    Ok(statements)
}
