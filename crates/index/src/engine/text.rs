//! How text becomes words: Unicode-style word boundaries and lower case, as the `standard` analyser does.
//!
//! A word is a run of letters, digits and `_`. As in Unicode Standard Annex 29 a `.` or an apostrophe between two
//! letters or two digits, a `:` between two letters and a `,` or `;` between two digits stay inside the word, so that
//! `iam.amazonaws.com` and `10.0.0.1` are one word each, `us-east-1` is three. Ideographs are words of one character.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// The tokenizer's name in the schema; part of the format on disk.
pub const STANDARD: &str = "standard";

/// Longer words are cut into pieces of this many characters (Elasticsearch: `max_token_length`).
const MAX_WORD: usize = 255;

/// The tokenizer.
#[derive(Clone, Default)]
pub struct Standard;

/// The words of one text.
pub struct Words<'a> {
    text: &'a str,
    at: usize,
    token: Token,
}

/// The words of `text`, lower case.
pub fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut stream = Standard.stream(text);
    while stream.advance() {
        out.push(std::mem::take(&mut stream.token_mut().text));
    }
    out
}

impl Standard {
    fn stream<'a>(&self, text: &'a str) -> Words<'a> {
        Words { text, at: 0, token: Token::default() }
    }
}

impl Tokenizer for Standard {
    type TokenStream<'a> = Words<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Words<'a> {
        self.stream(text)
    }
}

fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c), 0x3041..=0x3096 | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff)
}

fn is_word(c: char) -> bool {
    (c.is_alphanumeric() || c == '_') && !is_ideograph(c)
}

/// Whether `joint` between `before` and `after` stays inside the word.
fn joins(before: char, joint: char, after: char) -> bool {
    let letters = before.is_alphabetic() && after.is_alphabetic();
    let digits = before.is_numeric() && after.is_numeric();
    match joint {
        '.' | '\'' | '\u{2019}' => letters || digits,
        ':' | '\u{b7}' => letters,
        ',' | ';' => digits,
        _ => false,
    }
}

/// The end of the word that starts at the start of `text`, in bytes.
fn word_end(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    let (mut before, mut count) = ('\0', 0);
    while let Some((at, c)) = chars.next() {
        if count == MAX_WORD {
            return at;
        }
        let inside = is_word(c) || chars.peek().is_some_and(|&(_, after)| is_word(after) && joins(before, c, after));
        if !inside {
            return at;
        }
        before = c;
        count += 1;
    }
    text.len()
}

impl TokenStream for Words<'_> {
    fn advance(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let Some(skip) = rest.find(|c| is_word(c) || is_ideograph(c)) else { return false };
        let from = self.at + skip;
        let word = &self.text[from..];
        let len = match word.chars().next() {
            Some(c) if is_ideograph(c) => c.len_utf8(),
            _ => word_end(word),
        };
        self.at = from + len;
        self.token.offset_from = from;
        self.token.offset_to = self.at;
        self.token.position = self.token.position.wrapping_add(1);
        self.token.text.clear();
        self.token.text.extend(word[..len].chars().flat_map(char::to_lowercase));
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_as_the_standard_analyser_cuts_them() {
        let cases: [(&str, &[&str]); 8] = [
            ("The QUICK brown-fox", &["the", "quick", "brown", "fox"]),
            ("iam.amazonaws.com us-east-1", &["iam.amazonaws.com", "us", "east", "1"]),
            ("it's 3.14, or 1,000.", &["it's", "3.14", "or", "1,000"]),
            ("arn:aws:iam::123:user/x_y", &["arn:aws:iam", "123", "user", "x_y"]),
            ("i-0abc 10.0.0.1", &["i", "0abc", "10.0.0.1"]),
            ("日本 go", &["日", "本", "go"]),
            ("... ", &[]),
            ("a.1 1.a", &["a", "1", "1", "a"]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), expected, "{text}");
        }
        assert_eq!(words(&"x".repeat(300)).iter().map(String::len).collect::<Vec<_>>(), [255, 45]);
    }

    proptest! {
        #[test]
        fn any_text_is_cut_at_characters(text in "\\PC*") {
            let mut stream = Standard.stream(&text);
            let mut last = 0;
            while stream.advance() {
                let token = stream.token();
                prop_assert!(token.offset_from >= last && token.offset_to > token.offset_from);
                prop_assert!(text.get(token.offset_from..token.offset_to).is_some());
                last = token.offset_to;
            }
        }
    }
}
