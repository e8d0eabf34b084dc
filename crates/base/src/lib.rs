//! The ground floor: what every other room stands on.
//!
//! Owns the validated identifiers, the time, randomness and file system that are handed in, retry policies, named
//! task groups, and the ports by which rooms reach each other without knowing each other.
//! Promises that a value of one of its types is valid wherever it is seen, and that nothing else in the workspace
//! touches the wall clock, the random source or `std::fs`.
//! Must not know any service, protocol or storage format.

mod arn;
mod clock;
mod error;
mod event;
pub mod fs;
mod ids;
mod master_key;
mod ports;
mod retry;
mod rng;
mod sequence;
mod task;
mod time;

pub use arn::{Arn, ArnError};
pub use clock::{Clock, SystemClock, TestClock};
pub use error::{ErrorKind, InvalidId, Kinded};
pub use event::Event;
pub use fs::{File, Fs, OpenMode, RealFs};
pub use ids::{
    AccountId, ArchiveName, BucketName, BusName, DeliveryStreamName, FunctionName, IndexName, PartitionKey, QueueName,
    Region, ReplayName, RuleName, ScheduleGroupName, ScheduleName, Scope, ShardId, StreamName, TopicName,
};
pub use master_key::MasterKey;
pub use ports::{
    Access, Authorizer, Batch, ConcurrencyLimit, Decision, Delivery, Entry, Env, HttpClient, HttpError, Invocation,
    Invoke, InvokeError, InvokeOutcome, LogSink, Precondition, Principal, ProducerId, SessionKeys, Sessions,
    StateError, StateStore, Table, Target, TargetError, Write,
};
pub use retry::RetryPolicy;
pub use rng::{Rng, SeededRng, SystemRng};
pub use sequence::{HashKey, Position, SequenceNumber};
pub use task::{OnError, TaskGroup};
pub use time::Timestamp;
