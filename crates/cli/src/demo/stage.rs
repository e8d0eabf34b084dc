//! The server that the demo plays on, and its removal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use base::{Env, RealFs, Rng, SystemClock, SystemRng};
use server::Server;
use server::config::{Config, KEYS, Key};
use wire::sigv4::Keys;

use super::screen::Screen;
use crate::client::Client;
use crate::logging;

/// Variables of these sections hold for the demo's server too; the others are about somebody's real one.
const KEPT_SECTIONS: [&str; 3] = ["TIDEGATE_RUNTIMES_", "TIDEGATE_FUNCTIONS_", "TIDEGATE_LOGGING_"];

/// A running server on a temporary folder.
pub struct Stage {
    server: Server,
    folder: PathBuf,
    client: Client,
    account: String,
    region: String,
}

impl Stage {
    /// Starts the server on a folder that does not exist yet.
    pub async fn set(folder: &Path, screen: &mut Screen) -> anyhow::Result<Self> {
        let name = SystemRng.uuid();
        let keys = Keys {
            access_key_id: format!("AKIADEMO{}", name[24..].to_uppercase()),
            secret_access_key: format!("{}{}", SystemRng.uuid(), SystemRng.uuid()).replace('-', ""),
            session_token: None,
        };
        let config = config(folder, &keys)?;
        logging::start(&config.logging)?;
        let (account, region) = (config.account.id.to_string(), config.account.region.to_string());
        let env = Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) };
        let server = Server::start(config, env).await.context("the demo's server does not start")?;
        let client = Client::new(&server.running().endpoint, &region, keys, None)?;
        screen.section("Setting the stage, through the public AWS APIs");
        screen.step("server", &format!("{}, data in {}", client.endpoint(), folder.display()));
        Ok(Self { server, folder: folder.to_owned(), client, account, region })
    }

    /// A client with the root key.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The region of everything.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// An ARN in the demo's account and region.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }

    /// Stops the server.
    pub async fn strike(self) -> anyhow::Result<()> {
        Ok(self.server.stop().await?)
    }
}

/// A folder for one demo among the temporary ones.
pub fn temporary_folder() -> PathBuf {
    std::env::temp_dir().join(format!("tidegate-demo-{}", &SystemRng.uuid()[..8]))
}

fn config(folder: &Path, keys: &Keys) -> anyhow::Result<Config> {
    let key = |id: &str| KEYS.iter().find(|key| key.id == id).ok_or_else(|| anyhow!("there is no key {id}"));
    let folder = folder.to_str().context("the folder for temporary files has a name that is not UTF-8")?;
    let mut given: Vec<(&'static Key, String)> = vec![
        (key("server.data_dir")?, folder.to_owned()),
        (key("server.listen")?, "127.0.0.1:0".to_owned()),
        (key("root.access_key_id")?, keys.access_key_id.clone()),
        (key("root.secret_access_key")?, keys.secret_access_key.clone()),
    ];
    let kept: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| {
            name.to_str().is_some_and(|name| KEPT_SECTIONS.iter().any(|section| name.starts_with(section)))
        })
        .collect();
    if kept.iter().all(|(name, _)| name != "TIDEGATE_LOGGING_LEVEL") {
        // The screen is for the play; what goes wrong is shown.
        given.push((key("logging.level")?, "error".to_owned()));
    }
    Ok(Config::load(&RealFs, None, kept, given)?)
}
