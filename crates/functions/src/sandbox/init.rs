//! Process 1 of an environment: builds the walls, starts the runtime behind them, reaps, and ends with the server.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setpriority_process, setrlimit,
};
use rustix::thread::UnshareFlags;

use super::channel::Channel;
use super::enter::{leave, step, write};
use super::orders::{Ground, Orders, Report, Start};
use super::{network, privileges, root};

/// Open files of a process ("Lambda quotas").
const MAX_OPEN_FILES: u64 = 1_024;
/// What the kernel kills first when memory runs out, of all that is on the machine.
const FIRST_TO_GO: &str = "1000";

pub(super) fn run(channel: &Channel) -> io::Result<ExitCode> {
    // Should the launcher be killed, so are we. The channel alone would do, but not when we are stuck.
    step("cannot be bound to the launcher", set_parent_process_death_signal(Some(Signal::KILL)))?;
    let Some((orders, _)) = channel.receive::<Orders>(None)? else { return Ok(ExitCode::FAILURE) };
    if orders.ground == Ground::Root {
        // So that the end is not kept waiting by a thousand processes that want the processor. Not everybody may.
        let _ = setpriority_process(None, -20);
    }
    step("cannot leave the mounts", leave(UnshareFlags::NEWNS))?;
    step("cannot set the host name", rustix::system::sethostname(b"localhost"))?;
    root::build(&orders)?;
    let listeners = network::open(&orders)?;
    limit(&orders)?;
    let landlock = Landlocked::default();
    let runtime = start(&orders, &landlock)?;
    let given: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    channel.send(&Report::Started { landlock: landlock.get() }, &given)?;
    let Some(runtime) = runtime else { return Ok(ExitCode::SUCCESS) };
    drop(listeners);
    let end = match runtime {
        Runtime::Process(pid) => {
            let own = Channel::of_stdin()?;
            std::thread::spawn(move || {
                own.closed();
                // The kernel ends everything in this namespace with its first process.
                std::process::exit(1);
            });
            reap(pid)?
        }
        Runtime::Ended(status) => status,
    };
    channel.send(&Report::Ended(end), &[])?;
    Ok(ExitCode::SUCCESS)
}

/// Whether Landlock holds, as the thread that asked for it found.
#[derive(Clone, Default)]
pub(super) struct Landlocked(Arc<std::sync::atomic::AtomicBool>);

impl Landlocked {
    pub fn set(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn limit(orders: &Orders) -> io::Result<()> {
    let bound = |resource, most: u64| {
        let most = Some(getrlimit(resource).maximum.map_or(most, |now| now.min(most)));
        step("cannot set a limit", setrlimit(resource, Rlimit { current: most, maximum: most }))
    };
    bound(Resource::Core, 0)?;
    bound(Resource::Nofile, MAX_OPEN_FILES)?;
    orders.max_processes.map_or(Ok(()), |most| bound(Resource::Nproc, most))?;
    // What the server knows is in this process only as far as its orders go, and the function may not look even there.
    step("cannot be hidden", set_dumpable_behavior(DumpableBehavior::NotDumpable))
}

enum Runtime {
    Process(Pid),
    /// It could not even be executed.
    Ended(i32),
}

/// Starts the runtime from a thread that has no rights any more. Absent for a trial.
fn start(orders: &Orders, landlock: &Landlocked) -> io::Result<Option<Runtime>> {
    let started = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            privileges::drop_all(orders, landlock)?;
            Ok(orders.start.as_ref().map(execute))
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts the runtime broke")))
    })?;
    if let Some(Runtime::Process(pid)) = &started {
        // As root of nothing but itself, the init may not where the runtime has another user; then it may be second.
        let _ = write(format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()), FIRST_TO_GO);
    }
    Ok(started)
}

/// As a shell does it: why a program cannot be executed is said in its output, and is its exit status.
fn execute(start: &Start) -> Runtime {
    let mut command = Command::new(&start.program);
    command.args(&start.arguments).current_dir(&start.folder).env_clear().stdin(Stdio::null());
    command.envs(start.variables.iter().map(|(name, value)| (name, value)));
    match command.spawn() {
        Ok(child) => match i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            Some(pid) => Runtime::Process(pid),
            None => Runtime::Ended(127 << 8),
        },
        Err(error) => {
            // Nobody may read it; the exit status says it once more.
            let _ = writeln!(io::stderr(), "{}: {error}", start.program.display());
            Runtime::Ended(if error.kind() == io::ErrorKind::NotFound { 127 << 8 } else { 126 << 8 })
        }
    }
}

/// Waits for every child, own and orphaned, until the runtime is among them.
fn reap(runtime: Pid) -> io::Result<i32> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == runtime => return Ok(status.as_raw()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
