//! The order of a run: every figure, and within it every contender, so that those compared are measured close together.

use std::time::Duration;

use anyhow::ensure;

use crate::conditions::Conditions;
use crate::contenders::Contender;
use crate::disk::SyncTime;
use crate::options::Options;
use crate::process::proc_file;
use crate::report::Report;
use crate::scenarios::{self, Part};

/// What a peer may take for one part.
const PATIENCE: Duration = Duration::from_secs(240);

/// Measures and prints.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is this program's purpose")]
pub async fn run(options: Options) -> anyhow::Result<()> {
    let conditions = Conditions::now(&options)?;
    if options.json {
        println!("{}", conditions.json());
    } else {
        println!("{}", conditions.lines());
    }
    let mut report = Report::default();
    for figure in &options.figures {
        for part in scenarios::parts(*figure, &options) {
            for contender in options.contenders().into_iter().filter(|c| c.peer.is_none() || !figure.own()) {
                eprintln!("{}: {} …", contender.name, part.name(&options));
                measure(part, contender, &options, &mut report).await?;
                if options.json {
                    print!("{}", report.new_lines());
                }
            }
            if !options.json {
                print!("{}", report.new_tables());
            }
        }
    }
    let (after, load_average) = (SyncTime::measure(&options.folder)?, proc_file("/proc/loadavg"));
    let [p50, p99] = after.append;
    eprintln!("afterwards: load average {}; fdatasync appended p50 {p50:.3} ms, p99 {p99:.3} ms", load_average.trim());
    ensure!(!report.incomplete(), "a figure of Tidegate is missing");
    Ok(())
}

/// What one contender does in one part; a failure is reported and the run goes on.
async fn measure(
    part: Part,
    contender: &'static Contender,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let name = part.name(options);
    if let Some(why) = contender.absent(&options.server, &options.peers) {
        report.missing(&name, contender, why);
        return Ok(());
    }
    let load_average = proc_file("/proc/loadavg");
    let before = SyncTime::measure(&options.folder)?;
    let rows = match contender.peer {
        None => part.measure(contender, options).await,
        Some(_) => match tokio::time::timeout(PATIENCE, part.measure(contender, options)).await {
            Ok(rows) => rows,
            Err(_) => Err(anyhow::anyhow!("not done after {} s", PATIENCE.as_secs())),
        },
    };
    let after = SyncTime::measure(&options.folder)?;
    match rows {
        Ok(rows) => report.add(contender, rows, (before, after), load_average.trim()),
        Err(error) => report.missing(&name, contender, format!("failed: {}", first_line(&error))),
    }
    Ok(())
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}
