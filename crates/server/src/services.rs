//! The AWS services, one module each, and the one place that hands a call to its service.
//!
//! Must not know what an operation does: a service module translates between the wire and a room.

mod cloudtrail;
mod events;
mod firehose;
mod iam;
mod kinesis;
mod lambda;
mod names;
mod page;
mod policies;
mod scheduler;
mod sns;
mod sqs;
mod sts;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use bytes::Bytes;
use wire::model::Operation;
use wire::{Call, ServiceId};

use crate::identity::Identities;
use crate::rooms::Rooms;
use cloudtrail::Trail;
use events::EventBridge;
use firehose::DeliveryService;
use iam::AccessManagement;
use kinesis::DataStreams;
use lambda::LambdaService;
pub(crate) use names::ResourceNames;
use scheduler::SchedulerService;
use sns::Notifications;
use sqs::QueueService;
use sts::TokenService;

/// Every service.
pub(crate) struct Services {
    pub cloudtrail: Arc<dyn wire::cloudtrail::Cloudtrail>,
    pub kinesis: Arc<dyn wire::kinesis::Kinesis>,
    pub events: Arc<dyn wire::events::Events>,
    pub lambda: Arc<dyn wire::lambda::Lambda>,
    pub scheduler: Arc<dyn wire::scheduler::Scheduler>,
    pub sns: Arc<dyn wire::sns::Sns>,
    pub sqs: Arc<dyn wire::sqs::Sqs>,
    pub firehose: Arc<dyn wire::firehose::Firehose>,
    identities: Identities,
    pub iam: Arc<dyn wire::iam::Iam>,
    pub sts: Arc<dyn wire::sts::Sts>,
}

impl Services {
    /// The services over their rooms.
    pub fn new(rooms: &Rooms) -> Self {
        Self {
            cloudtrail: Arc::new(Trail::new(rooms.audit.clone())),
            kinesis: DataStreams::new(rooms.log.clone(), rooms.streams.clone(), rooms.state.clone(), rooms.env.clone()),
            events: EventBridge::new(&rooms.flow, rooms.env.clone()),
            lambda: LambdaService::new(
                rooms.functions.clone(),
                rooms.flow.invocations.clone(),
                rooms.flow.mappings.clone(),
                Arc::new(rooms.authority.clone()),
            ),
            scheduler: SchedulerService::new(rooms.flow.schedules.clone()),
            sns: Notifications::new(rooms.flow.topics.clone(), rooms.env.clone()),
            sqs: QueueService::new(rooms.flow.queues.clone(), rooms.env.clone()),
            firehose: DeliveryService::new(rooms.flow.deliveries.clone()),
            identities: rooms.identities.clone(),
            iam: AccessManagement::new(rooms.identities.clone()),
            sts: TokenService::new(rooms.identities.clone(), Arc::clone(&rooms.sessions)),
        }
    }

    /// Hands a call to its service, past its guard.
    pub async fn call(
        &self,
        guard: &dyn wire::Guard,
        call: &Call,
        operation: &'static Operation,
        request: &http::Request<Bytes>,
    ) -> http::Response<wire::Body> {
        let (key, region) = (call.access_key_id.as_deref(), call.scope.region.as_str());
        let service = operation.service.model().signing_name;
        self.identities.note_use(&call.principal, key, call.now, service, region);
        match operation.service {
            ServiceId::Kinesis => wire::kinesis::dispatch(&*self.kinesis, guard, call, operation, request).await,
            ServiceId::Cloudtrail => {
                wire::cloudtrail::dispatch(&*self.cloudtrail, guard, call, operation, request).await
            }
            ServiceId::Events => wire::events::dispatch(&*self.events, guard, call, operation, request).await,
            ServiceId::Lambda => wire::lambda::dispatch(&*self.lambda, guard, call, operation, request).await,
            ServiceId::Scheduler => wire::scheduler::dispatch(&*self.scheduler, guard, call, operation, request).await,
            ServiceId::Sns => wire::sns::dispatch(&*self.sns, guard, call, operation, request).await,
            ServiceId::Sqs => wire::sqs::dispatch(&*self.sqs, guard, call, operation, request).await,
            ServiceId::Firehose => wire::firehose::dispatch(&*self.firehose, guard, call, operation, request).await,
            ServiceId::Iam => wire::iam::dispatch(&*self.iam, guard, call, operation, request).await,
            ServiceId::Sts => wire::sts::dispatch(&*self.sts, guard, call, operation, request).await,
        }
    }
}
