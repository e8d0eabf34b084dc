//! `tidegate logs`: prints what a function wrote, and follows it.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use base::{Clock, FunctionName, SystemClock, Timestamp};
use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::client::{Client, Target};
use crate::failure;
use crate::figures::age;

const ABOUT: &str = "\
Print the log of a function, the oldest line first

Standard output and error of the function's code, with the START, END and REPORT lines of its invocations: what
CloudWatch keeps in the log group /aws/lambda/FUNCTION, which may be given in place of the name. The server keeps it for
the days that functions.log_days says, a week by default, and is the one that AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY name.
What is printed is text, in a pipe too, unless --json asks for lines of JSON, whose time is in milliseconds since 1970.

Examples:
  tidegate logs alert
  tidegate logs alert -f --since 10m
  tidegate logs alert --match 'Task timed out'
  tidegate logs alert --json | jq -r 'select(.line | startswith(\"REPORT\")).line'

Exit status: 0 the log was read to its end, 2 it cannot be read.";

/// Seconds that the server may wait for the next line.
const WAIT: &str = "5";

/// A line as the server sends it.
#[derive(Deserialize)]
struct Line {
    time: Timestamp,
    line: String,
}

/// What the server sends at once.
struct Page {
    text: Bytes,
    /// Where it goes on.
    next: String,
    /// A search has not come to the end yet.
    more: bool,
}

/// How it is called.
pub fn command() -> Command {
    Command::new("logs")
        .about(ABOUT.lines().next().unwrap_or_default())
        .long_about(ABOUT)
        .arg(
            Arg::new("function")
                .value_name("FUNCTION")
                .required(true)
                .value_parser(function)
                .help("The function's name, or its log group"),
        )
        .arg(
            Arg::new("follow")
                .short('f')
                .long("follow")
                .action(ArgAction::SetTrue)
                .help("Go on with new lines until interrupted"),
        )
        .arg(
            Arg::new("since")
                .long("since")
                .value_name("AGE")
                .value_parser(age)
                .help("Only what is younger, such as 90s, 10m, 2h or 7d"),
        )
        .arg(
            Arg::new("match")
                .short('m')
                .long("match")
                .value_name("TEXT")
                .action(ArgAction::Append)
                .help("Only lines that contain the text; with several, all of them"),
        )
        .arg(
            Arg::new("stream")
                .long("stream")
                .value_name("TEXT")
                .help("Only of log streams with the text in their name: one environment, or a version such as '[2]'"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print lines of JSON with time, stream and line"),
        )
}

fn function(text: &str) -> Result<FunctionName, base::InvalidId> {
    text.strip_prefix("/aws/lambda/").unwrap_or(text).parse()
}

/// Prints the log.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    Ok(failure::answered("logs", print(args)))
}

fn print(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let function = args.get_one::<FunctionName>("function").context("a function's name is needed")?;
    let reader = Reader {
        client: Client::from_environment()?,
        path: format!("/_tidegate/logs/{function}"),
        follow: args.get_flag("follow"),
        as_json: args.get_flag("json"),
        search: search(args),
    };
    let since = args.get_one::<Duration>("since").map(|age| SystemClock::new().now() - *age);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(reader.print(since)).map(|()| ExitCode::SUCCESS)
}

/// What is searched for, as a part of the query.
fn search(args: &ArgMatches) -> Vec<String> {
    let encoded = |name: &str, text: &String| format!("{name}={}", utf8_percent_encode(text, NON_ALPHANUMERIC));
    let texts = args.get_many::<String>("match").unwrap_or_default().map(|text| encoded("match", text));
    texts.chain(args.get_one::<String>("stream").map(|text| encoded("stream", text))).collect()
}

struct Reader {
    client: Client,
    path: String,
    search: Vec<String>,
    follow: bool,
    as_json: bool,
}

impl Reader {
    /// Prints page after page until there is nothing more, or for ever.
    async fn print(&self, since: Option<Timestamp>) -> anyhow::Result<()> {
        let mut place = since.map(|time| format!("since={}", time.millis()));
        loop {
            let page = self.page(place.as_deref()).await?;
            if page.text.is_empty() && !page.more && !self.follow {
                return Ok(());
            }
            self.show(&page.text)?;
            place = Some(format!("after={}", page.next));
        }
    }

    async fn page(&self, place: Option<&str>) -> anyhow::Result<Page> {
        let wait = self.follow.then(|| format!("wait={WAIT}"));
        let search = self.search.iter().map(String::as_str);
        let query: Vec<&str> = place.into_iter().chain(wait.as_deref()).chain(search).collect();
        let path = if query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, query.join("&")) };
        let target = Target { service: "tidegate", method: Method::GET, path: &path, headers: &[] };
        let response = self.client.call(&target, Bytes::new()).await?;
        if response.status() != StatusCode::OK {
            let answer: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
            let reason = answer["message"].as_str().unwrap_or("it did not say why");
            bail!("the server answered {}: {reason}", response.status());
        }
        let next = response.headers().get("x-tidegate-next").and_then(|value| value.to_str().ok());
        let next = next.ok_or_else(|| anyhow!("the server's answer does not say where to go on"))?.to_owned();
        let more = response.headers().contains_key("x-tidegate-more");
        Ok(Page { text: response.into_body(), next, more })
    }

    fn show(&self, text: &Bytes) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.as_json {
            out.write_all(text)?;
        } else {
            let terminal = out.is_terminal();
            for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                let Line { time, line } = serde_json::from_slice(line).context("the server sent a broken line")?;
                // What a function prints must not steer the terminal of who reads it.
                let line =
                    if terminal { line.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}") } else { line };
                writeln!(out, "{time} {line}")?;
            }
        }
        Ok(out.flush()?)
    }
}
