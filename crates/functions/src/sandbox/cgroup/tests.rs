//! Control groups on folders that stand for the kernel's.

use base::RealFs;

use super::*;

#[test]
fn both_versions_are_found_where_they_are() {
    let mounts = "\
30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 24 0:27 /a /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 24 0:29 / / rw - ext4 /dev/vda rw";
    let own = "4:memory:/\n2:cpu,cpuacct:/a/b\n0::/x\n";
    let places = Places::parse(mounts, own);
    let place = |controller| places.place(&RealFs, controller);
    assert_eq!(place(Controller::Memory).unwrap(), (PathBuf::from("/sys/fs/cgroup/memory"), false));
    assert_eq!(place(Controller::Cpu).unwrap(), (PathBuf::from("/sys/fs/cgroup/cpu/b"), false));
    assert_eq!(place(Controller::Pids).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn memory_decides_over_the_processor() {
    assert_eq!(share(1_769, V1_SHARES), 1_024);
    assert_eq!(share(128, V1_SHARES), 74);
    assert_eq!(share(10_240, V2_WEIGHT), 578);
}

/// A folder with the files that the kernel makes in a group.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("tidegate-cgroup-{name}-{}", std::process::id()));
        let fake = Self(dir);
        fake.group("");
        RealFs.write_atomic(&fake.0.join("cgroup.controllers"), b"cpu memory pids\n", 0o644).unwrap();
        fake
    }

    fn group(&self, name: &str) {
        let folder = self.0.join(name);
        RealFs.create_dir_all(&folder).unwrap();
        for file in [
            "cgroup.subtree_control",
            "cgroup.procs",
            "memory.max",
            "memory.swap.max",
            "cpu.weight",
            "cpu.max",
            "pids.max",
        ] {
            RealFs.write_atomic(&folder.join(file), b"", 0o644).unwrap();
        }
    }

    fn read(&self, path: &str) -> String {
        String::from_utf8(RealFs.read(&self.0.join(path)).unwrap()).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        RealFs.remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_group_of_version_2_gets_what_the_function_may_take() {
    let fake = Fake::new("two");
    fake.group("tidegate-t");
    fake.group("tidegate-t/id");
    let bases = CONTROLLERS.map(|controller| prepare(&RealFs, controller, (fake.0.clone(), true), "t"));
    let groups = Cgroups { bases: Arc::new(Bases(bases.into_iter().map(Result::unwrap).collect())) };
    assert!(fake.read("tidegate-t/cgroup.subtree_control").starts_with("+pids"));
    let limits = Limits { memory_bytes: 1 << 30, memory_mb: 1_769, processes: 1_030, cap_processor: false };
    let group = groups.group(&RealFs, "id", limits).unwrap();
    assert_eq!(group.seats(), [Seat { group: fake.0.join("tidegate-t/id"), outside: fake.0.clone() }]);
    for (file, expected) in [
        ("memory.max", "1073741824"),
        ("memory.swap.max", "0"),
        ("cpu.weight", "100"),
        ("cpu.max", "max"),
        ("pids.max", "1030"),
    ] {
        assert_eq!(fake.read(&format!("tidegate-t/id/{file}")), expected, "{file}");
    }
    let capped = Limits { cap_processor: true, ..limits };
    groups.group(&RealFs, "id", capped).unwrap();
    assert_eq!(fake.read("tidegate-t/id/cpu.max"), "100000 100000");
    let stat = b"anon 4096\nfile 8192\n";
    RealFs.write_atomic(&fake.0.join("tidegate-t/id/memory.stat"), stat, 0o644).unwrap();
    assert_eq!(group.memory(&RealFs), Some(4_096));
    assert!(!group.ran_out_of_memory(&RealFs));
    RealFs.write_atomic(&fake.0.join("tidegate-t/id/memory.events"), b"oom 1\noom_kill 2\n", 0o644).unwrap();
    assert!(group.ran_out_of_memory(&RealFs));
}
