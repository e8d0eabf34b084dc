//! Control groups: one an environment, that bound its memory and processes and weigh its processor time.
//!
//! Version 2 is used where it has the controller, else version 1. Leftovers of a server that was killed are removed at
//! the next start. Source: cgroups(7), and "Control Group v2" and "cgroup-v1" of the kernel's documentation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Fs, OpenMode};
use rustix::fs::{AtFlags, CWD, Mode};

use super::orders::Seat;
use crate::environment::proc;

/// Of the groups of one server; what follows says which data folder it has.
const PREFIX: &str = "tidegate-";
/// One full processor ("Configure Lambda function memory").
const MB_A_PROCESSOR: u64 = 1_769;
/// The weight of a processor, and what the kernel takes.
const V1_SHARES: (u64, u64, u64) = (1_024, 2, 262_144);
const V2_WEIGHT: (u64, u64, u64) = (100, 1, 10_000);
const PERIOD_MICROS: u64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    Pids,
}

const CONTROLLERS: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

impl Controller {
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

/// A controller and the folder in which the groups of this server are made.
#[derive(Debug, Clone)]
struct Base {
    controller: Controller,
    folder: PathBuf,
    /// Where the server itself is.
    server: PathBuf,
    unified: bool,
}

/// What the machine has of control groups.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    bases: Arc<Bases>,
}

/// The folders go with the server; a server that was killed leaves them, empty.
#[derive(Debug)]
struct Bases(Vec<Base>);

impl Drop for Bases {
    fn drop(&mut self) {
        for base in &self.0 {
            // What still has a group in it stays for the next start.
            let _ = rustix::fs::unlinkat(CWD, &base.folder, AtFlags::REMOVEDIR);
        }
    }
}

/// What an environment may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of the function's memory, and what its `/tmp` may hold.
    pub memory_bytes: u64,
    pub memory_mb: u32,
    pub processes: u64,
    /// Whether no more processor time is had than the share, though some be idle.
    pub cap_processor: bool,
}

impl Cgroups {
    /// Finds what there is, takes a folder named by `tag` in each, and removes what a server of that tag left in it.
    /// What is missing is said with the reason.
    pub fn find(fs: &dyn Fs, tag: &str) -> (Self, Vec<(Controller, String)>) {
        let (mut bases, mut missing) = (Vec::new(), Vec::new());
        let places = Places::read(fs);
        for controller in CONTROLLERS {
            match places.place(fs, controller).and_then(|place| prepare(fs, controller, place, tag)) {
                Ok(base) => bases.push(base),
                Err(error) => missing.push((controller, error.to_string())),
            }
        }
        (Self { bases: Arc::new(Bases(bases)) }, missing)
    }

    /// Whether a controller is there.
    pub fn has(&self, controller: Controller) -> bool {
        self.bases.0.iter().any(|base| base.controller == controller)
    }

    /// Whether processes are counted.
    pub fn counts_processes(&self) -> bool {
        self.has(Controller::Pids)
    }

    /// Makes the group of an environment.
    pub fn group(&self, fs: &dyn Fs, id: &str, limits: Limits) -> io::Result<Group> {
        let mut group = Group { folders: Vec::new() };
        for base in &self.bases.0 {
            let folder = base.folder.join(id);
            if !fs.exists(&base.folder)? {
                // An environment of a server that was killed before this one took it along when it ended.
                make(&base.folder)?;
                furnish(fs, base)?;
            }
            make(&folder)?;
            if !group.folders.iter().any(|place| place.folder == folder) {
                let (controller, unified, server) = (base.controller, base.unified, base.server.clone());
                group.folders.push(Place { controller, folder: folder.clone(), server, unified });
            }
            if let Err(error) = set(fs, base, &folder, limits) {
                group.remove(fs);
                return Err(error);
            }
        }
        Ok(group)
    }
}

/// The group of one environment.
#[derive(Debug)]
pub(crate) struct Group {
    /// One folder a controller, or one for all.
    folders: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    controller: Controller,
    folder: PathBuf,
    server: PathBuf,
    unified: bool,
}

impl Group {
    /// Where a process enters the group, and where it goes from it.
    pub fn seats(&self) -> Vec<Seat> {
        self.folders.iter().map(|place| Seat { group: place.folder.clone(), outside: place.server.clone() }).collect()
    }

