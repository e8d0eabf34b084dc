//! The Lucene syntax of `query_string` and `?q=` → the tree.
//!
//! ```text
//! eventName:TerminateInstances AND (userIdentity.type:Root OR sourceIPAddress:203.0.113.*) -errorCode:*
//! "console login"~2   eventTime:[2023-07-10 TO now}   requestParameters.port:>=1024   _exists_:errorCode
//! ```
//! Source: "Query string syntax" of the Elasticsearch reference. As in Lucene's classic parser `AND` makes both
//! neighbours required and `OR` adds nothing to the default; parentheses say what is meant. Fuzzy terms (`word~`),
//! regular expressions and boosts of fields are refused by name.

use serde_json::Value;

use super::ast::{BoolQuery, Ends, FieldName, Query};
use super::options::ParseError;
use super::parse::MAX_DEPTH;

/// How clauses without an operator are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// All must match.
    And,
    /// One must match.
    Or,
}

/// A query as text.
#[derive(Debug, Clone)]
pub struct StringQuery<'a> {
    /// The text.
    pub text: &'a str,
    /// Where clauses without a field look.
    pub fields: Vec<FieldName>,
    /// How they are joined.
    pub operator: Operator,
}

/// Parses a query text.
pub fn parse_query_string(query: &StringQuery<'_>) -> Result<Query, ParseError> {
    let mut parser = Parser { text: query.text, at: 0, operator: query.operator };
    let parsed = parser.clauses(&query.fields, 0)?;
    if parser.at < query.text.len() {
        return Err(parser.error("unexpected ')'"));
    }
    Ok(parsed)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    operator: Operator,
}

#[derive(Clone, Copy, PartialEq)]
enum Occur {
    Must,
    Should,
    Not,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest().starts_with(token);
        if taken {
            self.at += token.len();
        }
        taken
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn error(&self, what: &str) -> ParseError {
        let shown: String = self.text.chars().take(200).collect();
        let character = self.text[..self.at].chars().count() + 1;
        ParseError {
            kind: "query_shard_exception",
            reason: format!("Failed to parse query [{shown}]: {what} at character {character}"),
        }
    }

    /// A word that stands alone, such as `AND`.
    fn keyword(&mut self, words: &[&str]) -> bool {
        for word in words {
            let Some(after) = self.rest().strip_prefix(word) else { continue };
            let symbol = !word.starts_with(char::is_alphabetic);
            if symbol || after.is_empty() || after.starts_with(|c: char| c.is_whitespace() || c == '(') {
                self.at += word.len();
                return true;
            }
        }
        false
    }

    /// Clauses up to a `)` or the end.
    fn clauses(&mut self, fields: &[FieldName], depth: usize) -> Result<Query, ParseError> {
        if depth > MAX_DEPTH {
            return Err(self.error(&format!("nested deeper than [{MAX_DEPTH}]")));
        }
        let mut clauses: Vec<(Occur, Query)> = Vec::new();
        loop {
            self.skip_space();
            let and = self.keyword(&["AND", "&&"]);
            let or = !and && self.keyword(&["OR", "||"]);
            if (and || or) && clauses.is_empty() {
                return Err(self.error("an operator needs a clause before it"));
            }
            self.skip_space();
            match self.peek() {
                None | Some(')') if and || or => return Err(self.error("an operator needs a clause after it")),
                None | Some(')') => break,
                Some(_) => {}
            }
            let occur = self.modifier(and, or);
            if let Some(last) = clauses.last_mut() {
                match (last.0, self.operator) {
                    (Occur::Should, _) if and => last.0 = Occur::Must,
                    (Occur::Must, Operator::And) if or => last.0 = Occur::Should,
                    _ => {}
                }
            }
            self.skip_space();
            clauses.push((occur, self.clause(fields, depth)?));
        }
        Ok(join(clauses))
    }

    fn modifier(&mut self, and: bool, or: bool) -> Occur {
        if self.keyword(&["NOT", "!", "-"]) {
            return Occur::Not;
        }
        let required = self.keyword(&["+"]);
        if required || and || (self.operator == Operator::And && !or) { Occur::Must } else { Occur::Should }
    }

