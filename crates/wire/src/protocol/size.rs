//! About how long a document becomes, so that a long one is not moved as it grows.

use super::members;
use crate::data::{Structure, View};

/// Quotes, colon and comma of a member.
const MARKS: usize = 6;
/// A number or a time.
const SCALAR: usize = 20;

/// A guess is no more than this: the first of many items may be by far the longest.
const MOST: usize = 16 << 20;

/// Bytes of a structure as JSON, roughly and at most 16 MiB: a list's items are taken to be as long as its first.
pub(super) fn of(structure: &dyn Structure) -> usize {
    let bytes = members(structure).map(|(member, view)| member.wire.len() + MARKS + of_value(view)).sum::<usize>() + 2;
    bytes.min(MOST)
}

fn of_value(view: View<'_>) -> usize {
    match view {
        View::Absent | View::Int(_) | View::Float(_) | View::Bool(_) | View::Time(_) => SCALAR,
        View::Str(v) => v.len() + v.len() / 16,
        View::Blob(v) => v.len().div_ceil(3) * 4,
        View::Structure(v) => of(v),
        // A sixteenth more, for items that are longer.
        View::List(items) if items.count() > 0 => (of_value(items.at(0)) + 1) * items.count() * 17 / 16,
        View::List(_) => 2,
        View::Map(entries) => {
            let mut sum = 2;
            entries.each(&mut |key, view| sum += key.len() + MARKS + of_value(view));
            sum
        }
    }
}
