//! A decision in words: which statement of which policy made it.

use auth::{Explanation, Matched, Outcome};
use serde::Serialize;

/// A decision with what took part in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    /// `allowed`, `explicitDeny` or `implicitDeny`, as simulations call them.
    pub decision: &'static str,
    /// What the caller would be told when it is denied.
    pub reason: Option<String>,
    /// The statement that decided; none where nothing allows.
    pub by: Option<Statement>,
    /// All statements that apply.
    pub matched: Vec<Statement>,
    /// Condition keys that policies look at and that were not given.
    pub missing_context: Vec<String>,
}

/// A statement, by where it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Statement {
    /// `Allow` or `Deny`.
    pub effect: String,
    /// The kind of policy.
    pub kind: String,
    /// The policy's ARN, or its name where it has none.
    pub policy: String,
    /// The statement's name.
    pub sid: Option<String>,
    /// Its number in the policy, from 1.
    pub number: usize,
}

impl Statement {
    fn of(matched: &Matched<'_>) -> Self {
        Self {
            effect: format!("{:?}", matched.effect()),
            kind: matched.layer.to_string(),
            policy: matched.policy.name.to_string(),
            sid: matched.sid().map(str::to_owned),
            number: matched.index + 1,
        }
    }
}

impl Explained {
    pub fn of(told: &Explanation<'_>, reason: Option<String>) -> Self {
        Self {
            decision: match told.decision.outcome {
                Outcome::Allowed => "allowed",
                Outcome::ExplicitDeny => "explicitDeny",
                Outcome::ImplicitDeny => "implicitDeny",
            },
            reason,
            by: told.decision.by.as_ref().map(Statement::of),
            matched: told.matched.iter().map(Statement::of).collect(),
            missing_context: told.missing.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    /// Of somebody who is not there, or whose policies cannot be read.
    pub fn unknown(reason: String) -> Self {
        let (by, matched) = (None, Vec::new());
        Self { decision: "implicitDeny", reason: Some(reason), by, matched, missing_context: Vec::new() }
    }
}