    fn clause(&mut self, fields: &[FieldName], depth: usize) -> Result<Query, ParseError> {
        let start = self.at;
        let named = self.field_name()?;
        let query = match named.as_deref() {
            Some("_exists_") => {
                let (field, _) = self.word()?;
                Query::Exists { field }
            }
            Some("*") if self.take("*") => Query::All,
            Some("*") => self.value(&[FieldName::Any], depth)?,
            Some(name) => self.value(&[FieldName::Named(name.to_owned())], depth)?,
            None => self.value(fields, depth)?,
        };
        if self.at == start {
            return Err(self.error("a clause is missing"));
        }
        if !self.take("^") {
            return Ok(query);
        }
        let (boost, _) = self.word()?;
        let boost = boost.parse::<f32>().ok().filter(|b| b.is_finite() && *b >= 0.0);
        boost.map(|boost| Query::Boost(Box::new(query), boost)).ok_or_else(|| self.error("'^' needs a number"))
    }

    /// A name and a `:`, when they come next.
    fn field_name(&mut self) -> Result<Option<String>, ParseError> {
        let start = self.at;
        if self.peek().is_some_and(|c| "\"([{/".contains(c)) {
            return Ok(None);
        }
        let (name, _) = self.word()?;
        if self.peek() == Some(':') && !name.is_empty() {
            self.at += 1;
            self.skip_space();
            return Ok(Some(name));
        }
        self.at = start;
        Ok(None)
    }

    fn value(&mut self, fields: &[FieldName], depth: usize) -> Result<Query, ParseError> {
        match self.peek() {
            None => Err(self.error("a value is missing")),
            Some('(') => {
                self.at += 1;
                let inner = self.clauses(fields, depth + 1)?;
                if self.take(")") { Ok(inner) } else { Err(self.error("a ')' is missing")) }
            }
            Some('"') => self.phrase(fields),
            Some('[' | '{') => self.range(fields),
            Some('/') => Err(self.error("regular expressions are not supported; use '*' and '?', or '\\/'")),
            Some('>' | '<') => self.half_range(fields),
            Some(_) => self.term(fields),
        }
    }

    fn phrase(&mut self, fields: &[FieldName]) -> Result<Query, ParseError> {
        let text = self.quoted()?;
        let mut slop = 0;
        if self.take("~") {
            let (number, _) = self.word()?;
            slop = number.parse().map_err(|_| self.error("'~' after a phrase needs a number"))?;
        }
        let text = Value::String(text);
        Ok(each(fields, |field| Query::Phrase { field: field.clone(), text: text.clone(), slop }))
    }

    fn term(&mut self, fields: &[FieldName]) -> Result<Query, ParseError> {
        let start = self.at;
        let (text, pattern) = self.word()?;
        match self.peek() {
            Some('~') => return Err(self.error("fuzzy terms ('~') are not supported")),
            Some(':') => return Err(self.error("unexpected ':'; write '\\:' inside a value")),
            Some(c) if self.at == start => return Err(self.error(&format!("unexpected '{c}'"))),
            _ => {}
        }
        let query = |field: &FieldName| match (&pattern, field) {
            (None, _) => Query::Match {
                field: field.clone(),
                text: Value::String(text.clone()),
                all: self.operator == Operator::And,
                minimum: None,
            },
            (Some(pattern), FieldName::Any) if pattern == "*" => Query::All,
            (Some(pattern), FieldName::Named(name)) if pattern == "*" => Query::Exists { field: name.clone() },
            (Some(pattern), _) => Query::Wildcard { field: field.clone(), pattern: pattern.clone(), any_case: false },
        };
        Ok(each(fields, query))
    }

