//! Every configuration key, declared once: its section, type, default and meaning. The structs that are handed down,
//! the table behind `--help`, and the commented default file all come from this declaration.

use std::net::SocketAddr;
use std::path::PathBuf;

use base::{AccountId, Region};
use functions::{Network, Strictness};

use super::ConfigError;
use super::layers::Layers;
use super::setting::{LogFormat, MailTls, Networks, Secret, Setting};
use crate::audit::Selectors;
use crate::auth::Mode;

/// One key, as `--help` and the docs show it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section and key, such as `server.listen`.
    pub id: &'static str,
    /// The section, without underscore.
    pub section: &'static str,
    /// The key in its section.
    pub name: &'static str,
    /// What a value looks like.
    pub shape: &'static str,
    /// The default, as a file would spell it; empty for none.
    pub default: &'static str,
    /// What it does, with its unit.
    pub doc: &'static str,
    /// Whether it is never printed and no flag sets it (a flag would show in the process list).
    pub secret: bool,
}

impl Key {
    /// The environment variable, such as `TIDEGATE_SERVER_LISTEN`.
    pub fn env(&self) -> String {
        format!("TIDEGATE_{}_{}", self.section.to_uppercase(), self.name.to_uppercase())
    }

    /// The flag without dashes, such as `log-segment-bytes`. Those of section `server` go without the section.
    pub fn flag(&self) -> String {
        let name = self.name.replace('_', "-");
        if self.section == "server" { name } else { format!("{}-{name}", self.section) }
    }
}

