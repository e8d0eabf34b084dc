//! All that rules ask of one path, arranged so that a value finds what it satisfies without looking at the rest.
//!
//! Strings are looked up whole, walked from both ends through trees of prefixes and suffixes, and searched for the
//! longest piece of each wildcard; what a lookup cannot decide is checked by the operator itself. So the work grows with
//! the value and with what it satisfies, hardly with the number of operators, and no combination of them makes it
//! explode.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rustc_hash::FxBuildHasher;

use super::radix::{From, Radix};
use super::ranges::{Blocks, Ranges};
use super::slab::Slab;
use crate::address;
use crate::matcher::{Leaf, Matcher};
use crate::number::{self, Double, Number};
use crate::text::{self, Caseless, Wildcard};

/// What follows when an operator matches a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hit {
    /// The condition is satisfied.
    Condition(u32),
    /// The `anything-but` is not satisfied by this value.
    Excluded(u32),
    /// The operator must still be asked.
    Check(u32),
}

/// An operator that is asked when a lookup says that it may match.
#[derive(Debug)]
pub(super) struct Check {
    pub matcher: Matcher,
    /// The lookup says all when the value is ASCII.
    pub ascii_is_sure: bool,
    /// What follows, for everyone who asks the same.
    pub then: Vec<Hit>,
}

/// Operators that are asked.
pub(super) type Checks = Slab<Check>;

impl Check {
    fn new(matcher: &Matcher) -> Self {
        let ascii_is_sure = match matcher {
            Matcher::Caseless(text) | Matcher::PrefixCaseless(text) | Matcher::SuffixCaseless(text) => text.is_ascii(),
            _ => false,
        };
        Self { matcher: matcher.clone(), ascii_is_sure, then: Vec::new() }
    }
}

/// The place of this operator's check in a list of hits, and its number.
fn find_check(checks: &Checks, hits: &[Hit], matcher: &Matcher) -> Option<(usize, u32)> {
    hits.iter().enumerate().find_map(|(place, hit)| match *hit {
        Hit::Check(id) if checks.get(id).is_some_and(|check| check.matcher == *matcher) => Some((place, id)),
        _ => None,
    })
}

/// Adds what follows to the check of this operator, which is made when it is new.
fn add_check(checks: &mut Checks, hits: &mut Vec<Hit>, matcher: &Matcher, then: Hit) {
    let id = find_check(checks, hits, matcher).map_or_else(
        || {
            let id = checks.add(Check::new(matcher));
            hits.push(Hit::Check(id));
            id
        },
        |(_, id)| id,
    );
    if let Some(check) = checks.get_mut(id) {
        check.then.push(then);
    }
}

/// Takes what follows from the check of this operator, which goes with the last.
fn remove_check(checks: &mut Checks, hits: &mut Vec<Hit>, matcher: &Matcher, then: Hit) {
    let Some((place, id)) = find_check(checks, hits, matcher) else { return };
    let Some(check) = checks.get_mut(id) else { return };
    check.then.retain(|hit| *hit != then);
    if check.then.is_empty() {
        checks.remove(id);
        hits.swap_remove(place);
    }
}

/// What a probe asks and tells.
pub(super) trait Sink {
    /// Whether a hit would be news.
    fn is_news(&self, hit: Hit) -> bool;
    /// A hit; a check has been decided.
    fn hit(&mut self, hit: Hit);
    /// Whether this check was not asked for this value yet; it is now.
    fn first_ask(&mut self, check: u32) -> bool;
}

type Map<K> = HashMap<K, Vec<Hit>, FxBuildHasher>;

/// The operators of one path.
#[derive(Debug, Default)]
pub(super) struct Index {
    texts: Map<Box<[u8]>>,
    any_text: Vec<Hit>,
    prefixes: Radix,
    suffixes: Radix,
    pieces: Radix,
    folded: Map<Box<[u8]>>,
    folded_prefixes: Radix,
    folded_suffixes: Radix,
    /// What folding cannot find.
    unfolded: Vec<Hit>,
    addresses: Blocks,
    numbers: Map<u64>,
    /// The same by their shortest writing, so that most numbers need not be read.
    plain_numbers: Map<Box<[u8]>>,
    ranges: Ranges,
    number_texts: Map<Box<[u8]>>,
    literals: [Vec<Hit>; 3],
}

