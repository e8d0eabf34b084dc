//! All rooms of this crate, joined, started and stopped together.
//!
//! Owns the order of starting and stopping. Promises that after [`Flow::start`] every consumer that was configured
//! before runs again where it stood, and that [`Flow::stop`] leaves every checkpoint durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Authorizer, Env, HttpClient, Invoke, MasterKey, StateStore, Target, TaskGroup};
use log::Log;

use crate::FlowError;
use crate::archive::{ArchivePorts, Archives};
use crate::bus::{BusPorts, BusTarget, Buses};
use crate::checkpoint::Checkpoints;
use crate::consumer::{Lag, Loop};
use crate::dead_letter::DeadLetters;
use crate::delivery::{Deliveries, DeliveryPorts, DeliveryTarget, SearchDomains};
use crate::destinations::{DestinationPorts, Destinations};
use crate::invocations::{Invocations, Outlets};
use crate::mapping::{MappingPorts, Mappings, StreamConsumers};
use crate::queue::{QueueTarget, Queues};
use crate::roles::Roles;
use crate::router::{FunctionTarget, Router, StreamTarget, TopicTarget};
use crate::scheduler::{SchedulePorts, Schedules};
use crate::topic::{Mailer, Signer, TopicPorts, Topics};

/// What flow reaches the rest of the house by.
#[derive(Clone)]
pub struct FlowPorts {
    /// Time, randomness and the file system.
    pub env: Env,
    /// The journal.
    pub log: Log,
    /// Configuration and checkpoints.
    pub state: Arc<dyn StateStore>,
    /// Functions.
    pub invoke: Arc<dyn Invoke>,
    /// Webhooks. Decides which hosts may be called.
    pub http: Arc<dyn HttpClient>,
    /// From which the keys for secrets come.
    pub master_key: MasterKey,
    /// Signatures of notifications.
    pub signer: Arc<dyn Signer>,
    /// Mails to subscribers.
    pub mailer: Arc<dyn Mailer>,
    /// Search indexes.
    pub search: Arc<dyn SearchDomains>,
    /// Registered consumers of streams.
    pub fanout: Arc<dyn StreamConsumers>,
    /// Decides what may be done with owners' roles.
    pub authorizer: Arc<dyn Authorizer>,
}

/// How flow is set up.
#[derive(Debug, Clone)]
pub struct FlowConfig {
    /// How long events stay in a bus's log, and their ids are remembered. The service's is 24 hours.
    pub bus_retention: Duration,
    /// The folder of buckets.
    pub objects: PathBuf,
    /// Bytes of memory that what is known of all queues' messages may take.
    pub queue_memory: usize,
    /// The server's own address as subscribers see it, without a slash at its end.
    pub base_url: String,
}

/// The rooms at work. Cloning gives another handle.
#[derive(Clone)]
pub struct Flow {
    /// Event buses.
    pub buses: Buses,
    /// Archives of event buses, and their replays.
    pub archives: Archives,
    /// Schedules.
    pub schedules: Schedules,
    /// Event-source mappings.
    pub mappings: Mappings,
    /// Asynchronous invocations.
    pub invocations: Invocations,
    /// Connections and API destinations.
    pub destinations: Destinations,
    /// Topics.
    pub topics: Topics,
    /// Queues.
    pub queues: Queues,
    /// Delivery streams.
    pub deliveries: Deliveries,
    /// How far behind the consumers are; to be published before metrics are shown.
    pub lag: Lag,
    /// Kept for those who only know of it.
    _outlets: Arc<Outlets>,
    consumers: TaskGroup,
    queueing: TaskGroup,
    keeping: TaskGroup,
    checkpoints: Checkpoints,
}

