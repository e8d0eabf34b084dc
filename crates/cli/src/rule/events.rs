//! Where events come from: arguments, files, standard input.

use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use anyhow::{Context, bail};
use base::{Fs, RealFs};
use clap::parser::ValuesRef;
use serde_json::value::RawValue;

/// What an argument stands for.
pub enum Source {
    Text(String),
    File(PathBuf),
    Input,
}

impl Source {
    /// The sources that the arguments name; standard input without any.
    pub fn all(arguments: ValuesRef<'_, String>) -> Vec<Self> {
        let named: Vec<_> = arguments.map(|argument| Self::of(argument)).collect();
        if named.is_empty() { vec![Self::Input] } else { named }
    }

    fn of(argument: &str) -> Self {
        match argument {
            "-" => Self::Input,
            text if text.trim_start().starts_with('{') => Self::Text(text.to_owned()),
            file => Self::File(PathBuf::from(file.strip_prefix('@').unwrap_or(file))),
        }
    }

    /// Hands each event on as soon as it is read.
    pub fn each(&self, tell: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        match self {
            Self::Text(text) => each_of(text.as_bytes(), "an argument", tell),
            Self::File(path) => {
                let bytes = RealFs.read(path).with_context(|| format!("cannot read {}", path.display()))?;
                each_of(bytes.as_slice(), &path.display().to_string(), tell)
            }
            Self::Input => each_of(BufReader::new(io::stdin().lock()), "standard input", tell),
        }
    }
}

/// Reads JSON values one after the other.
fn each_of(from: impl Read, name: &str, mut tell: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for value in serde_json::Deserializer::from_reader(from).into_iter::<Box<RawValue>>() {
        let value = value.with_context(|| format!("{name} is not JSON"))?;
        tell(value.get().as_bytes())?;
    }
    Ok(())
}

/// A text that is given, or in a file that is named.
pub fn text(argument: &str) -> anyhow::Result<Vec<u8>> {
    let Some(file) = argument.strip_prefix('@') else { return Ok(argument.as_bytes().to_vec()) };
    if file.is_empty() {
        bail!("@ needs the name of a file");
    }
    RealFs.read(&PathBuf::from(file)).with_context(|| format!("cannot read {file}"))
}
