//! A connection's bytes: what was read ahead of its protocol comes first, and a client that takes nothing is given up.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::Clock;
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose writes fail once the other side has taken nothing for a while, so that nobody holds an answer's
/// memory by not reading it.
pub(super) struct Socket<S> {
    inner: S,
    ahead: Bytes,
    clock: Arc<dyn Clock>,
    stall: Duration,
    /// Runs while the other side takes nothing.
    patience: Option<BoxFuture<'static, ()>>,
    /// Where the pieces of a small answer are joined.
    joined: Vec<u8>,
}

/// A head and a body that together are no longer than this are written in one piece: copying them is cheaper than to
/// have the system gather them.
const SMALL: usize = 2 << 10;

impl<S> Socket<S> {
    /// `inner`, of which `ahead` has been read already; it may take nothing for `stall`.
    pub fn new(inner: S, ahead: Bytes, clock: Arc<dyn Clock>, stall: Duration) -> Self {
        Self { inner, ahead, clock, stall, patience: None, joined: Vec::new() }
    }

    fn patient<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = self.patience.get_or_insert_with(|| self.clock.sleep(self.stall));
        match patience.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..n]);
            self.ahead.advance(n);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(context, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.patient(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = if slices.len() > 1 && slices.iter().map(|slice| slice.len()).sum::<usize>() <= SMALL {
            this.joined.clear();
            slices.iter().for_each(|slice| this.joined.extend_from_slice(slice));
            Pin::new(&mut this.inner).poll_write(context, &this.joined)
        } else {
            Pin::new(&mut this.inner).poll_write_vectored(context, slices)
        };
        this.patient(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.patient(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.patient(context, shut)
    }
}
