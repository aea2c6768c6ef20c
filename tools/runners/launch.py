"""The first process inside the sandbox: sets the limits that belong there, starts the command, and ends with it.

    python -I -S -B launch.py HOST LIMITS WRITABLE COMMAND [ARGUMENT …]

HOST is a descriptor that hangs up when the host program dies; then everything in the sandbox dies with us, the first
process of its namespace. (bwrap's own `--die-with-parent` is no match: for a moment after its start it is not armed
yet, or kills bwrap's parent half and leaves the other half waiting for ever.)

LIMITS is `name=value,…` with the names of `resource.RLIMIT_*`; WRITABLE is the folders that may be written, joined by
colons. Limits are set here and not by the host because RLIMIT_NPROC counts per user namespace: outside, the processes
of the whole host would count. A command `python FILE …` runs in a fork of this process, which saves a start.
"""

import _thread
import os
import resource
import select
import sys
import types

ALLOWED_EVERYWHERE = ("/opt/packages", "/workspace")
"""Appended to sys.path, so that the standard library wins over a workspace file of the same name."""


def main() -> None:
    host, limits, writable, command = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(":"), sys.argv[4:]
    set_limits(limits)
    child = os.fork()
    if child:
        attend(child, host)
    # Nothing of bwrap's and ours: the command gets its three streams alone.
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    restrict_files(writable)
    if command[0] == "python":
        run_python(command[1:])
    else:
        try:
            os.execvp(command[0], command)
        except OSError as error:
            sys.exit(f"{command[0]}: {error.strerror}")


def attend(child: int, host: int) -> None:
    """Reap whatever ends in this namespace until the command does, then end like it."""
    _thread.start_new_thread(end_with, (host,))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def end_with(host: int) -> None:
    watcher = select.poll()
    watcher.register(host, 0)
    watcher.poll()
    os._exit(1)


def set_limits(limits: str) -> None:
    os.umask(0o022)
    for limit in limits.split(","):
        name, _, value = limit.partition("=")
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(value), int(value)))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # when the host runs out of memory, this goes first
    except OSError:
        pass  # the kernel's own choice stands


def run_python(arguments: list[str]) -> None:
    """Run a file as `__main__` in this process."""
    sys.argv = arguments
    sys.path.extend(ALLOWED_EVERYWHERE)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=arguments[0], __builtins__=__builtins__)
    sys.modules["__main__"] = module
    with open(arguments[0], "rb") as file:
        code = compile(file.read(), arguments[0], "exec", dont_inherit=True)
    exec(code, module.__dict__)


# Landlock, a second fence behind the mounts: see landlock(7). The numbers are the same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_SOCK, MAKE_BLOCK, TRUNCATE, IOCTL_DEV = 1 << 6, 1 << 9, 1 << 11, 1 << 14, 1 << 15
READING = EXECUTE | READ_FILE | READ_DIR
RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
TCP_BIND_AND_CONNECT = 0b11  # from version 4
ABSTRACT_SOCKETS_AND_SIGNALS = 0b11  # from version 6


def restrict_files(writable: list[str]) -> None:
    """Reading everywhere (that is mounted), writing in `writable` alone. Does nothing on kernels without Landlock."""
    import ctypes
    import struct

    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)
    if version < 1:
        return
    rights = RIGHTS_BY_VERSION[min(version, 5)]
    attributes = struct.pack("=Q", rights)
    if version >= 4:
        attributes += struct.pack("=Q", TCP_BIND_AND_CONNECT)
    if version >= 6:
        attributes += struct.pack("=Q", ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = call(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    granted = {"/": READING, "/dev": READING | WRITE_FILE | TRUNCATE | IOCTL_DEV}
    granted |= dict.fromkeys(writable, ~(MAKE_CHAR | MAKE_BLOCK | MAKE_SOCK))
    for folder, granted_rights in granted.items():
        parent = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", granted_rights & rights, parent)
        if call(ADD_RULE, ruleset, PATH_BENEATH, rule, 0) < 0:
            raise OSError(ctypes.get_errno(), "landlock_add_rule", folder)
        os.close(parent)
    if call(RESTRICT_SELF, ruleset, 0) < 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


if __name__ == "__main__":
    main()
