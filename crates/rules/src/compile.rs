//! From the JSON of a pattern to its branches.
//!
//! A pattern with `$or` is the list of its alternatives, each a [`Branch`]. A path that comes twice in a branch counts
//! once, as the last writes it. Where a mistake is placed follows the service's reader, which stands behind the last
//! thing that it looked at.

use crate::RulesError;
use crate::address::{self, Cidr};
use crate::branch::{Branch, Condition};
use crate::complexity;
use crate::json::{Node, Value};
use crate::matcher::Matcher;
use crate::number::{self, Double, Number, Range};
use crate::text::{Caseless, Wildcard};

const OR: &str = "$or";

/// The most branches into which a pattern's `$or`s may combine ("Amazon EventBridge quotas": 1,000 combinations).
const MAX_BRANCHES: usize = 1_000;

/// Names that `$or` alternatives may not use as fields: the operators of today and of plans (event-ruler's list).
const RESERVED: [&str; 24] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

/// Compiles a whole pattern. Patterns older than `$or` may have a field of that name: what is no valid use of the
/// operator is tried as a field before it is refused.
pub(crate) fn compile(text: &str, root: &Node) -> Result<Vec<Branch>, RulesError> {
    let with_or = Compiler { text, or_is_operator: true }.pattern(root);
    match with_or {
        Err(error @ RulesError::Invalid { .. }) if text.contains(OR) => {
            Compiler { text, or_is_operator: false }.pattern(root).map_err(|_| error)
        }
        result => result,
    }
}

struct Compiler<'a> {
    text: &'a str,
    or_is_operator: bool,
}

