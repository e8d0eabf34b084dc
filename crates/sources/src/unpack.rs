//! Records out of a log file's bytes, whether gzip or plain: the first bytes tell.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use crate::SourceError;
use crate::splitter::{Piece, Splitter};

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Compressed bytes taken at a time: at most a thousand times as much comes out, which bounds the memory.
const STEP: usize = 4 << 10;

/// Reads records from a file that is fed in parts of any size.
#[derive(Debug)]
pub struct Records {
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Fewer than two bytes have come.
    Unknown(Vec<u8>, Text),
    Plain(Text),
    Gzip(Box<MultiGzDecoder<Text>>),
}

/// Takes decompressed text and collects what is found in it.
#[derive(Debug)]
struct Text {
    splitter: Splitter,
    found: Vec<Piece>,
    limit: u64,
    length: u64,
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len() as u64;
        if self.length > self.limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, SourceError::TooLong(self.limit)));
        }
        self.splitter.push(bytes, &mut self.found);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Records {
    /// A reader that accepts up to `limit` bytes of decompressed text.
    pub fn new(limit: u64) -> Self {
        let text = Text { splitter: Splitter::new(), found: Vec::new(), limit, length: 0 };
        Self { form: Form::Unknown(Vec::new(), text) }
    }

    /// Takes the next bytes of the file; `each` gets what they complete, in order.
    ///
    /// # Errors
    /// The file cannot be decompressed from here on, or is too long. What `each` has got is good.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Piece)) -> Result<(), SourceError> {
        for part in bytes.chunks(STEP) {
            let result = self.push_part(part);
            self.text().found.drain(..).for_each(&mut each);
            result?;
        }
        Ok(())
    }

    fn push_part(&mut self, part: &[u8]) -> Result<(), SourceError> {
        let written = match &mut self.form {
            Form::Unknown(first, _) => {
                first.extend_from_slice(part);
                if first.len() < GZIP.len() {
                    return Ok(());
                }
                let first = std::mem::take(first);
                self.recognise(first.starts_with(&GZIP));
                return self.push_part(&first);
            }
            Form::Plain(text) => text.write_all(part),
            Form::Gzip(decoder) => decoder.write_all(part),
        };
        written.map_err(failure)
    }

    fn recognise(&mut self, gzip: bool) {
        let empty = Text { splitter: Splitter::new(), found: Vec::new(), limit: 0, length: 0 };
        if let Form::Unknown(_, text) = std::mem::replace(&mut self.form, Form::Plain(empty)) {
            self.form = if gzip { Form::Gzip(Box::new(MultiGzDecoder::new(text))) } else { Form::Plain(text) };
        }
    }

    fn text(&mut self) -> &mut Text {
        match &mut self.form {
            Form::Unknown(_, text) | Form::Plain(text) => text,
            Form::Gzip(decoder) => decoder.get_mut(),
        }
    }

    /// Says that the file has ended; `each` gets what is left.
    ///
    /// # Errors
    /// The compressed form ends too early.
    pub fn finish(mut self, mut each: impl FnMut(Piece)) -> Result<(), SourceError> {
        if let Form::Unknown(first, _) = &mut self.form {
            let first = std::mem::take(first);
            self.recognise(false);
            self.push_part(&first)?;
        }
        let result = match &mut self.form {
            Form::Gzip(decoder) => decoder.try_finish().map_err(failure),
            Form::Unknown(..) | Form::Plain(_) => Ok(()),
        };
        self.text().found.drain(..).for_each(&mut each);
        result?;
        let text = match self.form {
            Form::Unknown(_, text) | Form::Plain(text) => text,
            Form::Gzip(decoder) => decoder.finish().map_err(failure)?,
        };
        let mut last = text.found;
        text.splitter.finish(&mut last);
        last.into_iter().for_each(each);
        Ok(())
    }
}

fn failure(error: io::Error) -> SourceError {
    match error.downcast::<SourceError>() {
        Ok(own) => own,
        Err(error) => SourceError::Compression(error),
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], limit: u64) -> (usize, Result<(), SourceError>) {
        let (mut records, mut count) = (Records::new(limit), 0);
        let pushed = bytes.chunks(7).try_for_each(|part| records.push(part, |_| count += 1));
        let result = pushed.and_then(|()| records.finish(|_| count += 1));
        (count, result)
    }

    #[test]
    fn plain_and_compressed_files_read_the_same() {
        let text = br#"{"Records":[{"a":1},{"b":2}]}"#;
        let twice = [gzip(text), gzip(b"\n{\"c\":3}")].concat();
        assert!(matches!(read(text, 100), (2, Ok(()))));
        assert!(matches!(read(&gzip(text), 100), (2, Ok(()))));
        assert!(matches!(read(&twice, 100), (3, Ok(()))), "gzip members follow one another");
        assert!(matches!(read(b"", 100), (0, Ok(()))));
        assert!(matches!(read(b"{", 100), (1, Ok(()))));
    }

    #[test]
    fn a_broken_or_bloated_file_gives_what_comes_before() {
        let lines = "{\"a\":1}\n".repeat(100_000);
        let whole = gzip(lines.as_bytes());
        let (count, result) = read(&whole[..whole.len() / 2], u64::MAX);
        assert!(count > 10 && matches!(result, Err(SourceError::Compression(_))), "{count} {result:?}");
        let (count, result) = read(&whole, 10_000);
        assert!(count <= 1_250 && matches!(result, Err(SourceError::TooLong(10_000))), "{count} {result:?}");
    }
}
