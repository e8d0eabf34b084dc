//! The names of condition operators and what each is made of.
//!
//! "IAM JSON policy elements: Condition operators" (IAM User Guide).

use std::cmp::Ordering;

/// An operator as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) test: Test,
    pub(crate) negated: bool,
    pub(crate) if_exists: bool,
    pub(crate) set: Option<Set>,
}

/// What is done with the values of a key that may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    All,
    Any,
}

/// What is compared, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Numeric(Order),
    Date(Order),
    Bool,
    Binary,
    Ip,
    Arn,
    Null,
}

/// Where the request's value must stand to the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    pub(crate) fn holds(self, ordering: Option<Ordering>) -> bool {
        let Some(ordering) = ordering else { return false };
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Names in lower case; whether it is the negation of its test.
const NAMES: &[(&str, Test, bool)] = &[
    ("stringequals", Test::StringEquals, false),
    ("stringnotequals", Test::StringEquals, true),
    ("stringequalsignorecase", Test::StringEqualsIgnoreCase, false),
    ("stringnotequalsignorecase", Test::StringEqualsIgnoreCase, true),
    ("stringlike", Test::StringLike, false),
    ("stringnotlike", Test::StringLike, true),
    ("numericequals", Test::Numeric(Order::Equal), false),
    ("numericnotequals", Test::Numeric(Order::Equal), true),
    ("numericlessthan", Test::Numeric(Order::Less), false),
    ("numericlessthanequals", Test::Numeric(Order::LessOrEqual), false),
    ("numericgreaterthan", Test::Numeric(Order::Greater), false),
    ("numericgreaterthanequals", Test::Numeric(Order::GreaterOrEqual), false),
    ("dateequals", Test::Date(Order::Equal), false),
    ("datenotequals", Test::Date(Order::Equal), true),
    ("datelessthan", Test::Date(Order::Less), false),
    ("datelessthanequals", Test::Date(Order::LessOrEqual), false),
    ("dategreaterthan", Test::Date(Order::Greater), false),
    ("dategreaterthanequals", Test::Date(Order::GreaterOrEqual), false),
    ("bool", Test::Bool, false),
    ("binaryequals", Test::Binary, false),
    ("ipaddress", Test::Ip, false),
    ("notipaddress", Test::Ip, true),
    ("arnequals", Test::Arn, false),
    ("arnlike", Test::Arn, false),
    ("arnnotequals", Test::Arn, true),
    ("arnnotlike", Test::Arn, true),
    ("null", Test::Null, false),
];

impl Operator {
    /// Reads a name such as `ForAllValues:StringLikeIfExists`, in any case.
    pub(crate) fn read(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let (set, rest) = match lower.split_once(':') {
            Some(("forallvalues", rest)) => (Some(Set::All), rest),
            Some(("foranyvalue", rest)) => (Some(Set::Any), rest),
            Some(_) => return None,
            None => (None, &*lower),
        };
        let (base, if_exists) = rest.strip_suffix("ifexists").map_or((rest, false), |base| (base, true));
        let &(_, test, negated) = NAMES.iter().find(|(name, ..)| *name == base)?;
        // It asks for existence itself, and of the whole key.
        if test == Test::Null && (if_exists || set.is_some()) {
            return None;
        }
        Some(Self { test, negated, if_exists, set })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_what_is_around_them() {
        let operator = Operator::read("ForAllValues:StringNotLikeIfExists").unwrap();
        assert_eq!(operator, Operator { test: Test::StringLike, negated: true, if_exists: true, set: Some(Set::All) });
        assert_eq!(Operator::read("Bool").map(|o| (o.set, o.if_exists)), Some((None, false)));
        for wrong in
            ["", "x", "IfExists", "NullIfExists", "ForAnyValue:Null", "ForAnyValue::Bool", "Any:Bool", "StringEqual"]
        {
            assert_eq!(Operator::read(wrong), None, "{wrong}");
        }
    }
}
