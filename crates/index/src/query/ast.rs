//! A query as a tree, free of any syntax.

use serde_json::Value;

/// What a clause looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldName {
    /// Every value of the document.
    Any,
    /// A field by its full name; a `*` in it stands for any characters.
    Named(String),
}

/// How many of several clauses must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minimum {
    /// This many.
    Count(u32),
    /// All but this many.
    AllBut(u32),
    /// This part in a hundred, rounded down.
    Percent(u32),
    /// All but this part in a hundred.
    AllButPercent(u32),
}

impl Minimum {
    /// The number for `of` clauses.
    pub fn of(self, of: usize) -> usize {
        let part = |percent: u32| of * percent as usize / 100;
        match self {
            Self::Count(n) => n as usize,
            Self::AllBut(n) => of.saturating_sub(n as usize),
            Self::Percent(p) => part(p),
            Self::AllButPercent(p) => of.saturating_sub(part(p)),
        }
    }
}

/// The ends of a range as they were written; a missing one is open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ends {
    /// The lower end, and whether it belongs to the range.
    pub lower: Option<(Value, bool)>,
    /// The upper end, and whether it belongs to the range.
    pub upper: Option<(Value, bool)>,
}

/// Clauses of a `bool` query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BoolQuery {
    /// Must match and add to the score.
    pub must: Vec<Query>,
    /// Must match.
    pub filter: Vec<Query>,
    /// Add to the score; at least `minimum` must match.
    pub should: Vec<Query>,
    /// Must not match.
    pub must_not: Vec<Query>,
    /// Default: 1 when there is neither `must` nor `filter`, else 0.
    pub minimum: Option<Minimum>,
}

/// A query.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// Every document.
    All,
    /// No document.
    Nothing,
    /// Documents with exactly this value.
    Term {
        /// Where.
        field: String,
        /// The value, not cut into words.
        value: Value,
        /// Whether letters match in either case.
        any_case: bool,
    },
    /// Documents with any of these values.
    Terms {
        /// Where.
        field: String,
        /// The values.
        values: Vec<Value>,
    },
    /// Documents with the words of a text.
    Match {
        /// Where.
        field: FieldName,
        /// The text.
        text: Value,
        /// Whether all words are needed.
        all: bool,
        /// Else how many.
        minimum: Option<Minimum>,
    },
    /// Documents with the words of a text one after the other.
    Phrase {
        /// Where.
        field: FieldName,
        /// The text.
        text: Value,
        /// By how many places words may be moved.
        slop: u32,
    },
    /// Documents with a value in a range.
    Range {
        /// Where.
        field: String,
        /// Which.
        ends: Ends,
    },
    /// Documents with any indexed value.
    Exists {
        /// Where.
        field: String,
    },
    /// Documents with these ids.
    Ids(Vec<String>),
    /// Documents with a value that fits a pattern of `*` and `?`.
    Wildcard {
        /// Where.
        field: FieldName,
        /// The pattern.
        pattern: String,
        /// Whether letters match in either case.
        any_case: bool,
    },
    /// Several together.
    Bool(Box<BoolQuery>),
    /// The same documents, each with this score.
    Constant(Box<Query>, f32),
    /// The same documents, scores multiplied.
    Boost(Box<Query>, f32),
}
