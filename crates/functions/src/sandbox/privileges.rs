//! What the thread that starts the runtime gives up, for good: user, capabilities, new privileges, and whatever Landlock
//! and the system call filter forbid.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Gid, Uid, setpriority_process};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::enter::step;
use super::init::Landlocked;
use super::orders::{Ground, Orders};
use super::syscalls;

/// The newest rules that are asked for; an older kernel gives those that it knows.
const LANDLOCK: ABI = ABI::V6;
/// What may be written outside `/tmp`.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

pub(super) fn drop_all(orders: &Orders, landlock: &Landlocked) -> io::Result<()> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            // The kernel knows no more.
            Err(rustix::io::Errno::INVAL) => break,
            dropped => step("cannot drop a capability for good", dropped)?,
        }
    }
    // A user 0 of whatever namespace is nobody special.
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    step("cannot give up what root has", set_capabilities_secure_bits(bits))?;
    if orders.ground == Ground::Root {
        // The init goes before everybody; this thread and what it starts do not, and may not again.
        step("cannot give up priority", setpriority_process(None, 0))?;
        let (user, group) = (Uid::from_raw(orders.user), Gid::from_raw(orders.user));
        step("cannot give up groups", set_thread_groups(&[]))?;
        step("cannot change the group", set_thread_res_gid(group, group, group))?;
        step("cannot change the user", set_thread_res_uid(user, user, user))?;
    }
    step("cannot give up capabilities", clear_ambient_capability_set())?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    step("cannot give up capabilities", set_capabilities(None, sets))?;
    step("cannot forbid new privileges", set_no_new_privs(true))?;
    let status = step("cannot set Landlock's rules", restrict())?;
    if status.ruleset != RulesetStatus::NotEnforced {
        landlock.set();
    }
    step("cannot filter system calls", syscalls::filter())
}

/// Says once more, by another mechanism, what the file system and the namespaces say already: nothing is written but in
/// `/tmp`, no process outside is signalled, no abstract socket outside is reached.
fn restrict() -> io::Result<RestrictionStatus> {
    let read: BitFlags<AccessFs> = AccessFs::from_read(LANDLOCK);
    let all = AccessFs::from_all(LANDLOCK);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let ruleset = || -> Result<RulesetCreated, landlock::RulesetError> {
        let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        rules.handle_access(all)?.scope(Scope::from_all(LANDLOCK))?.create()
    };
    let mut rules = ruleset().map_err(io::Error::other)?;
    // A process writes about itself in `/proc`.
    let paths = [("/", read), ("/tmp", all), ("/proc", read | AccessFs::WriteFile)];
    for (path, access) in paths.into_iter().chain(DEVICES.map(|path| (path, device))) {
        let path = PathFd::new(path).map_err(io::Error::other)?;
        rules = rules.add_rule(PathBeneath::new(path, access)).map_err(io::Error::other)?;
    }
    rules.restrict_self().map_err(io::Error::other)
}
