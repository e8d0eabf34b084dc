//! Flags from the declared configuration keys, and the configuration from the flags given.

use std::path::PathBuf;

use base::RealFs;
use clap::{Arg, ArgMatches, Command};
use server::config::{Config, ConfigError, KEYS, Key};

/// Adds `--config` and a flag for every key, grouped by section, each with its variable and default.
pub fn with_every_key(command: Command) -> Command {
    let secrets = KEYS.iter().filter(|k| k.secret).map(|k| format!("\n  {}: {}", k.env(), k.doc.trim()));
    let without_flag =
        format!("Only by file or variable, for a flag shows in the process list:{}", secrets.collect::<String>());
    with_config_file(command).args(KEYS.iter().filter(|k| !k.secret).map(flag)).after_help(without_flag)
}

/// Adds `--config` and `--data-dir` only.
pub fn with_data_dir(command: Command) -> Command {
    let data_dir = KEYS.iter().filter(|k| k.id == "server.data_dir");
    with_config_file(command).args(data_dir.map(flag))
}

/// The configuration that file, environment and these flags give.
pub fn config(args: &ArgMatches) -> Result<Config, ConfigError> {
    let flags = KEYS.iter().filter_map(|key| {
        let given = args.try_get_one::<String>(key.id).ok().flatten()?;
        Some((key, given.clone()))
    });
    let file = args.get_one::<PathBuf>("config");
    Config::load(&RealFs, file.map(PathBuf::as_path), std::env::vars_os().collect(), flags.collect())
}

fn with_config_file(command: Command) -> Command {
    command.arg(
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file of keys; `tidegate config` prints one with every default [env: TIDEGATE_CONFIG]"),
    )
}

fn flag(key: &'static Key) -> Arg {
    let default = if key.default.is_empty() { String::new() } else { format!(" [default: {}]", key.default) };
    Arg::new(key.id).long(key.flag()).value_name(key.name.to_uppercase()).help_heading(key.section).help(format!(
        "{} [env: {}]{default}",
        key.doc.trim(),
        key.env()
    ))
}
