//! Text with wildcards and policy variables, and whether a text is like it.
//!
//! What a variable stands for is taken literally: a user who is called `*` is no wildcard.

use std::borrow::Cow;

use crate::Context;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// `*`: any characters.
    Any,
    /// `?`: one character.
    One,
    Variable(Variable),
}

/// `${key}` or `${key, 'default'}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// As written.
    pub(crate) name: Box<str>,
    key: Box<str>,
    default: Option<Box<str>>,
}

/// Which characters are special.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// `*` and `?`.
    pub(crate) wildcards: bool,
    /// `${…}`: in policies of version 2012-10-17.
    pub(crate) variables: bool,
}

/// A compiled pattern; the usual ones have a form of their own.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    Anything,
    Exactly(Box<str>),
    Prefix(Box<str>),
    Pieces(Box<[Piece]>),
}

impl Pattern {
    /// Reads a pattern; the error is what is wrong.
    pub(crate) fn read(text: &str, dialect: Dialect) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let special = match c {
                '*' if dialect.wildcards => Some((Piece::Any, 1)),
                '?' if dialect.wildcards => Some((Piece::One, 1)),
                '$' if dialect.variables && rest.starts_with("${") => variable(rest)?,
                _ => None,
            };
            let Some((piece, length)) = special else {
                plain.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            };
            rest = &rest[length..];
            match piece {
                Piece::Text(text) => plain.push_str(&text),
                piece => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    if piece != Piece::Any || pieces.last() != Some(&Piece::Any) {
                        pieces.push(piece);
                    }
                }
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self::of(pieces))
    }

    fn of(mut pieces: Vec<Piece>) -> Self {
        match &mut *pieces {
            [] => Self::Exactly("".into()),
            [Piece::Any] => Self::Anything,
            [Piece::Text(text)] => Self::Exactly(std::mem::take(text).into()),
            [Piece::Text(text), Piece::Any] => Self::Prefix(std::mem::take(text).into()),
            _ => Self::Pieces(pieces.into()),
        }
    }

    /// The names of its variables.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        let pieces: &[Piece] = if let Self::Pieces(pieces) = self { pieces } else { &[] };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(&*variable.name),
            _ => None,
        })
    }

    /// Whether a text is like it; none when a variable stands for nothing.
    #[inline]
    pub(crate) fn matches(&self, text: &str, context: &Context) -> Option<bool> {
        match self {
            Self::Anything => Some(true),
            Self::Exactly(exact) => Some(**exact == *text),
            Self::Prefix(prefix) => Some(text.starts_with(&**prefix)),
            Self::Pieces(pieces) => Some(like(&tokens(pieces, context)?, text)),
        }
    }

    /// As text, where it has no wildcard; none when a variable stands for nothing.
    pub(crate) fn resolve<'s>(&'s self, context: &'s Context) -> Option<Cow<'s, str>> {
        match self {
            Self::Anything | Self::Prefix(_) => None,
            Self::Exactly(exact) => Some(Cow::Borrowed(exact)),
            Self::Pieces(pieces) => {
                let tokens = tokens(pieces, context)?;
                let texts = tokens.iter().map(|token| if let Token::Text(text) = token { Some(*text) } else { None });
                texts.collect::<Option<String>>().map(Cow::Owned)
            }
        }
    }
}

/// Reads `${…}` at the beginning of `rest`: the piece and its bytes.
fn variable(rest: &str) -> Result<Option<(Piece, usize)>, String> {
    let Some(end) = rest.find('}') else { return Err("a variable is not closed: '}' is missing".to_owned()) };
    let inside = &rest[2..end];
    let length = end + 1;
    if let "*" | "?" | "$" = inside {
        return Ok(Some((Piece::Text(inside.to_owned()), length)));
    }
    let (name, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((name, default)) => {
            let quoted = default.trim_start().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            let Some(default) = quoted else {
                return Err("the default of a variable is not between single quotes".to_owned());
            };
            (name, Some(default.into()))
        }
    };
    let name = name.trim();
    if name.is_empty() || name.contains(['{', '$', '*', '?', '\'']) {
        return Err(format!("${{{inside:.100}}} names no key"));
    }
    let key = name.to_ascii_lowercase().into();
    Ok(Some((Piece::Variable(Variable { name: name.into(), key, default }), length)))
}

#[derive(Clone, Copy)]
enum Token<'a> {
    Text(&'a str),
    Any,
    One,
}

