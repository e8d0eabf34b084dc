//! ARNs with wildcards, compared part by part: a wildcard stays within its part, only the last part has colons.
//!
//! "Using wildcards in resource ARNs" and "ARN condition operators" (IAM User Guide).

use crate::Context;
use crate::pattern::{Dialect, Pattern};

const PARTS: usize = 6;

/// A text split where an ARN is: the last part keeps its colons.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArnParts<'a>([&'a str; PARTS]);

impl<'a> ArnParts<'a> {
    /// None if the text is no ARN.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(PARTS, ':');
        let mut split = [""; PARTS];
        for part in &mut split {
            *part = parts.next()?;
        }
        (split[0] == "arn").then_some(Self(split))
    }
}

/// A pattern of ARNs.
#[derive(Debug, Clone)]
pub(crate) enum ArnPattern {
    /// `*` alone: everything, also what is no ARN.
    Anything,
    /// Part by part.
    Parts(Box<[Pattern; PARTS]>),
    /// A variable stands for more than one part.
    Whole(Pattern),
}

impl ArnPattern {
    /// Reads a pattern. Where `complete` says so, parts that are missing at the end are `*`, and a `*` alone is
    /// everything; else both are errors.
    pub(crate) fn read(text: &str, variables: bool, complete: bool) -> Result<Self, String> {
        let dialect = Dialect { wildcards: true, variables };
        if text == "*" && complete {
            return Ok(Self::Anything);
        }
        let split = parts(text, variables);
        if split.len() < PARTS && !complete {
            let whole = Pattern::read(text, dialect)?;
            if whole.variables().next().is_none() {
                return Err("it is not an ARN: expected arn:partition:service:region:account:resource".to_owned());
            }
            return Ok(Self::Whole(whole));
        }
        let mut patterns = [const { Pattern::Anything }; PARTS];
        for (pattern, part) in patterns.iter_mut().zip(split) {
            *pattern = Pattern::read(part, dialect)?;
        }
        Ok(Self::Parts(Box::new(patterns)))
    }

    /// Whether an ARN is like it; none when a variable stands for nothing, wherever in the pattern it is.
    pub(crate) fn matches(&self, text: &str, arn: Option<&ArnParts<'_>>, context: &Context) -> Option<bool> {
        match (self, arn) {
            (Self::Anything, _) => Some(true),
            (_, None) => Some(false),
            (Self::Whole(pattern), Some(_)) => pattern.matches(text, context),
            (Self::Parts(patterns), Some(ArnParts(parts))) => {
                // From the end: most ARNs differ in their resource.
                let mut each = patterns.iter().zip(parts).rev();
                let mut matches = true;
                while let Some((pattern, part)) = each.next() {
                    matches &= pattern.matches(part, context)?;
                    if !matches && each.clone().all(|(pattern, _)| pattern.variables().next().is_none()) {
                        return Some(false);
                    }
                }
                Some(matches)
            }
        }
    }

    /// The names of its variables.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let patterns: &[Pattern] = match self {
            Self::Anything => &[],
            Self::Whole(pattern) => std::slice::from_ref(pattern),
            Self::Parts(patterns) => &**patterns,
        };
        patterns.iter().flat_map(Pattern::variables)
    }
}

/// Splits at the first five colons outside of variables.
pub(crate) fn parts(text: &str, variables: bool) -> Vec<&str> {
    let mut parts = Vec::with_capacity(PARTS);
    let (mut start, mut at) = (0, 0);
    while at < text.len() && parts.len() < PARTS - 1 {
        let rest = &text[at..];
        if variables && rest.starts_with("${") {
            at += rest.find('}').unwrap_or(rest.len() - 1) + 1;
        } else if rest.starts_with(':') {
            parts.push(&text[start..at]);
            at += 1;
            start = at;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> Option<bool> {
        let mut context = Context::new();
        context.set("aws:PrincipalAccount", "111122223333");
        context.set("aws:SourceArn", "arn:aws:sns:r:1:t");
        ArnPattern::read(pattern, true, true).unwrap().matches(text, ArnParts::of(text).as_ref(), &context)
    }

    #[test]
    fn a_wildcard_stays_in_its_part() {
        // "ARN condition operators": the documented pair.
        let pattern = "arn:aws:someservice:*:111122223333:finance/*";
        let text = "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt";
        assert_eq!(matches(pattern, text), Some(false));
        assert_eq!(matches(pattern, "arn:aws:someservice:us-east-2:111122223333:finance/a:b"), Some(true));
        assert_eq!(matches("arn:aws:s3:::b/*/test/*", "arn:aws:s3:::b/1/2/test/3/object.jpg"), Some(true));
        assert_eq!(matches("arn:aws:s3:::b/*/test/*", "arn:aws:s3:::b/test/object.jpg"), Some(false));
        assert_eq!(matches("arn:aws:s3:::b", "arn:aws:s3:::B"), Some(false));
    }

    #[test]
    fn missing_parts_are_anything_and_only_a_star_is_everything() {
        assert_eq!(matches("arn:aws:sqs", "arn:aws:sqs:r:1:q"), Some(true));
        assert_eq!(matches("arn:aws:sqs", "*"), Some(false));
        assert_eq!(matches("*", "*"), Some(true));
        assert!(ArnPattern::read("arn:aws:sqs", true, false).is_err());
    }

    #[test]
    fn variables_have_colons_inside() {
        assert_eq!(
            matches("arn:aws:sqs:*:${aws:PrincipalAccount}:*", "arn:aws:sqs:us-east-1:111122223333:q"),
            Some(true)
        );
        assert_eq!(matches("arn:aws:sqs:*:*:${aws:username}", "arn:aws:sqs:us-east-1:111122223333:q"), None);
        assert_eq!(matches("arn:aws:sns:*:*:${aws:username}", "arn:aws:sqs:us-east-1:111122223333:q"), None);
        let whole = ArnPattern::read("${aws:SourceArn}", true, false).unwrap();
        let mut context = Context::new();
        let text = "arn:aws:sns:r:1:t";
        assert_eq!(whole.matches(text, ArnParts::of(text).as_ref(), &context), None);
        context.set("aws:SourceArn", text);
        assert_eq!(whole.matches(text, ArnParts::of(text).as_ref(), &context), Some(true));
    }
}
