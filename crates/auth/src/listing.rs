//! The statements of a policy that can be about a service, laid out so that a request goes through few bytes.
//!
//! Most requests match none of a policy's many names. So what is compared first (length and first letter of each name)
//! stands in one row, the names behind each other in one text, and a statement is touched only when its action matches.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::pattern::Pattern;
use crate::statement::Statement;

/// The statements of one policy, by service.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    /// Ascending by service.
    services: Box<[Service]>,
    /// For every other service.
    others: Box<[Entry]>,
}

#[derive(Debug, Clone)]
struct Service {
    /// In lower case.
    name: Box<str>,
    /// What the entries' names begin with, behind each other.
    heads: Box<str>,
    entries: Box<[Entry]>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    how: How,
    first: u8,
    start: u32,
    length: u32,
    statement: u32,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// The name is the head.
    Exactly,
    /// The name begins with the head.
    Prefix,
    /// The statement is asked.
    Ask,
}

impl Listing {
    pub(crate) fn of(statements: &[Statement]) -> Self {
        let named = statements.iter().flat_map(|statement| statement.actions.services().into_iter().flatten());
        let names: BTreeSet<&str> = named.collect();
        let services = names.into_iter().map(|name| Service::of(name, statements)).collect();
        let everywhere = statements.iter().enumerate().filter(|(_, statement)| statement.actions.services().is_none());
        Self { services, others: everywhere.map(|(index, _)| Entry::ask(index)).collect() }
    }

    /// The numbers of the statements whose actions match, in order, each once.
    #[inline]
    pub(crate) fn matching<'l>(
        &'l self,
        statements: &'l [Statement],
        action: &'l Action,
    ) -> impl Iterator<Item = usize> + 'l {
        let found = self.services.binary_search_by(|service| (*service.name).cmp(action.service()));
        let (heads, entries) = match found {
            Ok(at) => (&*self.services[at].heads, &*self.services[at].entries),
            Err(_) => ("", &*self.others),
        };
        let (heads, name) = (heads.as_bytes(), action.name().as_bytes());
        let first = name.first().copied().unwrap_or_default();
        let mut last = None;
        entries.iter().filter_map(move |entry| {
            let length = entry.length as usize;
            let head = || &heads[entry.start as usize..entry.start as usize + length];
            let matches = match entry.how {
                How::Exactly => length == name.len() && entry.first == first && head() == name,
                How::Prefix => length == 0 || entry.first == first && name.starts_with(head()),
                How::Ask => statements[entry.statement as usize].actions.matches(action),
            };
            let index = entry.statement as usize;
            (matches && last.replace(index) != Some(index)).then_some(index)
        })
    }
}

impl Service {
    fn of(name: &str, statements: &[Statement]) -> Self {
        let mut heads = String::new();
        let mut entries = Vec::new();
        for (index, statement) in statements.iter().enumerate() {
            if statement.actions.services().is_none() {
                entries.push(Entry::ask(index));
                continue;
            }
            for pattern in statement.actions.names_in(name) {
                let (how, head) = match pattern {
                    Pattern::Anything => (How::Prefix, ""),
                    Pattern::Exactly(head) => (How::Exactly, &**head),
                    Pattern::Prefix(head) => (How::Prefix, &**head),
                    Pattern::Pieces(_) => (How::Ask, ""),
                };
                entries.push(Entry {
                    how,
                    start: number(heads.len()),
                    length: number(head.len()),
                    first: first(head),
                    ..Entry::ask(index)
                });
                heads.push_str(head);
            }
        }
        Self { name: name.into(), heads: heads.into(), entries: entries.into() }
    }
}

impl Entry {
    fn ask(statement: usize) -> Self {
        Self { how: How::Ask, first: 0, start: 0, length: 0, statement: number(statement) }
    }
}

fn first(head: &str) -> u8 {
    head.as_bytes().first().copied().unwrap_or_default()
}

/// A place in a document, whose length is bounded.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
