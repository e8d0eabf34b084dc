//! Filter policies: which messages a subscriber wants.
//!
//! Owns SNS's own limits on them ("Filter policy constraints", SNS Developer Guide); what they mean is the pattern
//! engine's. Pure.

use rules::{Engine, Event, Pattern, Scratch};
use serde_json::{Map, Value};

use super::message::Message;
use super::subscription::{FilterScope, Subscription};
use crate::FlowError;

/// Bytes of a policy.
const MAX_BYTES: usize = 256 << 10;
/// Keys at its top.
const MAX_KEYS: usize = 5;
/// What its arrays multiply to.
const MAX_COMBINATIONS: usize = 150;

fn invalid(why: impl std::fmt::Display) -> FlowError {
    FlowError::Invalid(format!("Invalid parameter: FilterPolicy: {why}"))
}

/// A filter policy ready to use.
pub(super) struct Filter {
    policy: Option<Engine<()>>,
    scope: FilterScope,
}

impl Filter {
    /// Of a policy that is being set: what the service refuses is refused.
    pub fn checked(subscription: &Subscription) -> Result<Self, FlowError> {
        if let Some(text) = &subscription.filter_policy {
            check(text, subscription.filter_scope)?;
        }
        Self::new(subscription)
    }

    /// Of a policy that is kept: what was accepted once and can be understood holds.
    pub fn new(subscription: &Subscription) -> Result<Self, FlowError> {
        let policy = subscription.filter_policy.as_deref().map(|text| {
            let pattern = Pattern::parse(text).map_err(|error| {
                let why = error.to_string();
                // That there is an event pattern is EventBridge's to say.
                invalid(why.strip_prefix("Event pattern is not valid. Reason: ").unwrap_or(&why))
            })?;
            let mut engine = Engine::default();
            engine.insert((), &pattern);
            Ok::<_, FlowError>(engine)
        });
        Ok(Self { policy: policy.transpose()?, scope: subscription.filter_scope })
    }

    /// Whether the subscriber, who gets this text, wants the message. A text that is no JSON object is wanted by no
    /// policy of the message body.
    pub fn wants(&self, message: &Message, text: &str) -> bool {
        let Some(policy) = &self.policy else { return true };
        let matches = |json: &str| {
            Event::check(json.as_bytes())
                .is_ok_and(|event| policy.matches(event, &mut Scratch::default()).next().is_some())
        };
        match self.scope {
            FilterScope::MessageAttributes => matches(&message.attributes_for_filter().to_string()),
            FilterScope::MessageBody => matches(text),
        }
    }
}

/// Refuses what the service refuses and the pattern language allows.
fn check(text: &str, scope: FilterScope) -> Result<(), FlowError> {
    if text.len() > MAX_BYTES {
        return Err(invalid("Filter policy is too long"));
    }
    let policy: Map<String, Value> = serde_json::from_str(text).map_err(|_| invalid("failed to parse JSON."))?;
    if policy.len() > MAX_KEYS {
        return Err(invalid("Filter policy can not have more than 5 keys"));
    }
    if scope == FilterScope::MessageAttributes && policy.values().any(Value::is_object) {
        let text = "Filter policy scope MessageAttributes does not support nested filter policy";
        return Err(FlowError::Invalid(format!("Invalid parameter: {text}")));
    }
    if combinations(&policy, 1, 1) > MAX_COMBINATIONS {
        return Err(invalid("Filter policy is too complex"));
    }
    policy.values().try_for_each(operators)
}

/// The values of each array multiplied with each other and with how deep the array lies; branches of `$or` add up.
fn combinations(policy: &Map<String, Value>, depth: usize, before: usize) -> usize {
    policy.iter().fold(before, |sum, (key, value)| match value {
        Value::Object(inner) => combinations(inner, depth + 1, sum),
        Value::Array(branches) if key == "$or" => {
            let each = branches.iter().filter_map(Value::as_object);
            each.fold(0, |all: usize, branch| all.saturating_add(combinations(branch, depth, sum)))
        }
        Value::Array(values) => sum.saturating_mul(values.len().max(1)).saturating_mul(depth),
        _ => sum,
    })
}

/// Operators that the pattern engine knows and SNS does not.
fn operators(value: &Value) -> Result<(), FlowError> {
    const KNOWN: [&str; 7] = ["equals-ignore-case", "prefix", "suffix", "anything-but", "exists", "numeric", "cidr"];
    match value {
        Value::Object(inner) => inner.values().try_for_each(operators),
        Value::Array(values) => values.iter().try_for_each(|value| match value {
            // A branch of `$or` has lists, an operator has none but its own.
            Value::Object(one) if one.len() == 1 => match one.iter().next() {
                Some((name, _)) if name == "wildcard" => Err(invalid("Unrecognized match type wildcard")),
                // Of what patterns can exclude, SNS knows prefixes only, beside values.
                Some((name, Value::Object(inner))) if name == "anything-but" => {
                    match inner.keys().find(|key| *key != "prefix") {
                        Some(key) => Err(invalid(format!("Unsupported anything-but pattern: {key}"))),
                        None => Ok(()),
                    }
                }
                Some((name, Value::Array(_))) if !KNOWN.contains(&name.as_str()) => operators(&one[name]),
                _ => Ok(()),
            },
            Value::Object(branch) => branch.values().try_for_each(operators),
            _ => Ok(()),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_service() {
        let five = r#"{"a":["x"],"b":["x"],"c":["x"],"d":["x"],"e":["x"]}"#;
        let six = r#"{"a":["x"],"b":["x"],"c":["x"],"d":["x"],"e":["x"],"f":["x"]}"#;
        let nested = r#"{"a":{"b":["x"]}}"#;
        // The guide's example: four values three deep, three values two deep.
        let example = r#"{"key_a":{"key_b":{"key_c":["1","2","3","4"]}},"key_d":{"key_e":["1","2","3"]}}"#;
        let policy: Map<String, Value> = serde_json::from_str(example).unwrap();
        assert_eq!(combinations(&policy, 1, 1), 72);
        let list = |n: usize| format!("{:?}", (0..n).map(|n| n.to_string()).collect::<Vec<_>>());
        let (most, more) = (format!(r#"{{"a":{},"b":{}}}"#, list(15), list(10)), format!(r#"{{"a":{}}}"#, list(151)));
        let or = format!(r#"{{"$or":[{{"a":{}}},{{"b":{}}}]}}"#, list(75), list(76));
        let (attributes, body) = (FilterScope::MessageAttributes, FilterScope::MessageBody);
        for (policy, scope, ok) in [
            (five, attributes, true),
            (six, attributes, false),
            (six, body, false),
            (nested, attributes, false),
            (nested, body, true),
            (&most, attributes, true),
            (&more, attributes, false),
            (&or, attributes, false),
            (r#"{"a":[{"wildcard":"x*"}]}"#, attributes, false),
            (r#"{"a":[{"prefix":"wildcard"}]}"#, attributes, true),
            (r#"{"a":[{"anything-but":{"prefix":"x"}}]}"#, attributes, true),
            (r#"{"a":[{"anything-but":["x"]}]}"#, attributes, true),
            (r#"{"a":[{"anything-but":{"suffix":"x"}}]}"#, attributes, false),
            (r#"{"a":{"b":[{"anything-but":{"equals-ignore-case":"x"}}]}}"#, body, false),
            ("[]", attributes, false),
        ] {
            assert_eq!(check(policy, scope).is_ok(), ok, "{policy}");
        }
    }
}
