//! A request or an answer as a record's `requestParameters` or `responseElements`.
//!
//! Promises that what [`secrets`](super::secrets) calls secret is not there, and that the value of such a member can be
//! found in texts that were made of the same request. Members are called as CloudTrail calls them: as in the model, with
//! a small first letter.

use serde_json::{Map, Value, json};
use wire::ServiceId;
use wire::data::{Structure, View};
use wire::model::Kind;

use super::secrets::{HIDDEN, Shown, is_secret_attribute, shown};

/// Secrets of one request that are looked for in its error message, at most: far more than any error quotes.
const MAX_KEPT: usize = 1_000;
/// Of a long secret its beginning is looked for: quotations are cut.
const QUOTED_CHARS: usize = 256;
/// Shorter ones are found in every text.
const MIN_CHARS: usize = 4;

/// What a record shows of a structure.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    /// Its members; empty when it has none.
    pub members: Map<String, Value>,
    /// The texts that are not shown, as far as they may be quoted elsewhere.
    secrets: Vec<String>,
}

/// Renders a structure.
pub(super) fn render(service: ServiceId, structure: &dyn Structure) -> Rendered {
    let mut secrets = Secrets::default();
    let members = members(service, structure, &mut secrets);
    Rendered { members, secrets: secrets.0 }
}

impl Rendered {
    /// A text without the secrets that it quotes.
    pub fn scrub(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

/// Whatever stands between quotes where a validation says which value it refuses, for a request of which nothing else is
/// known.
pub(super) fn without_values(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("Value '") {
        out.push_str(before);
        out.push_str("Value '");
        out.push_str(HIDDEN);
        match after.find("' at '") {
            Some(end) => rest = &after[end..],
            None => return out,
        }
    }
    out + rest
}

#[derive(Default)]
struct Secrets(Vec<String>);

impl Secrets {
    fn keep(&mut self, text: &str) {
        let quoted: String = text.chars().take(QUOTED_CHARS).collect();
        if quoted.chars().count() >= MIN_CHARS && self.0.len() < MAX_KEPT {
            self.0.push(quoted);
        }
    }

    /// Keeps every text in a value.
    fn keep_all(&mut self, view: View<'_>) {
        match view {
            View::Str(text) => self.keep(text),
            View::List(items) => (0..items.count().min(MAX_KEPT)).for_each(|i| self.keep_all(items.at(i))),
            View::Map(entries) => entries.each(&mut |_, value| self.keep_all(value)),
            View::Structure(inner) => {
                if let Kind::Structure(members) = &inner.shape().kind {
                    (0..members.len()).for_each(|i| self.keep_all(inner.member(i)));
                }
            }
            View::Absent | View::Int(_) | View::Float(_) | View::Bool(_) | View::Blob(_) | View::Time(_) => {}
        }
    }
}

fn members(service: ServiceId, structure: &dyn Structure, secrets: &mut Secrets) -> Map<String, Value> {
    let mut out = Map::new();
    let Kind::Structure(members) = &structure.shape().kind else { return out };
    let named = |name: &str| members.iter().position(|member| member.name == name).map(|at| structure.member(at));
    let attribute = match named("AttributeName") {
        Some(View::Str(name)) => is_secret_attribute(name),
        _ => false,
    };
    for (at, member) in members.iter().enumerate() {
        let view = structure.member(at);
        if matches!(view, View::Absent) {
            continue;
        }
        let is_secret = attribute && member.name == "AttributeValue";
        let rendered = match if is_secret { Shown::Hidden } else { shown(service, member) } {
            Shown::Whole => value(service, view, secrets),
            Shown::Host => host(view, secrets),
            Shown::Hidden => {
                secrets.keep_all(view);
                Some(json!(HIDDEN))
            }
            Shown::Omitted => {
                secrets.keep_all(view);
                None
            }
        };
        if let Some(rendered) = rendered {
            out.insert(lower_first(member.name), rendered);
        }
    }
    out
}

fn value(service: ServiceId, view: View<'_>, secrets: &mut Secrets) -> Option<Value> {
    Some(match view {
        // A blob is left out by its member; one that nobody foresaw is, too.
        View::Absent | View::Blob(_) => return None,
        View::Str(text) => json!(text),
        View::Int(number) => json!(number),
        View::Float(number) => json!(number),
        View::Bool(truth) => json!(truth),
        View::Time(time) => json!(time.to_iso_secs()),
        View::List(items) => {
            Value::Array((0..items.count()).filter_map(|i| value(service, items.at(i), secrets)).collect())
        }
        View::Map(entries) => {
            let mut out = Map::new();
            entries.each(&mut |key, view| {
                let rendered = if is_secret_attribute(key) {
                    secrets.keep_all(view);
                    Some(json!(HIDDEN))
                } else {
                    value(service, view, secrets)
                };
                if let Some(rendered) = rendered {
                    out.insert(key.to_owned(), rendered);
                }
            });
            Value::Object(out)
        }
        View::Structure(inner) => Value::Object(members(service, inner, secrets)),
    })
}

/// A URL up to its host; what is no URL as it is.
fn host(view: View<'_>, secrets: &mut Secrets) -> Option<Value> {
    let View::Str(text) = view else { return None };
    let Some((scheme, rest)) = text.split_once("://") else { return Some(json!(text)) };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    secrets.keep(path);
    secrets.keep(user);
    let path = if path.len() > 1 { format!("/{HIDDEN}") } else { path.to_owned() };
    Some(json!(format!("{scheme}://{host}{path}")))
}

/// As CloudTrail writes the names of parameters: `StreamName` is `streamName`, `KMSKeyArn` is `kMSKeyArn`.
fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
