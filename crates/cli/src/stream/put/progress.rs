//! A line on a terminal that says how much is put.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use base::{Clock, SystemClock};

use super::Totals;
use crate::figures::{redrawn, thousands};

/// How often the line is drawn at most.
const PERIOD: Duration = Duration::from_millis(100);

/// The state of the line.
pub struct Progress {
    clock: SystemClock,
    total_bytes: Option<u64>,
    read_bytes: u64,
    drawn: Option<Duration>,
    shown: bool,
}

impl Progress {
    /// Nothing done yet of `total_bytes`. Without a terminal on standard error, or with lines being typed there, nothing
    /// is ever drawn.
    pub fn new(total_bytes: Option<u64>) -> Self {
        let shown = std::io::stderr().is_terminal() && !super::is_typed();
        Self { clock: SystemClock::new(), total_bytes, read_bytes: 0, drawn: None, shown }
    }

    /// Says that so much more of the source is read.
    pub fn read(&mut self, bytes: u64) {
        self.read_bytes += bytes;
    }

    /// Draws it anew, if it is time.
    pub fn draw(&mut self, totals: &Totals) {
        let now = self.clock.instant();
        if self.shown && self.drawn.is_none_or(|drawn| now.saturating_sub(drawn) >= PERIOD) {
            self.drawn = Some(now);
            write(&redrawn(&self.line(totals, now)));
        }
    }

    /// Removes it.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            write("\r\x1b[2K");
        }
    }

    fn line(&self, totals: &Totals, took: Duration) -> String {
        let share = self.total_bytes.map(|total| (self.read_bytes as f64 / total as f64).min(1.0) * 100.0);
        let share = share.map(|share| format!("{share:>3.0} %  ")).unwrap_or_default();
        let rate = thousands((totals.put as f64 / took.as_secs_f64().max(0.001)) as u64);
        format!("{share}{} records put  {rate}/s", thousands(totals.put))
    }
}

fn write(text: &str) {
    let mut terminal = std::io::stderr();
    // A terminal that is gone needs no progress.
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_much_of_what_is_known() {
        let totals = Totals { put: 5_000, ..Totals::default() };
        let mut progress = Progress { shown: false, ..Progress::new(Some(1_000)) };
        progress.read(250);
        assert_eq!(progress.line(&totals, Duration::from_secs(2)), " 25 %  5,000 records put  2,500/s");
        progress.total_bytes = None;
        assert_eq!(progress.line(&totals, Duration::from_secs(2)), "5,000 records put  2,500/s");
    }
}
