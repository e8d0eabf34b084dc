//! Reading a request's body within its bounds: size, time, and the memory that all bodies share.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base::Clock;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A refused body is still read this far and this long, so that a client that is busy sending gets to see the refusal.
const DISCARDED_BYTES: usize = 64 << 20;
const DISCARDING_TIME: Duration = Duration::from_secs(2);

/// What a body costs of the shared bound: it is held as it came, decoded, and encoded for where it goes. Of a sender who
/// has not proven anything it is only held.
const COPIES: usize = 3;

/// The bounds that all requests share.
#[derive(Clone)]
pub struct BodyLimits {
    clock: Arc<dyn Clock>,
    inflight: Arc<Semaphore>,
    time: Duration,
}

/// A body together with its share of the memory bound; the share is given back when this is dropped.
pub struct HeldBody {
    /// The bytes, as they came in one frame or joined.
    pub bytes: Bytes,
    share: Option<OwnedSemaphorePermit>,
}

/// Why a body was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than this request may be.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// Not there in time.
    #[error("the request body did not arrive in time")]
    TooSlow,
    /// Too many bytes are being handled already.
    #[error("too many bytes are in flight; slow down and try again")]
    Overloaded,
    /// The connection broke.
    #[error("the request body broke off")]
    Broken,
}

impl BodyLimits {
    /// At most `inflight` bytes for all bodies at once and for what is made of them, each within `time`.
    pub fn new(clock: Arc<dyn Clock>, inflight: usize, time: Duration) -> Self {
        Self { clock, inflight: Arc::new(Semaphore::new(inflight.min(Semaphore::MAX_PERMITS))), time }
    }

    /// What a body of `len` bytes takes of the bound.
    pub const fn share(len: usize) -> usize {
        len.saturating_mul(COPIES)
    }