impl Flow {
    /// Starts every room with what the state store holds.
    pub async fn start(ports: FlowPorts, config: FlowConfig) -> Result<Self, FlowError> {
        let (env, state) = (ports.env.clone(), Arc::clone(&ports.state));
        let group = || TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng));
        let (consumers, queueing, keeping) = (group(), group(), group());
        let checkpoints = Checkpoints::new(Arc::clone(&state));
        checkpoints.run(&keeping, Arc::clone(&env.clock));
        let lag = Lag::default();
        let roles = Roles::new(ports.authorizer, Arc::clone(&env.clock));
        let context = Loop { env, log: ports.log.clone(), checkpoints: checkpoints.clone(), lag: lag.clone() };

        let invocations = Invocations::new(context.clone(), Arc::clone(&state), Arc::clone(&ports.invoke), &consumers);
        let destinations = Destinations::new(DestinationPorts {
            env: context.env.clone(),
            state: Arc::clone(&state),
            http: Arc::clone(&ports.http),
            master_key: ports.master_key.clone(),
        });
        let queues = Queues::open(&context.env, &context.log, &state, &queueing, config.queue_memory).await?;
        let delivery_ports = DeliveryPorts {
            consumers: context.clone(),
            state: Arc::clone(&state),
            search: ports.search,
            roles: roles.clone(),
            objects: config.objects,
        };
        let deliveries = Deliveries::new(delivery_ports, &consumers);
        let topic_ports = TopicPorts {
            consumers: context.clone(),
            state: Arc::clone(&state),
            http: ports.http,
            signer: ports.signer,
            mailer: ports.mailer,
            master_key: ports.master_key,
            queues: queues.clone(),
            invocations: invocations.clone(),
            deliveries: deliveries.clone(),
            roles: roles.clone(),
            base_url: config.base_url,
        };
        let topics = Topics::new(topic_ports, &consumers);
        let bus_target = BusTarget::new(&ports.log, &state, config.bus_retention);
        let router: Arc<dyn Target> = Arc::new(
            Router::new()
                .with("kinesis", "stream", Arc::new(StreamTarget::new(ports.log)))
                .with("lambda", "function", Arc::new(FunctionTarget::new(invocations.clone())))
                .with("sns", "", Arc::new(TopicTarget::new(topics.clone())))
                .with("sqs", "", Arc::new(QueueTarget::new(queues.clone())))
                .with("firehose", "deliverystream", Arc::new(DeliveryTarget::new(deliveries.clone())))
                .with("events", "event-bus", Arc::new(bus_target)),
        );
        let dead_letters = DeadLetters::new(queues.clone(), roles.clone());
        let bus_ports = BusPorts {
            consumers: context.clone(),
            state: Arc::clone(&state),
            router: Arc::clone(&router),
            destinations: destinations.clone(),
            queues: queues.clone(),
            dead_letters: dead_letters.clone(),
            roles: roles.clone(),
            retention: config.bus_retention,
        };
        let buses = Buses::new(bus_ports, &consumers);
        let outlets = Arc::new(Outlets {
            router: Arc::clone(&router),
            buses: buses.clone(),
            topics: topics.clone(),
            dead_letters: dead_letters.clone(),
            invoke: Arc::clone(&ports.invoke),
            roles: roles.clone(),
        });
        invocations.connect(&outlets);
        let archive_ports = ArchivePorts {
            consumers: context.clone(),
            state: Arc::clone(&state),
            buses: buses.clone(),
            retention: config.bus_retention,
        };
        let archives = Archives::new(archive_ports, &consumers);
        let schedule_ports = SchedulePorts {
            env: context.env.clone(),
            log: context.log.clone(),
            state: Arc::clone(&state),
            router: Arc::clone(&router),
            buses: buses.clone(),
            dead_letters,
            roles: roles.clone(),
        };
        let schedules = Schedules::new(schedule_ports, &consumers);
        let mapping_ports = MappingPorts {
            consumers: context,
            state,
            invoke: ports.invoke,
            router,
            queues: queues.clone(),
            fanout: ports.fanout,
            roles,
        };
        let mappings = Mappings::new(mapping_ports, &consumers);
        let this = Self {
            buses,
            archives,
            schedules,
            mappings,
            invocations,
            destinations,
            topics,
            queues,
            deliveries,
            _outlets: outlets,
            lag,
            consumers,
            queueing,
            keeping,
            checkpoints,
        };
        this.restore().await?;
        Ok(this)
    }

    async fn restore(&self) -> Result<(), FlowError> {
        self.invocations.restore().await?;
        self.deliveries.restore().await?;
        self.topics.restore().await?;
        self.mappings.restore()?;
        self.archives.restore().await?;
        self.buses.restore().await?;
        self.schedules.restore()
    }

    /// Stops all consumers, gives their handlers until `deadline` to finish what they hold, then closes what they
    /// deliver to, and makes every checkpoint durable. `false` when some did not stop in time; what they held is handled
    /// again after the next start.
    pub async fn stop(&self, deadline: Duration) -> Result<bool, FlowError> {
        self.queues.stop_waiting();
        let mut in_time = self.consumers.stop(deadline).await;
        in_time &= self.queueing.stop(deadline).await;
        self.keeping.stop(deadline).await;
        self.checkpoints.flush().await?;
        Ok(in_time)
    }
}
