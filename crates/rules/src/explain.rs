//! Why a pattern matches an event or does not, field by field.
//!
//! Owns the account that people read. Must not decide anything: the evaluator does.

use std::fmt;

use serde::Serialize;

use crate::branch::{self, Asked, Branch};
use crate::fields::Fields;
use crate::matcher::Leaf;

/// Values of a field that are shown; of more only the number is.
const SHOWN: usize = 20;

/// The account of one pattern and one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the event matches.
    pub matched: bool,
    /// The combinations that `$or` makes of the pattern, one without it; the event matches when one of them does.
    pub alternatives: Vec<Alternative>,
}

/// Fields that must all match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alternative {
    /// Whether they do.
    pub matched: bool,
    /// Whether every field matches, but only by values that lie in different elements of an array.
    pub apart: bool,
    /// The fields, by path.
    pub fields: Vec<Field>,
}

/// A field that the pattern names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Names with dots between them.
    pub path: String,
    /// The list of operators, as the pattern writes it.
    pub wanted: String,
    /// Whether it matches by itself.
    pub verdict: Verdict,
    /// The values that the event has there, at most 20 of them, those that match first.
    pub found: Vec<Found>,
    /// How many values there are.
    pub values: usize,
}

/// A value of the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// As JSON.
    pub value: String,
    /// Whether an operator matches it.
    pub matched: bool,
}

/// What became of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A value is asked for.
    Matched,
    /// There is no value, and that is asked for.
    MatchedAbsent,
    /// There are values, none of them asked for.
    Missed,
    /// There is a value where none may be.
    Present,
    /// There is no value.
    Absent,
}

impl Verdict {
    /// Whether the field matches.
    pub const fn is_match(self) -> bool {
        matches!(self, Self::Matched | Self::MatchedAbsent)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matched => "matches",
            Self::MatchedAbsent => "is absent, as wanted",
            Self::Missed => "does not match",
            Self::Present => "should be absent",
            Self::Absent => "is absent",
        })
    }
}

/// The account of a pattern, whose text is `text`, and an event's fields.
pub(crate) fn explain(text: &str, branches: &[Branch], fields: &Fields<'_>) -> Explanation {
    let alternatives: Vec<_> = branches.iter().map(|branch| alternative(text, branch, fields)).collect();
    Explanation { matched: alternatives.iter().any(|a| a.matched), alternatives }
}

fn alternative(text: &str, branch: &Branch, fields: &Fields<'_>) -> Alternative {
    let matched = branch::matches(branch, fields);
    let fields: Vec<_> = branch
        .iter()
        .map(|(path, condition)| {
            let wanted = text.get(condition.span.clone()).unwrap_or_default().to_owned();
            field(path.clone(), wanted, &branch::asked(condition, path, fields))
        })
        .collect();
    Alternative { matched, apart: !matched && fields.iter().all(|field| field.verdict.is_match()), fields }
}

fn field(path: String, wanted: String, asked: &Asked<'_>) -> Field {
    let is_match = |leaf: &Leaf<'_>| asked.matchers.iter().any(|matcher| matcher.matches(leaf));
    let (matching, others): (Vec<_>, Vec<_>) = asked.values.iter().partition(|(leaf, _)| is_match(leaf));
    let absence = asked.matchers.contains(&crate::matcher::Matcher::Absent);
    let verdict = match (asked.values.is_empty(), matching.is_empty()) {
        (true, _) if absence => Verdict::MatchedAbsent,
        (true, _) => Verdict::Absent,
        (false, false) => Verdict::Matched,
        (false, true) if asked.matchers.len() == 1 && absence => Verdict::Present,
        (false, true) => Verdict::Missed,
    };
    let found = |matched| move |(leaf, _): &(Leaf<'_>, _)| Found { value: json(leaf), matched };
    let found = matching.iter().map(|value| found(true)(value)).chain(others.iter().map(|value| found(false)(value)));
    Field { path, wanted, verdict, found: found.take(SHOWN).collect(), values: asked.values.len() }
}

fn json(leaf: &Leaf<'_>) -> String {
    match leaf {
        Leaf::Text(text) => serde_json::Value::from(String::from_utf8_lossy(text)).to_string(),
        Leaf::Number(text) => String::from_utf8_lossy(text).into_owned(),
        Leaf::Literal(literal) => (*literal).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Pattern};

    fn explain(pattern: &str, event: &str) -> Explanation {
        Pattern::parse(pattern).unwrap().explain(Event::check(event.as_bytes()).unwrap())
    }

    #[test]
    fn every_field_has_its_verdict() {
        let told = explain(
            r#"{"a":["x"],"b":["x"],"c":["x"],"d":[{"exists":false}],"e":[ {"exists": false} ],"f":[1,2]}"#,
            r#"{"a":"x","b":"y","d":0,"f":[0,2]}"#,
        );
        assert!(!told.matched);
        let fields = &told.alternatives[0].fields;
        let verdicts: Vec<_> = fields.iter().map(|field| field.verdict).collect();
        use Verdict::{Absent, Matched, MatchedAbsent, Missed, Present};
        assert_eq!(verdicts, [Matched, Missed, Absent, Present, MatchedAbsent, Matched]);
        assert_eq!(fields[4].wanted, r#"[ {"exists": false} ]"#);
        let found = |value: &str, matched| Found { value: value.to_owned(), matched };
        assert_eq!(fields[5].found, [found("2", true), found("0", false)]);
    }

    #[test]
    fn alternatives_are_told_one_by_one() {
        let told = explain(r#"{"s":["a"],"$or":[{"x":[1]},{"y":[1]}]}"#, r#"{"s":"a","y":1}"#);
        assert!(told.matched);
        assert_eq!(told.alternatives.iter().map(|a| a.matched).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn values_of_different_elements_are_told_apart() {
        let told = explain(r#"{"d":{"a":[1],"b":[2]}}"#, r#"{"d":[{"a":1,"b":1},{"a":2,"b":2}]}"#);
        assert!(!told.matched && told.alternatives[0].apart);
    }
}