macro_rules! settings {
    ($($(#[doc = $section_doc:literal])+ $section:ident : $Section:ident {
        $($(#[doc = $doc:literal])+ $key:ident : $Type:ty = $default:literal $(, secret $secret:literal)? ;)+
    })+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone)]
            #[non_exhaustive]
            pub struct $Section {
                $($(#[doc = $doc])+ pub $key: $Type,)+
            }
        )+

        /// The whole configuration, parsed once. Rooms get their section, or values of it.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct Config {
            $($(#[doc = $section_doc])+ pub $section: $Section,)+
        }

        /// Every key, in the order of the docs.
        pub const KEYS: &[Key] = &[$($(Key {
            id: concat!(stringify!($section), ".", stringify!($key)),
            section: stringify!($section),
            name: stringify!($key),
            shape: <$Type as Setting>::SHAPE,
            default: $default,
            doc: concat!($($doc),+),
            secret: false $(|| $secret)?,
        },)+)+];

        /// Every section with its meaning.
        pub const SECTIONS: &[(&str, &str)] = &[$((stringify!($section), concat!($($section_doc),+)),)+];

        impl Config {
            /// Types the layered texts; the first value that is refused is named with its place.
            pub(super) fn typed(layers: &Layers) -> Result<Self, ConfigError> {
                Ok(Self {
                    $($section: $Section { $($key: layers.value(stringify!($section), stringify!($key), $default)?,)+ },)+
                })
            }
        }
    };
}

settings! {
    /// The listener and the data folder.
    server: Server {
        /// Where everything is kept. Created with mode 0700 when absent.
        data_dir: PathBuf = "./tidegate-data";
        /// The address and port of every service. Without TLS (section tls) a loopback address only.
        listen: SocketAddr = "127.0.0.1:4566";
        /// Seconds that a stop may take, from the first signal to the end.
        drain_seconds: u64 = "20";
        /// Connections at once; further ones wait.
        max_connections: usize = "1024";
        /// Bytes of one request's body; Lambda's calls may have 70 MiB (a 50 MB zip in base64).
        max_body_bytes: usize = "16777216";
        /// Bytes of all bodies being read or handled at once, each counted three times: as it came, decoded, and as
        /// it is written. Calls beyond it are told to slow down. A single one of the largest allowed always
        /// fits. So under any load memory stays below this, with log.queue_bytes, the caches,
        /// and for each connection 128 KiB read ahead (1 MiB over HTTP/2) and the answer that it is being sent.
        max_inflight_bytes: usize = "268435456";
        /// Seconds in which a handshake and a request's head must have come; a connection idle for longer is closed.
        header_seconds: u64 = "30";
        /// Seconds in which a request's body must have come.
        body_seconds: u64 = "60";
        /// Seconds for which a client may take nothing of its answer; then it is cut off.
        stall_seconds: u64 = "60";
        /// Where clients reach this server, such as https://tidegate.example.com:4566, when that is not the address
        /// it listens on: `tidegate env` prints it, and the links of subscriptions begin with it.
        public_url: String = "";
    }
    /// The server's certificate. With one, nothing but TLS (1.2 or later) is spoken; SIGHUP reads it again.
    tls: Tls {
        /// PEM: the server's certificate first, then those between it and its authority.
        certificate_file: Option<PathBuf> = "";
        /// PEM: the certificate's private key, not encrypted.
        key_file: Option<PathBuf> = "";
        /// PEM: the authority that clients have to trust for it; `tidegate env` passes it on as AWS_CA_BUNDLE. Not
        /// needed when a public authority issued the certificate.
        ca_file: Option<PathBuf> = "";
    }
    /// The master key, under which encrypted streams and queues, secrets of connections and webhooks, and the key of
    /// notifications are sealed on disk.
    master: Master {
        /// A file with 32 random bytes as 64 hexadecimal digits (openssl rand -hex 32) that other users cannot read.
        /// By default master.key in the data folder, made at first start. Losing it is losing what was encrypted.
        key_file: Option<PathBuf> = "";
    }
    /// Whose resources these are.
    account: Account {
        /// The account that owns every resource.
        id: AccountId = "000000000000";
        /// The region that `tidegate env` names and that calls without one (HTTP Basic) use.
        region: Region = "us-east-1";
    }
    /// The root key. Made at first start and kept in the data folder when not given.
    root: Root {
        /// The root access key id, 16 to 128 letters, digits or '_'.
        access_key_id: String = "";
        /// The root secret, 16 characters or more.
        secret_access_key: Secret = "", secret true;
    }
    /// How callers prove who they are.
    auth: Auth {
        /// Seconds by which a signature's time may differ from the server's clock.
        max_skew_seconds: u64 = "300";
        /// Function sessions held at once; the one that expires first makes room.
        max_sessions: usize = "10000";
    }
    /// Who may do what.
    identity: Identity {
        /// What a denial does: enforce refuses, audit allows and notes what would have been denied (in the log and in
        /// tidegate_denied_total), for moving an existing set-up over.
        mode: Mode = "enforce";
    }
    /// The audit trail: calls as CloudTrail records, in the stream tidegate-audit and on the default buses.
    audit: Audit {
        /// Services whose data events (puts, reads, publishing, invocations) are recorded, too: some of events, firehose,
        /// kinesis, lambda, sns, sqs. Management events are recorded always. Each such call then waits for its record.
        data: Selectors = "";
    }
    /// The journal of all streams.
    log: Log {
        /// Bytes of a segment file; a full one is sealed and the next begun.
        segment_bytes: u64 = "134217728";
        /// Bytes that may wait for the disk; beyond it, puts are throttled.
        queue_bytes: usize = "67108864";
        /// Bytes of recent records kept in memory, so that readers at the tail touch no disk.
        tail_cache_bytes: usize = "67108864";
        /// Bytes of sealed segments' indexes kept in memory.
        index_cache_bytes: usize = "67108864";
    }
    /// Data streams.
    streams: Streams {
        /// Shards that may be open in an account's region.
        max_shards: usize = "10000";
        /// Whether the quotas of AWS hold, for those who rehearse for it: per shard 1 MiB/s and 1,000 records/s in,
        /// 2 MiB/s and 5 reads/s out, and the rates of the control plane.
        aws_limits: bool = "false";
        /// Bytes a second, mean of a minute, from which on an on-demand stream's shard is split.
        split_bytes_per_second: u64 = "1000000";
        /// Bytes a second, mean of a minute, below which two neighbouring shards together are merged again.
        merge_bytes_per_second: u64 = "250000";
        /// Seconds for which they must have stayed below it.
        merge_after_seconds: u64 = "900";
    }
    /// The event buses.
    bus: Bus {
        /// Hours that events stay readable and event ids are remembered against double ingest.
        retention_hours: u64 = "24";
    }
    /// The queues.
    queues: Queues {
        /// Bytes of memory that what is known of all queues' messages may take: some 150 a message, 350 and its name
        /// a message group, 200 a deduplication id of the last five minutes. Sends beyond it are throttled until
        /// messages are deleted. Bodies are on disk only.
        memory_bytes: usize = "1073741824";
    }
    /// Calls to subscribers' and other people's addresses: webhooks, confirmations, search domains.
    outgoing: Outgoing {
        /// The networks that may be called beside the public internet: auto (the loopback addresses, while the server
        /// itself listens on one), none, or a list such as 10.1.0.0/16, 127.0.0.0/8. Link-local and metadata
        /// addresses are never called.
        networks: Networks = "auto";
    }
    /// Mails to subscribers of topics. Without a host none is sent: the newest are kept, as files that people and mail
    /// programs can read, in the folder mail-outbox of the data folder.
    mail: Mail {
        /// The mail server's name or address.
        host: String = "";
        /// Its port; 0 is what the kind of TLS has: 465 with always, 587 with starttls, 25 with off.
        port: u16 = "0";
        /// always (from the first byte on), starttls (from after the greeting on, and never without) or off. With starttls
        /// who is on the way can answer in the server's place that a mail was taken; he sees nothing of it. Without TLS a
        /// password is sent to this machine only.
        tls: MailTls = "always";
        /// PEM: the authority of the mail server's certificate, when it is not one that this machine trusts.
        ca_file: Option<PathBuf> = "";
        /// The user to log in as; nobody when empty.
        user: String = "";
        /// The user's password.
        password: Secret = "", secret true;
        /// A file whose only line is the password, in place of it.
        password_file: Option<PathBuf> = "";
        /// The address that mails come from.
        sender: String = "tidegate@localhost";
    }
    /// What runs functions, by the family of their runtime: a name in PATH or a path. A version in a runtime's name is
    /// not looked at.
    runtimes: Runtimes {
        /// Runs python* functions: Python 3.8 or newer.
        python_interpreter: PathBuf = "python3";
        /// Runs nodejs* functions: Node.js 16 or newer.
        nodejs_interpreter: PathBuf = "node";
        /// Runs java* functions: the java of a Java 8 or newer. Their package brings the runtime interface client.
        java_interpreter: PathBuf = "java";
        /// Runs ruby* functions that have no bootstrap of their own: a program that speaks the Runtime API and is given
        /// the handler, such as the aws_lambda_ric of the gem of that name.
        ruby_client: Option<PathBuf> = "";
        /// Runs dotnet* functions that have no bootstrap of their own, likewise.
        dotnet_client: Option<PathBuf> = "";
    }
    /// The environments in which functions run.
    functions: Functions {
        /// Seconds without a call after which an environment is ended.
        idle_seconds: u64 = "600";
        /// Environments of all functions together; a call that would need one more is throttled.
        max_environments: usize = "64";
        /// Environments of one function.
        max_environments_each: usize = "16";
        /// Bytes of all code archives of functions, versions and layers together.
        code_storage_bytes: u64 = "80530636800";
        /// Seconds in which a function's process must ask for its first event.
        init_seconds: u64 = "10";
        /// Days that the logs of functions are kept.
        log_days: u32 = "7";
        /// Hours that a function's session keys live.
        session_hours: u64 = "6";
        /// full: functions run behind every wall that docs/sandbox.md calls required, or are refused; reduced: they run with
        /// what this machine can give, as processes of the server's user if it must be.
        sandbox: Strictness = "full";
        /// none: functions reach this server and nothing else; host: whatever this machine reaches.
        network: Network = "none";
        /// The first of the users (and groups) that environments have where the server is root, one each; no other account
        /// may have these numbers.
        first_user: u32 = "1900000000";
        /// Whether a function never has more processor time than its memory size gives on AWS (1,769 MB: one processor),
        /// though some be idle. Otherwise the size only decides who goes first.
        processor_cap: bool = "false";
        /// Files and folders that functions may read beside their package and their runtime, separated by commas.
        readable: Vec<PathBuf> = "";
    }
    /// The embedded search index.
    index: Index {
        /// Bytes that one index's writer may fill before it writes a segment.
        writer_bytes: usize = "33554432";
        /// Indices at once, over all regions.
        max_indices: usize = "1000";
        /// Searches that run at once; further ones wait.
        search_threads: usize = "2";
    }
    /// The log lines of the server itself.
    logging: Logging {
        /// Level or filter directives, such as info or info,flow=debug.
        level: String = "info";
        /// auto (text on a terminal, JSON otherwise), text or json.
        format: LogFormat = "auto";
    }
}
