//! Figures as people read and type them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration by its two greatest units, such as `1 h 04 min`, `2 min 05 s` or `0.4 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// How long ago something was, as people type it: a number with a unit, such as `90s`, `10m`, `2h` or `7d`.
pub fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not an age such as 90s, 10m, 2h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(wrong)
}

/// What puts `line` in the place of a terminal's last line. A terminal too narrow for it shows its beginning: a wrapped
/// line could not be taken back.
pub fn redrawn(line: &str) -> String {
    format!("\r\x1b[2K\x1b[?7l{line}\x1b[?7h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        let seconds = [0.42, 9.96, 59.0, 125.0, 3_840.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(seconds, ["0.4 s", "10.0 s", "59 s", "2 min 05 s", "1 h 04 min"]);
    }

    #[test]
    fn ages_have_a_number_and_a_unit() {
        assert_eq!(age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(age("2h"), Ok(Duration::from_secs(7_200)));
        for wrong in ["", "h", "2", "-1s", "1w", "99999999999999999999d", "1é"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
