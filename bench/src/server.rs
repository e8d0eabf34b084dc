//! The server under measurement: a child process on a fresh folder, and signed calls to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base::{Clock, Fs, OpenMode, RealFs, Rng, SystemClock, SystemRng};
use serde_json::Value;

use crate::connection::Connection;
use crate::signing;

const ACCESS_KEY: &str = "AKIABENCHBENCHBENCH0";
pub const REGION: &str = "us-east-1";
pub const ACCOUNT: &str = "000000000000";

/// A running server.
pub struct Server {
    child: Child,
    folder: PathBuf,
    /// `127.0.0.1:port`.
    pub address: String,
    pub keys: signing::Keys,
}

impl Server {
    /// Starts `binary` on a fresh folder below `parent` and waits until it is ready.
    pub async fn start(binary: &Path, parent: &Path) -> anyhow::Result<Self> {
        let id = SystemRng.uuid();
        let folder = parent.join(format!("bench-{id}"));
        RealFs.create_dir_all(&folder)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let keys = signing::Keys { access: ACCESS_KEY.to_owned(), secret: format!("{id}{id}") };
        let child = Command::new(binary)
            .args(["serve", "--listen", &address, "--data-dir"])
            .arg(&folder)
            .env("TIDEGATE_ROOT_ACCESS_KEY_ID", &keys.access)
            .env("TIDEGATE_ROOT_SECRET_ACCESS_KEY", &keys.secret)
            .env("TIDEGATE_LOGGING_LEVEL", "warn")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let mut server = Self { child, folder, address, keys };
        server.wait_ready().await?;
        Ok(server)
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let clock = SystemClock::new();
        let health = b"GET /_tidegate/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        while clock.instant() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at its start: {status}");
            }
            if let Ok(mut connection) = Connection::open(&self.address).await
                && matches!(connection.call(health).await, Ok((200, _)))
            {
                return Ok(());
            }
            clock.sleep(Duration::from_millis(20)).await;
        }
        bail!("the server is not ready after 30 s")
    }

    /// Makes one signed call and reads its JSON answer (`Null` when it is none); any error status is an error.
    pub async fn call(&self, request: &signing::Request<'_>) -> anyhow::Result<Value> {
        let bytes = signing::render(request, &self.address, &self.keys)?;
        let mut connection = Connection::open(&self.address).await?;
        let (status, body) = connection.call(&bytes).await?;
        ensure!(status < 300, "{} answered {status}: {}", request.label(), String::from_utf8_lossy(body));
        Ok(serde_json::from_slice(body).unwrap_or(Value::Null))
    }

    /// The most memory that the server's process had, as the kernel counts it.
    pub fn peak_memory(&self) -> String {
        let path = format!("/proc/{}/status", self.child.id());
        let mut text = vec![0; 8 * 1024];
        let read = RealFs.open(Path::new(&path), OpenMode::Read).and_then(|file| file.read_at(&mut text, 0));
        text.truncate(read.unwrap_or(0));
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines()
            .find_map(|l| l.strip_prefix("VmHWM:"))
            .map_or_else(|| "unknown".to_owned(), |l| l.trim().to_owned())
    }

    /// Stops the server as an operator would and removes its folder.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let status = tokio::task::spawn_blocking(move || {
            let status = self.child.wait();
            (status, self.folder)
        })
        .await?;
        RealFs.remove_dir_all(&status.1)?;
        ensure!(status.0?.success(), "the server did not stop cleanly");
        Ok(())
    }
}
