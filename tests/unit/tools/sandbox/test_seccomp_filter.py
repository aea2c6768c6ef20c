"""The system call filter, run by a small interpreter of classic BPF."""

from __future__ import annotations

import errno
import struct

import pytest

from openhearth.errors import SandboxUnavailableError
from openhearth.tools.sandbox import syscalls
from openhearth.tools.sandbox.seccomp import AUDIT_ARCH, build_filter, seccomp_filter

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
MACHINES = ("x86_64", "aarch64")


def interpret(program: bytes, number: int, arguments: tuple[int, ...] = (), arch: int = AUDIT_ARCH["x86_64"]) -> int:
    """The verdict of a packed filter on one system call, as the kernel's BPF machine would reach it."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(value & (2**64 - 1) for value in padded))
    accumulator = at = 0
    while True:
        code, if_true, if_false, k = struct.unpack_from("<HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:
                accumulator &= k
            case 0x15 | 0x25 | 0x35 | 0x45:
                holds = {
                    0x15: accumulator == k,
                    0x25: accumulator > k,
                    0x35: accumulator >= k,
                    0x45: bool(accumulator & k),
                }[code]
                at += if_true if holds else if_false
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(f"unknown opcode {code:#x}")


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def verdict(machine: str, name: str, *arguments: int) -> int:
    numbers = syscalls.allowed(machine) | syscalls.denied(machine) | syscalls.inspected(machine)
    return interpret(seccomp_filter(machine), numbers[name], arguments, AUDIT_ARCH[machine])


def test_every_call_gets_its_verdict(machine: str) -> None:
    program = seccomp_filter(machine)
    allowed, denied = set(syscalls.allowed(machine).values()), set(syscalls.denied(machine).values())
    inspected = set(syscalls.inspected(machine).values())
    assert not allowed & denied
    assert not (allowed | denied) & inspected
    for number in set(range(600)) - inspected:
        expected = ALLOW if number in allowed else EPERM if number in denied else ENOSYS
        assert interpret(program, number, arch=AUDIT_ARCH[machine]) == expected, number


def test_programs_fit_the_kernel_and_jump_forward_within(machine: str) -> None:
    program = build_filter(machine)
    assert len(program) <= 4096
    for at, instruction in enumerate(program):
        if instruction.code != 0x06:
            assert at + 1 + max(instruction.if_true, instruction.if_false) < len(program)
    assert program[-1].code == 0x06


def test_another_architecture_is_killed() -> None:
    for machine, other in (("x86_64", "aarch64"), ("aarch64", "x86_64")):
        assert interpret(seccomp_filter(machine), 0, arch=AUDIT_ARCH[other]) == KILL
    i386 = 0x40000003
    assert interpret(seccomp_filter("x86_64"), 1, arch=i386) == KILL


def test_x32_calls_are_killed() -> None:
    for number in (0x40000000, 0x40000000 | 1, 0x40000000 | 520, 0xFFFFFFFF):
        assert interpret(seccomp_filter("x86_64"), number) == KILL


DANGEROUS = """
    socket connect bind ptrace mount umount2 pivot_root unshare setns bpf userfaultfd io_uring_setup keyctl add_key
    memfd_create shmget process_vm_readv perf_event_open open_by_handle_at fsopen open_tree kexec_load reboot
"""
ORDINARY = "read write openat execve futex mmap exit_group wait4 getrandom statx sendmsg"


@pytest.mark.parametrize("name", DANGEROUS.split())
def test_dangerous_calls_are_denied(machine: str, name: str) -> None:
    assert verdict(machine, name) == EPERM


@pytest.mark.parametrize("name", ORDINARY.split())
def test_ordinary_calls_are_allowed(machine: str, name: str) -> None:
    assert verdict(machine, name) == ALLOW


@pytest.mark.parametrize("flag", [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000])
def test_clone_makes_no_namespaces(machine: str, flag: int) -> None:
    sigchld, thread = 17, 0x003D0F00
    assert verdict(machine, "clone", sigchld | flag) == EPERM
    assert verdict(machine, "clone", sigchld) == ALLOW
    assert verdict(machine, "clone", thread) == ALLOW


def test_clone3_is_unknown_so_that_libraries_use_clone(machine: str) -> None:
    assert verdict(machine, "clone3") == ENOSYS


def test_socketpair_is_only_a_pair(machine: str) -> None:
    stream, datagram, seqpacket, cloexec = 1, 2, 5, 0o2000000
    assert verdict(machine, "socketpair", 1, stream | cloexec) == ALLOW
    assert verdict(machine, "socketpair", 1, seqpacket) == ALLOW
    assert verdict(machine, "socketpair", 1, datagram | cloexec) == EPERM
    assert verdict(machine, "socketpair", 2, stream) == EPERM


def test_terminal_input_cannot_be_forged(machine: str) -> None:
    assert verdict(machine, "ioctl", 0, 0x5412) == EPERM
    assert verdict(machine, "ioctl", 0, 0x541C) == EPERM
    # The kernel looks at the low half alone; so must the filter.
    assert verdict(machine, "ioctl", 0, 0x5412 | 1 << 40) == EPERM
    assert verdict(machine, "ioctl", 0, 0x5401) == ALLOW


def test_prctl_and_personality(machine: str) -> None:
    assert verdict(machine, "prctl", 38) == ALLOW  # PR_SET_NO_NEW_PRIVS
    assert verdict(machine, "prctl", 22) == EPERM  # PR_SET_SECCOMP
    assert verdict(machine, "personality", 0xFFFFFFFF) == ALLOW
    assert verdict(machine, "personality", 0x0400000) == EPERM  # READ_IMPLIES_EXEC


def test_other_processors_are_told() -> None:
    with pytest.raises(SandboxUnavailableError, match="riscv64"):
        seccomp_filter("riscv64")
