//! The system calls that no function needs, refused by the kernel for a thread and all that it starts.
//!
//! What is refused is what changes the machine, looks into other processes, makes or enters namespaces, or is a large
//! and often attacked part of the kernel that runtimes do without. Calls that are newer than this list are unknown to
//! the function, as on an older kernel.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, TargetArch, apply_filter, sock_filter,
};

/// Refused whatever their arguments are, with `EPERM`.
const REFUSED: &[c_long] = &[
    // Mounts.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Parts of the kernel with a long list of holes.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_fanotify_init,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_lookup_dcookie,
    libc::SYS_quotactl,
    libc::SYS_personality,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_nfsservctl,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
    libc::SYS_mknod,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

/// The number after the newest call that is known here (`mseal`). Beyond it are newer ones, and those of another calling
/// convention of the same processor.
const UNKNOWN_FROM: u32 = 463;
/// Any of these in the flags of `clone` asks for a namespace.
const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
    0x80,
];
/// What can be connected with: this environment's own processes, and what its network leads to.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Puts the filter on this thread, for good.
pub(super) fn filter() -> io::Result<()> {
    let program = program().map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

fn program() -> Result<BpfProgram, seccompiler::Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let rest: BpfProgram = SeccompFilter::new(rules()?, SeccompAction::Allow, refuse, architecture)?.try_into()?;
    let mut program = unknown();
    program.extend(rest);
    Ok(program)
}

fn rules() -> Result<BTreeMap<c_long, Vec<Rule>>, seccompiler::Error> {
    let mut rules: BTreeMap<c_long, Vec<Rule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    let rule = |argument, length, op, value| Rule::new(vec![Condition::new(argument, length, op, value)?]);
    let mut namespaces = Vec::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag as u32);
        namespaces.push(rule(0, Length::Qword, Op::MaskedEq(flag), flag)?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    // Families: everything below and above the list, and netlink beyond routes, which name resolution asks for.
    let family = |op, value: i32| Condition::new(0, Length::Dword, op, value as u64);
    let others: Result<Vec<Condition>, _> = FAMILIES.iter().map(|known| family(Op::Ne, *known)).collect();
    let netlink =
        vec![family(Op::Eq, libc::AF_NETLINK)?, Condition::new(2, Length::Dword, Op::Ne, libc::NETLINK_ROUTE as u64)?];
    // Raw sockets are another way to write packets of one's own.
    let raw = Condition::new(1, Length::Dword, Op::MaskedEq(0xf), libc::SOCK_RAW as u64)?;
    let raw = vec![raw, family(Op::Ne, libc::AF_NETLINK)?];
    rules.insert(libc::SYS_socket, vec![Rule::new(others?)?, Rule::new(netlink)?, Rule::new(raw)?]);
    // Typing into somebody's terminal, and changing what a terminal says.
    rules.insert(
        libc::SYS_ioctl,
        vec![rule(1, Length::Dword, Op::Eq, libc::TIOCSTI)?, rule(1, Length::Dword, Op::Eq, libc::TIOCLINUX)?],
    );
    Ok(rules)
}

/// `clone3`, whose flags no filter can read, and every call beyond the known ones do not exist (`ENOSYS`), so that who
/// wants one falls back. Four instructions before the others: load the number; jump when it is the one, or beyond.
fn unknown() -> BpfProgram {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD, 0, 0, 0),
        step(EQUAL, 1, 0, libc::SYS_clone3 as u32),
        step(AT_LEAST, 0, 1, UNKNOWN_FROM),
        step(RETURN, 0, 0, ERRNO | libc::ENOSYS as u32),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_can_be_made() {
        let program = program().unwrap();
        assert!(program.len() > REFUSED.len(), "{}", program.len());
        assert!(REFUSED.iter().chain(REFUSED_HERE).all(|call| *call < c_long::from(UNKNOWN_FROM)));
    }
}
