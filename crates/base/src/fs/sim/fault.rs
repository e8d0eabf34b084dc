//! Which call fails, and how.

use std::collections::BTreeMap;
use std::io;

/// A kind of call, for counting and failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `Fs::open`.
    Open,
    /// `File::read_at`.
    Read,
    /// `File::write_at`.
    Write,
    /// `File::set_len`.
    SetLen,
    /// `File::sync_data`.
    SyncData,
    /// `Fs::sync_dir`.
    SyncDir,
    /// `Fs::rename`.
    Rename,
    /// `Fs::remove_file` and `Fs::remove_dir_all`.
    Remove,
    /// `Fs::create_dir_all`.
    CreateDir,
    /// `Fs::read_dir`.
    ReadDir,
    /// `Fs::exists`, `Fs::mode` and `File::len`.
    Stat,
    /// `Fs::set_mode`.
    SetMode,
    /// `Fs::lock`.
    Lock,
}

impl Call {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Open,
        Self::Read,
        Self::Write,
        Self::SetLen,
        Self::SyncData,
        Self::SyncDir,
        Self::Rename,
        Self::Remove,
        Self::CreateDir,
        Self::ReadDir,
        Self::Stat,
        Self::SetMode,
        Self::Lock,
    ];
    /// The kinds between which a crash can make a difference.
    pub const CHANGES: &'static [Self] = &[
        Self::Open,
        Self::Write,
        Self::SetLen,
        Self::SyncData,
        Self::SyncDir,
        Self::Rename,
        Self::Remove,
        Self::CreateDir,
    ];
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With `EIO`, nothing done. A sync drops what was unsynced.
    Eio,
    /// With `ENOSPC`, nothing done. A sync drops what was unsynced.
    Enospc,
    /// A write takes a part and says so; a call of another kind fails with `EIO`.
    Short,
    /// A write takes a part and fails with `EIO`, as does a call of another kind.
    Torn,
    /// The power goes: the call may have had its effect, it and every later one fail until the power cut is done.
    Crash,
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        use rustix::io::Errno;
        match self {
            Self::Eio | Self::Short | Self::Torn => Errno::IO.into(),
            Self::Enospc => Errno::NOSPC.into(),
            Self::Crash => io::Error::other("the power is off"),
        }
    }
}

/// Calls counted and faults planned.
#[derive(Debug, Default)]
pub(super) struct Faults {
    counts: BTreeMap<Call, u64>,
    planned: Vec<Planned>,
    power_off: bool,
}

#[derive(Debug)]
struct Planned {
    calls: Vec<Call>,
    left: u64,
    fault: Fault,
}

impl Faults {
    pub(super) fn plan(&mut self, calls: &[Call], nth: u64, fault: Fault) {
        self.planned.push(Planned { calls: calls.to_vec(), left: nth, fault });
    }

    pub(super) fn count(&self, calls: &[Call]) -> u64 {
        calls.iter().filter_map(|call| self.counts.get(call)).sum()
    }

    /// Counts a call and says how it is to fail, if it is.
    pub(super) fn begin(&mut self, call: Call) -> Option<Fault> {
        if self.power_off {
            return Some(Fault::Crash);
        }
        *self.counts.entry(call).or_default() += 1;
        let mut fault = None;
        self.planned.retain_mut(|planned| {
            if planned.calls.contains(&call) {
                planned.left = planned.left.saturating_sub(1);
                if planned.left == 0 {
                    fault = Some(planned.fault);
                    return false;
                }
            }
            true
        });
        self.power_off = fault == Some(Fault::Crash);
        fault
    }

    pub(super) fn is_off(&self) -> bool {
        self.power_off
    }

    /// Power is back; what was planned for the machine before is forgotten.
    pub(super) fn restart(&mut self) {
        self.planned.clear();
        self.power_off = false;
    }
}
