//! What callers hold: the file system, open files and locks, all on one disk.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::fault::{Call, Fault};
use super::names::NodeId;
use crate::fs::DirEntry;
use crate::{File, Fs, OpenMode};

/// A simulated file system. Clones share the disk, so that a test keeps one and hands the other out.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<Disk>>, Arc<Stall>);

/// Whether syncs are kept waiting.
#[derive(Default)]
struct Stall {
    state: Mutex<Stalled>,
    over: Condvar,
}

#[derive(Default)]
struct Stalled {
    stalled: bool,
    waiting: usize,
}

impl SimFs {
    /// An empty disk; all that chance decides on it follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk::new(seed))), Arc::default())
    }

    /// Cuts the power and turns it on again: what was synced is there, of the rest a part. Handles and locks from
    /// before are of no use, planned faults are forgotten.
    pub fn power_cut(&self) {
        self.disk().cut();
    }

    /// Ends the process as `kill -9` does: handles and locks are of no use, nothing written is lost, planned faults
    /// are forgotten.
    pub fn kill(&self) {
        self.disk().end_boot();
    }

    /// Fails the `nth` call of these kinds from now on (1 is the next one), once.
    pub fn fail(&self, calls: &[Call], nth: u64, fault: Fault) {
        self.disk().faults.plan(calls, nth, fault);
    }

    /// How many calls of these kinds there were since the beginning.
    pub fn calls(&self, calls: &[Call]) -> u64 {
        self.disk().faults.count(calls)
    }

    /// Whether a [`Fault::Crash`] struck and the power cut is still to be done.
    pub fn is_off(&self) -> bool {
        self.disk().faults.is_off()
    }

    /// Limits the sum of all file lengths, in bytes. A write takes what fits, then fails with `ENOSPC`; removing and
    /// cutting files frees.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Lets syncs answer `Ok` without syncing, to show that a crash test can fail.
    pub fn set_lying_sync(&self, lying: bool) {
        self.disk().lying_sync = lying;
    }

    /// The permission bits of a file.
    pub fn mode(&self, path: &Path) -> io::Result<u32> {
        let mut disk = self.disk();
        let id = disk.find(path)?;
        Ok(disk.file(id)?.mode)
    }

    /// Keeps all syncs waiting, whole threads of them, until it is said that they need not any longer.
    pub fn stall_syncs(&self, stalled: bool) {
        self.stall().stalled = stalled;
        self.1.over.notify_all();
    }

    /// How many syncs are kept waiting.
    pub fn stalled_syncs(&self) -> usize {
        self.stall().waiting
    }

    fn stall(&self) -> MutexGuard<'_, Stalled> {
        self.1.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while_stalled(&self) {
        let mut stall = self.stall();
        stall.waiting += 1;
        let mut stall = self.1.over.wait_while(stall, |stall| stall.stalled).unwrap_or_else(PoisonError::into_inner);
        stall.waiting -= 1;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call unless it is to fail. One during which the power goes is run too, but is not answered.
    fn run<T>(&self, call: Call, op: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk();
        let was_off = disk.faults.is_off();
        match disk.faults.begin(call) {
            None => op(&mut disk),
            Some(fault) => {
                if fault == Fault::Crash && !was_off {
                    // Whether the call did its work is seen after the power cut; its answer nobody gets.
                    let _ = op(&mut disk);
                }
                Err(fault.error())
            }
        }
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFs({} calls)", self.calls(Call::ALL))
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (node, boot) = self.run(Call::Open, |disk| Ok((disk.open(path, mode)?, disk.boot)))?;
        Ok(Arc::new(SimFile { fs: self.clone(), node, boot, writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(Call::Rename, |disk| disk.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(Call::Remove, |disk| disk.remove_file(path))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.run(Call::CreateDir, |disk| disk.create_dir_all(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.run(Call::Remove, |disk| disk.remove_dir_all(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.run(Call::ReadDir, |disk| disk.read_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run_sync(Call::SyncDir, |disk| disk.sync_dir(path), |_| {})
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.run(Call::Stat, |disk| match disk.find(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        })
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.run(Call::SetMode, |disk| {
            let id = disk.find(path)?;
            disk.file(id)?.mode = mode;
            Ok(())
        })
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        self.run(Call::Stat, |disk| {
            let id = disk.find(path)?;
            Ok(disk.file(id)?.mode)
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let (node, boot, free) = self.run(Call::Lock, |disk| {
            let node = disk.open(path, OpenMode::Create)?;
            Ok((node, disk.boot, disk.locks.insert(node)))
        })?;
        let file = SimFile { fs: self.clone(), node, boot, writable: true };
        if free { Ok(Box::new(SimLock(file))) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl SimFs {
    /// Like [`Self::run`], but a crash comes before the sync and an error leaves `failed` behind.
    fn run_sync(
        &self,
        call: Call,
        op: impl FnOnce(&mut Disk) -> io::Result<()>,
        failed: impl FnOnce(&mut Disk),
    ) -> io::Result<()> {
        self.wait_while_stalled();
        let mut disk = self.disk();
        match disk.faults.begin(call) {
            None => op(&mut disk),
            Some(fault) => {
                if fault != Fault::Crash {
                    failed(&mut disk);
                }
                Err(fault.error())
            }
        }
    }
}

struct SimFile {
    fs: SimFs,
    node: NodeId,
    boot: u64,
    writable: bool,
}

impl SimFile {
    fn check(&self, disk: &Disk, write: bool) -> io::Result<()> {
        if disk.boot != self.boot {
            return Err(io::Error::other("this file was opened before the power cut"));
        }
        if write && !self.writable {
            return Err(rustix::io::Errno::BADF.into());
        }
        Ok(())
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.run(Call::Read, |disk| {
            self.check(disk, false)?;
            Ok(disk.file(self.node)?.content.read(buf, offset))
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.fs.disk();
        self.check(&disk, true)?;
        let was_off = disk.faults.is_off();
        match disk.faults.begin(Call::Write) {
            Some(fault @ (Fault::Eio | Fault::Enospc)) => Err(fault.error()),
            Some(Fault::Crash) => {
                if !was_off {
                    let _ = disk.write(self.node, buf, offset, None);
                }
                Err(Fault::Crash.error())
            }
            fault => disk.write(self.node, buf, offset, fault),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let node = self.node;
        let sync = |disk: &mut Disk| {
            self.check(disk, false)?;
            if !disk.lying_sync {
                disk.file(node)?.content.sync();
            }
            Ok(())
        };
        self.fs.run_sync(Call::SyncData, sync, |disk| {
            if let (true, Ok((file, rng))) = (disk.boot == self.boot, disk.file_and_rng(node)) {
                file.content.fail_sync(rng);
            }
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.run(Call::Stat, |disk| {
            self.check(disk, false)?;
            Ok(disk.file(self.node)?.content.len() as u64)
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.run(Call::SetLen, |disk| {
            self.check(disk, true)?;
            disk.set_len(self.node, len)
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut disk = self.fs.disk();
        if disk.boot == self.boot
            && let Ok(file) = disk.file(self.node)
        {
            file.handles = file.handles.saturating_sub(1);
        }
    }
}

struct SimLock(SimFile);

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.0.fs.disk();
        if disk.boot == self.0.boot {
            disk.locks.remove(&self.0.node);
        }
    }
}
