//! The file system that a function sees: read-only views of what runtimes need, a `/tmp` of its own, processes of its
//! own, and nothing else of the machine.
//!
//! It is built in a mount namespace of the environment's, over an empty folder, and the old one is left for good. So no
//! mount is ever seen by the rest of the machine, and none stays when the environment ends.

use std::ffi::CString;
use std::io;
use std::path::{Component, Path, PathBuf};

use base::{Fs, RealFs};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};

use super::enter::step;
use super::orders::Orders;
use crate::environment::proc;

/// Programs and libraries. Where these are links into `/usr`, the function sees the same links.
const SYSTEM: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store"];
/// Of `/etc`, what programs look up and nobody hides: certificates, time zones, what loaders, alternatives and
/// interpreters are set to.
const ETC: [&str; 24] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "mono",
    "os-release",
    "pki/ca-trust",
    "pki/java",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];
/// Interpreters keep settings in folders of these beginnings.
const ETC_FAMILIES: [&str; 3] = ["java", "python", "openssl"];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// What tells of the machine, or changes it, in `/proc`: emptied, or only to be read.
const PROC_EMPTY: [&str; 10] = [
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "sched_debug",
    "latency_stats",
    "kallsyms",
    "kmsg",
    "interrupts",
    "sysrq-trigger",
];
const PROC_EMPTY_FOLDERS: [&str; 4] = ["acpi", "scsi", "asound", "driver"];
const PROC_READ: [&str; 4] = ["sys", "irq", "bus", "fs"];
/// Bytes of a file's average in `/tmp`: as many files can be there as `/tmp` has of these.
const BYTES_A_FILE: u64 = 4_096;

pub(super) fn build(orders: &Orders) -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("cannot separate mounts", mount_change("/", private))?;
    let root = Root(&orders.root);
    let small = options("mode=0755,size=4m,nr_inodes=4096")?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    step("cannot make a root", mount("tmpfs", root.0, "tmpfs", quiet, small.as_c_str()))?;
    root.system()?;
    root.settings(orders)?;
    root.devices()?;
    root.temporary(orders)?;
    for view in &orders.views {
        root.view(&view.from, &view.to)?;
    }
    root.processes()?;
    for path in &orders.hidden {
        root.hide(path)?;
    }
    root.protect()?;
    step("cannot enter the root", rustix::process::chdir(root.0))?;
    step("cannot change the root", rustix::process::pivot_root(".", "."))?;
    step("cannot leave the old root", unmount(".", UnmountFlags::DETACH))?;
    step("cannot enter the root", rustix::process::chdir("/"))
}

fn options(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

fn kind(path: &Path) -> Option<FileType> {
    rustix::fs::lstat(path).ok().map(|found| FileType::from_raw_mode(found.st_mode))
}

/// What a path leads to, through links.
fn leads_to_folder(path: &Path) -> Option<bool> {
    rustix::fs::stat(path).ok().map(|found| FileType::from_raw_mode(found.st_mode).is_dir())
}

/// The folder in which the root is built.
struct Root<'a>(&'a Path);

