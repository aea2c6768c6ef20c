"""Breaking out through the kernel: namespaces, mounts, tracing, devices, core dumps, suid, rare system calls."""

from __future__ import annotations

import json
import os
import platform
import signal
import stat

from support.arena import Arena

from openhearth.tools.sandbox import syscalls

ROOT = os.geteuid() == 0
MACHINE = platform.machine()
NUMBERS = syscalls.denied(MACHINE) | syscalls.inspected(MACHINE) | syscalls.allowed(MACHINE)


async def test_core_pattern(arena: Arena) -> None:
    # Opened and never written: being able to open it is being root on the host.
    look = "report(outcome=attempt(os.open, '/proc/sys/kernel/core_pattern', os.O_WRONLY))"
    assert arena.outside(look)["outcome"] == ("worked" if ROOT else "EACCES")
    assert (await arena.found(look))["outcome"] in ("EACCES", "EROFS")


async def test_other_kernel_settings(arena: Arena) -> None:
    sweep = """
opened = []
for folder, _, names in os.walk("/proc/sys"):
    for name in names:
        if attempt(lambda: os.close(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_NONBLOCK))) == "worked":
            opened.append(f"{folder}/{name}")
report(opened=opened, sysrq=attempt(os.open, "/proc/sysrq-trigger", os.O_WRONLY), kmem=os.path.exists("/dev/mem"),
       sys=os.path.exists("/sys/kernel"), cgroup=os.path.exists("/sys/fs/cgroup"))
"""
    inside = await arena.found(sweep)
    assert inside["opened"] == []
    assert inside["sysrq"] != "worked"
    assert not inside["kmem"]
    assert not inside["sys"]
    assert not inside["cgroup"]


async def test_nested_namespaces(arena: Arena) -> None:
    nest = f"""
flags = {{"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "user and mount": 0x10020000}}
def nested(flag):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if attempt(lambda: checked(LIBC.unshare(flag))) == "worked" else 1)
    if os.waitpid(pid, 0)[1]:
        raise OSError(errno.EPERM, "refused")
def cloned(flag):
    pid = syscall({NUMBERS["clone"]}, flag | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
report(unshare={{name: attempt(nested, flag) for name, flag in flags.items()}},
       clone={{name: attempt(cloned, flag) for name, flag in flags.items()}},
       clone3=attempt(syscall, {NUMBERS["clone3"]}, 0, 0))
"""
    outside, inside = arena.outside(nest), await arena.found(nest)
    assert outside["unshare"]["user"] == "worked"
    assert outside["clone"]["user"] == "worked"
    assert set(inside["unshare"].values()) == {"EPERM"}
    assert set(inside["clone"].values()) == {"EPERM"}
    assert inside["clone3"] == "ENOSYS"


async def test_mounting(arena: Arena) -> None:
    mount = f"""
def mount():
    if sys.argv[1] == "outside":
        checked(LIBC.unshare(0x10020000))  # a namespace of its own: nobody else sees the mount
    checked(LIBC.mount(b"tmpfs", sys.argv[2].encode(), b"tmpfs", 0, None))
report(mount=attempt(mount), chroot=attempt(os.chroot, sys.argv[2]),
       pivot=attempt(syscall, {NUMBERS["pivot_root"]}, 0, 0), fsopen=attempt(syscall, {NUMBERS["fsopen"]}, 0, 0),
       umount=attempt(lambda: checked(LIBC.umount2(b"/proc", 2))),
       remount=attempt(lambda: checked(LIBC.mount(None, b"/", None, 0x1020, None))))
"""
    assert arena.outside(mount, "outside", arena.open_folder)["mount"] == "worked"
    inside = await arena.found(mount, "inside", "/tmp")
    assert set(inside.values()) == {"EPERM"}


async def test_tracing_and_reading_other_processes(arena: Arena) -> None:
    trace = f"""
import ctypes
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
child = os.fork()
if child == 0:
    time.sleep(20)
    os._exit(0)
def attach():
    checked(LIBC.ptrace(PTRACE_ATTACH, child, None, None))
    os.waitpid(child, 0)
    LIBC.ptrace(PTRACE_DETACH, child, None, None)
class Span(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("size", ctypes.c_size_t)]
source = ctypes.create_string_buffer(b"memory")
target = ctypes.create_string_buffer(6)
def peek():
    here, there = Span(ctypes.addressof(target), 6), Span(ctypes.addressof(source), 6)
    checked(LIBC.process_vm_readv(child, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))
found = dict(attach=attempt(attach), peek=attempt(peek),
             pidfd=attempt(syscall, {NUMBERS["pidfd_getfd"]}, os.pidfd_open(child), 1, 0))
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
report(**found)
"""
    outside, inside = arena.outside(trace), await arena.found(trace)
    assert outside["peek"] == "worked" or not ROOT
    assert set(inside.values()) == {"EPERM"}


