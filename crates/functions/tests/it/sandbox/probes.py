"""Tries to get out, one way a call. The answer is the name of the error that stopped it, or what it got."""

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = {
    "read": 0, "shmget": 29, "clone": 56, "ptrace": 101, "personality": 135, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166,
    "swapon": 167, "reboot": 169, "sethostname": 170, "init_module": 175, "io_uring_setup": 425, "kexec_load": 246,
    "add_key": 248, "keyctl": 250, "unshare": 272, "perf_event_open": 298, "name_to_handle_at": 303, "open_by_handle_at": 304,
    "setns": 308, "process_vm_readv": 310, "bpf": 321, "userfaultfd": 323, "fsopen": 430, "clone3": 435, "settimeofday": 164,
    "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442, "unknown": 900,
}
ARM = {
    "read": 63, "shmget": 194, "clone": 220, "ptrace": 117, "personality": 92, "pivot_root": 41, "chroot": 51, "mount": 40, "umount2": 39,
    "swapon": 224, "reboot": 142, "sethostname": 161, "init_module": 105, "io_uring_setup": 425, "kexec_load": 104,
    "add_key": 217, "keyctl": 219, "unshare": 97, "perf_event_open": 241, "name_to_handle_at": 264, "open_by_handle_at": 265,
    "setns": 268, "process_vm_readv": 270, "bpf": 280, "userfaultfd": 282, "fsopen": 430, "clone3": 435, "settimeofday": 170,
    "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442, "unknown": 900,
}
CALLS = X86 if platform.machine() == "x86_64" else ARM
NEWUSER, NEWNS, NEWPID, NEWNET = 0x10000000, 0x20000, 0x20000000, 0x40000000


def syscall(name, *arguments, offset=0):
    # Numbers as long as a register: what is left of them above would be chance.
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = LIBC.syscall(ctypes.c_long(CALLS[name] + offset), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def read(path):
    with open(path, "rb") as file:
        return file.read(100).decode("latin-1")


def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)
    return "written"


def status(*names):
    with open("/proc/self/status") as file:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return [lines[name].strip() for name in names]


def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as peer:
        peer.settimeout(3)
        peer.connect(address)
        return "connected"


def opened(*arguments):
    with socket.socket(*arguments):
        return "opened"


def processes():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def environs(word):
    found = []
    for pid in processes():
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                found += [pid] if word.encode() in file.read() else []
        except OSError:
            pass
    return found


def fork_bomb():
    started, stopped = 0, None
    try:
        for _ in range(3000):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            started += 1
    except OSError as error:
        stopped = errno.errorcode[error.errno]
    return [started, stopped]


def thread_bomb():
    hold, started = threading.Event(), []
    threading.stack_size(64 << 10)
    try:
        for _ in range(3000):
            thread = threading.Thread(target=hold.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return [len(started), "EAGAIN"]
    finally:
        hold.set()
        for thread in started:
            thread.join()
    return [len(started), None]


def fill_disk():
    block, written = b"x" * (1 << 20), 0
    with open("/tmp/fill", "wb", buffering=0) as file:
        try:
            while written < 4096:
                written += file.write(block) >> 20
        except OSError as error:
            stopped = errno.errorcode[error.errno]
        else:
            stopped = None
    os.unlink("/tmp/fill")
    return [written, stopped]


def fill_inodes():
    os.mkdir("/tmp/many")
    made = 0
    try:
        while made < 400_000:
            os.close(os.open("/tmp/many/%d" % made, os.O_CREAT | os.O_WRONLY))
            made += 1
    except OSError as error:
        return [made, errno.errorcode[error.errno]]
    return [made, None]


def open_files():
    held = []
    try:
        while len(held) < 5000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        stopped = errno.errorcode[error.errno]
    else:
        stopped = None
    for descriptor in held:
        os.close(descriptor)
    return [len(held), stopped]


def eat_memory():
    held = []
    while True:
        held.append(bytearray(b"x") * (16 << 20))


def eat_memory_in_children():
    for _ in range(8):
        if os.fork() == 0:
            held = bytearray(b"x") * (60 << 20)
            signal.pause()
            os._exit(len(held))
    signal.pause()


def eat_memory_by_file_mapping():
    held = []
    while True:
        part = mmap.mmap(-1, 16 << 20)
        for at in range(0, len(part), 4096):
            part[at] = 1
        held.append(part)


def die_with_children():
    for _ in range(20):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.pause()
            os._exit(0)
    return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]


