//! A line on a terminal that says how far it is, how fast, and how long it will take.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::Totals;
use crate::figures::{duration, redrawn, thousands};

/// How often the line is drawn at most.
const PERIOD: Duration = Duration::from_millis(100);

/// The state of the line.
pub struct Progress {
    total_bytes: u64,
    done_bytes: u64,
    started: Duration,
    drawn: Option<Duration>,
    shown: bool,
}

impl Progress {
    /// Nothing done yet of `total_bytes`. Without a terminal on standard error nothing is ever drawn.
    pub fn new(total_bytes: u64, now: Duration) -> Self {
        Self { total_bytes, done_bytes: 0, started: now, drawn: None, shown: std::io::stderr().is_terminal() }
    }

    /// When it began.
    pub fn started(&self) -> Duration {
        self.started
    }

    /// Says that `bytes` more of the files are read.
    pub fn advance(&mut self, bytes: u64, totals: Totals, now: Duration) {
        self.done_bytes += bytes;
        if self.shown && self.drawn.is_none_or(|drawn| now.saturating_sub(drawn) >= PERIOD) {
            self.drawn = Some(now);
            let line = self.line(totals, now.saturating_sub(self.started));
            draw(&redrawn(&line));
        }
    }

    /// Removes the line.
    pub fn clear(&mut self) {
        if self.shown && self.drawn.take().is_some() {
            draw("\r\x1b[2K");
        }
    }

    fn line(&self, totals: Totals, took: Duration) -> String {
        let events = totals.accepted + totals.duplicates;
        let share =
            if self.total_bytes == 0 { 1.0 } else { (self.done_bytes as f64 / self.total_bytes as f64).min(1.0) };
        let rate = events as f64 / took.as_secs_f64().max(0.001);
        let mut line = format!("{:>3.0} %  {} events  {}/s", share * 100.0, thousands(events), thousands(rate as u64));
        if totals.duplicates > 0 {
            line += &format!("  {} there already", thousands(totals.duplicates));
        }
        if share > 0.0 && share < 1.0 {
            line += &format!("  {} left", duration(took.mul_f64((1.0 - share) / share)));
        }
        line
    }
}

fn draw(text: &str) {
    let mut terminal = std::io::stderr();
    // A terminal that is gone needs no progress.
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_rate_and_remaining_time() {
        let mut progress =
            Progress { total_bytes: 400, done_bytes: 0, started: Duration::ZERO, drawn: None, shown: false };
        progress.advance(100, Totals::default(), Duration::ZERO);
        let totals = Totals { accepted: 2_000, duplicates: 500, skipped: 0 };
        let line = progress.line(totals, Duration::from_secs(2));
        assert_eq!(line, " 25 %  2,500 events  1,250/s  500 there already  6.0 s left");
        progress.advance(300, Totals::default(), Duration::ZERO);
        assert_eq!(progress.line(totals, Duration::from_secs(2)), "100 %  2,500 events  1,250/s  500 there already");
    }
}
