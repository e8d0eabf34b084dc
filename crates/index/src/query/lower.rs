//! The tree → tantivy, under one index's mapping.
//!
//! A field that the mapping does not have matches nothing, as in Elasticsearch.

use std::ops::Bound;

use serde_json::{Value, json};
use tantivy::Term;
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, Occur, PhraseQuery, Query as Lowered, TermQuery,
    TermSetQuery,
};
use tantivy::schema::{Field, IndexRecordOption};

use super::ast::{BoolQuery, Ends, FieldName, Minimum, Query};
use super::column::ColumnRange;
use super::glob::Glob;
use super::range::{Bounds, bounds, network};
use super::scan::TermScan;
use crate::engine::{Physical, json_term, words};
use crate::mapping::{Kind, Mapping, Resolved, Scalar, ip_key, query_value, scalar_text};

/// Clauses of one search (`indices.query.bool.max_clause_count`).
const MAX_CLAUSES: usize = 1_024;

/// A query that cannot be done on this index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerError {
    /// The message.
    pub reason: String,
}

type Result<T> = std::result::Result<T, LowerError>;

/// Lowers the queries of one search on one index.
pub struct Lowering<'a> {
    index: &'a str,
    mapping: &'a Mapping,
    physical: Physical,
    now_ms: i64,
    clauses: usize,
}

/// What a field's name stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Any,
    Id,
    IndexName,
    Ignored,
    Field(Resolved),
}

fn nothing() -> Box<dyn Lowered> {
    Box::new(EmptyQuery)
}

fn everything() -> Box<dyn Lowered> {
    Box::new(AllQuery)
}

fn either(found: bool) -> Box<dyn Lowered> {
    if found { everything() } else { nothing() }
}

fn few_enough(clauses: usize) -> Result<()> {
    if clauses <= MAX_CLAUSES {
        return Ok(());
    }
    let reason = format!("too many clauses: the query has more than maxClauseCount, which is {MAX_CLAUSES}");
    Err(LowerError { reason })
}

impl<'a> Lowering<'a> {
    /// For the index of this name and mapping.
    pub fn new(index: &'a str, mapping: &'a Mapping, physical: Physical, now_ms: i64) -> Self {
        Self { index, mapping, physical, now_ms, clauses: 0 }
    }

    /// Lowers a query.
    pub fn lower(&mut self, query: &Query) -> Result<Box<dyn Lowered>> {
        self.count(1)?;
        match query {
            Query::All => Ok(everything()),
            Query::Nothing => Ok(nothing()),
            Query::Term { field, value, any_case } => {
                let field = FieldName::Named(field.clone());
                self.on_each(&field, |this, target, strict| this.term(target, value, *any_case, strict))
            }
            Query::Terms { field, values } => self.terms(field, values),
            Query::Match { field, text, all, minimum } => {
                self.on_each(field, |this, target, strict| this.words(target, text, *all, *minimum, strict))
            }
            Query::Phrase { field, text, slop } => {
                self.on_each(field, |this, target, strict| this.phrase(target, text, *slop, strict))
            }
            Query::Range { field, ends } => {
                let field = FieldName::Named(field.clone());
                self.on_each(&field, |this, target, strict| this.range(target, ends, strict))
            }
            Query::Exists { field } => self.exists(field),
            Query::Ids(ids) => Ok(self.ids(ids.iter().map(String::as_str))),
            Query::Wildcard { field, pattern, any_case } => {
                self.on_each(field, |this, target, _| Ok(this.wildcard(target, pattern, *any_case)))
            }
            Query::Bool(clauses) => self.boolean(clauses),
            Query::Constant(inner, score) => Ok(Box::new(ConstScoreQuery::new(self.lower(inner)?, *score))),
            Query::Boost(inner, boost) => Ok(Box::new(BoostQuery::new(self.lower(inner)?, *boost))),
        }
    }

    fn count(&mut self, clauses: usize) -> Result<()> {
        self.clauses += clauses;
        few_enough(self.clauses)
    }

