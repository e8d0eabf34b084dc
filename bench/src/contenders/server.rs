//! A running contender on a folder of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use base::{Clock, Fs, RealFs, Rng, SystemClock, SystemRng};

use super::{Contender, Place, Protocol};
use crate::client::Client;
use crate::kafka::Kafka;
use crate::kinesis::Kinesis;
use crate::load::Keys;
use crate::options::Options;
use crate::process::{Process, Usage};

const ACCESS_KEY: &str = "AKIABENCHBENCHBENCH0";
/// The slowest start seen is a fraction of it; a restart with a large log may take longer than a fresh one.
const PATIENCE: Duration = Duration::from_secs(180);

/// A contender on its folder; the folder goes when it is dropped.
pub struct Server {
    /// Who it is.
    pub contender: &'static Contender,
    /// Where its data is.
    pub data: PathBuf,
    /// How it is talked to.
    pub client: Client,
    keys: Keys,
    port: u16,
    settings: Vec<(String, String)>,
    tidegate: PathBuf,
    peers: PathBuf,
    process: Option<Process>,
}

impl Server {
    /// A contender on a fresh folder, not started yet.
    pub fn prepare(
        contender: &'static Contender,
        options: &Options,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let id = SystemRng.uuid();
        let folder = std::path::absolute(&options.folder)?;
        let data = folder.join(format!("bench-{id}"));
        RealFs.create_dir_all(&data)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let keys = Keys { access: ACCESS_KEY.to_owned(), secret: format!("{id}{id}") };
        let client = match contender.protocol {
            Protocol::Kinesis => Client::Kinesis(Kinesis { address, keys: keys.clone() }),
            Protocol::Kafka => Client::Kafka(Kafka::at(&address)),
        };
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let (tidegate, peers) = (std::path::absolute(&options.server)?, std::path::absolute(&options.peers)?);
        Ok(Self { contender, data, client, keys, port, settings, tidegate, peers, process: None })
    }

    /// A contender that is ready, on a fresh folder.
    pub async fn fresh(contender: &'static Contender, options: &Options) -> anyhow::Result<Self> {
        let mut server = Self::prepare(contender, options, &[])?;
        server.start().await?;
        Ok(server)
    }

    /// Starts it and waits until it answers a signed call. How long that took.
    pub async fn start(&mut self) -> anyhow::Result<Duration> {
        let place = Place {
            tidegate: &self.tidegate,
            peers: &self.peers,
            data: &self.data,
            port: self.port,
            keys: &self.keys,
            settings: &self.settings,
        };
        let command = (self.contender.command)(&place)?;
        let clock = SystemClock::new();
        let process = self.process.insert(Process::start(command)?);
        loop {
            process.alive()?;
            match tokio::time::timeout(Duration::from_secs(5), self.client.ready()).await {
                Ok(Ok(())) => return Ok(clock.instant()),
                Ok(Err(error)) if clock.instant() > PATIENCE => return Err(error.context("it does not become ready")),
                Err(_) if clock.instant() > PATIENCE => bail!("it does not answer"),
                _ => clock.sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// Processor time and memory of its process.
    pub fn usage(&self) -> Usage {
        self.process.as_ref().map(Process::usage).unwrap_or_default()
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("it does not run")?.kill()
    }

    /// Stops it as an operator would; whether it stopped by itself within `patience`.
    pub async fn stop(&mut self, patience: Duration) -> anyhow::Result<bool> {
        Ok(self.process.take().context("it does not run")?.stop(patience).await?.is_some())
    }

    /// The keys that sign.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process first: it would go on writing.
        self.process = None;
        if let Err(error) = RealFs.remove_dir_all(&self.data) {
            tracing::warn!(%error, folder = %self.data.display(), "the data folder stays");
        }
    }
}
