//! Mappings that read as a stream's registered consumer ("enhanced fan-out").
//!
//! Owns how a consumer's ARN is read, and what such a mapping asks of those who keep consumers: the port
//! [`StreamConsumers`]. Promises that a mapping is its consumer's one reader for as long as it runs. Must not know how
//! consumers are registered, nor who else reads.

use std::sync::Arc;

use base::Arn;
use log::{StreamKey, StreamKind};

/// A registered consumer of a stream. One that is registered again under its name is another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamConsumer {
    /// The stream.
    pub stream: StreamKey,
    /// The consumer's name.
    pub name: String,
    /// Seconds since 1970 of its registration.
    pub epoch: i64,
}

/// The registered consumers of streams.
pub trait StreamConsumers: Send + Sync {
    /// Whether the consumer is registered now.
    fn is_registered(&self, consumer: &StreamConsumer) -> bool;

    /// From now on a mapping reads as this consumer: who else does is told to end.
    fn take(&self, consumer: &StreamConsumer);

    /// One that took the consumer reads no more.
    fn give_back(&self, consumer: &StreamConsumer);
}

/// The consumer of an ARN like `…:stream/NAME/consumer/CONSUMER:EPOCH`.
pub(super) fn consumer_of(arn: &Arn) -> Option<StreamConsumer> {
    let path = arn.resource_of("stream").filter(|_| arn.service() == "kinesis")?;
    let (stream, consumer) = path.split_once("/consumer/")?;
    let (name, epoch) = consumer.rsplit_once(':')?;
    let stream = StreamKey { kind: StreamKind::Kinesis, scope: arn.scope()?, name: stream.to_owned() };
    Some(StreamConsumer { stream, name: name.to_owned(), epoch: epoch.parse().ok()? })
}

/// The stream's ARN, also where a consumer of it is the source.
pub(super) fn stream_of(source: &Arn) -> Arn {
    consumer_of(source).map_or_else(
        || source.clone(),
        |consumer| Arn::new("kinesis", &consumer.stream.scope, format!("stream/{}", consumer.stream.name)),
    )
}

/// Why a mapping reads nothing whose consumer is not registered.
pub(super) fn gone(source: &Arn) -> String {
    format!("Stream consumer not found: {source}")
}

/// A running mapping's hold on its consumer; dropping it gives the consumer back.
pub(super) struct Hold {
    consumers: Arc<dyn StreamConsumers>,
    consumer: StreamConsumer,
}

impl Hold {
    /// None when the source is no consumer.
    pub fn new(consumers: &Arc<dyn StreamConsumers>, source: &Arn) -> Option<Self> {
        let consumer = consumer_of(source)?;
        consumers.take(&consumer);
        Some(Self { consumers: Arc::clone(consumers), consumer })
    }

    /// Whether the consumer is registered still.
    pub fn is_good(&self) -> bool {
        self.consumers.is_registered(&self.consumer)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.consumers.give_back(&self.consumer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_told_from_streams() {
        let of = |text: &str| consumer_of(&text.parse().unwrap());
        let stream = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
        let found = of(&format!("{stream}/consumer/c.1-a_b:1700000000")).unwrap();
        assert_eq!((found.stream.name.as_str(), found.name.as_str(), found.epoch), ("s", "c.1-a_b", 1_700_000_000));
        let arn = format!("{stream}/consumer/c:1").parse().unwrap();
        assert_eq!(stream_of(&arn).to_string(), stream);
        for none in ["", "/consumer/c", "/consumer/c:x", "/other/c:1"] {
            assert_eq!(of(&format!("{stream}{none}")), None, "{none}");
        }
        assert_eq!(of("arn:aws:sqs:us-east-1:000000000000:stream/s/consumer/c:1"), None);
    }
}
