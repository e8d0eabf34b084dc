//! The JSON query DSL → the tree.
//!
//! Source: the pages under "Query DSL" of the Elasticsearch reference.

use serde_json::{Map, Value};

use super::ast::{BoolQuery, Ends, FieldName, Query};
use super::options::{Options, ParseError};
use super::string::{Operator, StringQuery, parse_query_string};

/// Queries within queries (`indices.query.bool.max_nested_depth`).
pub const MAX_DEPTH: usize = 30;
/// Values of one `terms` query (`index.max_terms_count`).
const MAX_TERMS: usize = 65_536;

const SUPPORTED: &str = "bool, constant_score, exists, ids, match, match_all, match_none, \
                         match_phrase, prefix, query_string, range, term, terms, wildcard";

/// Parses a query.
pub fn parse_query(value: &Value) -> Result<Query, ParseError> {
    parse(value, 0)
}

fn parse(value: &Value, depth: usize) -> Result<Query, ParseError> {
    if depth > MAX_DEPTH {
        return Err(ParseError::new(format!("the query is nested deeper than [{MAX_DEPTH}]")));
    }
    let Value::Object(map) = value else { return Err(ParseError::new("[query] must be an object")) };
    let (name, body) = only(map).ok_or_else(|| {
        ParseError::new(format!("a query object must have exactly one key, the query's name, but has {}", map.len()))
    })?;
    match name {
        "match_all" => all(body),
        "match_none" => Ok(Query::Nothing),
        "term" => term(body),
        "terms" => terms(body),
        "match" => match_words(body),
        "match_phrase" => match_phrase(body),
        "range" => range(body),
        "exists" => exists(body),
        "ids" => ids(body),
        "prefix" => pattern("prefix", body),
        "wildcard" => pattern("wildcard", body),
        "bool" => boolean(body, depth),
        "constant_score" => constant_score(body, depth),
        "query_string" => query_string(body),
        other => Err(ParseError::new(format!("unknown query [{other}]: supported are {SUPPORTED}"))),
    }
}

fn only(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((key, value)), None) => Some((key, value)),
        _ => None,
    }
}

fn boosted(query: Query, boost: Option<f32>) -> Query {
    match boost {
        None => query,
        Some(boost) => Query::Boost(Box::new(query), boost),
    }
}

fn all(body: &Value) -> Result<Query, ParseError> {
    let mut options = Options::new("match_all", body)?;
    let boost = options.boost()?;
    options.finish()?;
    Ok(boosted(Query::All, boost))
}

/// The field of a query of the form `{field: …}`, with what belongs to it.
fn field_of<'a>(what: &str, body: &'a Value) -> Result<(String, &'a Value), ParseError> {
    let Value::Object(map) = body else { return Err(ParseError::new(format!("[{what}] must be an object"))) };
    let (field, value) =
        only(map).ok_or_else(|| ParseError::new(format!("[{what}] query must name exactly one field")))?;
    Ok((field.to_owned(), value))
}

fn needs(what: &str, key: &str) -> ParseError {
    ParseError::new(format!("[{what}] requires [{key}]"))
}

fn scalar(what: &str, value: &Value) -> Result<Value, ParseError> {
    match value {
        Value::Object(_) | Value::Array(_) | Value::Null => {
            Err(ParseError::new(format!("[{what}] needs a string, a number or a boolean as value")))
        }
        value => Ok(value.clone()),
    }
}

fn term(body: &Value) -> Result<Query, ParseError> {
    let (field, value) = field_of("term", body)?;
    if !value.is_object() {
        return Ok(Query::Term { field, value: scalar("term", value)?, any_case: false });
    }
    let mut options = Options::new("term", value)?;
    let value = scalar("term", options.get("value").ok_or_else(|| needs("term", "value"))?)?;
    let any_case = options.flag("case_insensitive")?.unwrap_or(false);
    let boost = options.boost()?;
    options.finish()?;
    Ok(boosted(Query::Term { field, value, any_case }, boost))
}

fn terms(body: &Value) -> Result<Query, ParseError> {
    let Value::Object(map) = body else { return Err(ParseError::new("[terms] must be an object")) };
    let mut map = map.clone();
    let boost = match map.remove("boost") {
        None => None,
        Some(boost) => Options::new("terms", &serde_json::json!({ "boost": boost }))?.boost()?,
    };
    let body = Value::Object(map);
    let (field, values) = field_of("terms", &body)?;
    let Value::Array(values) = values else {
        return Err(ParseError::new(format!("[terms] query needs an array of values for field [{field}]")));
    };
    if values.len() > MAX_TERMS {
        return Err(ParseError::new(format!("[terms] query has {} values; the most are {MAX_TERMS}", values.len())));
    }
    let values = values.iter().map(|v| scalar("terms", v)).collect::<Result<_, _>>()?;
    Ok(boosted(Query::Terms { field, values }, boost))
}