    fn acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.inflight).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }

    /// Takes the rest of a body's share, now that its sender is known.
    pub fn proven(&self, held: &mut HeldBody) -> Result<(), BodyError> {
        let len = held.bytes.len();
        let rest = self.acquire(Self::share(len) - len).ok_or(BodyError::Overloaded)?;
        match &mut held.share {
            Some(share) => share.merge(rest),
            None => held.share = Some(rest),
        }
        Ok(())
    }

    /// Reads `body` whole, at most `limit` bytes. One whose announced length could not be dealt with now is refused at
    /// its beginning; yet it takes of the bound only what has come: an announcement costs its sender nothing. The rest of
    /// its share is taken when its sender is [proven](Self::proven).
    pub async fn read<B>(&self, body: B, limit: usize) -> Result<HeldBody, BodyError>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let mut reading = std::pin::pin!(self.read_in_time(body, limit));
        // Most bodies come with their heads: no timer for them.
        if let Poll::Ready(held) = futures::poll!(reading.as_mut()) {
            return held;
        }
        tokio::select! {
            biased;
            held = reading => held,
            () = self.clock.sleep(self.time) => Err(BodyError::TooSlow),
        }
    }

    async fn read_in_time<B>(&self, mut body: B, limit: usize) -> Result<HeldBody, BodyError>
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let announced = body.size_hint().exact().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        if announced.is_some_and(|n| n > limit) {
            self.discard(body).await;
            return Err(BodyError::TooLarge { limit });
        }
        if announced.is_some_and(|len| Self::share(len) > self.inflight.available_permits()) {
            self.discard(body).await;
            return Err(BodyError::Overloaded);
        }
        let mut share: Option<OwnedSemaphorePermit> = None;
        let mut first = Bytes::new();
        let mut joined: Option<BytesMut> = None;
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            len += data.len();
            if len > limit {
                self.discard(body).await;
                return Err(BodyError::TooLarge { limit });
            }
            let Some(part) = self.acquire(data.len()) else {
                self.discard(body).await;
                return Err(BodyError::Overloaded);
            };
            match &mut share {
                Some(share) => share.merge(part),
                None => share = Some(part),
            }
            match &mut joined {
                Some(joined) => joined.extend_from_slice(&data),
                None if first.is_empty() => first = data,
                None => {
                    // The announced length spares growing, as far as something of it is there.
                    let mut all = BytesMut::with_capacity(announced.map_or(len * 2, |n| n.min(len * 64)));
                    all.extend_from_slice(&first);
                    all.extend_from_slice(&data);
                    first = Bytes::new();
                    joined = Some(all);
                }
            }
        }
        Ok(HeldBody { bytes: joined.map_or(first, BytesMut::freeze), share })
    }

    /// Reads a body that is refused, without keeping any of it, so far as its sender may be waiting for that.
    pub async fn discard<B>(&self, mut body: B)
    where
        B: Body<Data = Bytes> + Send + Unpin,
    {
        let mut left = DISCARDED_BYTES;
        if body.size_hint().lower() > left as u64 {
            return;
        }
        let discarding = async {
            while let Some(Ok(frame)) = body.frame().await {
                left = left.saturating_sub(Frame::data_ref(&frame).map_or(0, Bytes::len));
                if left == 0 {
                    break;
                }
            }
        };
        tokio::select! {
            () = discarding => {}
            () = self.clock.sleep(DISCARDING_TIME) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{TestClock, Timestamp};
    use futures::stream;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn limits(inflight: usize) -> BodyLimits {
        BodyLimits::new(Arc::new(TestClock::at(Timestamp::from_millis(0))), inflight, Duration::from_secs(5))
    }

    fn frames(sizes: &[usize]) -> impl Body<Data = Bytes> + Send + Unpin + use<> {
        let frames: Vec<Result<_, std::io::Error>> =
            sizes.iter().map(|n| Ok(Frame::data(Bytes::from(vec![b'x'; *n])))).collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_joined_and_the_share_is_given_back() {
        let limits = limits(300);
        let held = limits.read(frames(&[10, 20, 30]), 60).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(held.bytes.len(), 60);
        assert_eq!(limits.inflight.available_permits(), 240);
        let mut held = held;
        limits.proven(&mut held).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(limits.inflight.available_permits(), 120);
        let mut second = limits.read(frames(&[41]), 60).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(limits.proven(&mut second), Err(BodyError::Overloaded));
        drop(held);
        assert_eq!(limits.proven(&mut second), Ok(()));
        drop(second);
        assert_eq!(limits.inflight.available_permits(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_announced_is_not_counted_and_what_could_not_be_held_is_refused_at_once() {
        /// Announces 60 bytes and never sends one.
        struct Never;
        impl Body for Never {
            type Data = Bytes;
            type Error = std::io::Error;

            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
                Poll::Pending
            }

            fn size_hint(&self) -> hyper::body::SizeHint {
                hyper::body::SizeHint::with_exact(60)
            }
        }
        let limits = limits(300);
        let mut first = Box::pin(limits.read(Never, 60));
        assert!(futures::poll!(first.as_mut()).is_pending());
        assert_eq!(limits.inflight.available_permits(), 300);
        let held = limits.read(Full::new(Bytes::from(vec![0; 50])), 60).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(limits.inflight.available_permits(), 250);
        let more = limits.read(Full::new(Bytes::from(vec![0; 80])), 80).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(limits.read(Never, 60).await.err(), Some(BodyError::Overloaded));
        drop((first, held, more));
        assert_eq!(limits.inflight.available_permits(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn too_large_is_refused_announced_or_not() {
        let full = Full::new(Bytes::from(vec![0; 61]));
        assert_eq!(limits(100).read(full, 60).await.err(), Some(BodyError::TooLarge { limit: 60 }));
        assert_eq!(limits(100).read(frames(&[30, 31]), 60).await.err(), Some(BodyError::TooLarge { limit: 60 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
        assert_eq!(limits(100).read(never, 60).await.err(), Some(BodyError::TooSlow));
    }
}
