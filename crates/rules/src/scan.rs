//! Finding the ends of things in JSON that is known to be valid, sixteen bytes at a time.
//!
//! Promises never to read beyond the text, whatever it is; what is not JSON gives places that mean nothing. Must not
//! know what is looked for.

use wide::u8x16;

const LANES: usize = 16;
const BLOCK: usize = 64;

fn lanes(text: &[u8], at: usize) -> Option<u8x16> {
    text.get(at..)?.first_chunk::<LANES>().map(|bytes| u8x16::new(*bytes))
}

fn equal(lanes: u8x16, byte: u8) -> u32 {
    lanes.simd_eq(u8x16::splat(byte)).to_bitmask()
}

/// The place of the first quote or backslash from `at` on, or the end.
pub(crate) fn quote_or_escape(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = lanes(text, at) {
        let found = equal(block, b'"') | equal(block, b'\\');
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += LANES;
    }
    while at < text.len() && !matches!(text[at], b'"' | b'\\') {
        at += 1;
    }
    at
}

/// The place of the quote that ends the string whose first character is at `at`, and whether escapes come before it.
pub(crate) fn string_end(text: &[u8], mut at: usize) -> (usize, bool) {
    let mut escaped = false;
    loop {
        at = quote_or_escape(text, at);
        if text.get(at) != Some(&b'\\') {
            return (at, escaped);
        }
        escaped = true;
        at = (at + 2).min(text.len());
    }
}

/// Whether a string holds a character that JSON wants escaped.
pub(crate) fn has_control(text: &[u8]) -> bool {
    text.iter().fold(false, |found, byte| found | (*byte < b' '))
}

/// The place after the number or literal that begins at `at`.
pub(crate) fn scalar_end(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = lanes(text, at) {
        let space = u8x16::splat(b' ');
        let end = equal(block, b',') | equal(block | space, b'}') | block.max(space).simd_eq(space).to_bitmask();
        if end != 0 {
            return at + end.trailing_zeros() as usize;
        }
        at += LANES;
    }
    while let Some(byte) = text.get(at)
        && !matches!(byte, b',' | b'}' | b']' | 0..=b' ')
    {
        at += 1;
    }
    at
}

