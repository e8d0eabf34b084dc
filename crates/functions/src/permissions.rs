//! Who a function's owner lets call it: kept as a policy document, statement by statement.
//!
//! Promises that a statement is stored as it is shown. Must not decide about a call: that is for whoever knows
//! principals.

use base::{Batch, FunctionName, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::function::{arn, qualified};
use crate::functions::{Functions, prefix};
use crate::{FunctionError, Qualifier, Version};

/// The longest policy ("Lambda quotas": 20 KB).
const MAX_POLICY_BYTES: usize = 20_480;

/// A statement to add.
#[derive(Debug, Clone, Default)]
pub struct Permission {
    /// Its name in the policy.
    pub id: String,
    /// Such as `lambda:InvokeFunction`.
    pub action: String,
    /// A service, an account or the ARN of an identity.
    pub principal: String,
    /// Only for this source.
    pub source_arn: Option<String>,
    /// Only for sources of this account.
    pub source_account: Option<String>,
    /// Only for identities of this organisation.
    pub organisation: Option<String>,
    /// Only with this token.
    pub token: Option<String>,
}

/// The statements of a function, a version or an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    revision: String,
    statements: Vec<Value>,
}

impl Policy {
    fn document(&self) -> String {
        json!({ "Version": "2012-10-17", "Id": "default", "Statement": self.statements }).to_string()
    }

    fn holds(&self, id: &str) -> bool {
        self.statements.iter().any(|statement| statement["Sid"] == id)
    }
}

pub(crate) fn policy_key(scope: &Scope, name: &FunctionName, qualifier: Option<&Qualifier>) -> String {
    let part = qualifier.map(ToString::to_string).unwrap_or_default();
    format!("{}{part}", prefix(scope, name))
}

/// The statement as a policy has it.
fn statement(permission: Permission, resource: String) -> Value {
    let principal = match permission.principal.as_str() {
        "*" => json!("*"),
        // Services have a dot, accounts are twelve digits and stand for their root.
        service if service.contains('.') && !service.starts_with("arn:") => json!({ "Service": service }),
        account if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) => {
            json!({ "AWS": format!("arn:aws:iam::{account}:root") })
        }
        identity => json!({ "AWS": identity }),
    };
    let mut whole = json!({
        "Sid": permission.id,
        "Effect": "Allow",
        "Principal": principal,
        "Action": permission.action,
        "Resource": resource,
    });
    let equal: serde_json::Map<String, Value> = [
        ("AWS:SourceAccount", permission.source_account),
        ("aws:PrincipalOrgID", permission.organisation),
        ("lambda:EventSourceToken", permission.token),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))))
    .collect();
    let mut condition = serde_json::Map::new();
    if !equal.is_empty() {
        condition.insert("StringEquals".to_owned(), Value::from(equal));
    }
    if let Some(source) = permission.source_arn {
        condition.insert("ArnLike".to_owned(), json!({ "AWS:SourceArn": source }));
    }
    if !condition.is_empty() {
        whole["Condition"] = Value::from(condition);
    }
    whole
}

impl Functions {
    /// Adds a statement and answers it.
    pub async fn permit(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
        permission: Permission,
        revision: Option<&str>,
    ) -> Result<String, FunctionError> {
        let _turn = self.inner.turn.acquire().await;
        self.resolve(scope, name, qualifier)?;
        if qualifier == Some(&Qualifier::Version(Version::Latest)) {
            let message = "We currently do not support adding policies for $LATEST.".to_owned();
            return Err(FunctionError::Invalid(message));
        }
        let resource = qualifier.map_or_else(|| arn(scope, name), |q| qualified(scope, name, q)).to_string();
        let id = permission.id.clone();
        let added = statement(permission, resource);
        let shown = added.to_string();
        self.change_policy(scope, name, qualifier, revision, move |policy| {
            if policy.holds(&id) {
                return Err(FunctionError::Taken(format!(
                    "The statement id ({id}) provided already exists. Please provide a new statement id, or remove \
                     the existing statement."
                )));
            }
            policy.statements.push(added);
            let length = policy.document().len();
            if length > MAX_POLICY_BYTES { Err(FunctionError::PolicyTooLong(length)) } else { Ok(()) }
        })
        .await?;
        Ok(shown)
    }

    /// Removes a statement.
    pub async fn forbid(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
        id: &str,
        revision: Option<&str>,
    ) -> Result<(), FunctionError> {
        let _turn = self.inner.turn.acquire().await;
        self.resolve(scope, name, qualifier)?;
        let id = id.to_owned();
        self.change_policy(scope, name, qualifier, revision, move |policy| {
            if !policy.holds(&id) {
                return Err(FunctionError::Missing(format!("Statement {id} is not found in resource policy.")));
            }
            policy.statements.retain(|statement| statement["Sid"] != *id);
            Ok(())
        })
        .await
    }

    /// The policy document and its revision.
    pub fn policy(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Result<(String, String), FunctionError> {
        self.resolve(scope, name, qualifier)?;
        let found = self.inner.policies.find(&policy_key(scope, name, qualifier));
        let none = || FunctionError::Missing("No policy is associated with the given resource.".to_owned());
        found.map(|policy| (policy.document(), policy.revision.clone())).ok_or_else(none)
    }

    async fn change_policy(
        &self,
        scope: &Scope,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
        revision: Option<&str>,
        change: impl FnOnce(&mut Policy) -> Result<(), FunctionError> + Send,
    ) -> Result<(), FunctionError> {
        let key = policy_key(scope, name, qualifier);
        let (stored, unchanged) = self.inner.policies.read(&key)?;
        let mut policy = stored.unwrap_or_else(|| Policy { revision: String::new(), statements: Vec::new() });
        if let Some(given) = revision.filter(|given| *given != policy.revision) {
            return Err(FunctionError::RevisionMismatch { name: name.clone(), given: given.to_owned() });
        }
        change(&mut policy)?;
        policy.revision = self.inner.env.rng.uuid();
        let batch = self.inner.registry.present(Batch::new(), scope, name);
        let batch = self.inner.policies.require(batch, &key, unchanged);
        let batch = match policy.statements.is_empty() {
            true => self.inner.policies.delete(batch, &key),
            false => self.inner.policies.put(batch, &key, &policy)?,
        };
        self.commit(name, batch).await?;
        self.inner.policies.refresh(&key)
    }
}
