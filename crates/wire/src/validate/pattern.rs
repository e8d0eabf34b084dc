//! The models' regular expressions, which are Java's, on the `regex` crate.
//!
//! `\d`, `\w` and `\s` are ASCII there, and look-around is not in the crate (it would cost the linear time); the few
//! patterns that need it are written here as one that must match and one that must not.

use regex::Regex;

/// Patterns with look-around: the text, what the whole value must match, what it must not match.
const SPLIT: &[(&str, &str, Option<&str>)] = &[
    (r"^(?!\s*$).+", r".+", Some(r"\s*")),
    (r"^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$", r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", Some(r".*--.*")),
    (r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)", r"[a-zA-Z0-9-_]+", Some(r"[0-9]+")),
    (r"[0-9A-Za-z\.\-_]*(?<!\.)", r"[0-9A-Za-z\.\-_]*", Some(r".*\.")),
    (r"^(?!aws:)[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$", r"[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*", Some(r"(?s)aws:.*")),
    (r"(^(?!(system\x2e)))(^[_a-zA-Z0-9])([^$]*)", r"[_a-zA-Z0-9][^$]*", Some(r"(?s)system\..*")),
    (
        r"(?=[/\.\-_A-Za-z0-9]+)((?!aws\.).*)|(\$(\.[\w_-]+(\[(\d+|\*)\])*)*)",
        r"[/\.\-_A-Za-z0-9].*|\$(\.[\w_-]+(\[(\d+|\*)\])*)*",
        Some(r"aws\..*"),
    ),
    (
        r"jdbc:(redshift|postgresql)://((?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)+(redshift(-serverless)?)\.([a-zA-Z0-9\.\-]+):\d{1,5}/[a-zA-Z0-9_$-]+",
        r"jdbc:(redshift|postgresql)://([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+(redshift(-serverless)?)\.([a-zA-Z0-9\.\-]+):\d{1,5}/[a-zA-Z0-9_$-]+",
        None,
    ),
];

/// A compiled pattern.
#[derive(Debug)]
pub struct Matcher {
    must: Option<Regex>,
    must_not: Option<Regex>,
    complete: bool,
}

impl Matcher {
    /// Compiles a model's pattern. One that cannot be compiled refuses nothing; a test over all models sees to it
    /// that there is none.
    pub fn new(text: &str) -> Self {
        let split = SPLIT.iter().find(|(pattern, ..)| *pattern == text);
        let (must, must_not) = split.map_or((text, None), |(_, must, must_not)| (*must, *must_not));
        let (must, refused) = (compile(must), must_not.and_then(compile));
        Self { complete: must.is_some() && refused.is_some() == must_not.is_some(), must, must_not: refused }
    }

    /// Whether everything of the pattern was compiled.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether the whole of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        let fits = |regex: &Regex| regex.is_match(value);
        self.must.as_ref().is_none_or(fits) && !self.must_not.as_ref().is_some_and(fits)
    }
}

fn compile(pattern: &str) -> Option<Regex> {
    let whole = format!(r"\A(?:{})\z", ascii_classes(pattern));
    regex::RegexBuilder::new(&whole)
        .size_limit(4 << 20)
        .build()
        .inspect_err(|error| tracing::error!(pattern, %error, "a model's pattern is not checked"))
        .ok()
}

/// Writes Perl classes out in ASCII, as Java reads them, and a hyphen after a class as the plain character it is there.
fn ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\x0B\f\r ]"),
            Some('S') => out.push_str(r"[^\t\n\x0B\f\r ]"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}
