//! Two costs side by side: measured in turn, so that whatever else the machine does hits both alike.

use crate::load::Driven;

/// How often each is measured.
pub const ROUNDS: usize = 3;

/// What the second costs more than the first, in percent: processor time a record, and time a record.
pub fn change(first: &Driven, second: &Driven) -> String {
    let percent = |first: f64, second: f64| (second / first - 1.0) * 100.0;
    format!(
        "processor time a record {:+.0} %, time a record {:+.0} %, measured in turn {ROUNDS} times",
        percent(first.server_us(), second.server_us()),
        percent(1.0 / first.rate(), 1.0 / second.rate())
    )
}