def call_runtime_api(request_id):
    import http.client
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=5)
    api.request("POST", "/2018-06-01/runtime/invocation/%s/response" % request_id, b'"stolen"')
    return api.getresponse().status


def interfaces():
    with open("/proc/net/dev") as file:
        return [line.split(":")[0].strip() for line in file if ":" in line]


def descriptors():
    found = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found.append(os.readlink("/proc/self/fd/" + name))
        except OSError as error:
            found.append(errno.errorcode[error.errno])
    return found


def mount_flags(path):
    with open("/proc/self/mounts") as file:
        return [line.split()[3].split(",") for line in file if line.split()[1] == path][-1]


def execute_set_user_id():
    """A program that becomes root for everybody else."""
    for program in ("/usr/bin/su", "/bin/su", "/usr/bin/passwd", "/usr/bin/mount"):
        if os.path.exists(program) and os.stat(program).st_mode & 0o4000:
            done = subprocess.run([sys.executable, "-c", "import os; print(os.geteuid())"], capture_output=True, text=True)
            shown = subprocess.run([program, "--version"], capture_output=True)
            return [int(done.stdout) == os.geteuid(), status("NoNewPrivs")[0], shown.returncode in (0, 1, 2, 126)]
    return [True, status("NoNewPrivs")[0], True]