/// Where an operator is looked up.
enum Place {
    Text(Box<[u8]>),
    AnyText,
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Piece(Box<[u8]>),
    Folded(Box<[u8]>),
    FoldedPrefix(Box<[u8]>),
    FoldedSuffix(Box<[u8]>),
    Unfolded,
    Block(crate::address::Cidr),
    Number(Double),
    Range(number::Range),
    NumberText(Box<[u8]>),
    Literal(usize),
    /// Nowhere: whether there is a value decides.
    Nowhere,
}

fn literal_slot(literal: &str) -> usize {
    match literal {
        "true" => 0,
        "false" => 1,
        _ => 2,
    }
}

fn reversed(key: &[u8]) -> Box<[u8]> {
    key.iter().rev().copied().collect()
}

/// The place of an operator, and whether it must still be asked when it was found there.
fn place(matcher: &Matcher) -> (Place, bool) {
    match matcher {
        Matcher::Text(text) => (Place::Text(text.as_bytes().into()), false),
        Matcher::Prefix(text) if text.is_empty() => (Place::AnyText, false),
        Matcher::Suffix(text) if text.is_empty() => (Place::AnyText, false),
        Matcher::Prefix(text) => (Place::Prefix(text.as_bytes().into()), false),
        Matcher::Suffix(text) => (Place::Suffix(reversed(text.as_bytes())), false),
        // A wildcard has several places; see `wildcard_places`.
        Matcher::Wildcard(_) => (Place::Nowhere, false),
        Matcher::Caseless(text) => (place_folded(text, Place::Folded), true),
        Matcher::PrefixCaseless(text) => (place_folded(text, Place::FoldedPrefix), true),
        Matcher::SuffixCaseless(text) => (place_folded(text, |key| Place::FoldedSuffix(reversed(&key))), true),
        Matcher::Address(address) => (Place::Block(Blocks::single(*address)), false),
        Matcher::Cidr(block) => (Place::Block(*block), false),
        Matcher::Number(Number::Double(value)) => (Place::Number(*value), false),
        Matcher::Number(Number::Text(text)) => (Place::NumberText(text.clone()), false),
        Matcher::Numeric(range) => (Place::Range(*range), false),
        Matcher::Literal(literal) => (Place::Literal(literal_slot(literal)), false),
        Matcher::Exists | Matcher::Absent | Matcher::AnythingBut(_) => (Place::Nowhere, false),
    }
}

/// The places by which a wildcard can be found, and of each whether it must still be asked there. There is one at least.
fn wildcard_places(wildcard: &Wildcard) -> Vec<(Place, bool)> {
    let first = wildcard.first.as_bytes();
    let Some((last, middle)) = wildcard.rest.split_last() else { return vec![(Place::Text(first.into()), false)] };
    let last = last.as_bytes();
    let ends_only = middle.is_empty();
    let mut places = Vec::new();
    if !first.is_empty() {
        places.push((Place::Prefix(first.into()), !(ends_only && last.is_empty())));
    }
    if !last.is_empty() {
        places.push((Place::Suffix(reversed(last)), !(ends_only && first.is_empty())));
    }
    // Of a single piece between two stars, finding it is all.
    let ask = !(places.is_empty() && middle.len() == 1);
    places.extend(middle.iter().map(|piece| (Place::Piece(piece.as_bytes().into()), ask)));
    if places.is_empty() {
        places.push((Place::AnyText, false));
    }
    places
}

fn place_folded(text: &Caseless, place: impl Fn(Box<[u8]>) -> Place) -> Place {
    text.folded().map_or(Place::Unfolded, |key| place(key.into()))
}

impl Index {
    /// Adds or removes what follows when `matcher` matches.
    pub fn edit(&mut self, matcher: &Matcher, hit: Hit, add: bool, checks: &mut Checks) {
        let places = match matcher {
            Matcher::Wildcard(wildcard) if add => vec![self.best(wildcard_places(wildcard), matcher, checks)],
            // It is at one of them.
            Matcher::Wildcard(wildcard) => wildcard_places(wildcard),
            matcher => vec![place(matcher)],
        };
        for (place, ask) in places {
            match place {
                Place::Nowhere => {}
                Place::Block(block) => self.addresses.edit(block, hit, add),
                Place::Range(range) if add => self.ranges.insert(range, hit),
                Place::Range(range) => self.ranges.remove(range, hit),
                Place::Number(value) => self.edit_number(value, hit, add),
                place => self.edit_list(&place, ask, matcher, hit, add, checks),
            }
        }
    }