    fn target(&self, name: &str) -> Option<Target> {
        match name {
            "_id" => Some(Target::Id),
            "_index" => Some(Target::IndexName),
            "_ignored" => Some(Target::Ignored),
            name => self.mapping.resolve(name).map(Target::Field),
        }
    }

    /// The query on every field that a name stands for; on several, a value that is none of a field's type is no
    /// error.
    fn on_each(
        &mut self,
        field: &FieldName,
        query: impl Fn(&Self, Target, bool) -> Result<Box<dyn Lowered>>,
    ) -> Result<Box<dyn Lowered>> {
        let name = match field {
            FieldName::Any => return query(self, Target::Any, false),
            FieldName::Named(name) if !name.contains('*') => {
                return self.target(name).map_or_else(|| Ok(nothing()), |target| query(self, target, true));
            }
            FieldName::Named(pattern) => Glob::new(pattern, false),
        };
        let fields: Vec<Resolved> = self
            .mapping
            .resolve_all()
            .filter(|(full, field)| !matches!(field.kind, Kind::Object | Kind::Disabled) && name.matches(full))
            .map(|(_, field)| field)
            .collect();
        self.count(fields.len())?;
        let queries: Result<Vec<_>> = fields.into_iter().map(|f| query(self, Target::Field(f), false)).collect();
        Ok(Box::new(BooleanQuery::union(queries?)))
    }

    fn ids<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Box<dyn Lowered> {
        Box::new(TermSetQuery::new(ids.map(|id| self.physical.id_term(id))))
    }

    fn one(&self, field: Field, id: u32, scalar: &Scalar, scored: bool) -> Box<dyn Lowered> {
        let option = if scored { IndexRecordOption::WithFreqs } else { IndexRecordOption::Basic };
        Box::new(TermQuery::new(json_term(field, id, scalar), option))
    }

    /// Exactly this value.
    fn term(&self, target: Target, value: &Value, any_case: bool, strict: bool) -> Result<Box<dyn Lowered>> {
        let text = scalar_text(value).unwrap_or_default();
        if any_case {
            return Ok(self.wildcard(target, &super::parse::escape(&text), true));
        }
        let Target::Field(field) = target else { return Ok(self.meta_term(target, &text)) };
        match field.kind {
            Kind::Text => Ok(self.one(self.physical.words, field.id, &Scalar::Str(text), true)),
            Kind::Object | Kind::Disabled => Ok(nothing()),
            Kind::Date => {
                let ends = Ends { lower: Some((value.clone(), true)), upper: Some((value.clone(), true)) };
                self.range(target, &ends, strict)
            }
            Kind::Ip if text.contains('/') => match network(&text) {
                Some((first, last)) => Ok(self.between(field.id, Bound::Included(first), Bound::Included(last))),
                None => self.no_value(&text, strict),
            },
            kind => match query_value(kind, value) {
                Some(scalar) => Ok(self.one(self.physical.keys, field.id, &scalar, false)),
                None => self.no_value(&text, strict),
            },
        }
    }

    fn meta_term(&self, target: Target, text: &str) -> Box<dyn Lowered> {
        match target {
            Target::Id => self.ids(std::iter::once(text)),
            Target::IndexName => either(Glob::new(text, false).matches(self.index)),
            Target::Ignored => {
                Box::new(TermQuery::new(Term::from_field_text(self.physical.ignored, text), IndexRecordOption::Basic))
            }
            Target::Any | Target::Field(_) => nothing(),
        }
    }

    fn no_value(&self, text: &str, strict: bool) -> Result<Box<dyn Lowered>> {
        if !strict {
            return Ok(nothing());
        }
        let shown: String = text.chars().take(100).collect();
        Err(LowerError { reason: format!("failed to create query: For input string: \"{shown}\"") })
    }