fn tokens<'s>(pieces: &'s [Piece], context: &'s Context) -> Option<Vec<Token<'s>>> {
    let token = |piece: &'s Piece| {
        Some(match piece {
            Piece::Text(text) => Token::Text(text),
            Piece::Any => Token::Any,
            Piece::One => Token::One,
            Piece::Variable(variable) => Token::Text(context.variable(&variable.key).or(variable.default.as_deref())?),
        })
    };
    pieces.iter().map(token).collect()
}

/// Each part between two `*` is found at the first place where it can be: no choice is ever taken back, so the work is
/// at most the product of both lengths.
fn like(tokens: &[Token<'_>], text: &str) -> bool {
    let mut parts = tokens.split(|token| matches!(token, Token::Any));
    let Some(mut rest) = strip_start(parts.next().unwrap_or_default(), text) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(behind) = find(part, rest) else { return false };
        rest = behind;
    }
    ends_with(last, rest)
}

fn strip_start<'t>(part: &[Token<'_>], mut text: &'t str) -> Option<&'t str> {
    for token in part {
        text = match token {
            Token::Text(piece) => text.strip_prefix(piece)?,
            Token::One | Token::Any => {
                let mut chars = text.chars();
                chars.next()?;
                chars.as_str()
            }
        };
    }
    Some(text)
}

fn ends_with(part: &[Token<'_>], mut text: &str) -> bool {
    for token in part.iter().rev() {
        let before = match token {
            Token::Text(piece) => text.strip_suffix(piece),
            Token::One | Token::Any => {
                let mut chars = text.chars();
                chars.next_back().map(|_| chars.as_str())
            }
        };
        match before {
            Some(before) => text = before,
            None => return false,
        }
    }
    true
}

/// What is behind the first place where the part is.
fn find<'t>(part: &[Token<'_>], mut text: &'t str) -> Option<&'t str> {
    loop {
        if let Some(Token::Text(head)) = part.first() {
            text = &text[text.find(head)?..];
        }
        if let Some(rest) = strip_start(part, text) {
            return Some(rest);
        }
        let mut chars = text.chars();
        chars.next()?;
        text = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Dialect = Dialect { wildcards: true, variables: true };

    fn matches(pattern: &str, text: &str) -> Option<bool> {
        let mut context = Context::new();
        context.set("aws:username", "a*b");
        context.set("empty", "");
        context.set_all("many", ["x".to_owned(), "y".to_owned()]);
        Pattern::read(pattern, BOTH).unwrap().matches(text, &context)
    }

    #[test]
    fn wildcards_match_as_they_should() {
        for (pattern, text) in [
            ("*", ""),
            ("**", "x"),
            ("a*", "a"),
            ("*a", "ba"),
            ("a*b*c", "a-b-b-c"),
            ("*ab?d*", "xababcd"),
            ("?", "é"),
            ("*?", "é"),
            ("a?*c", "abc"),
            ("", ""),
            ("*ab", "aab"),
            ("a*a", "aa"),
        ] {
            assert_eq!(matches(pattern, text), Some(true), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a*a", "a"),
            ("?", ""),
            ("?", "ab"),
            ("*ab?d*", "xabd"),
            ("a*b", "abc"),
            ("", "a"),
            ("*?*?*", "x"),
            ("A*", "a"),
        ] {
            assert_eq!(matches(pattern, text), Some(false), "{pattern} {text}");
        }
    }

    #[test]
    fn variables_are_literal_and_never_nothing() {
        assert_eq!(matches("x/${aws:UserName}/*", "x/a*b/y"), Some(true));
        assert_eq!(matches("x/${aws:UserName}/*", "x/azb/y"), Some(false));
        assert_eq!(matches("${absent}", ""), None);
        assert_eq!(matches("${empty}", ""), None);
        assert_eq!(matches("${many}", "x"), None);
        assert_eq!(matches("${absent, 'all'}-?", "all-1"), Some(true));
        assert_eq!(matches("${empty,''}-?", "-1"), Some(true));
        assert_eq!(matches("${*}${?}${$}{x}", "*?${x}"), Some(true));
        assert_eq!(matches("${*}", "x"), Some(false));
        assert_eq!(matches("$x", "$x"), Some(true));
    }

    #[test]
    fn wrong_variables_are_refused() {
        for wrong in ["${x", "${}", "${ }", "${x, y}", "${x,'y}", "${${x}}", "${x*}"] {
            assert!(Pattern::read(wrong, BOTH).is_err(), "{wrong}");
        }
        let old = Dialect { wildcards: true, variables: false };
        let pattern = Pattern::read("${x", old).unwrap();
        assert_eq!(pattern.matches("${x", &Context::new()), Some(true));
    }
}
