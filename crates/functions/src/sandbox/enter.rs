//! The launcher: joins the control groups, leaves the server's namespaces, starts the init in new ones, and ends as it
//! does.

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::process::{getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, capabilities, configure_capability_in_ambient_set, set_capabilities,
};

use super::channel::Channel;
use super::orders::{Ground, Orders, Report, Seat};
use super::{descriptors, init};

/// What the program is called with: the hidden subcommand, and as init this word.
const INIT: &str = "init";

/// What the init needs in its namespaces. The runtime gets none of it.
const INIT_CAPABILITIES: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::KILL);

/// The hidden subcommand: becomes an environment by the orders that come through standard input. `arguments` are those
/// behind the subcommand. Nothing else of the program may have run yet: there must be one thread only.
pub fn enter_environment(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let Ok(channel) = Channel::of_stdin() else {
        // Called by a person.
        return ExitCode::FAILURE;
    };
    let is_init = arguments.next().is_some_and(|word| word == INIT);
    let entered = if is_init { init::run(&channel) } else { launch(&channel) };
    entered.unwrap_or_else(|error| {
        // When the server is gone there is nobody to tell.
        let _ = channel.send(&Report::Failed(error.to_string()), &[]);
        ExitCode::FAILURE
    })
}

/// Names the step that failed.
pub(super) fn step<T>(what: &str, result: Result<T, impl Into<io::Error>>) -> io::Result<T> {
    result.map_err(|error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{what}: {error}"))
    })
}

fn launch(channel: &Channel) -> io::Result<ExitCode> {
    descriptors::keep_from_children()?;
    let Some(orders) = channel.peek::<Orders>()? else { return Ok(ExitCode::FAILURE) };
    for seat in &orders.groups {
        step("cannot join a control group", join(&seat.group))?;
    }
    let identity = (getuid().as_raw(), getgid().as_raw());
    // That of mounts is left by the init: who stays behind would change its root with it, and has to clean up.
    let mut spaces = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    if orders.own_network {
        spaces |= UnshareFlags::NEWNET;
    }
    if orders.ground == Ground::User {
        spaces |= UnshareFlags::NEWUSER;
    }
    step("cannot make namespaces", leave(spaces))?;
    if orders.ground == Ground::User {
        become_user(orders.user, identity)?;
    }
    let init = Command::new("/proc/self/exe").args(["__environment", INIT]).env_clear().spawn();
    let status = step("cannot start process 1 of the namespaces", init)?.wait()?;
    if channel.send(&Report::Gone, &[]).is_err() {
        // The server is gone, so nobody else removes what it made for this environment.
        orders.groups.iter().for_each(clear);
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn join(group: &Path) -> io::Result<()> {
    write(group.join("cgroup.procs"), "0")
}

/// Removes a control group. What cannot be removed now is removed by the next start of the server.
fn clear(seat: &Seat) {
    if join(&seat.outside).is_ok() {
        // The last one takes the folder of all of them with it.
        for folder in [Some(seat.group.as_path()), seat.group.parent()].into_iter().flatten() {
            let _ = rustix::fs::unlinkat(CWD, folder, AtFlags::REMOVEDIR);
        }
    }
}

/// The function is deprecated because it may separate descriptors of threads; this does not ask for that, and is alone.
#[expect(deprecated, reason = "the other form is unsafe because of a flag that is not used here")]
pub(super) fn leave(spaces: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(spaces)?)
}

/// Makes the server's user the given one of the new user namespace, and keeps what the init needs through its start.
fn become_user(user: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    // Groups of the server's user stay with the process, but no file system that knows them does.
    step("cannot give up groups", write("/proc/self/setgroups", "deny"))?;
    step("cannot map the user", write("/proc/self/uid_map", &format!("{user} {uid} 1")))?;
    step("cannot map the group", write("/proc/self/gid_map", &format!("{user} {gid} 1")))?;
    let held = step("cannot read capabilities", capabilities(None))?;
    let sets = CapabilitySets { inheritable: INIT_CAPABILITIES, ..held };
    step("cannot keep capabilities", set_capabilities(None, sets))?;
    for capability in INIT_CAPABILITIES.iter() {
        step("cannot keep a capability", configure_capability_in_ambient_set(capability, true))?;
    }
    Ok(())
}

/// One write, as these files demand.
pub(super) fn write(path: impl AsRef<Path>, content: &str) -> io::Result<()> {
    // Not by way of a position, which some of them refuse.
    let file = rustix::fs::open(path.as_ref(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let written = rustix::io::write(&file, content.as_bytes())?;
    if written == content.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