    fn memory_folder(&self) -> Option<(&Path, bool)> {
        let found = self.folders.iter().find(|place| place.unified || place.controller == Controller::Memory);
        found.map(|place| (place.folder.as_path(), place.unified))
    }

    /// Bytes that the processes have of their own, without files and `/tmp`; absent where nobody counts them.
    pub fn memory(&self, fs: &dyn Fs) -> Option<u64> {
        let (folder, unified) = self.memory_folder()?;
        let stat = proc::read(fs, &folder.join("memory.stat").to_string_lossy()).ok()?;
        value(&stat, if unified { "anon" } else { "rss" })
    }

    /// Whether the kernel killed a process of the group for want of memory.
    pub fn ran_out_of_memory(&self, fs: &dyn Fs) -> bool {
        let Some((folder, unified)) = self.memory_folder() else { return false };
        let file = folder.join(if unified { "memory.events" } else { "memory.oom_control" });
        let events = proc::read(fs, &file.to_string_lossy()).unwrap_or_default();
        value(&events, "oom_kill").is_some_and(|kills| kills > 0)
    }

    /// Removes it; whether nothing of it is left. A process that is just ending still holds it.
    pub fn remove(&mut self, fs: &dyn Fs) -> bool {
        self.folders.retain(|place| !removed(fs, &place.folder));
        self.folders.is_empty()
    }
}

fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn make(folder: &Path) -> io::Result<()> {
    match rustix::fs::mkdirat(CWD, folder, Mode::from_raw_mode(0o755)) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        made => Ok(made?),
    }
}

/// Groups are removed as folders, with the kernel's files in them. Gone already is as good.
fn removed(fs: &dyn Fs, folder: &Path) -> bool {
    let removed = rustix::fs::unlinkat(CWD, folder, AtFlags::REMOVEDIR);
    removed.is_ok() || !fs.exists(folder).unwrap_or(true)
}

fn write(fs: &dyn Fs, folder: &Path, name: &str, content: &str) -> io::Result<()> {
    let path = folder.join(name);
    let written = fs.open(&path, OpenMode::ReadWrite).and_then(|file| file.write_all_at(content.as_bytes(), 0));
    written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// As [`write`], where the kernel may not have the file.
fn write_if_there(fs: &dyn Fs, folder: &Path, name: &str, content: &str) -> io::Result<()> {
    if fs.exists(&folder.join(name))? { write(fs, folder, name, content) } else { Ok(()) }
}

fn share(memory_mb: u32, (processor, least, most): (u64, u64, u64)) -> u64 {
    (u64::from(memory_mb) * processor / MB_A_PROCESSOR).clamp(least, most)
}

fn set(fs: &dyn Fs, base: &Base, folder: &Path, limits: Limits) -> io::Result<()> {
    let (memory, processes) = (limits.memory_bytes.to_string(), limits.processes.to_string());
    let quota = (u64::from(limits.memory_mb) * PERIOD_MICROS / MB_A_PROCESSOR).max(1_000);
    match (base.controller, base.unified) {
        (Controller::Memory, true) => {
            write(fs, folder, "memory.max", &memory)?;
            write_if_there(fs, folder, "memory.swap.max", "0")
        }
        (Controller::Memory, false) => {
            write(fs, folder, "memory.limit_in_bytes", &memory)?;
            write_if_there(fs, folder, "memory.memsw.limit_in_bytes", &memory)
        }
        (Controller::Cpu, true) => {
            write(fs, folder, "cpu.weight", &share(limits.memory_mb, V2_WEIGHT).to_string())?;
            let most = if limits.cap_processor { format!("{quota} {PERIOD_MICROS}") } else { "max".to_owned() };
            write_if_there(fs, folder, "cpu.max", &most)
        }
        (Controller::Cpu, false) => {
            write(fs, folder, "cpu.shares", &share(limits.memory_mb, V1_SHARES).to_string())?;
            let most = if limits.cap_processor { quota.to_string() } else { "-1".to_owned() };
            write_if_there(fs, folder, "cpu.cfs_quota_us", &most)
        }
        (Controller::Pids, _) => write(fs, folder, "pids.max", &processes),
    }
}

/// Where hierarchies are mounted, and where in each the server is.
struct Places {
    /// Mount point, root of the mount in its hierarchy, and controllers; none for version 2.
    mounts: Vec<(PathBuf, String, Option<Vec<String>>)>,
    /// Controllers, none for version 2, and path.
    own: Vec<(Option<Vec<String>>, String)>,
}

impl Places {
    fn read(fs: &dyn Fs) -> Self {
        let (mounts, own) = (proc::read(fs, "/proc/self/mountinfo"), proc::read(fs, "/proc/self/cgroup"));
        Self::parse(&mounts.unwrap_or_default(), &own.unwrap_or_default())
    }

    fn parse(mounts: &str, own: &str) -> Self {
        let names = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mount = |line: &str| {
            let (before, after) = line.split_once(" - ")?;
            let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
            let (root, point) = (before.next()?.to_owned(), PathBuf::from(before.next()?));
            match after.next()? {
                "cgroup2" => Some((point, root, None)),
                "cgroup" => Some((point, root, Some(names(after.nth(1)?)))),
                _ => None,
            }
        };
        let place = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            Some(((!controllers.is_empty()).then(|| names(controllers)), path.to_owned()))
        };
        Self { mounts: mounts.lines().filter_map(mount).collect(), own: own.lines().filter_map(place).collect() }
    }

    /// The folder of the server's own group of a controller, and whether it is of version 2.
    fn place(&self, fs: &dyn Fs, controller: Controller) -> io::Result<(PathBuf, bool)> {
        let name = controller.name();
        for unified in [true, false] {
            let wanted = |controllers: &Option<Vec<String>>| match controllers {
                None => unified,
                Some(names) => !unified && names.iter().any(|known| known == name),
            };
            let Some((_, path)) = self.own.iter().find(|(controllers, _)| wanted(controllers)) else { continue };
            let Some((point, root, _)) = self.mounts.iter().find(|(_, _, kinds)| wanted(kinds)) else { continue };
            let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path).trim_start_matches('/');
            let folder = if below.is_empty() { point.clone() } else { point.join(below) };
            let offered = || proc::read(fs, &folder.join("cgroup.controllers").to_string_lossy()).unwrap_or_default();
            if !unified || offered().split_whitespace().any(|known| known == name) {
                return Ok((folder, unified));
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("the system offers no control group of {name} here")))
    }
}

