//! Records from arguments, a file or standard input.
//!
//! Promises that what comes slowly is handed on as it comes, and that no more than a few chunks are in memory.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use base::{Fs, OpenMode, RealFs};
use clap::ArgMatches;
use tokio::sync::mpsc;

use super::{is_typed, say};

/// Bytes that are read at a time, and of lines that are handed on at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait.
const CHUNKS: usize = 8;

/// A record to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// What to call it in a message, such as `line 7`.
    pub name: String,
    /// Nothing when it was longer than any record.
    pub data: Option<Vec<u8>>,
    /// How much of the source it was.
    pub bytes: u64,
}

/// Where records come from.
pub enum Source {
    Arguments(Vec<String>),
    Input { input: Box<dyn Read + Send>, name: String, bytes: Option<u64>, whole: bool },
}

impl Source {
    /// As the arguments say.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn from_args(args: &ArgMatches) -> anyhow::Result<Self> {
        let data: Vec<String> = args.get_many("data").into_iter().flatten().cloned().collect();
        if !data.is_empty() {
            return Ok(Self::Arguments(data));
        }
        let whole = args.get_flag("whole");
        let file = args.get_one::<PathBuf>("file").filter(|path| path.as_os_str() != "-");
        let Some(path) = file else {
            if is_typed() {
                say("put", "each line is a record; Ctrl-D ends");
            }
            let name = "standard input".to_owned();
            return Ok(Self::Input { input: Box::new(io::stdin()), name, bytes: None, whole });
        };
        let name = path.display().to_string();
        let file = RealFs.open(path, OpenMode::Read).with_context(|| format!("{name} cannot be opened"))?;
        let bytes = file.len().ok().filter(|bytes| *bytes > 0);
        Ok(Self::Input { input: Box::new(InOrder { file, offset: 0 }), name, bytes, whole })
    }

    /// How much there is, if that is known.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Arguments(_) => None,
            Self::Input { bytes, .. } => *bytes,
        }
    }

    /// Begins to read. Lines of more than `max_bytes` are not kept.
    pub fn read(self, max_bytes: usize) -> mpsc::Receiver<anyhow::Result<Vec<Line>>> {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        // A thread of its own, for nobody can end a read of a terminal: the process ends without it.
        std::thread::spawn(move || match self {
            Self::Arguments(data) => {
                let lines = data.into_iter().enumerate().map(|(n, data)| Line {
                    name: format!("record {}", n + 1),
                    bytes: data.len() as u64,
                    data: Some(data.into_bytes()),
                });
                let _ = sender.blocking_send(Ok(lines.collect()));
            }
            Self::Input { input, name, whole, .. } => {
                let mut lines =
                    Lines { input: BufReader::with_capacity(CHUNK_BYTES, input), number: 0, max_bytes, whole };
                while let Some(chunk) = lines.chunk().transpose() {
                    let chunk = chunk.map_err(|error| anyhow!("{name} cannot be read: {error}"));
                    // With an error, or nobody to take it, there is no more to read for.
                    let last = chunk.is_err();
                    if sender.blocking_send(chunk).is_err() || last {
                        return;
                    }
                }
            }
        });
        chunks
    }
}

/// A file from its beginning.
struct InOrder {
    file: Arc<dyn base::File>,
    offset: u64,
}

impl Read for InOrder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Cuts what is read into lines.
struct Lines<R> {
    input: BufReader<R>,
    number: u64,
    max_bytes: usize,
    whole: bool,
}

impl<R: Read> Lines<R> {
    /// As many lines as can be had without waiting, at least one; nothing at the end.
    fn chunk(&mut self) -> io::Result<Option<Vec<Line>>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while let Some(line) = self.line()? {
            bytes += line.bytes;
            if line.data.as_ref().is_none_or(|data| !data.is_empty()) {
                lines.push(line);
            }
            let none_waits = self.input.buffer().is_empty();
            if !lines.is_empty() && (none_waits || bytes >= CHUNK_BYTES as u64) {
                break;
            }
        }
        Ok((!lines.is_empty()).then_some(lines))
    }

    /// A line without its end, however long it is.
    fn line(&mut self) -> io::Result<Option<Line>> {
        let (mut data, mut bytes, mut ended) = (Vec::new(), 0, false);
        while !ended {
            let available = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                break;
            }
            let end = available.iter().position(|byte| *byte == b'\n').filter(|_| !self.whole);
            let part = &available[..end.unwrap_or(available.len())];
            // One more than allowed is enough to know that it is too long.
            let room = (self.max_bytes + 1).saturating_sub(data.len());
            data.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            bytes += used as u64;
            ended = end.is_some();
            self.input.consume(used);
        }
        if bytes == 0 {
            return Ok(None);
        }
        if ended && data.last() == Some(&b'\r') {
            data.pop();
        }
        self.number += 1;
        let name = if self.whole { "the input".to_owned() } else { format!("line {}", self.number) };
        let data = (data.len() <= self.max_bytes).then_some(data);
        Ok(Some(Line { name, data, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], max_bytes: usize, whole: bool) -> Vec<(String, Option<Vec<u8>>, u64)> {
        // A small buffer, so that lines lie across its ends.
        let mut lines = Lines { input: BufReader::with_capacity(4, text), number: 0, max_bytes, whole };
        let mut found = Vec::new();
        while let Some(chunk) = lines.chunk().unwrap() {
            assert!(!chunk.is_empty());
            found.extend(chunk.into_iter().map(|line| (line.name, line.data, line.bytes)));
        }
        found
    }

    #[test]
    fn lines_are_cut_whatever_their_ends() {
        let found = all(b"one\r\n\n\nlonger than the buffer\nlast \xff", 100, false);
        let expected: [(&str, &[u8], u64); 3] =
            [("line 1", b"one", 5), ("line 4", b"longer than the buffer", 23), ("line 5", b"last \xff", 6)];
        let expected = expected.map(|(name, data, bytes)| (name.to_owned(), Some(data.to_vec()), bytes));
        assert_eq!(found, expected);
        assert_eq!(all(b"\n\n", 100, false), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept() {
        let found = all(b"12345\n123456\n1", 5, false);
        let kept: Vec<_> = found.iter().map(|(_, data, bytes)| (data.as_ref().map(Vec::len), *bytes)).collect();
        assert_eq!(kept, [(Some(5), 6), (None, 7), (Some(1), 1)]);
    }

    #[test]
    fn the_whole_input_is_one_record() {
        let [(_, data, _)] = &all(b"a\r\nb\n", 100, true)[..] else { panic!("one record") };
        assert_eq!(data.as_deref(), Some(&b"a\r\nb\n"[..]));
        assert_eq!(all(b"a\nb\n", 3, true)[0].1, None);
    }
}