impl Compiler<'_> {
    fn fail<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, RulesError> {
        Err(RulesError::invalid(self.text, at, reason))
    }

    fn pattern(&self, root: &Node) -> Result<Vec<Branch>, RulesError> {
        let Value::Object(members) = &root.value else { return self.fail(root.seen(), "Filter is not an object") };
        let mut branches = Vec::new();
        self.object(&mut branches, None, members, root, false)?;
        Ok(branches)
    }

    fn object(
        &self,
        branches: &mut Vec<Branch>,
        path: Option<&str>,
        members: &[(String, Node)],
        node: &Node,
        in_or: bool,
    ) -> Result<(), RulesError> {
        if members.is_empty() {
            return self.fail(node.read(), "Empty objects are not allowed");
        }
        for (name, value) in members {
            if name == OR && self.or_is_operator {
                self.or(branches, path, value)?;
                continue;
            }
            if in_or && RESERVED.contains(&name.as_str()) {
                return self.fail(
                    value.seen(),
                    format!("{name} is Ruler reserved fieldName which cannot be used inside {OR}."),
                );
            }
            let path = path.map_or_else(|| name.clone(), |path| format!("{path}.{name}"));
            match &value.value {
                Value::Object(inner) => self.object(branches, Some(&path), inner, value, in_or)?,
                Value::Array(elements) => {
                    let condition = Condition { matchers: self.matchers(elements, value)?.into(), span: value.span() };
                    if branches.is_empty() {
                        branches.push(Branch::new());
                    }
                    for branch in branches.iter_mut() {
                        branch.insert(path.clone(), condition.clone());
                    }
                }
                _ => return self.fail(value.seen(), format!("\"{name}\" must be an object or an array")),
            }
        }
        Ok(())
    }

    fn or(&self, branches: &mut Vec<Branch>, path: Option<&str>, node: &Node) -> Result<(), RulesError> {
        let Value::Array(alternatives) = &node.value else {
            return self.fail(node.seen(), format!("It must be an Array followed with {OR}."));
        };
        let before = std::mem::take(branches);
        for alternative in alternatives {
            let Value::Object(members) = &alternative.value else {
                return self
                    .fail(alternative.seen(), format!("Only JSON object is allowed in array of {OR} relationship."));
            };
            let mut fork = if before.is_empty() { vec![Branch::new()] } else { before.clone() };
            self.object(&mut fork, path, members, alternative, true)?;
            branches.append(&mut fork);
            if branches.len() > MAX_BRANCHES {
                return self.fail(
                    alternative.read(),
                    format!("The {OR} relationships combine into more than {MAX_BRANCHES} alternatives."),
                );
            }
        }
        if alternatives.len() < 2 {
            return self.fail(node.read(), format!("There must have at least 2 Objects in {OR} relationship."));
        }
        Ok(())
    }

    fn matchers(&self, elements: &[Node], array: &Node) -> Result<Vec<Matcher>, RulesError> {
        if elements.is_empty() {
            return self.fail(array.read(), "Empty arrays are not allowed");
        }
        let matchers = elements
            .iter()
            .map(|element| match &element.value {
                Value::Text(text) => {
                    Ok(address::parse(text.as_bytes()).map_or_else(|| Matcher::Text(text.clone()), Matcher::Address))
                }
                Value::Number(number) => Ok(Matcher::Number(Number::of_text(number))),
                Value::Literal(literal) => Ok(Matcher::Literal(literal)),
                Value::Object(members) => self.expression(members, element),
                Value::Array(_) => {
                    self.fail(element.seen(), "Match value must be String, number, true, false, or null")
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if complexity::is_too_complex(&matchers) { Err(RulesError::TooComplex) } else { Ok(matchers) }
    }

    /// `{ "operator": operand }`.
    fn expression(&self, members: &[(String, Node)], node: &Node) -> Result<Matcher, RulesError> {
        let Some((operator, operand)) = members.first() else {
            return self.fail(node.read(), "Match expression name not found");
        };
        let matcher = match operator.as_str() {
            "exactly" => Matcher::Text(self.string(operand, "exact match pattern must be a string")?),
            "prefix" => self.affix(operand, "prefix", Matcher::Prefix, Matcher::PrefixCaseless)?,
            "suffix" => self.affix(operand, "suffix", Matcher::Suffix, Matcher::SuffixCaseless)?,
            "equals-ignore-case" => Matcher::Caseless(Caseless::new(
                &self.string(operand, "equals-ignore-case match pattern must be a string")?,
            )),
            "wildcard" => self.wildcard(operand)?,
            "numeric" => self.numeric(operand)?,
            "anything-but" => Matcher::AnythingBut(self.anything_but(operand)?),
            "cidr" => {
                let block = self.string(operand, "prefix match pattern must be a string")?;
                Matcher::Cidr(Cidr::parse(&block).or_else(|reason| self.fail(operand.read(), reason))?)
            }
            "exists" => match operand.value {
                Value::Literal("true") => Matcher::Exists,
                Value::Literal("false") => Matcher::Absent,
                _ => return self.fail(operand.seen(), "exists match pattern must be either true or false."),
            },
            _ => return self.fail(operand.seen(), format!("Unrecognized match type {operator}")),
        };
        self.only_one(members, "Only one key allowed in match expression")?;
        Ok(matcher)
    }

    fn only_one(&self, members: &[(String, Node)], reason: &str) -> Result<(), RulesError> {
        members.get(1).map_or(Ok(()), |(_, second)| self.fail(second.seen(), reason))
    }

    fn string(&self, node: &Node, otherwise: &str) -> Result<String, RulesError> {
        match &node.value {
            Value::Text(text) => Ok(text.clone()),
            _ => self.fail(node.seen(), otherwise),
        }
    }

    /// A prefix or suffix: a string, or `{ "equals-ignore-case": string }`.
    fn affix(
        &self,
        operand: &Node,
        kind: &str,
        plain: fn(String) -> Matcher,
        caseless: fn(Caseless) -> Matcher,
    ) -> Result<Matcher, RulesError> {
        let Value::Object(members) = &operand.value else {
            return self.string(operand, &format!("{kind} match pattern must be a string")).map(plain);
        };
        match members.first() {
            Some((name, text)) if name == "equals-ignore-case" => {
                let text = self.string(text, "equals-ignore-case match pattern must be a string")?;
                self.only_one(members, "Only one key allowed in match expression")?;
                Ok(caseless(Caseless::new(&text)))
            }
            Some((name, value)) => self.fail(value.seen(), format!("Unsupported {kind} pattern: {name}")),
            None => self.fail(operand.read(), format!("{kind} expression name not found")),
        }
    }

    fn wildcard(&self, operand: &Node) -> Result<Matcher, RulesError> {
        let text = self.string(operand, "wildcard match pattern must be a string")?;
        Wildcard::parse(&text).map(Matcher::Wildcard).or_else(|reason| self.fail(operand.read(), reason))
    }

    /// The matchers of which none may match.
    fn anything_but(&self, operand: &Node) -> Result<Vec<Matcher>, RulesError> {
        let Value::Object(members) = &operand.value else { return self.anything_but_values(operand) };
        let Some((operator, operand)) = members.first() else {
            return self.fail(operand.read(), "Anything-But expression name not found");
        };
        let affix = |node: &Node, plain: fn(String) -> Matcher| {
            let text = self.string(node, "prefix/suffix match pattern must be a string")?;
            if text.is_empty() {
                return self.fail(node.read(), "Null prefix/suffix not allowed");
            }
            Ok(plain(text))
        };
        let of_one = |node: &Node| match operator.as_str() {
            "prefix" => affix(node, Matcher::Prefix),
            "suffix" => affix(node, Matcher::Suffix),
            "wildcard" => self.wildcard(node),
            _ => self
                .string(
                    node,
                    "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
                )
                .map(|text| Matcher::Caseless(Caseless::new(&text))),
        };
        if !["equals-ignore-case", "prefix", "suffix", "wildcard"].contains(&operator.as_str()) {
            return self.fail(operand.seen(), format!("Unsupported anything-but pattern: {operator}"));
        }
        let matchers = match &operand.value {
            Value::Array(elements) if elements.is_empty() => {
                return self.fail(operand.read(), "Empty arrays are not allowed");
            }
            Value::Array(elements) => elements.iter().map(of_one).collect::<Result<_, _>>()?,
            Value::Text(_) | Value::Number(_) => vec![of_one(operand)?],
            _ => return self.not_values(operand),
        };
        self.only_one(members, "Too many elements in numeric expression")?;
        Ok(matchers)
    }

    fn not_values<T>(&self, operand: &Node) -> Result<T, RulesError> {
        self.fail(operand.seen(), "Value of anything-but must be an array or single string/number value.")
    }

    /// A string, a number, or a list of only one of these.
    fn anything_but_values(&self, operand: &Node) -> Result<Vec<Matcher>, RulesError> {
        let elements = match &operand.value {
            Value::Array(elements) => elements.as_slice(),
            Value::Text(_) | Value::Number(_) => std::slice::from_ref(operand),
            _ => return self.not_values(operand),
        };
        let matchers = elements
            .iter()
            .map(|element| match &element.value {
                Value::Text(text) => Ok(Matcher::Text(text.clone())),
                Value::Number(_) => Ok(Matcher::Number(Number::Double(self.double(element, "")?))),
                _ => self.fail(element.seen(), "Inside anything but list, start|null|boolean is not supported."),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let texts = matchers.iter().filter(|m| matches!(m, Matcher::Text(_))).count();
        if matchers.is_empty() || (texts > 0 && texts < matchers.len()) {
            return self.fail(
                operand.read(),
                "Inside anything but list, either all values are number or string, mixed type is not supported",
            );
        }
        Ok(matchers)
    }

    fn double(&self, node: &Node, otherwise: &str) -> Result<Double, RulesError> {
        let Value::Number(text) = &node.value else { return self.fail(node.seen(), otherwise) };
        number::exact(text).map_or_else(|| self.fail(node.read(), format!("Cannot compare number : {text}")), Ok)
    }

    /// `["=", n]`, `[">", n]` and the like, or `[">", n, "<", n]` with or without equality.
    fn numeric(&self, operand: &Node) -> Result<Matcher, RulesError> {
        let Value::Array(terms) = &operand.value else {
            return self.fail(operand.seen(), "Value of numeric must be an array.");
        };
        let operator = |at: usize| match terms.get(at).map(|term| (&term.value, term)) {
            Some((Value::Text(operator), term)) => Ok((operator.as_str(), term)),
            Some((_, term)) => self.fail(term.seen(), "Invalid member in numeric match: an operator must be a string"),
            None => self.fail(operand.read(), "Invalid member in numeric match: ]"),
        };
        let value = |at: usize, operator: &str| {
            let otherwise = format!("Value of {operator} must be numeric");
            terms
                .get(at)
                .map_or_else(|| self.fail(operand.read(), otherwise.as_str()), |term| self.double(term, &otherwise))
        };
        let nothing_after =
            |count: usize, reason: &str| terms.get(count).map_or(Ok(()), |term| self.fail(term.seen(), reason));
        let (first, first_term) = operator(0)?;
        match first {
            "=" => {
                let wanted = value(1, first)?;
                nothing_after(2, "Too many elements in numeric expression")?;
                Ok(Matcher::Number(Number::Double(wanted)))
            }
            "<" | "<=" => {
                let range = Range::ALL.to(value(1, first)?, first == "<=");
                nothing_after(2, "Too many elements in numeric expression")?;
                Ok(Matcher::Numeric(range))
            }
            ">" | ">=" => {
                let low = value(1, first)?;
                let range = Range::ALL.from(low, first == ">=");
                if terms.len() == 2 {
                    return Ok(Matcher::Numeric(range));
                }
                let (second, second_term) = operator(2)?;
                if second != "<" && second != "<=" {
                    return self.fail(second_term.read(), format!("Bad numeric range operator: {second}"));
                }
                let high = value(3, second)?;
                nothing_after(4, "Too many terms in numeric range expression")?;
                if low >= high {
                    return self.fail(operand.read(), "Bottom must be less than top");
                }
                Ok(Matcher::Numeric(range.to(high, second == "<=")))
            }
            _ => self.fail(first_term.read(), format!("Unrecognized numeric range operator: {first}")),
        }
    }
}
