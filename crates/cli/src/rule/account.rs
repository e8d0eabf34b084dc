//! The account of one event, for people and for programs.

use rules::{Alternative, Explanation, Field};
use serde::Serialize;

/// What is told of an event.
#[derive(Serialize)]
pub struct Account {
    /// Its number, from 1.
    pub event: usize,
    #[serde(flatten)]
    pub explanation: Explanation,
}

impl Account {
    /// A line of JSON.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// Lines to read.
    pub fn text(&self) -> String {
        let verdict = if self.explanation.matched { "matches" } else { "does not match" };
        let mut text = format!("event {} {verdict}\n", self.event);
        let several = self.explanation.alternatives.len() > 1;
        for (number, alternative) in (1..).zip(&self.explanation.alternatives) {
            if several {
                let verdict = if alternative.matched { "matches" } else { "does not match" };
                text += &format!("  alternative {number} of $or {verdict}\n");
            }
            text += &alternative_text(alternative, if several { "    " } else { "  " });
        }
        text
    }
}

fn alternative_text(alternative: &Alternative, indent: &str) -> String {
    let width = alternative.fields.iter().map(|field| field.path.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for field in &alternative.fields {
        text += &format!("{indent}{} {:<width$}  {}\n", mark(field), field.path, field_text(field));
    }
    if alternative.apart {
        text += &format!("{indent}✗ each field matches, but in different elements of an array\n");
    }
    text
}

fn mark(field: &Field) -> char {
    if field.verdict.is_match() { '✓' } else { '✗' }
}

fn field_text(field: &Field) -> String {
    let wanted = &field.wanted;
    let shown: Vec<_> = field.found.iter().map(|found| found.value.as_str()).collect();
    let more = field.values.saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    match shown.as_slice() {
        [] => format!("{}; wanted {wanted}", field.verdict),
        values => format!("{}{more} {}; wanted {wanted}", values.join(", "), field.verdict),
    }
}

#[cfg(test)]
mod tests {
    use rules::{Event, Pattern};

    use super::*;

    fn text(pattern: &str, event: &str) -> String {
        let event = Event::check(event.as_bytes()).unwrap();
        Account { event: 1, explanation: Pattern::parse(pattern).unwrap().explain(event) }.text()
    }

    #[test]
    fn a_person_sees_which_field_missed() {
        assert_eq!(
            text(
                r#"{"source":["aws.ec2"],"detail":{"state":["running"],"x":[{"exists":false}]}}"#,
                r#"{"source":"aws.ec2","detail":{"state":"stopped"}}"#
            ),
            "event 1 does not match\n  \
             ✗ detail.state  \"stopped\" does not match; wanted [\"running\"]\n  \
             ✓ detail.x      is absent, as wanted; wanted [{\"exists\":false}]\n  \
             ✓ source        \"aws.ec2\" matches; wanted [\"aws.ec2\"]\n"
        );
    }

    #[test]
    fn alternatives_and_elements_are_told() {
        let told = text(r#"{"$or":[{"a":{"b":[1],"c":[2]}},{"d":[1]}]}"#, r#"{"a":[{"b":1,"c":1},{"b":2,"c":2}]}"#);
        assert!(
            told.contains("  alternative 1 of $or does not match\n    ✓ a.b  1, 2 matches; wanted [1]\n"),
            "{told}"
        );
        assert!(told.contains("    ✗ each field matches, but in different elements of an array\n"), "{told}");
        assert!(told.contains("    ✗ d  is absent; wanted [1]\n"), "{told}");
    }
}
