//! `Action` and `NotAction`: names of operations, in any case.

use crate::Context;
use crate::error::{PolicyError, shown};
use crate::json::Node;
use crate::kind::PolicyKind;
use crate::pattern::{Dialect, Pattern};
use crate::place::Place;

/// What a statement says about operations.
#[derive(Debug, Clone)]
pub(crate) struct Actions {
    negated: bool,
    patterns: Box<[ActionPattern]>,
}

#[derive(Debug, Clone)]
struct ActionPattern {
    /// In lower case; none for `*`.
    service: Option<Box<str>>,
    /// In lower case.
    name: Pattern,
}

/// The operation that is asked for, in lower case.
#[derive(Debug)]
pub(crate) struct Action {
    lower: String,
    colon: usize,
}

impl Action {
    pub(crate) fn of(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let colon = lower.find(':').unwrap_or(0);
        Self { lower, colon }
    }

    pub(crate) fn service(&self) -> &str {
        &self.lower[..self.colon]
    }

    pub(crate) fn name(&self) -> &str {
        self.lower[self.colon..].trim_start_matches(':')
    }
}

impl Actions {
    pub(crate) fn read(
        kind: PolicyKind,
        place: &Place<'_>,
        negated: bool,
        texts: Vec<String>,
    ) -> Result<Self, PolicyError> {
        if texts.is_empty() {
            return Err(PolicyError::malformed("Policy statement must contain actions.", place, "it is empty"));
        }
        let mut patterns = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            patterns.push(ActionPattern::read(kind, &place.element(index), negated, text)?);
        }
        Ok(Self { negated, patterns: patterns.into() })
    }

    /// The services that it can be about; none where it can be any.
    pub(crate) fn services(&self) -> Option<impl Iterator<Item = &str>> {
        let named = !self.negated && self.patterns.iter().all(|pattern| pattern.service.is_some());
        named.then(|| self.patterns.iter().filter_map(|pattern| pattern.service.as_deref()))
    }

    /// The names of operations of a service, wildcards included.
    pub(crate) fn names_in(&self, service: &str) -> impl Iterator<Item = &Pattern> {
        let of_service = move |pattern: &&ActionPattern| pattern.service.as_deref() == Some(service);
        self.patterns.iter().filter(of_service).map(|pattern| &pattern.name)
    }

    pub(crate) fn matches(&self, action: &Action) -> bool {
        self.negated != self.patterns.iter().any(|pattern| pattern.matches(action))
    }
}

impl ActionPattern {
    fn read(kind: PolicyKind, place: &Place<'_>, negated: bool, text: &str) -> Result<Self, PolicyError> {
        if kind == PolicyKind::Trust && (negated || !text.to_ascii_lowercase().starts_with("sts:")) {
            return Err(PolicyError::malformed(
                "AssumeRole policy may only specify STS AssumeRole actions.",
                place,
                format!("{} is none of them", shown(text)),
            ));
        }
        if text == "*" {
            return Ok(Self { service: None, name: Pattern::Anything });
        }
        let wrong = |text: String| PolicyError::malformed(text, place, "expected service:Operation or *");
        let Some((service, name)) = text.split_once(':') else {
            let text = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.";
            return Err(wrong(text.to_owned()));
        };
        if name.contains(':') {
            return Err(wrong("Actions/Condition can contain only one colon.".to_owned()));
        }
        if service.is_empty() || !service.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)) {
            return Err(wrong(format!("Vendor {service:.100} is not valid")));
        }
        let dialect = Dialect { wildcards: true, variables: false };
        let name =
            Pattern::read(&name.to_ascii_lowercase(), dialect).map_err(|reason| PolicyError::syntax(place, reason))?;
        Ok(Self { service: Some(service.to_ascii_lowercase().into()), name })
    }

    fn matches(&self, action: &Action) -> bool {
        match &self.service {
            None => true,
            Some(service) => {
                **service == *action.service()
                    // No variables in it: nothing of a context is asked.
                    && self.name.matches(action.name(), const { &Context::EMPTY }).unwrap_or(false)
            }
        }
    }
}

/// A string or an array of strings.
pub(crate) fn strings(node: &Node<'_>, place: &Place<'_>) -> Result<Vec<String>, PolicyError> {
    let wrong = |place: &Place<'_>, node: &Node<'_>| {
        PolicyError::syntax(place, format!("expected a string or an array of strings, not {}", node.what()))
    };
    if let Some(text) = node.text() {
        return Ok(vec![text]);
    }
    let elements = node.elements().ok_or_else(|| wrong(place, node))?;
    let each = elements.iter().enumerate();
    each.map(|(index, node)| node.text().ok_or_else(|| wrong(&place.element(index), node))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, action: &str) -> bool {
        let actions = Actions::read(PolicyKind::Managed, &Place::DOCUMENT, false, vec![pattern.to_owned()]).unwrap();
        actions.matches(&Action::of(action))
    }

    #[test]
    fn names_match_in_any_case() {
        assert!(matches("IAM:listaccesskeys", "iam:ListAccessKeys"));
        assert!(matches("iam:*AccessKey*", "iam:UpdateAccessKey"));
        assert!(matches("kinesis:PutRecord?", "kinesis:PutRecords"));
        assert!(matches("*", "anything at all"));
        assert!(!matches("kinesis:PutRecord", "kinesis:PutRecords"));
        assert!(!matches("kinesis:*", "kinesisanalytics:ListApplications"));
        assert!(!matches("kinesis:*", "kinesis"));
    }

    #[test]
    fn each_mistake_has_its_message() {
        for (kind, wrong, message) in [
            (
                PolicyKind::Inline,
                "invalid",
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
            ),
            (PolicyKind::Inline, "", "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
            (PolicyKind::Inline, "a a:ListBucket", "Vendor a a is not valid"),
            (PolicyKind::Inline, "s*:ListBucket", "Vendor s* is not valid"),
            (PolicyKind::Inline, "s3:List:Bucket", "Actions/Condition can contain only one colon."),
            (PolicyKind::Trust, "*", "AssumeRole policy may only specify STS AssumeRole actions."),
            (PolicyKind::Trust, "s3:Get", "AssumeRole policy may only specify STS AssumeRole actions."),
        ] {
            let error = Actions::read(kind, &Place::DOCUMENT, false, vec![wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