    /// `[a TO b]`, `{a TO b}` and their mixtures; `*` is an open end.
    fn range(&mut self, fields: &[FieldName]) -> Result<Query, ParseError> {
        let from_included = self.take("[");
        if !from_included {
            self.at += 1;
        }
        let lower = self.end()?;
        self.skip_space();
        if !self.keyword(&["TO"]) {
            return Err(self.error("a range needs 'TO'"));
        }
        let upper = self.end()?;
        self.skip_space();
        let to_included = self.take("]");
        if !to_included && !self.take("}") {
            return Err(self.error("a range needs ']' or '}'"));
        }
        let ends = Ends { lower: lower.map(|v| (v, from_included)), upper: upper.map(|v| (v, to_included)) };
        self.ranges(fields, &ends)
    }

    fn half_range(&mut self, fields: &[FieldName]) -> Result<Query, ParseError> {
        let greater = self.take(">") || !self.take("<");
        let included = self.take("=");
        let value = self.end()?.ok_or_else(|| self.error("a value is missing"))?;
        let end = Some((value, included));
        let ends = if greater { Ends { lower: end, upper: None } } else { Ends { lower: None, upper: end } };
        self.ranges(fields, &ends)
    }

    fn ranges(&self, fields: &[FieldName], ends: &Ends) -> Result<Query, ParseError> {
        if fields.contains(&FieldName::Any) {
            return Err(self.error("a range needs a field, as in field:[a TO b]"));
        }
        Ok(each(fields, |field| match field {
            FieldName::Named(name) => Query::Range { field: name.clone(), ends: ends.clone() },
            FieldName::Any => Query::Nothing,
        }))
    }

    /// One end of a range.
    fn end(&mut self) -> Result<Option<Value>, ParseError> {
        self.skip_space();
        if self.peek() == Some('"') {
            return Ok(Some(Value::String(self.quoted()?)));
        }
        let start = self.at;
        // Dates have colons and date math; nothing but space and the bracket ends a value here.
        let len = self.rest().find(|c: char| c.is_whitespace() || "]}()".contains(c)).unwrap_or(self.rest().len());
        self.at += len;
        match &self.text[start..self.at] {
            "" => Err(self.error("a value is missing")),
            "*" => Ok(None),
            text => Ok(Some(Value::String(text.replace('\\', "")))),
        }
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(out);
                }
                '\\' => out.extend(chars.next().map(|(_, c)| c)),
                c => out.push(c),
            }
        }
        Err(self.error("a '\"' is missing"))
    }

    /// Characters up to space or syntax: the text they stand for, and as a pattern when `*` or `?` are among them.
    fn word(&mut self) -> Result<(String, Option<String>), ParseError> {
        let (mut text, mut pattern, mut wild) = (String::new(), String::new(), false);
        let mut chars = self.rest().char_indices();
        let mut len = self.rest().len();
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' => {
                    let Some((_, c)) = chars.next() else { return Err(self.error("'\\' needs a character after it")) };
                    text.push(c);
                    pattern.extend(['\\', c]);
                }
                c if c.is_whitespace() || "()[]{}\"^~:".contains(c) => {
                    len = i;
                    break;
                }
                c => {
                    wild |= matches!(c, '*' | '?');
                    text.push(c);
                    pattern.push(c);
                }
            }
        }
        self.at += len;
        Ok((text, wild.then_some(pattern)))
    }
}

/// The same clause on each field; one must match.
fn each(fields: &[FieldName], query: impl Fn(&FieldName) -> Query) -> Query {
    match fields {
        [one] => query(one),
        several => {
            let should = several.iter().map(query).collect();
            Query::Bool(Box::new(BoolQuery { should, ..BoolQuery::default() }))
        }
    }
}

fn join(mut clauses: Vec<(Occur, Query)>) -> Query {
    if let [(Occur::Must | Occur::Should, _)] = clauses.as_slice() {
        return clauses.pop().map_or(Query::Nothing, |(_, query)| query);
    }
    // No clause at all matches nothing, as in Elasticsearch.
    if clauses.is_empty() {
        return Query::Nothing;
    }
    let mut joined = BoolQuery::default();
    for (occur, query) in clauses {
        match occur {
            Occur::Must => joined.must.push(query),
            Occur::Should => joined.should.push(query),
            Occur::Not => joined.must_not.push(query),
        }
    }
    Query::Bool(Box::new(joined))
}

#[cfg(test)]
mod tests;
