//! Files outside, privileges, other processes, mounts, namespaces, and the kernel's dark corners.

use base::{Fs, RealFs};
use serde_json::json as value;

use super::{all, none, probe, room};

/// A file in the home folder of whoever runs this; one that is not there, where there is none.
fn at_home() -> std::path::PathBuf {
    let home = std::env::home_dir().unwrap();
    let files = RealFs.read_dir(&home).unwrap_or_default().into_iter().filter(|entry| !entry.is_dir);
    home.join(files.map(|file| file.name).min().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_machine_is_seen_but_what_runtimes_need() {
    let room = room(|_| {}).await;
    RealFs.write_atomic(&room.dir.join("credentials"), b"secret", 0o644).unwrap();
    RealFs.create_dir_all(&room.beside()).unwrap();
    RealFs.write_atomic(&room.beside().join("file"), b"secret", 0o644).unwrap();
    all(
        &room,
        &[
            ("list", value!({"path": room.dir}), &["ENOENT"]),
            ("read", value!({"path": room.dir.join("credentials")}), &["ENOENT"]),
            ("follow link", value!({"path": room.dir.join("credentials")}), &["ENOENT"]),
            ("read", value!({"path": room.beside().join("file")}), &["ENOENT"]),
            ("read", value!({"path": "/etc/shadow"}), &["ENOENT"]),
            ("read", value!({"path": at_home()}), &["ENOENT", "EACCES"]),
            ("list", value!({"path": "/home"}), &["ENOENT"]),
            ("list", value!({"path": "/sys"}), &["ENOENT"]),
            ("list", value!({"path": "/run"}), &["ENOENT"]),
            ("list", value!({"path": "/boot"}), &["ENOENT"]),
            ("list", value!({"path": "/var/lib"}), &["ENOENT"]),
            ("list", value!({"path": "/dev/shm"}), &["ENOENT"]),
            ("read", value!({"path": "/dev/mem"}), &["ENOENT"]),
            ("handle", none(), &["EPERM"]),
            ("open handle", none(), &["EPERM"]),
            ("device", none(), &["EPERM", "EACCES"]),
        ],
    )
    .await;
    assert_eq!(probe(&room, "list", value!({"path": "/var"})).await, value!(["runtime", "task"]));
    // Input, output, and the connection to the Runtime API; the last is the folder being listed.
    let descriptors = probe(&room, "descriptors", none()).await;
    let strange =
        descriptors.as_array().unwrap().iter().filter(|held| !held.as_str().unwrap().starts_with("/usr/")).count();
    assert!(strange <= 5, "{descriptors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_but_in_the_temporary_folder() {
    let room = room(|_| {}).await;
    let python = probe(&room, "read link", value!({"path": "/proc/self/exe"})).await;
    let beside_python = std::path::Path::new(python.as_str().unwrap()).with_file_name("planted");
    let closed: &[&str] = &["EROFS", "EACCES"];
    all(
        &room,
        &[
            ("write", value!({"path": "/var/task/planted"}), closed),
            ("write", value!({"path": "/var/task/app.py"}), closed),
            ("remove", value!({"path": "/var/task/app.py"}), closed),
            ("rename", value!({"path": "/var/task/app.py"}), closed),
            ("change mode", value!({"path": "/var/task/app.py"}), &["EROFS", "EPERM"]),
            ("link", value!({"path": "/var/task/app.py"}), &["EXDEV", "EPERM", "EROFS", "EACCES"]),
            ("write", value!({"path": "/var/runtime/bootstrap.py"}), closed),
            ("write", value!({"path": "/usr/planted"}), closed),
            ("write", value!({"path": "/etc/passwd"}), closed),
            ("write", value!({"path": "/planted"}), closed),
            ("write", value!({"path": "/opt/planted"}), &["EROFS", "EACCES", "ENOENT"]),
            ("write", value!({"path": beside_python}), closed),
            ("make folder", value!({"path": "/dev/shm"}), closed),
            ("write", value!({"path": "/proc/sys/kernel/core_pattern"}), closed),
            ("write", value!({"path": "/proc/sys/vm/overcommit_memory"}), closed),
            ("write", value!({"path": "/tmp/mine"}), &["written"]),
        ],
    )
    .await;
    let flags = probe(&room, "mount flags", value!({"path": "/tmp"})).await;
    assert!(["nosuid", "nodev"].iter().all(|flag| flags.as_array().unwrap().contains(&value!(flag))), "{flags}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_shows_is_read_only_and_what_he_hides_is_empty() {
    let room = room(|c| {
        let beside = crate::support::beside(&c.dir);
        RealFs.create_dir_all(&beside.join("shown")).unwrap();
        RealFs.create_dir_all(&beside.join("data")).unwrap();
        RealFs.write_atomic(&beside.join("shown/file"), b"for all", 0o644).unwrap();
        RealFs.write_atomic(&beside.join("data/master.key"), b"secret", 0o644).unwrap();
        RealFs.write_atomic(&beside.join("key.pem"), b"secret", 0o644).unwrap();
        c.hidden = vec![beside.join("data"), beside.join("key.pem")];
        c.readable = vec![beside];
    })
    .await;
    let at = |path: &str| value!({"path": room.beside().join(path)});
    all(
        &room,
        &[
            ("read", at("shown/file"), &["for all"]),
            ("write", at("shown/file"), &["EROFS", "EACCES"]),
            ("read", at("data/master.key"), &["ENOENT"]),
            ("write", at("data/planted"), &["EROFS", "EACCES"]),
            ("read", at("key.pem"), &[""]),
            ("unmount", none(), &["EPERM"]),
        ],
    )
    .await;
    assert_eq!(probe(&room, "list", at("data")).await, value!([]));
    assert!(RealFs.read(&room.beside().join("key.pem")).unwrap() == b"secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_privileges_and_none_can_be_had() {
    let room = room(|_| {}).await;
    let nothing = "0000000000000000";
    let status = probe(&room, "status", none()).await;
    assert_eq!(status, value!([nothing, nothing, nothing, nothing, nothing, "1", "2"]));
    assert_eq!(probe(&room, "set-user-id", none()).await, value!([true, "1", true]));
    all(
        &room,
        &[
            ("become root", none(), &["EPERM", "EINVAL"]),
            ("join groups", none(), &["EPERM", "EINVAL"]),
            ("priority", none(), &["EPERM", "EACCES"]),
            ("real time", none(), &["EPERM"]),
            ("never kill", none(), &["EACCES", "EPERM"]),
            ("raise files", none(), &["EPERM"]),
            ("raise core", none(), &["EPERM"]),
            ("lock memory", none(), &["ENOMEM", "EPERM"]),
            ("host name", none(), &["EPERM"]),
            ("set clock", none(), &["EPERM"]),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_processes_are_neither_seen_nor_touched() {
    let room = room(|_| {}).await;
    // The init of the environment, and the function itself.
    assert_eq!(probe(&room, "processes", none()).await, 2);
    let denied: &[&str] = &["EACCES", "EPERM"];
    let of_init = |what: &str| value!({"path": format!("/proc/1/{what}")});
    let init = || value!({"pid": 1});
    all(
        &room,
        &[
            ("trace", init(), &["EPERM"]),
            ("trace me", none(), &["EPERM"]),
            ("read memory", init(), &["EPERM"]),
            ("take descriptor", init(), &["EPERM"]),
            ("read", of_init("environ"), denied),
            ("read", of_init("mem"), denied),
            ("list", of_init("root"), denied),
            ("list", of_init("cwd"), denied),
            ("list", of_init("fd"), denied),
            ("read", of_init("exe"), denied),
            ("read link", of_init("ns/net"), denied),
            ("read", value!({"path": "/proc/kcore"}), &["", "EACCES", "ENOENT"]),
            ("read", value!({"path": "/proc/keys"}), &["", "ENOENT"]),
            ("read", value!({"path": "/proc/kallsyms"}), &["", "ENOENT"]),
            ("write", value!({"path": "/proc/sysrq-trigger"}), &["EACCES", "EROFS", "ENOENT", "written"]),
            ("read", value!({"path": format!("/proc/{}/environ", std::process::id())}), &["ENOENT"]),
        ],
    )
    .await;
    // The init ignores it, or it is not even allowed; either way the environment lives.
    let killed = probe(&room, "kill", init()).await;
    assert!(killed == "killed" || killed == "EPERM", "{killed}");
    assert_eq!(probe(&room, "processes", none()).await, 2);
    // Cargo gives this test dozens of variables.
    assert_eq!(probe(&room, "environs", value!({"word": "CARGO_"})).await, value!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_and_namespaces_stay_as_they_are() {
    let room = room(|_| {}).await;
    let probes = [
        "mount",
        "unmount",
        "remount",
        "mount attributes",
        "new mount",
        "pivot",
        "chroot",
        "unshare user",
        "unshare mounts",
        "enter",
        "clone user",
        "clone network",
    ];
    all(&room, &probes.map(|name| (name, none(), &["EPERM"] as &[&str]))).await;
    // No filter can read its flags: it is not there, as on an older kernel. Nor are calls that nobody knows yet.
    all(&room, &[("clone3", none(), &["ENOSYS"]), ("unknown call", none(), &["ENOSYS"])]).await;
    if cfg!(target_arch = "x86_64") {
        all(&room, &[("other convention", none(), &["ENOSYS"])]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_s_dark_corners_are_closed() {
    let room = room(|_| {}).await;
    let probes =
        ["bpf", "perf", "userfault", "ring", "keys", "add key", "kexec", "module", "reboot", "swap", "personality"];
    all(&room, &probes.map(|name| (name, none(), &["EPERM"] as &[&str]))).await;
}
