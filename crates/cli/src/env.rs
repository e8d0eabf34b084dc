//! `tidegate env`: the shell exports that point any AWS SDK or the AWS CLI at the server.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use base::RealFs;
use clap::{Arg, ArgMatches, Command};
use server::auth::RootKey;
use server::config::Config;
use server::data_dir::Running;

use crate::client::CA_BUNDLE;
use crate::flags;

const EXAMPLES: &str = "\
Examples:
  eval \"$(tidegate env)\" && aws …           this shell's AWS CLI and SDKs talk to the server
  tidegate env --format json                 the same for programs
  docker run --env-file <(tidegate env --format docker) …";

/// How it is called.
pub fn command() -> Command {
    let command = Command::new("env")
        .about("Print the variables that point AWS SDKs and the AWS CLI at the server")
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["shell", "docker", "json"])
                .default_value("shell")
                .help("shell: export lines; docker: NAME=value lines; json: one object"),
        )
        .after_help(EXAMPLES);
    flags::with_data_dir(command)
}

/// Prints them. A shell that evaluates what is printed of a failure is told to fail, too: else it would go on with
/// whatever account it had before. Of misuse, which is told before this, nothing is printed to evaluate.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let format = args.get_one::<String>("format").map(String::as_str);
    let variables = flags::config(args).map_err(Into::into).and_then(|config| variables(&config));
    if variables.is_err() && format == Some("shell") {
        std::io::stdout().write_all(b"false\n").context("cannot print")?;
    }
    let variables = variables?;
    let text = match format {
        Some("json") => {
            let object: serde_json::Map<_, _> =
                variables.iter().map(|(k, v)| ((*k).to_owned(), v.as_str().into())).collect();
            format!("{:#}\n", serde_json::Value::Object(object))
        }
        Some("docker") => variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect(),
        _ => shell(&variables),
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot print")?;
    Ok(ExitCode::SUCCESS)
}

fn variables(config: &Config) -> anyhow::Result<Vec<(&'static str, String)>> {
    let dir = &config.server.data_dir;
    let running = Running::read(&RealFs, dir)?;
    let (key, _) = RootKey::find(&config.root, &RealFs, dir)?;
    let (endpoint, region, ca_file) = match running {
        Some(running) => (running.endpoint, running.region, running.ca_file),
        None if config.server.listen.port() == 0 => {
            bail!("no server runs on {}: with port 0 its address is known only while it runs", dir.display())
        }
        None => {
            let ca_file = config.tls.ca_file.as_ref().map(std::path::absolute).transpose()?;
            (config.endpoint(config.server.listen), config.account.region.to_string(), ca_file)
        }
    };
    let mut variables = vec![
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
        ("AWS_ACCESS_KEY_ID", key.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", key.secret.reveal().to_owned()),
    ];
    variables.extend(ca_file.map(|path| (CA_BUNDLE, path.display().to_string())));
    Ok(variables)
}

/// Export lines. A session token left over from another account would spoil every call.
fn shell(variables: &[(&str, String)]) -> String {
    let exports = variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
    exports.chain(["unset AWS_SESSION_TOKEN\n".to_owned()]).collect()
}

/// In single quotes, as every POSIX shell reads back unchanged.
fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:+=@".contains(&b));
    if plain { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_shell() {
        assert_eq!(quoted("http://127.0.0.1:4566"), "http://127.0.0.1:4566");
        assert_eq!(quoted("a'b $(c)"), r"'a'\''b $(c)'");
        assert_eq!(quoted(""), "''");
    }
}