PROBES = {
    "list": lambda e: sorted(os.listdir(e["path"])),
    "read": lambda e: read(e["path"]),
    "write": lambda e: write(e["path"]),
    "make folder": lambda e: os.mkdir(e["path"]) or "made",
    "remove": lambda e: os.unlink(e["path"]) or "removed",
    "change mode": lambda e: os.chmod(e["path"], 0o777) or "changed",
    "follow link": lambda e: (os.path.lexists("/tmp/l") and os.unlink("/tmp/l"), os.symlink(e["path"], "/tmp/l"), read("/tmp/l"))[2],
    "link": lambda e: os.link(e["path"], "/tmp/hard") or "linked",
    "rename": lambda e: os.rename(e["path"], e["path"] + "x") or "renamed",
    "read link": lambda e: os.readlink(e["path"]),
    "device": lambda e: os.mknod("/tmp/device", 0o20666, os.makedev(1, 1)) or "made",
    "mount flags": lambda e: mount_flags(e["path"]),
    "handle": lambda e: syscall("name_to_handle_at", -100, b"/", None, None, 0),
    "open handle": lambda e: syscall("open_by_handle_at", 3, None, 0),
    "descriptors": lambda e: descriptors(),
    "exchange": lambda e: os.path.exists("/tmp/exchange") or write("/tmp/exchange"),
    "processes": lambda e: len(processes()),
    "environs": lambda e: environs(e["word"]),
    "kill": lambda e: os.kill(e["pid"], signal.SIGKILL) or "killed",
    "kill others": lambda e: [syscall_errno(lambda pid=pid: os.kill(pid, 0)) for pid in processes() if pid != os.getpid()],
    "shared memory": lambda e: syscall("shmget", 0x7469, 4096, 0o1666 if e["make"] else 0) >= 0,
    "abstract bind": lambda e: (HELD.append(socket.socket(socket.AF_UNIX)), HELD[-1].bind("\0" + e["name"]), HELD[-1].listen(), "bound")[3],
    "abstract connect": lambda e: connect(socket.AF_UNIX, "\0" + e["name"]),
    "runtime api": lambda e: call_runtime_api(e["id"]),
    "user": lambda e: [os.getuid(), os.geteuid(), os.getgid(), os.getgroups()],
    "status": lambda e: status("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"),
    "become root": lambda e: os.setuid(0) or "root" if os.getuid() else "EPERM",
    "join groups": lambda e: os.setgroups([0]) or "joined",
    "set-user-id": lambda e: execute_set_user_id(),
    "trace": lambda e: syscall("ptrace", 16, e["pid"], 0, 0),
    "trace me": lambda e: syscall("ptrace", 0, 0, 0, 0),
    "read memory": lambda e: syscall("process_vm_readv", e["pid"], None, 0, None, 0, 0),
    "take descriptor": lambda e: syscall("pidfd_getfd", syscall("pidfd_open", e["pid"], 0), 0, 0),
    "mount": lambda e: syscall("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "unmount": lambda e: syscall("umount2", b"/tmp", 2),
    "remount": lambda e: syscall("mount", b"none", b"/usr", None, 32 | 4096, None),
    "mount attributes": lambda e: syscall("mount_setattr", -100, b"/usr", 0, None, 0),
    "new mount": lambda e: syscall("fsopen", b"tmpfs", 0),
    "pivot": lambda e: syscall("pivot_root", b"/tmp", b"/tmp"),
    "chroot": lambda e: syscall("chroot", b"/tmp"),
    "unshare user": lambda e: syscall("unshare", NEWUSER),
    "unshare mounts": lambda e: syscall("unshare", NEWNS),
    "enter": lambda e: syscall("setns", 0, 0),
    "clone user": lambda e: syscall("clone", NEWUSER | signal.SIGCHLD, None, None, None, None),
    "clone network": lambda e: syscall("clone", NEWNET | signal.SIGCHLD, None, None, None, None),
    "clone3": lambda e: syscall("clone3", None, 0),
    "other convention": lambda e: syscall("read", 0, None, 0, offset=0x40000000),
    "unknown call": lambda e: syscall("unknown"),
    "host name": lambda e: syscall("sethostname", b"x", 1),
    "set clock": lambda e: syscall("settimeofday", None, None),
    "bpf": lambda e: syscall("bpf", 0, None, 0),
    "perf": lambda e: syscall("perf_event_open", None, 0, -1, -1, 0),
    "userfault": lambda e: syscall("userfaultfd", 0),
    "ring": lambda e: syscall("io_uring_setup", 1, None),
    "keys": lambda e: syscall("keyctl", 0, -3, 0),
    "add key": lambda e: syscall("add_key", b"user", b"x", b"x", 1, -3),
    "kexec": lambda e: syscall("kexec_load", 0, 0, None, 0),
    "module": lambda e: syscall("init_module", None, 0, b""),
    "reboot": lambda e: syscall("reboot", 0, 0, 0, None),
    "swap": lambda e: syscall("swapon", b"/tmp", 0),
    "personality": lambda e: syscall("personality", 0x0040000),
    "connect": lambda e: connect(socket.AF_INET, (e["host"], e["port"])),
    "connect by six": lambda e: connect(socket.AF_INET6, (e["host"], e["port"])),
    "send": lambda e: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (e["host"], e["port"])),
    "connect path": lambda e: connect(socket.AF_UNIX, e["path"]),
    "resolve": lambda e: socket.getaddrinfo(e["host"], 80),
    "interfaces": lambda e: interfaces(),
    "packets": lambda e: opened(socket.AF_PACKET, socket.SOCK_RAW, 0x300),
    "raw": lambda e: opened(socket.AF_INET, socket.SOCK_RAW, 1),
    "crypto sockets": lambda e: opened(38, socket.SOCK_SEQPACKET, 0),
    "virtual sockets": lambda e: opened(40, socket.SOCK_STREAM, 0),
    "netlink": lambda e: opened(socket.AF_NETLINK, socket.SOCK_RAW, 12),
    "netlink of routes": lambda e: opened(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "fork bomb": lambda e: fork_bomb(),
    "thread bomb": lambda e: thread_bomb(),
    "fill disk": lambda e: fill_disk(),
    "fill inodes": lambda e: fill_inodes(),
    "open files": lambda e: open_files(),
    "raise files": lambda e: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)) or "raised",
    "raise core": lambda e: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)) or "raised",
    "priority": lambda e: os.setpriority(os.PRIO_PROCESS, 0, -5) or "raised",
    "real time": lambda e: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)) or "real time",
    "never kill": lambda e: write("/proc/self/oom_score_adj", "-1000"),
    "lock memory": lambda e: 0 if LIBC.mlockall(3) == 0 else raise_errno(),
    "eat memory": lambda e: eat_memory(),
    "eat memory in children": lambda e: eat_memory_in_children(),
    "eat memory by mapping": lambda e: eat_memory_by_file_mapping(),
    "die with children": lambda e: die_with_children(),
}
HELD = []


def raise_errno():
    raise OSError(ctypes.get_errno(), "libc")


def syscall_errno(call):
    try:
        call()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]


def handler(event, context):
    try:
        return PROBES[event["probe"]](event)
    except socket.gaierror:
        return "no such name"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except ValueError as error:
        # Python's word for a limit that cannot be raised.
        return "EPERM" if "limit" in str(error) else str(error)
