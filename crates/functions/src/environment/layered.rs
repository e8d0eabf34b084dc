//! Where the languages look for what layers bring: which folders of theirs, and in which order.
//!
//! A folder that is for one version of a language is of use to that version. The service looks into that of the runtime
//! that the function names. Here the interpreter may be of another version, so its own folder leads, since compiled
//! modules have to fit it. Where neither is there all others are tried, the newest first: what is of no version in
//! particular works in any. Source: "Packaging your layer content", AWS Lambda developer guide.

use std::cmp::Reverse;
use std::path::PathBuf;

use base::Fs;

use super::entry::{Folders, exists};
use crate::FunctionError;

/// The numbers of a version, as many as make a difference.
pub(crate) type Numbers = Vec<u32>;

/// A variable and the folders in `/opt` that it is made of.
pub(super) struct Layout {
    variable: &'static str,
    /// Of every version.
    plain: &'static [&'static str],
    versions: Option<Versions>,
}

/// Folders of one version each.
struct Versions {
    /// Where they are.
    folder: &'static str,
    /// What their names begin with, before the version.
    prefix: &'static str,
    /// What is looked at in each.
    inner: &'static str,
    /// How many numbers make a difference.
    numbers: usize,
}

pub(super) const PYTHON: Layout = Layout {
    variable: "PYTHONPATH",
    plain: &["python"],
    versions: Some(Versions { folder: "python/lib", prefix: "python", inner: "site-packages", numbers: 2 }),
};
pub(super) const NODE: Layout = Layout {
    variable: "NODE_PATH",
    plain: &["nodejs/node_modules"],
    versions: Some(Versions { folder: "nodejs", prefix: "node", inner: "node_modules", numbers: 1 }),
};
pub(super) const RUBY: Layout = Layout { variable: "RUBYLIB", plain: &["ruby/lib"], versions: None };
pub(super) const GEMS: Layout = Layout {
    variable: "GEM_PATH",
    plain: &[],
    versions: Some(Versions { folder: "ruby/gems", prefix: "", inner: "", numbers: 2 }),
};

/// The numbers in a text that ends with a version, or has one: `python3.12`, `20.x`, `3.4.0`.
fn numbers(text: &str, most: usize) -> Numbers {
    let version = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    version.split('.').map_while(|part| part.parse().ok()).take(most).collect()
}

/// The variable for a function that asked for a runtime and gets an interpreter, if its layers bring something for it.
pub(super) fn layered(
    fs: &dyn Fs,
    layout: &Layout,
    of: &Folders,
    asked: &str,
    interpreter: Option<&str>,
) -> Result<Option<(String, String)>, FunctionError> {
    let Some(opt) = &of.opt else { return Ok(None) };
    let mut folders: Vec<PathBuf> = layout.plain.iter().map(|path| opt.join(path)).collect();
    if let Some(versions) = &layout.versions {
        let home = opt.join(versions.folder);
        let entries = match exists(fs, &home)? {
            true => fs.read_dir(&home).map_err(FunctionError::io(&home))?,
            false => Vec::new(),
        };
        let mut found = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.is_dir) {
            let version = entry.name.strip_prefix(versions.prefix).map(|rest| numbers(rest, versions.numbers));
            let folder = home.join(&entry.name).join(versions.inner);
            if let Some(version) = version.filter(|version| !version.is_empty())
                && exists(fs, &folder)?
            {
                found.push((version, folder));
            }
        }
        let wanted = interpreter.into_iter().chain([asked]).map(|text| numbers(text, versions.numbers));
        folders.extend(fitting(found, &wanted.collect::<Vec<_>>()));
    }
    let mut kept = Vec::new();
    for folder in folders {
        if exists(fs, &folder)? {
            kept.push(of.seen(&folder).to_string_lossy().into_owned());
        }
    }
    Ok((!kept.is_empty()).then(|| (layout.variable.to_owned(), kept.join(":"))))
}

/// Those of the wanted versions in the order in which they are wanted; of all, the newest first, when there are none.
fn fitting(mut found: Vec<(Numbers, PathBuf)>, wanted: &[Numbers]) -> Vec<PathBuf> {
    found.sort_by_key(|(version, _)| Reverse(version.clone()));
    let place = |version: &Numbers| wanted.iter().position(|wanted| wanted == version);
    if found.iter().any(|(version, _)| place(version).is_some()) {
        found.retain(|(version, _)| place(version).is_some());
        found.sort_by_key(|(version, _)| place(version));
    }
    found.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(names: &[&str], most: usize, wanted: &[&str]) -> Vec<String> {
        let found = names.iter().map(|name| (numbers(name, most), PathBuf::from(name))).collect();
        let wanted: Vec<Numbers> = wanted.iter().map(|text| numbers(text, most)).collect();
        fitting(found, &wanted).into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_interpreter_s_own_version_leads_then_the_one_that_was_asked_for() {
        let pythons = ["python3.9", "python3.10", "python3.12", "python3.13"];
        assert_eq!(order(&pythons, 2, &["3.13", "python3.9"]), ["python3.13", "python3.9"]);
        assert_eq!(order(&pythons, 2, &["3.14", "python3.12"]), ["python3.12"]);
        assert_eq!(order(&["node18", "node20"], 1, &["22.11.0", "nodejs20.x"]), ["node20"]);
        assert_eq!(order(&["3.2.0", "3.3.0"], 2, &["ruby3.3"]), ["3.3.0"]);
    }

    #[test]
    fn what_fits_nothing_is_tried_by_version_and_not_by_letters() {
        let pythons = ["python3.10", "python3.8", "python3.9"];
        assert_eq!(order(&pythons, 2, &["3.13", "python3.12"]), ["python3.10", "python3.9", "python3.8"]);
        assert_eq!(order(&["node8", "node10"], 1, &["22.0.0", "nodejs20.x"]), ["node10", "node8"]);
    }
}