    fn terms(&mut self, name: &str, values: &[Value]) -> Result<Box<dyn Lowered>> {
        let Some(target) = self.target(name) else { return Ok(nothing()) };
        let Target::Field(field) = target else {
            let texts: Vec<String> = values.iter().filter_map(scalar_text).collect();
            few_enough(if target == Target::Id { 0 } else { texts.len() })?;
            return Ok(match target {
                Target::Id => self.ids(texts.iter().map(String::as_str)),
                _ => Box::new(BooleanQuery::union(texts.iter().map(|t| self.meta_term(target, t)).collect())),
            });
        };
        let plain = !matches!(field.kind, Kind::Date | Kind::Ip | Kind::Object | Kind::Disabled);
        if !plain {
            self.count(values.len())?;
            let each: Result<Vec<_>> = values.iter().map(|v| self.term(target, v, false, true)).collect();
            return Ok(Box::new(BooleanQuery::union(each?)));
        }
        let mut terms = Vec::with_capacity(values.len());
        for value in values {
            let (at, scalar) = match field.kind {
                Kind::Text => (self.physical.words, scalar_text(value).map(Scalar::Str)),
                kind => (self.physical.keys, query_value(kind, value)),
            };
            match scalar {
                Some(scalar) => terms.push(json_term(at, field.id, &scalar)),
                None => drop(self.no_value(&scalar_text(value).unwrap_or_default(), true)?),
            }
        }
        Ok(Box::new(TermSetQuery::new(terms)))
    }