    fn edit_list(&mut self, place: &Place, ask: bool, matcher: &Matcher, hit: Hit, add: bool, checks: &mut Checks) {
        if add {
            let hits = self.hits(place);
            return if ask { add_check(checks, hits, matcher, hit) } else { hits.push(hit) };
        }
        let Some(hits) = self.known_hits(place) else { return };
        if ask {
            remove_check(checks, hits, matcher, hit);
        } else {
            hits.retain(|h| *h != hit);
        }
        if hits.is_empty() {
            self.forget(place);
        }
    }

    /// Where the same is asked already; else the place that will be found least often, as far as can be told: few others
    /// are there, and it is long.
    fn best(&mut self, places: Vec<(Place, bool)>, matcher: &Matcher, checks: &Checks) -> (Place, bool) {
        let mut best: Option<(usize, (Place, bool))> = None;
        for (place, ask) in places {
            let (length, others) = match &place {
                Place::Prefix(key) => (key.len(), self.prefixes.get_mut(key)),
                Place::Suffix(key) => (key.len(), self.suffixes.get_mut(key)),
                Place::Piece(key) => (key.len(), self.pieces.get_mut(key)),
                _ => (usize::MAX, None),
            };
            if ask && others.as_ref().is_some_and(|hits| find_check(checks, hits, matcher).is_some()) {
                return (place, ask);
            }
            let by_chance = match length {
                1 => 64,
                2 => 16,
                3 => 4,
                _ => 0,
            };
            let weight = others.map_or(0, |hits| hits.len()) * 4 + by_chance;
            if best.as_ref().is_none_or(|(least, _)| weight < *least) {
                best = Some((weight, (place, ask)));
            }
        }
        best.map_or((Place::AnyText, true), |(_, place)| place)
    }