/// A field as a query names it: `*` alone is every field.
fn named(field: String) -> FieldName {
    if field == "*" || field == "_all" { FieldName::Any } else { FieldName::Named(field) }
}

fn operator(what: &str, text: Option<&str>) -> Result<bool, ParseError> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None | Some("or") => Ok(false),
        Some("and") => Ok(true),
        Some(other) => Err(ParseError::new(format!("[{what}] operator must be [and] or [or] but is [{other}]"))),
    }
}

fn match_words(body: &Value) -> Result<Query, ParseError> {
    let (field, value) = field_of("match", body)?;
    let field = named(field);
    if !value.is_object() {
        return Ok(Query::Match { field, text: scalar("match", value)?, all: false, minimum: None });
    }
    let mut options = Options::new("match", value)?;
    let text = scalar("match", options.get("query").ok_or_else(|| needs("match", "query"))?)?;
    let all = operator("match", options.text("operator")?)?;
    let minimum = options.minimum()?;
    let boost = options.boost()?;
    options.finish()?;
    Ok(boosted(Query::Match { field, text, all, minimum }, boost))
}

fn match_phrase(body: &Value) -> Result<Query, ParseError> {
    let (field, value) = field_of("match_phrase", body)?;
    let field = named(field);
    if !value.is_object() {
        return Ok(Query::Phrase { field, text: scalar("match_phrase", value)?, slop: 0 });
    }
    let mut options = Options::new("match_phrase", value)?;
    let text = scalar("match_phrase", options.get("query").ok_or_else(|| needs("match_phrase", "query"))?)?;
    let slop = options.count("slop")?.unwrap_or(0);
    let boost = options.boost()?;
    options.finish()?;
    Ok(boosted(Query::Phrase { field, text, slop }, boost))
}

fn range(body: &Value) -> Result<Query, ParseError> {
    let (field, value) = field_of("range", body)?;
    let mut options = Options::new("range", value)?;
    let mut ends = Ends::default();
    for (key, lower, included) in [("gte", true, true), ("gt", true, false), ("lte", false, true), ("lt", false, false)]
    {
        let Some(value) = options.get(key) else { continue };
        let end = if lower { &mut ends.lower } else { &mut ends.upper };
        if end.is_some() {
            return Err(ParseError::new(format!("[range] on [{field}] has two ends on one side")));
        }
        *end = Some((scalar("range", value)?, included));
    }
    let format = options.text("format")?.unwrap_or("strict_date_optional_time");
    if !format.split("||").all(|f| matches!(f, "strict_date_optional_time" | "date_optional_time" | "epoch_millis")) {
        return Err(ParseError::new(format!(
            "[range] format [{format}] is not supported: supported are strict_date_optional_time and epoch_millis"
        )));
    }
    let zone = options.text("time_zone")?.unwrap_or("UTC");
    if !matches!(zone, "UTC" | "Z" | "+00:00") {
        return Err(ParseError::new(format!("[range] time_zone [{zone}] is not supported: give dates with an offset")));
    }
    let boost = options.boost()?;
    options.finish()?;
    Ok(boosted(Query::Range { field, ends }, boost))
}

fn exists(body: &Value) -> Result<Query, ParseError> {
    let mut options = Options::new("exists", body)?;
    let field = options.text("field")?.ok_or_else(|| needs("exists", "field"))?.to_owned();
    let boost = options.boost()?;
    options.finish()?;
    Ok(boosted(Query::Exists { field }, boost))
}

fn ids(body: &Value) -> Result<Query, ParseError> {
    let mut options = Options::new("ids", body)?;
    let values = options.get("values").ok_or_else(|| needs("ids", "values"))?;
    let boost = options.boost()?;
    options.finish()?;
    let values = match values {
        Value::Array(values) if values.len() <= MAX_TERMS => values.as_slice(),
        Value::Array(_) => return Err(ParseError::new(format!("[ids] has more than {MAX_TERMS} values"))),
        one => std::slice::from_ref(one),
    };
    let id = |v: &Value| v.as_str().map(str::to_owned).ok_or_else(|| ParseError::new("[ids] values must be strings"));
    Ok(boosted(Query::Ids(values.iter().map(id).collect::<Result<_, _>>()?), boost))
}

fn pattern(what: &'static str, body: &Value) -> Result<Query, ParseError> {
    let (field, value) = field_of(what, body)?;
    let (text, any_case, boost) = match value {
        Value::String(text) => (text.clone(), false, None),
        value => {
            let mut options = Options::new(what, value)?;
            let text = options.text("value")?.ok_or_else(|| needs(what, "value"))?.to_owned();
            let any_case = options.flag("case_insensitive")?.unwrap_or(false);
            let boost = options.boost()?;
            options.finish()?;
            (text, any_case, boost)
        }
    };
    let pattern = if what == "prefix" { format!("{}*", escape(&text)) } else { text };
    Ok(boosted(Query::Wildcard { field: FieldName::Named(field), pattern, any_case }, boost))
}

