//! Names of Rust items made from names of a model.

/// Words that a model writes in a way that would be split wrongly.
const WORDS: &[(&str, &str)] = &[("KiB", "Kib"), ("MiB", "Mib"), ("MBs", "Mbs"), ("ARNs", "Arns"), ("IDs", "Ids")];
const KEYWORDS: &[&str] =
    &["type", "match", "as", "ref", "self", "use", "where", "move", "in", "for", "static", "struct", "enum", "final"];

/// `StreamARN` → `stream_arn`, `type` → `r#type`.
pub fn snake(name: &str) -> String {
    let words = WORDS.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    let chars: Vec<char> = words.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let after_lower = i > 0 && (chars[i - 1].is_lowercase() || chars[i - 1].is_ascii_digit());
        let ends_acronym = i > 0 && chars[i - 1].is_uppercase() && chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && (after_lower || ends_acronym) && !out.ends_with('_') {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    let out = out.replace(['-', '.'], "_");
    if KEYWORDS.contains(&out.as_str()) { format!("r#{out}") } else { out }
}

/// `StreamARN` → `STREAM_ARN`.
pub fn upper(name: &str) -> String {
    snake(name).trim_start_matches("r#").to_uppercase()
}

/// `kinesis` → `Kinesis`, `__string` → `String`.
pub fn camel(name: &str) -> String {
    let name = name.trim_start_matches('_');
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
