//! What the kernel says about a process: its memory, its children, and whose a connection is, read from `/proc`.

use std::io;
use std::net::SocketAddrV4;
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
pub(crate) fn read(fs: &dyn Fs, path: &str) -> io::Result<String> {
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
pub(crate) fn memory_of(fs: &dyn Fs, pid: i32) -> Memory {
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

/// The children of a process. A child hangs on the thread that started it.
pub(crate) fn children(fs: &dyn Fs, pid: i32) -> Vec<i32> {
    let threads = fs.read_dir(Path::new(&format!("/proc/{pid}/task"))).unwrap_or_default();
    let lists = threads.iter().map(|thread| read(fs, &format!("/proc/{pid}/task/{}/children", thread.name)));
    let lists: Vec<String> = lists.map(Result::unwrap_or_default).collect();
    lists.iter().flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
}

/// All descendants of a process, without it.
pub(crate) fn descendants(fs: &dyn Fs, root: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children(fs, pid) {
            if !found.contains(&child) {
                found.push(child);
                open.push(child);
            }
        }
    }
    found
}

/// The user whose socket at `from` is connected to `to`, both on this machine.
pub(crate) fn user_of(fs: &dyn Fs, from: SocketAddrV4, to: SocketAddrV4) -> io::Result<Option<u32>> {
    let found = user_in(&read(fs, "/proc/net/tcp")?, "", from, to);
    if found.is_some() {
        return Ok(found);
    }
    // A socket for both protocols, as Java's are, stands in the other table; on a machine without IPv6 there is none.
    let table = read(fs, "/proc/net/tcp6").unwrap_or_default();
    Ok(user_in(&table, &mapped(), from, to))
}

/// What the second table writes before an address of the first protocol: `::ffff:`, in words of the machine's own order.
fn mapped() -> String {
    format!("{:024X}", u128::from(u32::from_ne_bytes([0, 0, 0xff, 0xff])))
}

/// Columns: number, local and remote address, state, two queues, timer, retransmits, user (proc_net_tcp in the kernel's
/// documentation).
fn user_in(table: &str, before: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    let written = |a: SocketAddrV4| format!("{before}{:08X}:{:04X}", u32::from_ne_bytes(a.ip().octets()), a.port());
    let (from, to) = (written(from), written(to));
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (columns.next()?, columns.next()?);
        if local != from || remote != to {
            return None;
        }
        columns.nth(4)?.parse().ok()
    })
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

    #[test]
    fn a_connection_has_the_user_who_made_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (std::net::SocketAddr::V4(from), std::net::SocketAddr::V4(to)) =
            (client.local_addr().unwrap(), client.peer_addr().unwrap())
        else {
            panic!("not IPv4")
        };
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(user_of(&RealFs, from, to).unwrap(), Some(own));
        assert_eq!(user_of(&RealFs, to, from).unwrap().filter(|user| *user != own), None);
    }

    #[test]
    fn a_socket_for_both_protocols_has_its_user_too() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let Ok(client) =
            std::net::TcpStream::connect(std::net::SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), to.port()))
        else {
            println!("skipped: this machine has no IPv6");
            return;
        };
        let from = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, client.local_addr().unwrap().port());
        let std::net::SocketAddr::V4(to) = to else { panic!("not IPv4") };
        assert_eq!(user_of(&RealFs, from, to).unwrap(), Some(rustix::process::geteuid().as_raw()));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_table_is_read_as_the_kernel_writes_it() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n   \
             1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 2 1 0\n";
        let at = |port| SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
        assert_eq!(user_in(table, "", at(50_000), at(8_080)), Some(1_001));
        assert_eq!(user_in(table, "", at(8_080), at(50_000)), None);
        let table = "  sl  local_address                         remote_address                        st\n   \
             0: 0000000000000000FFFF00000100007F:C350 0000000000000000FFFF00000100007F:1F90 01 0:0 0:0 0 1002 0 9 1 0\n";
        assert_eq!(user_in(table, &mapped(), at(50_000), at(8_080)), Some(1_002));
    }
}
