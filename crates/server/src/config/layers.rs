//! The three layers under the typed configuration: file, environment, flags; the later wins.
//!
//! Owns finding values and naming where each came from. Promises that an unknown key in any layer is refused with
//! the nearest known one. Must not know what a value means.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::ConfigError;
use super::keys::{KEYS, Key};
use super::setting::Setting;

/// Variables that the test suites set for themselves; passed over.
const TEST_PREFIX: &str = "TIDEGATE_TEST_";
const TEST_NAMES: &[&str] = &["TIDEGATE_BIN", "TIDEGATE_KILLS"];
/// Names the configuration file, as `--config` does.
pub(super) const CONFIG_VARIABLE: &str = "TIDEGATE_CONFIG";

/// Values by section and key, each with the place it was given.
#[derive(Debug, Default)]
pub struct Layers(BTreeMap<(&'static str, &'static str), (String, String)>);

impl Layers {
    fn set(&mut self, key: &Key, text: String, place: String) {
        self.0.insert((key.section, key.name), (text, place));
    }

    /// Adds the values of a TOML text; `name` is the file's name for refusals.
    pub fn add_toml(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let line = |at: usize| format!("{name}, line {}", text[..at.min(text.len())].matches('\n').count() + 1);
        let document = toml::de::DeTable::parse(text).map_err(|e| ConfigError::Syntax {
            place: line(e.span().map_or(0, |s| s.start)),
            reason: e.message().to_owned(),
        })?;
        for (section, content) in document.get_ref() {
            let place = line(section.span().start);
            let Some(table) = content.get_ref().as_table() else {
                return Err(unknown(section.get_ref(), place, "a section such as [server]"));
            };
            for (key, value) in table {
                let place = line(key.span().start);
                let dotted = format!("{}.{}", section.get_ref(), key.get_ref());
                let known = KEYS.iter().find(|k| k.id == dotted);
                let known =
                    known.ok_or_else(|| unknown(&dotted, place.clone(), &nearest(&dotted, |k| k.id.to_owned())))?;
                let value = value.get_ref();
                let text = match (value.as_str(), value.as_integer(), value.as_bool()) {
                    (Some(text), _, _) => text.to_owned(),
                    (_, Some(number), _) if number.radix() == 10 => number.as_str().to_owned(),
                    (_, _, Some(flag)) => flag.to_string(),
                    _ => {
                        let reason = format!("expected {}, found {}", known.shape, value.type_str());
                        return Err(ConfigError::Value { key: dotted, place, reason });
                    }
                };
                self.set(known, text, place);
            }
        }
        Ok(())
    }

    /// Adds the `TIDEGATE_SECTION_KEY` variables.
    pub fn add_env(&mut self, vars: impl IntoIterator<Item = (OsString, OsString)>) -> Result<(), ConfigError> {
        for (name, value) in vars {
            let Some(name) = name.to_str().filter(|n| n.starts_with("TIDEGATE_")) else { continue };
            if name.starts_with(TEST_PREFIX) || TEST_NAMES.contains(&name) || name == CONFIG_VARIABLE {
                continue;
            }
            let place = || "the environment".to_owned();
            let known = KEYS.iter().find(|k| k.env() == name);
            let known = known.ok_or_else(|| unknown(name, place(), &nearest(name, Key::env)))?;
            let value = value.into_string().map_err(|_| ConfigError::Value {
                key: name.to_owned(),
                place: place(),
                reason: "expected UTF-8 text".to_owned(),
            })?;
            self.set(known, value, format!("environment variable {name}"));
        }
        Ok(())
    }

    /// Adds a flag's value.
    pub fn add_flag(&mut self, key: &Key, value: String) {
        self.set(key, value, format!("flag --{}", key.flag()));
    }

    /// The typed value of a key, or its default.
    pub(super) fn value<T: Setting>(
        &self,
        section: &'static str,
        name: &'static str,
        default: &str,
    ) -> Result<T, ConfigError> {
        let (text, place) = match self.0.get(&(section, name)) {
            Some((text, place)) => (text.as_str(), place.as_str()),
            None => (default, "the defaults"),
        };
        T::parse(text).map_err(|reason| ConfigError::Value {
            key: format!("{section}.{name}"),
            place: place.to_owned(),
            reason,
        })
    }

    /// Where a key was given, if it was.
    pub fn place(&self, section: &str, name: &str) -> Option<&str> {
        self.0.iter().find(|((s, n), _)| *s == section && *n == name).map(|(_, (_, place))| place.as_str())
    }
}

fn unknown(key: &str, place: String, nearest: &str) -> ConfigError {
    ConfigError::Unknown { key: key.to_owned(), place, nearest: nearest.to_owned() }
}

/// The known spelling that differs least from `given`.
fn nearest(given: &str, spell: impl Fn(&Key) -> String) -> String {
    KEYS.iter().map(spell).min_by_key(|known| distance(given, known)).unwrap_or_default()
}

/// Single-letter changes between two words (Wagner and Fischer 1974).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("TIDEGATE_SERVER_LISTN", Key::env), "TIDEGATE_SERVER_LISTEN");
    }
}
