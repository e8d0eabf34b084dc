//! Which walls this machine can build, found out by building them: a trial environment that runs nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base::{Env, Fs};

use super::cgroup::{Cgroups, Controller};
use super::channel::Channel;
use super::orders::{Ground, Orders, Report};
use crate::Config;

/// How long a trial may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// A wall that this machine cannot build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub wall: &'static str,
    /// Why.
    pub reason: String,
    /// What would help.
    pub remedy: &'static str,
    /// Whether functions are refused without it, unless they may run with less.
    pub required: bool,
}

/// What was found out.
#[derive(Debug, Clone)]
pub struct Walls {
    pub(crate) ground: Option<Ground>,
    pub(crate) cgroups: Cgroups,
    missing: Vec<Missing>,
}

impl Walls {
    /// What this machine cannot give.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// What it gives, in words.
    pub fn standing(&self) -> Vec<&'static str> {
        let has = |controller| self.cgroups.has(controller);
        [
            (self.ground.is_some(), "namespaces of processes, mounts, network, IPC, host name and control groups"),
            (self.ground.is_some(), "a file system of its own: read-only views, /tmp with a quota, its own /proc"),
            (self.ground.is_some(), "no capabilities, no new privileges, filtered system calls"),
            (self.ground == Some(Ground::Root), "a user of its own for each environment"),
            (self.ground.is_some() && !self.lacks(LANDLOCK), "Landlock"),
            (has(Controller::Memory), "memory bounded by a control group"),
            (has(Controller::Cpu), "processor time weighed by memory size"),
            (has(Controller::Pids), "processes counted by a control group"),
        ]
        .into_iter()
        .filter_map(|(stands, what)| stands.then_some(what))
        .collect()
    }

    fn lacks(&self, wall: &str) -> bool {
        self.missing.iter().any(|missing| missing.wall == wall)
    }

    /// Why functions cannot run behind the required walls.
    pub fn refusal(&self) -> Option<String> {
        let missing = self.missing.iter().find(|missing| missing.required)?;
        Some(format!(
            "this machine cannot build {}: {}; {}, or let functions run with less by sandbox = \"reduced\" in section \
             functions (TIDEGATE_FUNCTIONS_SANDBOX=reduced)",
            missing.wall, missing.reason, missing.remedy
        ))
    }
}

const LANDLOCK: &str = "Landlock's rules";

/// Tries every wall, in the folder of the configuration, which nobody else may use now. Blocks for some milliseconds.
pub fn survey(env: &Env, config: &Config) -> Walls {
    let (cgroups, without) = Cgroups::find(&*env.fs, &tag(&config.dir));
    let mut missing: Vec<Missing> =
        without.into_iter().map(|(controller, reason)| uncontrolled(controller, reason)).collect();
    let folder = config.dir.join("tmp").join("trial");
    let mut reasons = Vec::new();
    let mut ground = None;
    for candidate in [Ground::Root, Ground::User] {
        if candidate == Ground::Root && !rustix::process::geteuid().is_root() {
            continue;
        }
        match trial(&*env.fs, config, candidate, &folder) {
            Ok(landlock) => {
                ground = Some(candidate);
                if !landlock {
                    missing.push(Missing {
                        wall: LANDLOCK,
                        reason: "the kernel does not know them or has them switched off".to_owned(),
                        remedy: "boot with landlock in the kernel's lsm= parameter",
                        required: false,
                    });
                }
                break;
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if let Err(error) = env.fs.remove_dir_all(&folder) {
        tracing::debug!(%error, "the folder of the trial environment stays");
    }
    match ground {
        None => missing.push(Missing {
            wall: "namespaces and a file system for functions",
            reason: reasons.join("; "),
            remedy: "allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                     kernel.apparmor_restrict_unprivileged_userns; in a container --security-opt seccomp=unconfined \
                     --security-opt systempaths=unconfined), or run the server as root with CAP_SYS_ADMIN",
            required: true,
        }),
        Some(Ground::User) => missing.push(Missing {
            wall: "a user of its own for each environment",
            reason: "the server is not root".to_owned(),
            remedy: "run the server as root, whose environments are other users without any rights",
            required: false,
        }),
        Some(Ground::Root) => {}
    }
    Walls { ground, cgroups, missing }
}

fn uncontrolled(controller: Controller, reason: String) -> Missing {
    let wall = match controller {
        Controller::Memory => "a control group of memory (it is looked at ten times a second instead)",
        Controller::Cpu => "a control group of processor time (all functions weigh the same instead)",
        Controller::Pids => "a control group of processes (a limit of the user's processes instead)",
    };
    let remedy = "run the server as root, or in a group that is delegated to it (systemd: Delegate=yes)";
    Missing { wall, reason, remedy, required: false }
}

/// A few letters that say which data folder a group belongs to.
fn tag(dir: &Path) -> String {
    use sha2::{Digest, Sha256};
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let digest = Sha256::digest(absolute.as_os_str().as_encoded_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether Landlock holds there, or why the walls cannot be built.
fn trial(fs: &dyn Fs, config: &Config, ground: Ground, folder: &Path) -> Result<bool, String> {
    let text = |error: std::io::Error| error.to_string();
    fs.create_dir_all(folder).map_err(text)?;
    let orders = Orders {
        ground,
        user: config.first_user,
        groups: Vec::new(),
        root: std::path::absolute(folder).map_err(text)?,
        views: Vec::new(),
        hidden: vec![PathBuf::from("/usr/share")],
        temporary_bytes: 1 << 20,
        own_network: true,
        listen: vec![([127, 0, 0, 1], 9_001).into()],
        host: None,
        max_processes: Some(64),
        start: None,
    };
    let (channel, other) = Channel::pair().map_err(text)?;
    let mut command = Command::new(&config.launcher);
    command.arg("__environment").env_clear().stdin(Stdio::from(other)).stdout(Stdio::null()).stderr(Stdio::null());
    channel.send(&orders, &[]).map_err(text)?;
    let mut child = command.spawn().map_err(text)?;
    // This end of the pair would keep the other side from seeing us go.
    drop(command);
    let report = channel.receive::<Report>(Some(PATIENCE));
    channel.close_for_writing();
    child.wait().map_err(text)?;
    match report.map_err(text)? {
        Some((Report::Started { landlock }, _)) => Ok(landlock),
        Some((Report::Failed(reason), _)) => Err(reason),
        _ => Err("the trial environment ended without a word".to_owned()),
    }
}
