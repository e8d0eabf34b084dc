//! Policy documents: the first byte chooses a kind, the rest is the document.

use std::sync::Arc;

use auth::{Attached, Context, Outcome, Policies, Policy, PolicyError, PolicyKind, Principal, Request};
use base::AccountId;
use serde_json::Value;

/// Longer than any message: what is shown back is cut.
const MESSAGE_BYTES: usize = 4_096;

/// Reads a document and asks it a few things.
pub fn policies(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let kinds = [PolicyKind::Managed, PolicyKind::Inline, PolicyKind::Session, PolicyKind::Trust, PolicyKind::Resource];
    let kind = kinds[usize::from(*choice) % kinds.len()];
    let policy = match Policy::parse(kind, text) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(error.to_string().len() < MESSAGE_BYTES, "{error}");
            if let PolicyError::Malformed { text, place, .. } = error {
                assert!(!text.is_empty() && !place.is_empty());
            }
            return;
        }
    };
    let document: Value = serde_json::from_str(text).expect("what was taken is JSON");
    assert!(document.is_object());
    assert!(policy.characters() <= text.chars().count());
    // Written again it has other blanks, escapes and order of members, and the same meaning; but a number may be written
    // in another way, and patterns compare numbers as texts.
    let again = Policy::parse(kind, &document.to_string()).expect("the same document is taken again");
    let has_numbers = has_numbers(&document);
    for (principal, action, resource) in asked() {
        let [first, second] = [&policy, &again].map(|policy| decide(kind, policy, &principal, action, resource));
        assert!(first == second || has_numbers, "{first:?} and {second:?}: {text}");
    }
}

fn has_numbers(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(elements) => elements.iter().any(has_numbers),
        Value::Object(members) => members.values().any(has_numbers),
        _ => false,
    }
}

fn asked() -> Vec<(Principal, &'static str, &'static str)> {
    let account: AccountId = "111122223333".parse().unwrap();
    let user = Principal::user(&account, "/", "bob", "AIDAAAAAAAAAAAAAAAAA");
    let session = Principal::session(&account, "/", "worker", "AROABBBBBBBBBBBBBBBB", "one");
    let resource = "arn:aws:s3:::mybucket/bob/x";
    let mut asked = Vec::new();
    for principal in [user, session, Principal::service("sns.amazonaws.com"), Principal::anonymous()] {
        for action in ["s3:GetObject", "sts:AssumeRole", "sqs:SendMessage"] {
            asked.push((principal.clone(), action, resource));
            asked.push((principal.clone(), action, "*"));
        }
    }
    asked
}

fn decide(kind: PolicyKind, policy: &Policy, principal: &Principal, action: &str, resource: &str) -> Outcome {
    let attached = [Attached { name: "p".into(), policy: Arc::new(policy.clone()) }];
    let policies = match kind {
        PolicyKind::Trust | PolicyKind::Resource => Policies { resource: attached.first(), ..Policies::default() },
        _ => Policies { identity: &attached, ..Policies::default() },
    };
    let mut context = Context::of(principal);
    context.set("aws:SourceIp", "10.0.0.1");
    context.set_all("aws:TagKeys", ["a".to_owned(), String::new()]);
    let request = Request { principal, action, resource, owner: None, context: &context };
    let decision = policies.decide(&request);
    let explanation = policies.explain(&request);
    assert_eq!(decision.outcome, explanation.decision.outcome);
    assert_eq!(decision.by.is_some(), explanation.deciding().next().is_some());
    decision.outcome
}