/// The place of the first byte from `at` on that is no white space.
#[inline]
pub(crate) fn next(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// What a block of bytes holds, one bit a byte.
struct Masks {
    quotes: u64,
    escapes: u64,
    opens: u64,
    closes: u64,
}

/// The masks of `WIDTH` bytes, a multiple of 16; what lies behind the text counts as spaces.
#[inline]
fn masks<const WIDTH: usize>(text: &[u8], at: usize) -> Masks {
    let left = text.get(at..).unwrap_or_default();
    if let Some(block) = left.first_chunk::<WIDTH>() {
        return masks_of(block);
    }
    let mut padded = [b' '; WIDTH];
    padded[..left.len()].copy_from_slice(left);
    masks_of(&padded)
}

#[inline]
fn masks_of<const WIDTH: usize>(block: &[u8; WIDTH]) -> Masks {
    let mut out = Masks { quotes: 0, escapes: 0, opens: 0, closes: 0 };
    let parts = block.as_chunks::<LANES>().0;
    let mut any_escape = u8x16::splat(0);
    for (part, bytes) in parts.iter().enumerate() {
        let block = u8x16::new(*bytes);
        // Brackets and braces differ in this bit only.
        let folded = block | u8x16::splat(0x20);
        let shift = part * LANES;
        out.quotes |= u64::from(equal(block, b'"')) << shift;
        out.opens |= u64::from(equal(folded, b'{')) << shift;
        out.closes |= u64::from(equal(folded, b'}')) << shift;
        any_escape |= block.simd_eq(u8x16::splat(b'\\'));
    }
    if any_escape.to_bitmask() != 0 {
        for (part, bytes) in parts.iter().enumerate() {
            out.escapes |= u64::from(equal(u8x16::new(*bytes), b'\\')) << (part * LANES);
        }
    }
    out
}

/// The bits of bytes that a backslash before them escapes. `carried` says, and is told, whether the byte before the
/// block escapes the first.
fn escaped(mut escapes: u64, carried: &mut bool, width: usize) -> u64 {
    let mut out = u64::from(*carried);
    *carried = false;
    // A backslash that is escaped itself escapes nothing.
    escapes &= !out;
    while escapes != 0 {
        let at = escapes.trailing_zeros();
        if at as usize + 1 == width {
            *carried = true;
            break;
        }
        let next = 2_u64 << at;
        out |= next;
        escapes &= !(next | 1 << at);
    }
    out
}

/// For each bit, whether the number of set bits up to it is odd.
fn running_parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// The place after the object or array whose content begins at `at`.
pub(crate) fn container_end(text: &[u8], mut at: usize) -> usize {
    let mut depth: usize = 1;
    let (mut carried, mut inside) = (false, 0_u64);
    // What is left is often short: the first look is a short one.
    let mut width = LANES;
    while at < text.len() {
        let found = if width == BLOCK { masks::<BLOCK>(text, at) } else { masks::<LANES>(text, at) };
        let quotes = if found.escapes == 0 && !carried {
            found.quotes
        } else {
            found.quotes & !escaped(found.escapes, &mut carried, width)
        };
        let strings = running_parity(quotes) ^ inside;
        // All ones when the block ends inside a string.
        inside = 0_u64.wrapping_sub(strings >> 63);
        match brackets(found.opens & !strings, found.closes & !strings, depth) {
            Ok(after) => depth = after,
            Err(place) => return (at + place + 1).min(text.len()),
        }
        at += width;
        width = BLOCK;
    }
    text.len()
}

/// The depth after a block with these brackets, or the place of the one that brings it to zero.
#[inline]
fn brackets(opens: u64, closes: u64, mut depth: usize) -> Result<usize, usize> {
    let mut all = opens | closes;
    if all == 0 {
        return Ok(depth);
    }
    // Objects of plain members, one after the other: brackets open and close in turn. Their order decides without
    // looking at each: counting bits is slow on the oldest processors that this is compiled for.
    let turns = running_parity(all);
    let opens_first = opens & all.wrapping_neg() & all != 0;
    let first_kind = if opens_first { opens } else { closes };
    if all & turns == first_kind {
        let lowest = if opens_first { depth } else { depth - 1 };
        if lowest > 0 {
            // As many of the one as of the other, or one more of the first.
            return Ok(if turns >> 63 == 0 {
                depth
            } else if opens_first {
                depth + 1
            } else {
                depth - 1
            });
        }
    }
    while all != 0 {
        let place = all.trailing_zeros();
        if opens >> place & 1 == 1 {
            depth += 1;
        } else if depth == 1 {
            return Err(place as usize);
        } else {
            depth -= 1;
        }
        all &= all - 1;
    }
    Ok(depth)
}

/// The place after the value that begins at `at`.
#[inline]
pub(crate) fn value_end(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'"') => string_end(text, at + 1).0 + 1,
        Some(b'{' | b'[') => container_end(text, at + 1),
        _ => scalar_end(text, at),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_container_ends_with_its_own_bracket() {
        for inner in [r#"{"a":[1,{"b":"]}"}],"c":"\\"}"#, r#"["\"]","\\\\",{}]"#, "{}", "[]"] {
            for padding in 0..130 {
                let text = format!("{}{inner}]}}\"", " ".repeat(padding));
                assert_eq!(container_end(text.as_bytes(), padding + 1), padding + inner.len(), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_left_in_bounds(text in "[\\\\\"{}\\[\\]a, ]{0,200}", at in 0_usize..220) {
            let text = text.as_bytes();
            prop_assert!(container_end(text, at) <= text.len());
            prop_assert!(string_end(text, at).0 <= text.len().max(at));
            prop_assert!(scalar_end(text, at) <= text.len().max(at));
        }

        #[test]
        fn a_container_ends_where_a_reader_of_every_byte_says(strings in prop::collection::vec("[\\\\\"{}a]{0,40}", 0..12)) {
            let text = serde_json::to_string(&serde_json::json!([strings, {"x": strings}])).unwrap();
            prop_assert_eq!(container_end(text.as_bytes(), 1), text.len());
            let more = format!("{text},{text}]");
            prop_assert_eq!(container_end(more.as_bytes(), 1), text.len());
        }
    }
}
