//! What goes back over a connection: a head, and a body that is there or still to come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use hyper::body::{Body, Frame, SizeHint};

use super::streams::Progress;

/// What every request gets.
pub type Answer = http::Response<AnswerBody>;

/// The body of an answer. A stream is asked for its next bytes only when the connection has room for them, and dropped
/// when the client goes away.
pub struct AnswerBody {
    content: Content,
    /// How much leaves at once.
    slice: usize,
    progress: Option<Progress>,
}

enum Content {
    Whole(Bytes),
    Stream(BoxStream<'static, Bytes>),
}

impl AnswerBody {
    /// A body whose bytes come one after another; its end is the stream's.
    pub fn stream(bytes: BoxStream<'static, Bytes>) -> Self {
        Self { content: Content::Stream(bytes), slice: usize::MAX, progress: None }
    }

    /// The same body, leaving in parts of `slice` bytes, each of which is told to `progress`.
    pub(super) fn watched(self, slice: usize, progress: Option<Progress>) -> Self {
        Self { slice, progress, ..self }
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        Self { content: Content::Whole(bytes), slice: usize::MAX, progress: None }
    }
}

impl Default for AnswerBody {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let slice = self.slice;
        let next = match &mut self.content {
            Content::Whole(left) if left.is_empty() => Poll::Ready(None),
            Content::Whole(left) => Poll::Ready(Some(left.split_to(left.len().min(slice)))),
            Content::Stream(stream) => stream.as_mut().poll_next(context),
        };
        if let Some(progress) = &self.progress {
            progress.polled(next.is_ready());
        }
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(left) if left.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(left) => SizeHint::with_exact(left.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