/// A text as a pattern that only it fits.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn clauses(what: &'static str, value: Option<&Value>, depth: usize) -> Result<Vec<Query>, ParseError> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| parse(item, depth + 1)).collect(),
        Some(one @ Value::Object(_)) => Ok(vec![parse(one, depth + 1)?]),
        Some(_) => Err(ParseError::new(format!("[bool] option [{what}] must be a query or an array of queries"))),
    }
}

fn boolean(body: &Value, depth: usize) -> Result<Query, ParseError> {
    let mut options = Options::new("bool", body)?;
    let query = BoolQuery {
        must: clauses("must", options.get("must"), depth)?,
        filter: clauses("filter", options.get("filter"), depth)?,
        should: clauses("should", options.get("should"), depth)?,
        must_not: clauses("must_not", options.get("must_not"), depth)?,
        minimum: options.minimum()?,
    };
    let boost = options.boost()?;
    options.finish()?;
    Ok(boosted(Query::Bool(Box::new(query)), boost))
}

fn constant_score(body: &Value, depth: usize) -> Result<Query, ParseError> {
    let mut options = Options::new("constant_score", body)?;
    let filter = options.get("filter").ok_or_else(|| needs("constant_score", "filter"))?;
    let boost = options.boost()?.unwrap_or(1.0);
    options.finish()?;
    Ok(Query::Constant(Box::new(parse(filter, depth + 1)?), boost))
}

fn query_string(body: &Value) -> Result<Query, ParseError> {
    let mut options = Options::new("query_string", body)?;
    let text = options.text("query")?.ok_or_else(|| needs("query_string", "query"))?;
    let mut fields = Vec::new();
    match (options.get("fields"), options.text("default_field")?) {
        (Some(_), Some(_)) => {
            return Err(ParseError::new("[query_string] takes [fields] or [default_field], not both"));
        }
        (Some(Value::Array(names)), None) => {
            for name in names {
                let name = name.as_str().filter(|name| !name.contains('^'));
                let name = name.ok_or_else(|| {
                    ParseError::new("[query_string] option [fields] must be an array of names without boosts")
                })?;
                fields.push(named(name.to_owned()));
            }
        }
        (Some(_), None) => return Err(ParseError::new("[query_string] option [fields] must be an array")),
        (None, Some(name)) => fields.push(named(name.to_owned())),
        (None, None) => fields.push(FieldName::Any),
    }
    let operator =
        if operator("query_string", options.text("default_operator")?)? { Operator::And } else { Operator::Or };
    // Wildcards are always matched as written, and a value that cannot be one of a field's never matches.
    options.flag("analyze_wildcard")?;
    options.flag("lenient")?;
    let boost = options.boost()?;
    options.finish()?;
    Ok(boosted(parse_query_string(&StringQuery { text, fields, operator })?, boost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_a_query_are_one() {
        for (short, long) in [
            (json!({"term": {"a": 1}}), json!({"term": {"a": {"value": 1}}})),
            (json!({"match": {"a": "x"}}), json!({"match": {"a": {"query": "x", "operator": "OR"}}})),
            (json!({"match_phrase": {"a": "x"}}), json!({"match_phrase": {"a": {"query": "x"}}})),
            (json!({"prefix": {"a": "x*"}}), json!({"wildcard": {"a": {"value": "x\\**"}}})),
            (json!({"bool": {"must": {"match_all": {}}}}), json!({"bool": {"must": [{"match_all": {}}]}})),
        ] {
            assert_eq!(parse_query(&short).unwrap(), parse_query(&long).unwrap());
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (query, named) in [
            (json!({"fuzzy": {"a": "x"}}), "unknown query [fuzzy]"),
            (json!({"match": {"a": {"query": "x", "fuzziness": "AUTO"}}}), "[fuzziness]"),
            (json!({"range": {"a": {"from": 1}}}), "[from]"),
            (json!({"range": {"a": {"gt": 1, "gte": 2}}}), "two ends"),
            (json!({"bool": {"musst": []}}), "[musst]"),
            (json!({"term": {"a": [1]}}), "[term]"),
            (json!({"term": {"a": 1, "b": 2}}), "exactly one field"),
            (json!({"a": {}, "b": {}}), "exactly one key"),
            (json!([]), "[query]"),
            (json!({"bool": {"minimum_should_match": "2<75%"}}), "[minimum_should_match]"),
        ] {
            let error = parse_query(&query).unwrap_err();
            assert!(error.reason.contains(named), "{query}: {}", error.reason);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut query = json!({"match_all": {}});
        for _ in 0..MAX_DEPTH {
            query = json!({"bool": {"must": [query]}});
        }
        assert!(parse_query(&query).is_ok());
        let deeper = json!({"bool": {"must": [query]}});
        assert!(parse_query(&deeper).unwrap_err().reason.contains("nested deeper"));
    }
}
