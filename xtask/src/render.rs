//! JSON laid out for readable diffs: what fits on a line stays on it, keys are sorted.

use serde_json::Value;

const WIDTH: usize = 120;

/// The text of a JSON value, with a final newline.
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, indent: usize, used: usize, out: &mut String) {
    let line = inline(value);
    // Operations and shapes are one an entry whatever their length, so the two outer levels are always open.
    let fits = indent >= 4 && indent + used + line.len() < WIDTH;
    match value {
        Value::Object(map) if !fits && !map.is_empty() => {
            let entries = map.iter().map(|(key, value)| (format!("{}: ", Value::from(key.as_str())), value));
            block('{', '}', entries, indent, out);
        }
        Value::Array(items) if !fits && !items.is_empty() => {
            block('[', ']', items.iter().map(|item| (String::new(), item)), indent, out);
        }
        _ => out.push_str(&line),
    }
}

fn block<'a>(
    open: char,
    close: char,
    entries: impl ExactSizeIterator<Item = (String, &'a Value)>,
    indent: usize,
    out: &mut String,
) {
    let last = entries.len() - 1;
    out.push(open);
    for (i, (key, value)) in entries.enumerate() {
        out.push('\n');
        out.push_str(&" ".repeat(indent + 2));
        out.push_str(&key);
        write(value, indent + 2, key.len() + 1, out);
        if i < last {
            out.push(',');
        }
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
    out.push(close);
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<_> =
                map.iter().map(|(k, v)| format!("{}: {}", Value::from(k.as_str()), inline(v))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_entries_take_a_line_and_long_ones_open() {
        let long = "x".repeat(110);
        let value = serde_json::json!({"shapes": {"B": {"type": "string", "max": 3}, "A": {"pattern": long}}});
        let expected = format!(
            "{{\n  \"shapes\": {{\n    \"A\": {{\n      \"pattern\": \"{long}\"\n    }},\n    \"B\": {{\"max\": 3, \"type\": \"string\"}}\n  }}\n}}\n"
        );
        assert_eq!(render(&value), expected);
        assert_eq!(serde_json::from_str::<Value>(&render(&value)).unwrap(), value);
    }
}
