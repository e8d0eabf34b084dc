//! Patterns of `*` (any characters) and `?` (one character); `\` takes the next character as it is.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
    any_case: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Char(char),
    One,
    Many,
}

impl Glob {
    /// Compiles a pattern; every text is one.
    pub fn new(pattern: &str, any_case: bool) -> Self {
        let mut parts = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' if parts.last() == Some(&Part::Many) => {}
                '*' => parts.push(Part::Many),
                '?' => parts.push(Part::One),
                '\\' => parts.push(Part::Char(chars.next().unwrap_or('\\'))),
                c => parts.push(Part::Char(c)),
            }
        }
        Self { parts, any_case }
    }

    /// Whether the whole text fits.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut t, mut p) = (0, 0);
        // Where to go on when the text does not fit: the last `*` and how much it has swallowed.
        let mut retry: Option<(usize, usize)> = None;
        while t < text.len() {
            let fits = match self.parts.get(p) {
                Some(Part::Many) => {
                    retry = Some((p, t));
                    p += 1;
                    continue;
                }
                Some(Part::One) => true,
                Some(Part::Char(c)) => self.same(*c, text[t]),
                None => false,
            };
            match (fits, retry) {
                (true, _) => (t, p) = (t + 1, p + 1),
                (false, Some((star, from))) => {
                    retry = Some((star, from + 1));
                    (t, p) = (from + 1, star + 1);
                }
                (false, None) => return false,
            }
        }
        self.parts[p..].iter().all(|part| *part == Part::Many)
    }

    fn same(&self, a: char, b: char) -> bool {
        a == b || (self.any_case && a.to_lowercase().eq(b.to_lowercase()))
    }

    /// The characters that every fitting text starts with.
    pub fn literal_prefix(&self) -> String {
        if self.any_case {
            return String::new();
        }
        self.parts.iter().map_while(|part| if let Part::Char(c) = part { Some(*c) } else { None }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("Term*Inst*", "TerminateInstances", true),
            ("Term*Inst", "TerminateInstances", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*", "", true),
            ("*b*b", "abab", true),
        ] {
            assert_eq!(Glob::new(pattern, false).matches(text), fits, "{pattern} {text}");
        }
        assert!(Glob::new("ROOT*", true).matches("root-user"));
        assert_eq!(Glob::new("ab\\*c*d", false).literal_prefix(), "ab*c");
    }

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.first() {
            None => text.is_empty(),
            Some('*') => (0..=text.len()).any(|n| naive(&pattern[1..], &text[n..])),
            Some('?') => !text.is_empty() && naive(&pattern[1..], &text[1..]),
            Some(c) => text.first() == Some(c) && naive(&pattern[1..], &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(pattern in "[ab*?]{0,6}", text in "[ab]{0,7}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Glob::new(&pattern, false).matches(&text), naive(&p, &t));
        }
    }
}