RARE = """
    bpf userfaultfd io_uring_setup io_uring_enter keyctl add_key request_key perf_event_open memfd_create shmget semget
    msgget mq_open fanotify_init name_to_handle_at open_by_handle_at init_module kexec_load swapon reboot acct syslog
    settimeofday sethostname io_setup kcmp quotactl open_tree mount_setattr seccomp
"""
CALL = """
numbers = json.loads(sys.argv[1])
report(**{name: attempt(syscall, number, 0, 0, 0, 0, 0) for name, number in numbers.items()})
"""


async def test_rare_system_calls(arena: Arena) -> None:
    numbers = {name: NUMBERS[name] for name in RARE.split()}
    # Arguments of zero: harmless where a call is allowed.
    inside = await arena.found(CALL, json.dumps(numbers))
    assert inside == dict.fromkeys(numbers, "EPERM")
    harmless = {name: NUMBERS[name] for name in ("memfd_create", "semget", "kcmp", "keyctl")}
    outside = arena.outside(CALL, json.dumps(harmless))
    assert "EPERM" not in (outside["memfd_create"], outside["semget"])


async def test_device_nodes(arena: Arena) -> None:
    make = """
report(null=attempt(os.mknod, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
       disk=attempt(os.mknod, "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0)) if sys.argv[1] == "all" else "")
"""
    if ROOT:
        assert arena.outside(make, "null")["null"] == "worked"
    inside = await arena.found(make, "all")
    assert set(inside.values()) <= {"EPERM", "EACCES"}
    assert list(arena.workspace.iterdir()) == []


async def test_suid_files_lose_their_bits(arena: Arena) -> None:
    make = """
import shutil
shutil.copy("/bin/sh", "shell")
os.chmod("shell", 0o6755)
os.mkdir("folder")
os.chmod("folder", 0o2777)
write("folder/file")
report(mode=stat.S_IMODE(os.stat("shell").st_mode))
"""
    target = arena.folder / "control"
    target.mkdir()
    assert arena.outside(make, cwd=target)["mode"] == 0o6755
    assert (await arena.inside(make)).exit_code == 0
    assert stat.S_IMODE((arena.workspace / "shell").stat().st_mode) == 0o755
    assert stat.S_IMODE((arena.workspace / "folder").stat().st_mode) & 0o7000 == 0


async def test_suid_programs_give_nothing(arena: Arena) -> None:
    look = """
suid = [f"/usr/bin/{name}" for name in os.listdir("/usr/bin") if os.stat(f"/usr/bin/{name}").st_mode & 0o4000]
status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
report(no_new_privs=status["NoNewPrivs"].strip(), capabilities=status["CapBnd"].strip(),
       mounts=[line for line in read("/proc/mounts").splitlines() if "nosuid" not in line],
       uid=attempt(os.setuid, 0), suid=len(suid))
"""
    inside = await arena.found(look)
    assert inside["no_new_privs"] == "1"
    assert int(inside["capabilities"], 16) == 0
    assert inside["mounts"] == []
    assert inside["uid"] != "worked"


if MACHINE == "x86_64":

    async def test_the_32_bit_calling_convention(arena: Arena) -> None:
        # int 0x80 with eax = 20 is getpid of the 32-bit table; through it, numbers mean other calls.
        machine_code = """
import mmap
code = bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3])
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
entry = ctypes.addressof(ctypes.c_char.from_buffer(page))
pid = os.fork()
if pid == 0:
    ctypes.CFUNCTYPE(ctypes.c_int)(entry)()
    os._exit(0)
status = os.waitpid(pid, 0)[1]
report(signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
"""
        # SIGSYS; SIGSEGV where the kernel has no 32-bit calls at all.
        assert (await arena.found(machine_code))["signal"] in (signal.SIGSYS, signal.SIGSEGV)
