//! Apache Kafka: one broker that is its own controller (KRaft), with the heap and collector of its start script.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::ensure;
use base::{Fs, RealFs};

use super::{Contender, Place, Protocol};

/// Any 16 bytes in base64.
const CLUSTER: &str = "dGlkZWdhdGViZW5jaG1hcg";

pub const DEFAULT: Contender = Contender {
    name: "kafka",
    peer: Some("kafka"),
    durability: "acks=all on one broker: acknowledged from the page cache, never flushed by itself",
    callers: "not asked who they are; binary protocol",
    protocol: Protocol::Kafka,
    keeps: true,
    installed: "kafka/.version",
    command: |place| command(place, ""),
};

pub const FLUSHED: Contender = Contender {
    name: "kafka-flush",
    durability: "acks=all on one broker, flushed per batch (log.flush.interval.messages=1)",
    command: |place| command(place, "log.flush.interval.messages=1\n"),
    ..DEFAULT
};

fn command(place: &Place<'_>, flush: &str) -> anyhow::Result<Command> {
    let properties = place.data.join("server.properties");
    let port = place.port;
    if !properties.exists() {
        let controller = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             {flush}",
            place.data.join("logs").display()
        );
        RealFs.write_atomic(&properties, text.as_bytes(), 0o600)?;
        let mut format = java(place.peers, "kafka.tools.StorageTool");
        format.args(["format", "--standalone", "--cluster-id", CLUSTER, "--config"]).arg(&properties);
        let status = format.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "Kafka's storage was not formatted: {status}");
    }
    let mut command = java(place.peers, "kafka.Kafka");
    command.arg(properties);
    Ok(command)
}

/// With the flags of `kafka-run-class.sh` and `kafka-server-start.sh`.
fn java(peers: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
    command.args(["-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"]);
    command.arg("-cp").arg(peers.join("kafka/libs").join("*")).arg(class);
    command
}
