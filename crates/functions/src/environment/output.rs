//! The output of a process on its way to the function's log.
//!
//! Standard output and error share one pipe, so their order is the process's own. The driver reads it, cuts it into
//! lines and hands them in batches to a task that waits for the log. When the log is slower than the process, the pipe
//! fills and the process waits in its `print`: memory stays within a few batches, and the deadline still runs.

use std::io::{self, PipeReader, PipeWriter};
use std::sync::Arc;

use base::{Arn, LogSink, Timestamp};
use rustix::fd::OwnedFd;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;

use super::lines::Lines;

/// Lines with the time they were read.
pub(crate) type Batch = Vec<(Timestamp, String)>;

const READ_BYTES: usize = 64 << 10;
/// Batches of up to [`READ_BYTES`] between the process and the log.
const QUEUED_BATCHES: usize = 8;

/// The reading end of a process's output.
pub(crate) struct Output {
    pipe: Receiver,
    lines: Lines,
    buffer: Vec<u8>,
    open: bool,
}

impl Output {
    /// A pipe: the end to read here, and the end for the process.
    pub fn new() -> io::Result<(Self, PipeWriter)> {
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
        let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        Ok((Self { pipe, lines: Lines::default(), buffer: vec![0; READ_BYTES], open: true }, writer))
    }

    /// Whether the process can still write.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Completes when there is something to read. Cancel-safe.
    pub async fn readable(&self) {
        if let Err(error) = self.pipe.readable().await {
            tracing::warn!(%error, "cannot wait for a function's output");
        }
    }

    /// Takes what is there, up to about `limit` bytes.
    pub fn read(&mut self, limit: usize, mut line: impl FnMut(String)) {
        let mut taken = 0;
        while taken < limit {
            // Asked of the kernel itself: what the process wrote before it answered is in the pipe, but the runtime may
            // not have heard of it. When the pipe is empty the runtime is asked too, which makes it wait for more.
            let read = match rustix::io::read(&self.pipe, &mut self.buffer) {
                Err(rustix::io::Errno::AGAIN) => self.pipe.try_read(&mut self.buffer),
                read => read.map_err(io::Error::from),
            };
            match read {
                Ok(0) => {
                    self.open = false;
                    return;
                }
                Ok(n) => {
                    taken += n;
                    self.lines.push(&self.buffer[..n], &mut line);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "a function's output cannot be read any more");
                    self.open = false;
                    return;
                }
            }
        }
    }

    /// What the process wrote without a line end.
    pub fn finish_line(&mut self) -> Option<String> {
        self.lines.finish()
    }
}

/// The queue to the log.
pub(crate) fn log_queue() -> (mpsc::Sender<Batch>, mpsc::Receiver<Batch>) {
    mpsc::channel(QUEUED_BATCHES)
}

/// Writes batches to the log until the queue is closed and empty.
pub(crate) async fn write_log(sink: Arc<dyn LogSink>, function: Arn, stream: String, mut queue: mpsc::Receiver<Batch>) {
    while let Some(batch) = queue.recv().await {
        sink.write(&function, &stream, batch).await;
    }
}
