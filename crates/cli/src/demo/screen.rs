//! What the viewer sees: coloured with a moving status line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::play::millis;
use super::stage::Stage;
use crate::figures::{duration, redrawn, thousands};

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const YELLOW: &str = "33";
const GREEN: &str = "32";
const CYAN: &str = "36";

const LEGEND: &str = concat!(
    "    CloudTrail ─▶ bus ─▶ rule ─▶ stream ─┬▶ function ─▶ topic ─▶ webhook\n",
    "                                         └▶ delivery ─▶ search index\n",
);

/// Standard output.
pub struct Screen {
    terminal: bool,
    colour: bool,
    status: Option<String>,
}

impl Screen {
    /// A screen that suits where standard output goes; `NO_COLOR` is respected.
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { terminal, colour, status: None }
    }

    /// The first lines.
    pub fn title(&mut self, length: Duration) {
        let title = self.paint(BOLD, "Tidegate");
        self.print(&format!("\n  {title}: a day in an AWS account, in {}\n\n{LEGEND}", duration(length)));
    }

    /// A heading.
    pub fn section(&mut self, heading: &str) {
        self.print(&format!("\n  {}\n", self.paint(BOLD, heading)));
    }

    /// Something that was made.
    pub fn step(&mut self, what: &str, how: &str) {
        self.print(&format!("    {} {what:<9} {how}\n", self.paint(GREEN, "✓")));
    }

    /// A sentence.
    pub fn line(&mut self, text: &str) {
        self.print(&format!("    {text}\n"));
    }

    /// What is about to happen in the account.
    pub fn story(&mut self, time: &str, title: &str) {
        self.print(&format!("\n    {} {}\n", self.paint(DIM, time), self.paint(DIM, title)));
    }

    /// An alert, and how long it took from intake to webhook.
    pub fn alert(&mut self, severity: &str, text: &str, took: Option<Duration>) {
        let colour = match severity {
            "critical" => RED,
            "high" => YELLOW,
            _ => CYAN,
        };
        let took = took.map(millis).unwrap_or_default();
        let text = if self.terminal { shortened(text) } else { text.to_owned() };
        self.print(&format!("      {} {took:>9}  {text}\n", self.paint(colour, &format!("{severity:<8}"))));
    }

    /// A question to search and how many answers it has.
    pub fn question(&mut self, question: &str, query: &str, count: u64, took: &str) {
        let count = format!("{:>6}", thousands(count));
        self.print(&format!(
            "\n    {question}\n    {}  {query}  {}\n",
            self.paint(BOLD, &count),
            self.paint(DIM, took)
        ));
    }

    /// One answer.
    pub fn hit(&mut self, text: &str) {
        self.print(&format!("          {}\n", self.paint(DIM, text)));
    }

    /// Redraws the line at the bottom: the time of the day and what has happened so far. Only on a terminal.
    pub fn status(&mut self, share: f64, time: Duration, sent: u64, writes: u64, alerts: usize) {
        if !self.terminal {
            return;
        }
        const WIDTH: usize = 24;
        let full = ((share * WIDTH as f64) as usize).min(WIDTH);
        let bar = format!("{}{}", "━".repeat(full), "─".repeat(WIDTH - full));
        let minutes = (time.as_secs() / 60).min(1_439);
        let status = format!(
            "  {:02}:{:02} {}  {} records  {} writes  {alerts} alerts",
            minutes / 60,
            minutes % 60,
            self.paint(CYAN, &bar),
            thousands(sent),
            thousands(writes),
        );
        if self.status.as_ref() != Some(&status) {
            write(&redrawn(&status));
            self.status = Some(status);
        }
    }

    /// Removes that line.
    pub fn end_status(&mut self) {
        if self.status.take().is_some() {
            write("\r\x1b[2K");
        }
    }

    /// What a viewer can try now.
    pub fn explore(&mut self, stage: &Stage) {
        let commands = [
            format!("eval \"$(tidegate env --data-dir {})\"", stage.folder().display()),
            "aws events describe-rule --name writes".to_owned(),
            "aws kinesis list-shards --stream-name trail".to_owned(),
            "tidegate logs alert".to_owned(),
            "curl -su \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" \"$AWS_ENDPOINT_URL/trail/_search?q=detail.eventName:StopLogging&pretty\"".to_owned(),
            "curl -su \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" \"$AWS_ENDPOINT_URL/_tidegate/metrics\"".to_owned(),
            "tidegate ingest /path/to/your/cloudtrail".to_owned(),
        ];
        self.section("Look around, in another terminal");
        for command in commands {
            self.print(&format!("    {}\n", self.paint(CYAN, &command)));
        }
        self.print("\n  Ctrl-C ends the demo and removes everything.\n");
    }

    /// Prints above the status line.
    fn print(&mut self, text: &str) {
        let status = self.status.take();
        match &status {
            Some(line) => write(&format!("\r\x1b[2K{text}{}", redrawn(line))),
            None => write(text),
        }
        self.status = status;
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// An alert's text without what is the same in all of them: the account of an ARN, the day of a time.
fn shortened(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let of_arn = word.strip_prefix("arn:aws:").and_then(|arn| arn.splitn(4, ':').nth(3));
        let of_time = word
            .split_once('T')
            .filter(|(day, time)| day.len() == 10 && time.ends_with('Z'))
            .map(|(_, time)| time.trim_end_matches('Z'));
        of_arn.map(|name| name.strip_prefix("user/").unwrap_or(name)).or(of_time).unwrap_or(word)
    });
    words.collect::<Vec<_>>().join(" ")
}

fn write(text: &str) {
    let mut out = std::io::stdout();
    // A viewer who has gone misses nothing.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_fits_on_a_terminal() {
        let text = "user arn:aws:iam::111122223333:user/kim terminated instance i-1 from IP 203.0.113.66 at 2026-11-22T02:55:40Z";
        assert_eq!(shortened(text), "user kim terminated instance i-1 from IP 203.0.113.66 at 02:55:40");
        assert_eq!(shortened("user arn:x stopped AT T"), "user arn:x stopped AT T");
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        let plain = Screen { terminal: true, colour: false, status: None };
        assert_eq!(plain.paint(RED, "x"), "x");
        let coloured = Screen { terminal: true, colour: true, status: None };
        assert_eq!(coloured.paint(RED, "x"), "\x1b[1;31mx\x1b[0m");
    }
}
