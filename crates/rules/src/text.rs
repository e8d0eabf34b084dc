//! Strings as patterns compare them: without case, and with wildcards.

use memchr::memmem;

/// A text compared without regard to case, character by character: each matches its lower and its upper form, as
/// Unicode maps single characters, so `ß` also matches `SS`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Caseless(Vec<(String, String)>);

impl Caseless {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.chars().map(|c| (c.to_lowercase().collect(), c.to_uppercase().collect())).collect())
    }

    /// Whether `text` is this text.
    pub(crate) fn equals(&self, text: &[u8]) -> bool {
        self.prefix_ends(text).contains(&text.len())
    }

    /// Whether `text` starts with this text.
    pub(crate) fn starts(&self, text: &[u8]) -> bool {
        !self.prefix_ends(text).is_empty()
    }

    /// Whether `text` ends with this text.
    pub(crate) fn ends(&self, text: &[u8]) -> bool {
        let step = |from: &usize, form: &String| text[..*from].ends_with(form.as_bytes()).then(|| from - form.len());
        let start = vec![text.len()];
        !self.0.iter().rev().fold(start, |ends, forms| advance(&ends, forms, step)).is_empty()
    }

    /// Every place in `text` where a beginning that is this text can end: the forms of a character differ in length.
    fn prefix_ends(&self, text: &[u8]) -> Vec<usize> {
        let step = |from: &usize, form: &String| text[*from..].starts_with(form.as_bytes()).then(|| from + form.len());
        self.0.iter().fold(vec![0], |ends, forms| advance(&ends, forms, step))
    }

    /// The [`folded`] form that every text which is this text has, or `None` when the texts differ in it.
    pub(crate) fn folded(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for (lower, upper) in &self.0 {
            let form = folded(lower.as_bytes())?;
            if form != folded(upper.as_bytes())? {
                return None;
            }
            out.extend_from_slice(&form);
        }
        Some(out)
    }

    /// Whether it has only ASCII characters, for which the folded form says all.
    pub(crate) fn is_ascii(&self) -> bool {
        self.0.iter().all(|(lower, upper)| lower.is_ascii() && upper.is_ascii())
    }
}

/// A text with the differences of case removed, character by character; some other differences go with them. `None`
/// when the bytes are no text.
pub(crate) fn folded(text: &[u8]) -> Option<Vec<u8>> {
    if text.is_ascii() {
        return Some(text.to_ascii_lowercase());
    }
    let text = std::str::from_utf8(text).ok()?;
    Some(text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>().into_bytes())
}

fn advance(
    places: &[usize],
    (lower, upper): &(String, String),
    step: impl Fn(&usize, &String) -> Option<usize>,
) -> Vec<usize> {
    let mut next: Vec<usize> = places.iter().flat_map(|p| [step(p, lower), step(p, upper)]).flatten().collect();
    next.sort_unstable();
    next.dedup();
    next
}

/// A text in which `*` stands for any characters, also none; `\*` and `\\` stand for themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wildcard {
    /// What comes before the first `*`; all, when there is none.
    pub(crate) first: String,
    /// What comes after each `*`.
    pub(crate) rest: Vec<String>,
}

impl Wildcard {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = vec![String::new()];
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            // The service counts bytes, its opening quote included.
            let position = at + 1;
            let next = chars.peek().map(|(_, c)| *c);
            let literal = match (c, next) {
                ('*', Some('*')) => return Err(format!("Consecutive wildcard characters at pos {position}")),
                ('*', _) => {
                    pieces.push(String::new());
                    continue;
                }
                ('\\', Some(escaped @ ('*' | '\\'))) => {
                    chars.next();
                    escaped
                }
                ('\\', _) => return Err(format!("Invalid escape character at pos {position}")),
                (c, _) => c,
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(literal);
            }
        }
        let rest = pieces.split_off(1);
        Ok(Self { first: pieces.remove(0), rest })
    }

    /// Whether all of `text` fits. Each piece is taken as early as it comes: what is left is then the longest.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let Some((last, middle)) = self.rest.split_last() else { return text == self.first.as_bytes() };
        let Some(mut left) = text.strip_prefix(self.first.as_bytes()) else { return false };
        for piece in middle {
            let Some(at) = memmem::find(left, piece.as_bytes()) else { return false };
            left = &left[at + piece.len()..];
        }
        left.ends_with(last.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wild(pattern: &str, text: &str) -> bool {
        Wildcard::parse(pattern).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn wildcards_stand_for_any_characters() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "x"),
            ("a*b", "ab"),
            ("a*b*b", "abb"),
            ("*.js", "a.js.js"),
            ("a\\*b", "a*b"),
            ("\\\\*", "\\x"),
            ("", ""),
            ("2*0*1*7", "20017"),
        ] {
            assert!(wild(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*a", "a"), ("a*b*b", "ab"), ("", "x"), ("a\\*b", "axb"), ("ab", "abc"), ("*x", "xy")]
        {
            assert!(!wild(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn wrong_wildcards_are_named_with_their_place() {
        assert_eq!(Wildcard::parse("abc**def").unwrap_err(), "Consecutive wildcard characters at pos 4");
        assert_eq!(Wildcard::parse("a*c\\def").unwrap_err(), "Invalid escape character at pos 4");
        assert_eq!(Wildcard::parse("\\").unwrap_err(), "Invalid escape character at pos 1");
    }

    #[test]
    fn case_is_ignored_also_where_it_changes_the_length() {
        assert!(Caseless::new("Straße").equals(b"STRASSE"));
        assert!(Caseless::new("ⱥx").starts("Ⱥxyz".as_bytes()));
        assert!(Caseless::new("Éa").ends("caféA".as_bytes()));
        assert!(!Caseless::new("ab").equals(b"abc"));
        assert!(Caseless::new("").starts(b"x") && Caseless::new("").equals(b"") && !Caseless::new("").equals(b"x"));
    }
}