impl Root<'_> {
    /// Where a path of the function's is now. Whatever it says, it is below the root.
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let plain = path.as_ref().components().filter(|part| matches!(part, Component::Normal(_)));
        plain.fold(self.0.to_owned(), |path, part| path.join(part))
    }

    /// Nothing is made where something of the machine is shown already: it would be made on the machine.
    fn own(&self, path: &Path) -> io::Result<()> {
        let device = |path: &Path| rustix::fs::stat(path).map(|found| found.st_dev);
        let above = path.parent().unwrap_or(self.0);
        let here = step("cannot look at a folder", device(above))?;
        if device(self.0) == Ok(here) || device(&self.at("/tmp")) == Ok(here) {
            return Ok(());
        }
        let message = format!("{} cannot be shown below what is shown already", path.display());
        Err(io::Error::other(message))
    }

    fn folder(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let path = self.at(path);
        if kind(&path).is_none() {
            if let Some(above) = path.parent().filter(|above| above.starts_with(self.0)) {
                self.folder(above.strip_prefix(self.0).unwrap_or(above))?;
            }
            self.own(&path)?;
            let made = rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755));
            step(&format!("cannot make {}", path.display()), made)?;
        }
        Ok(path)
    }

    fn file(&self, path: impl AsRef<Path>, content: &str) -> io::Result<PathBuf> {
        let path = self.at(path);
        if let Some(above) = path.parent().and_then(|above| above.strip_prefix(self.0).ok()) {
            self.folder(above)?;
        }
        self.own(&path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let made = rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o644));
        let file = step(&format!("cannot make {}", path.display()), made)?;
        step("cannot write a setting", rustix::io::write(&file, content.as_bytes()))?;
        Ok(path)
    }

    /// Shows something of the machine at a path, as far as it is there. What is seen already is left as it is.
    fn view(&self, from: &Path, to: &Path) -> io::Result<()> {
        let target = self.at(to);
        let Some(is_folder) = leads_to_folder(from) else { return Ok(()) };
        if leads_to_folder(&target) == Some(false) {
            return Ok(());
        }
        let target = if is_folder { self.folder(to)? } else { self.file(to, "")? };
        let shown = mount_bind_recursive(from, &target);
        step(&format!("cannot show {} as {}", from.display(), to.display()), shown)
    }

    fn system(&self) -> io::Result<()> {
        for name in SYSTEM {
            let path = Path::new("/").join(name);
            match kind(&path) {
                Some(FileType::Symlink) => {
                    let to = rustix::fs::readlink(&path, Vec::new())?;
                    step("cannot make a link", rustix::fs::symlink(to, self.at(name)))?;
                }
                Some(FileType::Directory) => self.view(&path, &path)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn settings(&self, orders: &Orders) -> io::Result<()> {
        let etc = Path::new("/etc");
        for name in ETC {
            self.view(&etc.join(name), &etc.join(name))?;
        }
        for entry in RealFs.read_dir(etc).unwrap_or_default() {
            if ETC_FAMILIES.iter().any(|family| entry.name.starts_with(family)) {
                self.view(&etc.join(&entry.name), &etc.join(&entry.name))?;
            }
        }
        let (user, host) = (orders.user, orders.host.as_deref().unwrap_or_default());
        let users = format!("root:x:0:0:root:/:/sbin/nologin\nsandbox:x:{user}:{user}::/tmp:/sbin/nologin\n");
        self.file("/etc/passwd", &users)?;
        self.file("/etc/group", &format!("root:x:0:\nsandbox:x:{user}:\n"))?;
        self.file("/etc/hosts", &format!("127.0.0.1 localhost {host}\n::1 localhost\n"))?;
        self.file("/etc/hostname", "localhost\n")?;
        if orders.own_network {
            self.file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")?;
            self.file("/etc/resolv.conf", "")?;
            return Ok(());
        }
        self.file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")?;
        self.view(&etc.join("resolv.conf"), &etc.join("resolv.conf"))
    }

    fn devices(&self) -> io::Result<()> {
        for name in DEVICES {
            let device = Path::new("/dev").join(name);
            let target = self.file(&device, "")?;
            step(&format!("cannot show {}", device.display()), mount_bind(&device, &target))?;
        }
        for (to, name) in [
            ("/proc/self/fd", "fd"),
            ("/proc/self/fd/0", "stdin"),
            ("/proc/self/fd/1", "stdout"),
            ("/proc/self/fd/2", "stderr"),
        ] {
            step("cannot make a link", rustix::fs::symlink(to, self.at("/dev").join(name)))?;
        }
        Ok(())
    }

    fn temporary(&self, orders: &Orders) -> io::Result<()> {
        let (bytes, files) = (orders.temporary_bytes, orders.temporary_bytes / BYTES_A_FILE);
        let options = options(&format!("mode=1777,size={bytes},nr_inodes={files}"))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        step("cannot make /tmp", mount("tmpfs", self.folder("/tmp")?, "tmpfs", flags, options.as_c_str()))
    }

    fn processes(&self) -> io::Result<()> {
        let proc = self.folder("/proc")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        step("cannot make /proc", mount("proc", &proc, "proc", flags, None))?;
        for name in PROC_EMPTY {
            self.hide(&Path::new("/proc").join(name))?;
        }
        for name in PROC_EMPTY_FOLDERS {
            self.hide(&Path::new("/proc").join(name))?;
        }
        for name in PROC_READ {
            let path = proc.join(name);
            if leads_to_folder(&path).is_some() {
                step("cannot protect /proc", mount_bind(&path, &path))?;
            }
        }
        Ok(())
    }

    /// Puts nothing over what is there, if it is.
    fn hide(&self, path: &Path) -> io::Result<()> {
        let target = self.at(path);
        let hidden = match leads_to_folder(&target) {
            None => return Ok(()),
            Some(true) => {
                let empty = options("mode=0555,size=4k,nr_inodes=1")?;
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                mount("tmpfs", &target, "tmpfs", flags, empty.as_c_str())
            }
            Some(false) => mount_bind("/dev/null", &target),
        };
        step(&format!("cannot hide {}", path.display()), hidden)
    }

    /// Makes everything read-only but `/tmp`, and what belongs to processes. Views bring mounts of their own below them,
    /// so the kernel is asked what there is.
    fn protect(&self) -> io::Result<()> {
        let table = step("cannot read the mounts", proc::read(&RealFs, "/proc/self/mountinfo"))?;
        let free = [self.at("/tmp"), self.at("/proc")];
        let devices = self.at("/dev");
        for (path, held) in table.lines().filter_map(mount_of) {
            if !path.starts_with(self.0) || free.contains(&path) {
                continue;
            }
            let mut flags = held | MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
            let is_device = path.starts_with(&devices) || leads_to_folder(&path) == Some(false);
            if !is_device {
                flags |= MountFlags::NODEV;
            }
            match mount_remount(&path, flags, c"") {
                // It lies below something that is hidden.
                Err(rustix::io::Errno::NOENT) => {}
                done => step(&format!("cannot protect {}", path.display()), done)?,
            }
        }
        Ok(())
    }
}

/// A mount's place and the flags that it has, which may not be taken from it: fields five and six of a line.
fn mount_of(line: &str) -> Option<(PathBuf, MountFlags)> {
    let mut fields = line.split(' ').skip(4);
    let (path, options) = (fields.next()?, fields.next()?);
    let flags = options.split(',').map(|option| match option {
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    });
    Some((unescaped(path), flags.fold(MountFlags::empty(), MountFlags::union)))
}

/// The kernel writes spaces, tabs, line ends and backslashes in octal.
fn unescaped(path: &str) -> PathBuf {
    let mut pieces = path.split('\\');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&piece[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(piece);
            }
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_flags() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402/a rw,nosuid,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let (path, flags) = mount_of(line).unwrap();
        assert_eq!(path, Path::new("/mnt 2/a"));
        assert_eq!(flags, MountFlags::NOSUID | MountFlags::NOATIME);
    }

    #[test]
    fn no_path_leaves_the_root() {
        let root = Root(Path::new("/r"));
        assert_eq!(root.at("/../../etc/./passwd"), Path::new("/r/etc/passwd"));
    }
}
