//! What a reader must know to judge a figure: the machine, its disk, who else uses it, the versions.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::disk::{SyncTime, free_bytes};
use crate::options::Options;
use crate::process::proc_file;

/// The conditions of a run.
pub struct Conditions {
    cores: usize,
    cpu: String,
    kernel: String,
    file_system: String,
    free_gb: u64,
    load_average: String,
    sync: SyncTime,
    versions: Vec<(String, String)>,
}

impl Conditions {
    /// As they are now.
    pub fn now(options: &Options) -> anyhow::Result<Self> {
        let cpu = proc_file("/proc/cpuinfo");
        let model = cpu.lines().find_map(|l| l.strip_prefix("model name").and_then(|l| l.split(": ").nth(1)));
        let folder = std::path::absolute(&options.folder)?;
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: model.unwrap_or("unknown").to_owned(),
            kernel: proc_file("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&folder),
            free_gb: free_bytes(&folder)? / 1_000_000_000,
            load_average: proc_file("/proc/loadavg").trim().to_owned(),
            sync: SyncTime::measure(&folder)?,
            versions: versions(options),
        })
    }

    /// As lines to read.
    pub fn lines(&self) -> String {
        let SyncTime { append, within } = self.sync;
        let versions: Vec<_> = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        format!(
            "conditions\n  \
             {} cores, {}; the load generator runs on them beside the server\n  \
             load average {}; kernel {}; file system {}, {} GB free\n  \
             fdatasync of 4 KiB: appended p50 {:.3} ms, p99 {:.3} ms; within the file p50 {:.3} ms, p99 {:.3} ms\n  \
             {}",
            self.cores,
            self.cpu,
            self.load_average,
            self.kernel,
            self.file_system,
            self.free_gb,
            append[0],
            append[1],
            within[0],
            within[1],
            versions.join("; ")
        )
    }

    /// As one JSON line.
    pub fn json(&self) -> Value {
        json!({
            "conditions": {
                "cores": self.cores, "cpu": self.cpu, "kernel": self.kernel, "file_system": self.file_system,
                "free_gb": self.free_gb, "load_average": self.load_average, "fdatasync_append_ms": self.sync.append,
                "fdatasync_within_ms": self.sync.within,
                "versions": self.versions.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            }
        })
    }
}

/// The type of the file system with the longest mount point above `folder`.
fn file_system(folder: &Path) -> String {
    let mounts = proc_file("/proc/self/mounts");
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|f| f.len() > 3 && folder.starts_with(f[1]));
    holding.max_by_key(|f| f[1].len()).map_or_else(|| "unknown".to_owned(), |f| f[2].to_owned())
}

fn versions(options: &Options) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    for contender in options.contenders() {
        let version = match contender.peer {
            None => Command::new(&options.server).arg("--version").output().ok().map(|out| out.stdout),
            Some(peer) => Some(proc_file(&options.peers.join(peer).join(".version").to_string_lossy()).into_bytes()),
        };
        let text = version.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()).unwrap_or_default();
        let name = contender.peer.unwrap_or(contender.name);
        let version = text.strip_prefix("tidegate ").unwrap_or(&text);
        let shown = if version.is_empty() { "absent" } else { version };
        if versions.iter().all(|(known, _)| known != name) {
            versions.push((name.to_owned(), shown.to_owned()));
        }
    }
    versions
}
