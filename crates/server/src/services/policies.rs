//! Policies of resources, as their owners write them: read to refuse what no policy can be, and changed statement by
//! statement.
//!
//! Promises that a text which is kept can be evaluated. Must not know whose policy it is, nor decide by it.

use auth::{Policy, PolicyKind};
use serde_json::{Map, Value, json};

/// A policy that is well formed.
#[derive(Debug, Clone)]
pub(super) struct Document {
    members: Map<String, Value>,
    statements: Vec<Value>,
}

impl Document {
    /// Reads what an owner wrote. The error says what is wrong and where.
    pub fn read(text: &str) -> Result<Self, String> {
        Policy::parse(PolicyKind::Resource, text).map_err(|error| error.to_string())?;
        let mut members: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let statements = match members.remove("Statement") {
            Some(Value::Array(statements)) => statements,
            one => one.into_iter().collect(),
        };
        Ok(Self { members, statements })
    }

    /// One without statements, which is none yet.
    pub fn new(version: &str, id: Option<String>) -> Self {
        let id = id.map(|id| ("Id".to_owned(), Value::from(id)));
        Self {
            members: id.into_iter().chain([("Version".to_owned(), version.into())]).collect(),
            statements: Vec::new(),
        }
    }

    /// Whether a statement has this name.
    pub fn has(&self, sid: &str) -> bool {
        self.statements.iter().any(|statement| statement["Sid"] == sid)
    }

    /// How many statements there are.
    pub fn count(&self) -> usize {
        self.statements.len()
    }

    /// Adds a statement.
    pub fn add(&mut self, statement: Value) {
        self.statements.push(statement);
    }

    /// Removes the statements of this name, and says whether there were any.
    pub fn remove(&mut self, sid: &str) -> bool {
        let before = self.statements.len();
        self.statements.retain(|statement| statement["Sid"] != sid);
        self.statements.len() < before
    }

    /// Every operation that statements name, as it is written there.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.statements
            .iter()
            .flat_map(|statement| match &statement["Action"] {
                Value::Array(actions) => actions.iter().collect(),
                Value::Null => Vec::new(),
                one => vec![one],
            })
            .filter_map(Value::as_str)
    }

    /// As it is kept and shown; none without statements.
    pub fn text(&self) -> Option<String> {
        if self.statements.is_empty() {
            return None;
        }
        let mut whole = self.members.clone();
        whole.insert("Statement".to_owned(), Value::from(self.statements.clone()));
        Some(Value::from(whole).to_string())
    }
}

/// A statement that lets accounts do something with a resource.
pub(super) fn grant(sid: &str, accounts: &[String], actions: &[String], resource: &str) -> Value {
    let principals: Vec<String> = accounts.iter().map(|account| format!("arn:aws:iam::{account}:root")).collect();
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Principal": { "AWS": one_or_many(principals) },
        "Action": one_or_many(actions.to_vec()),
        "Resource": resource,
    })
}

fn one_or_many(mut texts: Vec<String>) -> Value {
    if texts.len() == 1 { texts.remove(0).into() } else { texts.into() }
}

/// Whether a text is twelve digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether an action is one of a service, or any of all.
pub(super) fn is_of(service: &str, action: &str) -> bool {
    action == "*" || action.split_once(':').is_some_and(|(of, _)| of.eq_ignore_ascii_case(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_and_many_are_changed_alike() {
        let text = r#"{"Version":"2012-10-17","Id":"mine","Statement":{"Sid":"a","Effect":"Allow","Principal":"*","Action":"sqs:*"}}"#;
        let mut document = Document::read(text).unwrap();
        assert!(document.has("a") && !document.has("b"));
        document.add(grant("b", &["000000000000".to_owned()], &["SQS:SendMessage".to_owned()], "arn:aws:sqs:r:0:q"));
        assert_eq!(document.actions().collect::<Vec<_>>(), ["sqs:*", "SQS:SendMessage"]);
        let again = Document::read(&document.text().unwrap()).unwrap();
        assert_eq!(again.text(), document.text());
        assert!(document.remove("a") && !document.remove("a"));
        assert!(document.text().unwrap().contains(r#""Id":"mine""#));
        assert!(document.remove("b"));
        assert_eq!(document.text(), None);
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_place() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"Statement":[{"Effect":"Allow","Action":"*"}]}"#,
            r#"{"Statement":[{"Effect":"Allow","Principal":"*"}]}"#,
        ] {
            assert!(Document::read(text).is_err(), "{text}");
        }
        let error = Document::read(r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"x"}]}"#).unwrap_err();
        assert!(error.contains("Statement[0]"), "{error}");
    }

    #[test]
    fn an_action_is_of_its_service_in_any_case() {
        assert!(is_of("sqs", "SQS:SendMessage") && is_of("sqs", "*"));
        assert!(!is_of("sqs", "sns:Publish") && !is_of("sqs", "SendMessage"));
        assert!(is_account("012345678901") && !is_account("01234567890") && !is_account("01234567890a"));
    }
}
