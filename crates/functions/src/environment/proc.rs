//! What the kernel says about a process: its memory and its children, read from `/proc`.

use std::io;
use std::path::Path;

use base::{Fs, OpenMode};

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// In RAM now.
    pub resident: u64,
    /// The most that was in RAM at once.
    pub peak: u64,
}

/// Files of `/proc` say that they have no length, so they are read until they end.
fn read(fs: &dyn Fs, path: &str) -> io::Result<String> {
    let file = fs.open(Path::new(path), OpenMode::Read)?;
    let (mut content, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        match file.read_at(&mut buffer, content.len() as u64)? {
            0 => return Ok(String::from_utf8_lossy(&content).into_owned()),
            n => content.extend_from_slice(&buffer[..n]),
        }
    }
}

fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kb = value.and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok());
    kb.unwrap_or(0) << 10
}

/// The memory of one process; nothing when it is gone.
fn memory_of(fs: &dyn Fs, pid: i32) -> Memory {
    let status = read(fs, &format!("/proc/{pid}/status")).unwrap_or_default();
    Memory { resident: field(&status, "VmRSS"), peak: field(&status, "VmHWM") }
}

/// The memory of a process and all its descendants. The peak is the larger of the root's own and the sum now.
pub(crate) fn memory(fs: &dyn Fs, root: i32) -> Memory {
    let own = memory_of(fs, root);
    let others: u64 = descendants(fs, root).into_iter().map(|pid| memory_of(fs, pid).resident).sum();
    let resident = own.resident + others;
    Memory { resident, peak: own.peak.max(resident) }
}

/// All descendants of a process, without it.
pub(crate) fn descendants(fs: &dyn Fs, root: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        // A child hangs on the thread that started it.
        let threads = fs.read_dir(Path::new(&format!("/proc/{pid}/task"))).unwrap_or_default();
        for thread in threads {
            let children = read(fs, &format!("/proc/{pid}/task/{}/children", thread.name)).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                if !found.contains(&child) {
                    found.push(child);
                    open.push(child);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use base::RealFs;

    use super::*;

    #[test]
    fn this_process_has_memory_and_a_gone_one_has_none() {
        let own = memory(&RealFs, i32::try_from(std::process::id()).unwrap());
        assert!(own.resident > 1 << 20 && own.peak >= own.resident, "{own:?}");
        assert_eq!(memory(&RealFs, i32::MAX), Memory::default());
    }
}