    /// The words of a text on a text field, or the text as one value on others.
    fn words(
        &self,
        target: Target,
        text: &Value,
        all: bool,
        minimum: Option<Minimum>,
        strict: bool,
    ) -> Result<Box<dyn Lowered>> {
        let Some(terms) = self.word_terms(target, text) else { return self.term(target, text, false, strict) };
        few_enough(terms.len())?;
        let queries: Vec<Box<dyn Lowered>> = terms
            .into_iter()
            .map(|term| -> Box<dyn Lowered> { Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)) })
            .collect();
        let needed = minimum.map_or(1, |m| m.of(queries.len()).max(1));
        Ok(match queries.len() {
            0 => nothing(),
            _ if all => Box::new(BooleanQuery::intersection(queries)),
            count if needed > count => nothing(),
            _ => Box::new(BooleanQuery::union_with_minimum_required_clauses(queries, needed)),
        })
    }

    /// The terms of a text's words, when the target is cut into words.
    fn word_terms(&self, target: Target, text: &Value) -> Option<Vec<Term>> {
        let cut = || words(&scalar_text(text).unwrap_or_default()).into_iter();
        match target {
            Target::Any => Some(cut().map(|word| Term::from_field_text(self.physical.all, &word)).collect()),
            Target::Field(Resolved { id, kind: Kind::Text }) => {
                Some(cut().map(|word| json_term(self.physical.words, id, &Scalar::Str(word))).collect())
            }
            _ => None,
        }
    }

    fn phrase(&self, target: Target, text: &Value, slop: u32, strict: bool) -> Result<Box<dyn Lowered>> {
        match self.word_terms(target, text) {
            Some(terms) if terms.len() > 1 => {
                few_enough(terms.len())?;
                let placed = terms.into_iter().enumerate().collect();
                Ok(Box::new(PhraseQuery::new_with_offset_and_slop(placed, slop)))
            }
            Some(_) => self.words(target, text, true, None, strict),
            None => self.term(target, text, false, strict),
        }
    }

    fn range(&self, target: Target, ends: &Ends, strict: bool) -> Result<Box<dyn Lowered>> {
        let Target::Field(field) = target else {
            return Err(LowerError { reason: "a range needs a field of a document".into() });
        };
        match bounds(field.kind, ends, self.now_ms) {
            Ok(Bounds::Empty) => Ok(nothing()),
            Ok(Bounds::Between(lower, upper)) => Ok(self.between(field.id, lower, upper)),
            Err(_) if !strict => Ok(nothing()),
            Err(reason) => Err(LowerError { reason: format!("failed to create query: {reason}") }),
        }
    }

    fn between(&self, id: u32, lower: Bound<Scalar>, upper: Bound<Scalar>) -> Box<dyn Lowered> {
        if matches!((&lower, &upper), (Bound::Unbounded, Bound::Unbounded)) {
            return self.present(id);
        }
        Box::new(ColumnRange { column: Physical::column(id), lower, upper })
    }

    fn present(&self, id: u32) -> Box<dyn Lowered> {
        let term = Term::from_field_u64(self.physical.fields, id.into());
        Box::new(ConstScoreQuery::new(Box::new(TermQuery::new(term, IndexRecordOption::Basic)), 1.0))
    }

    fn exists(&mut self, name: &str) -> Result<Box<dyn Lowered>> {
        if matches!(name, "_id" | "_index" | "_source" | "*") {
            return Ok(everything());
        }
        if name == "_ignored" {
            let empty = Term::from_field_text(self.physical.ignored, "");
            return Ok(Box::new(TermScan::new(&empty, Glob::new("*", false))));
        }
        let names = Glob::new(name, false);
        let within = format!("{name}.");
        let fields = self.mapping.resolve_all().filter(|(full, field)| {
            !matches!(field.kind, Kind::Object | Kind::Disabled) && (names.matches(full) || full.starts_with(&within))
        });
        let terms = fields.map(|(_, field)| Term::from_field_u64(self.physical.fields, field.id.into()));
        Ok(Box::new(ConstScoreQuery::new(Box::new(TermSetQuery::new(terms)), 1.0)))
    }

    fn wildcard(&self, target: Target, pattern: &str, any_case: bool) -> Box<dyn Lowered> {
        let (empty, pattern) = match target {
            // Words are lower case.
            Target::Any => (Term::from_field_text(self.physical.all, ""), pattern.to_lowercase()),
            Target::Id => (self.physical.id_term(""), pattern.to_owned()),
            Target::Ignored => (Term::from_field_text(self.physical.ignored, ""), pattern.to_owned()),
            Target::IndexName => return either(Glob::new(pattern, any_case).matches(self.index)),
            Target::Field(Resolved { id, kind: Kind::Text }) => {
                (json_term(self.physical.words, id, &Scalar::Str(String::new())), pattern.to_lowercase())
            }
            Target::Field(Resolved { id, kind: Kind::Keyword }) => {
                (json_term(self.physical.keys, id, &Scalar::Str(String::new())), pattern.to_owned())
            }
            // An address is kept in another form; only a whole one can be looked up.
            Target::Field(field) if field.kind == Kind::Ip => {
                return match pattern.parse() {
                    Ok(ip) => self.one(self.physical.keys, field.id, &Scalar::Str(ip_key(ip)), false),
                    Err(_) => nothing(),
                };
            }
            Target::Field(field) => {
                return self.term(Target::Field(field), &json!(pattern), false, false).unwrap_or_else(|_| nothing());
            }
        };
        Box::new(TermScan::new(&empty, Glob::new(&pattern, any_case)))
    }

    fn boolean(&mut self, clauses: &BoolQuery) -> Result<Box<dyn Lowered>> {
        let mut lowered: Vec<(Occur, Box<dyn Lowered>)> = Vec::new();
        for query in &clauses.must {
            lowered.push((Occur::Must, self.lower(query)?));
        }
        for query in &clauses.filter {
            lowered.push((Occur::Must, Box::new(ConstScoreQuery::new(self.lower(query)?, 0.0))));
        }
        let required = !lowered.is_empty();
        for query in &clauses.should {
            lowered.push((Occur::Should, self.lower(query)?));
        }
        if lowered.is_empty() {
            lowered.push((Occur::Must, Box::new(ConstScoreQuery::new(everything(), 0.0))));
        }
        for query in &clauses.must_not {
            lowered.push((Occur::MustNot, self.lower(query)?));
        }
        let should = clauses.should.len();
        let default = usize::from(!required && should > 0);
        let minimum = clauses.minimum.map_or(default, |m| m.of(should));
        if minimum > should {
            return Ok(nothing());
        }
        Ok(Box::new(BooleanQuery::with_minimum_required_clauses(lowered, minimum)))
    }
}
