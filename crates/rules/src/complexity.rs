//! How much a value can keep the wildcards of one field busy.
//!
//! A wildcard is a row of pieces with stars between them; behind its first star, a value that is read may have got to
//! several places of the row at once. The service refuses rules in which a value can be in too many. Its own bound is not published;
//! event-ruler's documentation speaks of 10 for a single rule, which agrees with the one refusal that is known in public:
//! four values of the form `*:stack/NAME/*` in one list are too many, three are not. This crate's engine is not slowed
//! down by wildcards as the service's is; a rule that is refused there is refused here all the same.

use std::collections::{BinaryHeap, HashSet};

use crate::matcher::Matcher;
use crate::text::Wildcard;

/// A value may be in so many places at once.
const MOST_PLACES: usize = 10;

/// Steps from a place to the next that are tried before a list of wildcards is believed to be simple.
const MOST_STEPS: usize = 1_000_000;

/// A place: which wildcard, which of its pieces, and how much of that was read. Before a piece that follows a star,
/// the place is the star itself.
type Place = (u16, u16, u16);

/// Whether the wildcards among a field's operators are too much together.
pub(crate) fn is_too_complex(matchers: &[Matcher]) -> bool {
    let mut wildcards = Vec::new();
    for matcher in matchers {
        match matcher {
            Matcher::Wildcard(wildcard) => wildcards.push(pieces(wildcard)),
            Matcher::AnythingBut(none_of) => wildcards.extend(none_of.iter().filter_map(|matcher| match matcher {
                Matcher::Wildcard(wildcard) => Some(pieces(wildcard)),
                _ => None,
            })),
            _ => {}
        }
    }
    let bound: usize = wildcards.iter().map(|pieces| bound(pieces)).sum();
    bound > MOST_PLACES && can_exceed(&wildcards)
}

fn pieces(wildcard: &Wildcard) -> Vec<&[u8]> {
    std::iter::once(&wildcard.first).chain(&wildcard.rest).map(|piece| piece.as_bytes()).collect()
}

/// More places than this a single wildcard cannot have: its stars, and what overlaps of each piece with itself allow.
fn bound(pieces: &[&[u8]]) -> usize {
    let after_stars = pieces.get(1..).unwrap_or_default();
    after_stars.iter().map(|piece| 1 + overlap(piece)).sum()
}

/// How many proper beginnings of a piece can end at the same character.
fn overlap(piece: &[u8]) -> usize {
    let mut borders = vec![0_usize; piece.len()];
    let mut depths = vec![0_usize; piece.len()];
    for at in 0..piece.len() {
        if at > 0 {
            let mut border = borders[at - 1];
            while border > 0 && piece[border] != piece[at] {
                border = borders[border - 1];
            }
            borders[at] = border + usize::from(piece[border] == piece[at]);
        }
        depths[at] = 1 + borders[at].checked_sub(1).map_or(0, |shorter| depths[shorter]);
    }
    depths.split_last().map_or(0, |(_, proper)| proper.iter().copied().max().unwrap_or(0))
}

/// Looks for a value that is in too many places, from the fullest sets of places on.
fn can_exceed(wildcards: &[Vec<&[u8]>]) -> bool {
    let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let mut alphabet: Vec<u8> = wildcards.iter().flatten().flat_map(|piece| piece.iter().copied()).collect();
    alphabet.sort_unstable();
    alphabet.dedup();
    let start: Vec<Place> = (0..wildcards.len()).map(|w| normal(wildcards, (short(w), 0, 0))).collect();
    let after_star = |places: &[Place]| places.iter().filter(|(_, piece, _)| *piece > 0).count();
    let mut seen = HashSet::from([start.clone()]);
    let mut waiting = BinaryHeap::from([(after_star(&start), start)]);
    let mut steps = 0;
    while let Some((_, places)) = waiting.pop().filter(|_| steps < MOST_STEPS) {
        for byte in &alphabet {
            steps += places.len();
            let mut next: Vec<Place> =
                places.iter().flat_map(|place| step(wildcards, *place, *byte)).flatten().collect();
            next.sort_unstable();
            next.dedup();
            let fullness = after_star(&next);
            if fullness > MOST_PLACES {
                return true;
            }
            if seen.insert(next.clone()) {
                waiting.push((fullness, next));
            }
        }
    }
    false
}

/// The end of a piece is the star after it.
fn normal(wildcards: &[Vec<&[u8]>], place: Place) -> Place {
    let (wildcard, piece, read) = place;
    let pieces = &wildcards[usize::from(wildcard)];
    let at_star = usize::from(read) == pieces[usize::from(piece)].len() && usize::from(piece) + 1 < pieces.len();
    if at_star { (wildcard, piece + 1, 0) } else { place }
}

/// Where a place leads with a byte: it stays at a star, and goes on in the piece.
fn step(wildcards: &[Vec<&[u8]>], place: Place, byte: u8) -> [Option<Place>; 2] {
    let (wildcard, piece, read) = place;
    let star = (piece > 0 && read == 0).then_some(place);
    let text = wildcards[usize::from(wildcard)][usize::from(piece)];
    let goes_on = text.get(usize::from(read)) == Some(&byte);
    [star, goes_on.then(|| normal(wildcards, (wildcard, piece, read + 1)))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complex(wildcards: &[&str]) -> bool {
        let matchers: Vec<_> = wildcards.iter().map(|w| Matcher::Wildcard(Wildcard::parse(w).unwrap())).collect();
        let refused = is_too_complex(&matchers);
        assert_eq!(is_too_complex(&[Matcher::AnythingBut(matchers)]), refused);
        refused
    }

    #[test]
    fn the_known_refusal_is_refused_and_the_known_acceptance_accepted() {
        let names = ["*:stack/A/*", "*:stack/B/*", "*:stack/C/*", "*:stack/D/*"];
        assert!(!complex(&names[..3]));
        assert!(complex(&names));
    }

    #[test]
    fn what_people_write_is_accepted() {
        assert!(!complex(&["dir/*.png"]));
        assert!(!complex(&["*/lib/*", "*/bin/*"]));
        assert!(!complex(&["arn:aws:iam::*:role/*/admin*"]));
        let prefixes: Vec<String> = (0..100).map(|i| format!("service{i:02}:*")).collect();
        assert!(!complex(&prefixes.iter().map(String::as_str).collect::<Vec<_>>()), "no value has two of them");
    }

    #[test]
    fn repetitions_after_a_star_are_refused() {
        assert!(complex(&["*a*a*a*a*a*a*a*a*a*a*a"]));
        assert!(complex(&["*aaaaaaaaaaaaaaaaaaaaaaaa"]));
        assert!(!complex(&["aaaaaaaaaaaaaaaaaaaaaaaa*"]));
        let many: Vec<String> = (0..12).map(|i| format!("*{i}*x")).collect();
        assert!(complex(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    }

    #[test]
    fn the_longest_pattern_is_judged_quickly() {
        let hostile: String =
            (0..4_000).map(|i| if i % 9 == 8 { '*' } else { char::from(b'a' + (i * i % 13) as u8) }).collect();
        complex(&[&hostile]);
    }
}