/// Makes the folder of this server, ready for groups below it.
fn prepare(fs: &dyn Fs, controller: Controller, (own, unified): (PathBuf, bool), tag: &str) -> io::Result<Base> {
    let name =
        |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what} {}: {error}", own.display()));
    let folder = own.join(format!("{PREFIX}{tag}"));
    let server = if unified {
        make_room(fs, &own, controller).map_err(|error| name("no groups can be made below", error))?
    } else {
        own.clone()
    };
    make(&folder).map_err(|error| name("no group can be made in", error))?;
    for entry in fs.read_dir(&folder).unwrap_or_default().into_iter().filter(|entry| entry.is_dir) {
        // Should one still be there, its processes are ending; the next start removes it.
        removed(fs, &folder.join(entry.name));
    }
    let base = Base { controller, folder, server, unified };
    furnish(fs, &base)?;
    Ok(base)
}

/// Sets what holds for all environments together.
fn furnish(fs: &dyn Fs, base: &Base) -> io::Result<()> {
    if base.unified {
        write(fs, &base.folder, "cgroup.subtree_control", &format!("+{}", base.controller.name()))?;
    }
    if base.controller == Controller::Cpu {
        // All functions together weigh as much as the machine has processors, so that they cannot starve the server.
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let (file, (one, _, most)) = if base.unified { ("cpu.weight", V2_WEIGHT) } else { ("cpu.shares", V1_SHARES) };
        write(fs, &base.folder, file, &(one * processors).min(most).to_string())?;
    }
    Ok(())
}

/// In version 2 a group that gives controllers on may have no process of its own, but for the root: the server goes into
/// a group beside those of its environments.
fn make_room(fs: &dyn Fs, own: &Path, controller: Controller) -> io::Result<PathBuf> {
    let server = own.join("tidegate-server");
    let give_on = || write(fs, own, "cgroup.subtree_control", &format!("+{}", controller.name()));
    if give_on().is_ok() {
        // The root of all, or it is there already.
        return Ok(if fs.exists(&server)? { server } else { own.to_owned() });
    }
    make(&server)?;
    write(fs, &server, "cgroup.procs", "0")?;
    give_on()?;
    Ok(server)
}

#[cfg(test)]
mod tests;
