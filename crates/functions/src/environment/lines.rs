//! Bytes into log lines. Pure.

/// Longer lines are split (256 KB, the size of a CloudWatch Logs event).
pub(crate) const MAX_LINE_BYTES: usize = 256 * 1_024;

/// Collects bytes until a line is whole.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives the lines that they complete, without line ends.
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut rest = text;
            while self.partial.len() + rest.len() > MAX_LINE_BYTES {
                let (now, later) = rest.split_at(MAX_LINE_BYTES - self.partial.len());
                self.partial.extend_from_slice(now);
                let kept = self.partial.len() - incomplete_tail(&self.partial);
                let carried = self.partial.split_off(kept);
                line(self.take());
                self.partial = carried;
                rest = later;
            }
            self.partial.extend_from_slice(rest);
            if ends {
                if self.partial.last() == Some(&b'\r') {
                    self.partial.pop();
                }
                line(self.take());
            }
        }
    }

    /// Gives what has no line end yet, when there is something.
    pub fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        text
    }
}

/// The bytes at the end that begin a character which is not whole yet, so that a split does not fall into it.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(3);
    for (back, byte) in bytes[last..].iter().rev().enumerate() {
        let needed = match byte {
            0x00..=0x7f => return 0,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => continue,
        };
        return if back + 1 < needed { back + 1 } else { 0 };
    }
    0
}

/// The last bytes of a log, for `LogType=Tail` (4 KB).
#[derive(Debug, Default)]
pub(crate) struct Tail {
    text: String,
}

const MAX_TAIL_BYTES: usize = 4 * 1_024;

impl Tail {
    /// Takes a line and drops what is too old.
    pub fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        if self.text.len() > 2 * MAX_TAIL_BYTES {
            self.cut();
        }
    }

    /// The last 4 KB.
    pub fn into_text(mut self) -> String {
        self.cut();
        self.text
    }

    fn cut(&mut self) {
        let surplus = self.text.len().saturating_sub(MAX_TAIL_BYTES);
        let from = (surplus..=self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        self.text.drain(..from);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, |line| out.push(line));
        }
        out.extend(lines.finish());
        out
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        assert_eq!(lines(&[b"a", b"b\nc\r", b"\n\nd"]), ["ab", "c", "", "d"]);
        assert_eq!(lines(&[&[0xff, b'x']]), ["\u{fffd}x"]);
    }

    #[test]
    fn a_long_line_is_split_between_characters() {
        let text = format!("x{}", "é".repeat(MAX_LINE_BYTES));
        let split = lines(&[text.as_bytes()]);
        assert_eq!(split.len(), 3);
        assert!(split.iter().all(|line| line.len() <= MAX_LINE_BYTES));
        assert_eq!(split.concat(), text);
    }

    #[test]
    fn a_tail_is_the_end() {
        let mut tail = Tail::default();
        for i in 0..10_000 {
            tail.push(&format!("line {i} ü"));
        }
        let text = tail.into_text();
        assert!(text.len() <= MAX_TAIL_BYTES && text.ends_with("line 9999 ü\n"));
    }

    proptest! {
        #[test]
        fn no_text_is_lost(text in "[a-zé\n]{0,300}", cut in 0usize..300) {
            let cut = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let (a, b) = text.as_bytes().split_at(cut);
            let mut expected: Vec<&str> = text.split('\n').collect();
            if expected.last() == Some(&"") {
                expected.pop();
            }
            prop_assert_eq!(lines(&[a, b]), expected);
        }
    }
}
