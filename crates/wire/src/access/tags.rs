//! The tags that a call gives or takes away, for `aws:RequestTag/KEY` and `aws:TagKeys`.

use crate::data::{Structure, View};
use crate::model::Kind;

/// What a call says of tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tagged {
    /// Keys and values that it gives.
    pub given: Vec<(String, String)>,
    /// All keys that it is about.
    pub keys: Vec<String>,
}

/// The tags of an input: a map, or a list of keys and values, of the name that the services give it.
pub fn tags(input: &dyn Structure) -> Tagged {
    let mut tagged = Tagged::default();
    let Kind::Structure(members) = input.shape().kind else { return tagged };
    for (at, member) in members.iter().enumerate() {
        match member.name {
            "Tags" | "tags" => given(input.member(at), &mut tagged.given),
            "TagKeys" | "tagKeys" => {
                if let View::List(keys) = input.member(at) {
                    tagged.keys.extend((0..keys.count()).filter_map(|at| text(keys.at(at))));
                }
            }
            _ => {}
        }
    }
    tagged.keys.extend(tagged.given.iter().map(|(key, _)| key.clone()));
    tagged
}

fn given(tags: View<'_>, all: &mut Vec<(String, String)>) {
    match tags {
        View::Map(entries) => entries.each(&mut |key, value| {
            all.push((key.to_owned(), text(value).unwrap_or_default()));
        }),
        View::List(items) => {
            for at in 0..items.count() {
                let View::Structure(tag) = items.at(at) else { continue };
                let Kind::Structure(members) = tag.shape().kind else { continue };
                let of = |name: &str| {
                    let place = members.iter().position(|member| member.name.eq_ignore_ascii_case(name))?;
                    text(tag.member(place))
                };
                if let Some(key) = of("Key") {
                    all.push((key, of("Value").unwrap_or_default()));
                }
            }
        }
        _ => {}
    }
}

fn text(view: View<'_>) -> Option<String> {
    if let View::Str(text) = view { Some(text.to_owned()) } else { None }
}