    fn edit_number(&mut self, value: Double, hit: Hit, add: bool) {
        fn edit<K: Eq + std::hash::Hash>(map: &mut Map<K>, key: K, hit: Hit, add: bool) {
            let mut entry = match map.entry(key) {
                Entry::Vacant(entry) if add => entry.insert_entry(Vec::new()),
                Entry::Vacant(_) => return,
                Entry::Occupied(entry) => entry,
            };
            if add {
                entry.get_mut().push(hit);
            } else {
                entry.get_mut().retain(|h| *h != hit);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        }
        edit(&mut self.numbers, value.key(), hit, add);
        edit(&mut self.plain_numbers, value.shortest().into_bytes().into(), hit, add);
    }

    fn hits(&mut self, place: &Place) -> &mut Vec<Hit> {
        match place {
            Place::Text(key) => self.texts.entry(key.clone()).or_default(),
            Place::Prefix(key) => self.prefixes.entry(key),
            Place::Suffix(key) => self.suffixes.entry(key),
            Place::Piece(key) => self.pieces.entry(key),
            Place::Folded(key) => self.folded.entry(key.clone()).or_default(),
            Place::FoldedPrefix(key) => self.folded_prefixes.entry(key),
            Place::FoldedSuffix(key) => self.folded_suffixes.entry(key),
            Place::Unfolded => &mut self.unfolded,
            Place::NumberText(key) => self.number_texts.entry(key.clone()).or_default(),
            Place::Literal(slot) => &mut self.literals[*slot],
            Place::AnyText | Place::Block(_) | Place::Range(_) | Place::Number(_) | Place::Nowhere => {
                &mut self.any_text
            }
        }
    }

    fn known_hits(&mut self, place: &Place) -> Option<&mut Vec<Hit>> {
        match place {
            Place::Prefix(key) => self.prefixes.get_mut(key),
            Place::Suffix(key) => self.suffixes.get_mut(key),
            Place::Piece(key) => self.pieces.get_mut(key),
            Place::FoldedPrefix(key) => self.folded_prefixes.get_mut(key),
            Place::FoldedSuffix(key) => self.folded_suffixes.get_mut(key),
            Place::Text(key) => self.texts.get_mut(key),
            Place::Folded(key) => self.folded.get_mut(key),
            Place::NumberText(key) => self.number_texts.get_mut(key),
            place => Some(self.hits(place)),
        }
    }

    fn forget(&mut self, place: &Place) {
        match place {
            Place::Text(key) => _ = self.texts.remove(key),
            Place::Folded(key) => _ = self.folded.remove(key),
            Place::NumberText(key) => _ = self.number_texts.remove(key),
            _ => {}
        }
    }

    /// Tells everything that a string without escapes satisfies.
    pub fn probe_text(&self, text: &[u8], checks: &Checks, sink: &mut impl Sink) {
        let leaf = Leaf::Text(text);
        let mut tell = |hits: &[Hit]| tell(hits, leaf, false, checks, sink);
        tell(&self.any_text);
        if !self.texts.is_empty()
            && let Some(hits) = self.texts.get(text)
        {
            tell(hits);
        }
        if !self.prefixes.is_empty() {
            self.prefixes.walk(text, From::Front, &mut tell);
        }
        if !self.suffixes.is_empty() {
            self.suffixes.walk(text, From::Back, &mut tell);
        }
        if !self.pieces.is_empty() {
            self.pieces.walk_all(text, &mut tell);
        }
        if !self.addresses.is_empty()
            && let Some(address) = address::parse(text)
        {
            self.addresses.walk(address, &mut tell);
        }
        tell(&self.unfolded);
        if !(self.folded.is_empty() && self.folded_prefixes.is_empty() && self.folded_suffixes.is_empty()) {
            self.probe_folded(text, checks, sink);
        }
    }

    fn probe_folded(&self, text: &[u8], checks: &Checks, sink: &mut impl Sink) {
        /// Longer strings are folded on the heap.
        const SHORT: usize = 128;
        let mut short = [0; SHORT];
        let ascii = text.is_ascii();
        let long;
        let folded = match short.get_mut(..text.len()).filter(|_| ascii) {
            Some(short) => {
                short.copy_from_slice(text);
                short.make_ascii_lowercase();
                &*short
            }
            None => {
                let Some(folded) = text::folded(text) else { return };
                long = folded;
                &long
            }
        };
        let mut tell = |hits: &[Hit]| tell(hits, Leaf::Text(text), ascii, checks, sink);
        if let Some(hits) = self.folded.get(folded) {
            tell(hits);
        }
        self.folded_prefixes.walk(folded, From::Front, &mut tell);
        self.folded_suffixes.walk(folded, From::Back, &mut tell);
    }

    /// Tells everything that a number satisfies. Whether a double holds it exactly is costly to see, so it is asked
    /// only when something depends on it.
    pub fn probe_number(&self, text: &[u8], sink: &mut impl Sink) {
        if !self.number_texts.is_empty()
            && let Some(hits) = self.number_texts.get(text)
        {
            hits.iter().for_each(|hit| sink.hit(*hit));
        }
        let plain = number::is_plain(text);
        if plain
            && !self.plain_numbers.is_empty()
            && let Some(hits) = self.plain_numbers.get(text)
        {
            hits.iter().for_each(|hit| sink.hit(*hit));
        }
        let by_value = !plain && !self.numbers.is_empty();
        let ranges = self.ranges.may_tell(|hit| sink.is_news(hit));
        if !(by_value || ranges) {
            return;
        }
        let Some(value) = Double::rounded(text) else { return };
        let mut exact = None;
        let mut tell = |hits: &[Hit]| {
            for hit in hits {
                if sink.is_news(*hit) && *exact.get_or_insert_with(|| number::is_exact(text, value)) {
                    sink.hit(*hit);
                }
            }
        };
        if by_value && let Some(hits) = self.numbers.get(&value.key()) {
            tell(hits);
        }
        if ranges {
            self.ranges.walk(value, &mut tell);
        }
    }

    /// Tells everything that `true`, `false` or `null` satisfies.
    pub fn probe_literal(&self, literal: &str, sink: &mut impl Sink) {
        self.literals[literal_slot(literal)].iter().for_each(|hit| sink.hit(*hit));
    }
}

#[inline]
fn tell(hits: &[Hit], leaf: Leaf<'_>, folded_ascii: bool, checks: &Checks, sink: &mut impl Sink) {
    for hit in hits {
        let Hit::Check(id) = *hit else {
            sink.hit(*hit);
            continue;
        };
        let Some(check) = checks.get(id) else { continue };
        let sure = folded_ascii && check.ascii_is_sure;
        let asked = sink.first_ask(id) && check.then.iter().any(|hit| sink.is_news(*hit));
        if asked && (sure || check.matcher.matches(&leaf)) {
            check.then.iter().for_each(|hit| sink.hit(*hit));
        }
    }
}
