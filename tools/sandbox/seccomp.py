"""The system call filter: a classic BPF program, built here and handed to bwrap.

Verdicts, and why:

- another architecture, or x32 on x86-64: the process is killed. No honest program does this by accident, and the
  numbers below would mean other calls.
- on the deny list: EPERM, which a program reports in words that a model can read.
- on neither list: ENOSYS, so that a C library falls back to the older call it knows.

See seccomp(2), and `struct seccomp_data` in linux/seccomp.h for the offsets.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openhearth.errors import SandboxUnavailableError
from openhearth.tools.sandbox import syscalls

ALLOW = 0x7FFF0000
KILL = 0x80000000
_ERRNO = 0x00050000
DENY = _ERRNO | errno.EPERM
UNKNOWN = _ERRNO | errno.ENOSYS

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

# Opcodes of linux/bpf_common.h.
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_GREATER = 0x25
JUMP_GREATER_EQUAL = 0x35
JUMP_BITS = 0x45  # BPF_JSET: any of the bits
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
RETURN = 0x06

_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16

# Any of these in clone(2) makes a namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_AF_UNIX = 1
_SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_TYPE_MASK = 1, 5, 0xF
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # they push characters into a terminal's input
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Docker's choice: none, 32-bit uname, ask only
_PR_SET_MM, _PR_SET_SECCOMP, _PR_SET_PTRACER = 35, 22, 0x59616D61


@dataclass(frozen=True, slots=True)
class Instruction:
    """One `struct sock_filter`. Jumps count instructions after the next one."""

    code: int
    k: int = 0
    if_true: int = 0
    if_false: int = 0

    def pack(self) -> bytes:
        return struct.pack("<HBBI", self.code, self.if_true, self.if_false, self.k)


def seccomp_filter(machine: str | None = None) -> bytes:
    """The program for this machine, or the named one (`x86_64`, `aarch64`), as bwrap's `--seccomp` reads it.

    Raises SandboxUnavailableError on another architecture.
    """
    return b"".join(instruction.pack() for instruction in build_filter(machine or platform.machine()))


def build_filter(machine: str) -> list[Instruction]:
    """The instructions of the filter for `machine`."""
    if machine not in AUDIT_ARCH:
        raise SandboxUnavailableError(
            f"The sandbox has no system call filter for {machine} processors.",
            hint=f"It runs on {' and '.join(AUDIT_ARCH)}.",
        )
    program = [
        Instruction(LOAD, _ARCH),
        Instruction(JUMP_EQUAL, AUDIT_ARCH[machine], if_true=1),
        Instruction(RETURN, KILL),
        Instruction(LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        program += [Instruction(JUMP_GREATER_EQUAL, _X32_BIT, if_false=1), Instruction(RETURN, KILL)]
    for name, number in syscalls.inspected(machine).items():
        block = _INSPECTIONS[name]
        program += [Instruction(JUMP_EQUAL, number, if_false=len(block)), *block]
    program += _verdict_for(syscalls.denied(machine).values(), DENY)
    program += _verdict_for(syscalls.allowed(machine).values(), ALLOW)
    program.append(Instruction(RETURN, UNKNOWN))
    return program


def _verdict_for(numbers: Iterable[int], verdict: int) -> list[Instruction]:
    """Three instructions for each run of consecutive numbers; a call outside all runs falls through."""
    program: list[Instruction] = []
    for low, high in _runs(sorted(numbers)):
        program += [
            Instruction(JUMP_GREATER_EQUAL, low, if_false=2),
            Instruction(JUMP_GREATER, high, if_true=1),
            Instruction(RETURN, verdict),
        ]
    return program


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _argument(index: int) -> Instruction:
    """Load the low 32 bits of a little-endian word; the inspected arguments are all ints to the kernel."""
    return Instruction(LOAD, _ARGUMENTS + 8 * index)


def _unless_one_of(values: Sequence[int], verdict: int, otherwise: int) -> list[Instruction]:
    """`otherwise` when the loaded value is one of `values`, else `verdict`."""
    tests = [Instruction(JUMP_EQUAL, value, if_true=len(values) - at) for at, value in enumerate(values)]
    return [*tests, Instruction(RETURN, verdict), Instruction(RETURN, otherwise)]


_INSPECTIONS: dict[str, list[Instruction]] = {
    "clone": [
        _argument(0),
        Instruction(JUMP_BITS, _NEW_NAMESPACES, if_false=1),
        Instruction(RETURN, DENY),
        Instruction(RETURN, ALLOW),
    ],
    # Its flags lie in memory, where a filter cannot look; C libraries fall back to clone.
    "clone3": [Instruction(RETURN, UNKNOWN)],
    "ioctl": [_argument(1), *_unless_one_of((_TIOCSTI, _TIOCLINUX), ALLOW, DENY)],
    "personality": [_argument(0), *_unless_one_of(_PERSONALITIES, DENY, ALLOW)],
    "prctl": [_argument(0), *_unless_one_of((_PR_SET_MM, _PR_SET_SECCOMP, _PR_SET_PTRACER), ALLOW, DENY)],
    # A datagram socket could be sent to any named socket; a stream cannot be anything but the pair it is.
    "socketpair": [
        _argument(0),
        Instruction(JUMP_EQUAL, _AF_UNIX, if_true=1),
        Instruction(RETURN, DENY),
        _argument(1),
        Instruction(AND, _SOCK_TYPE_MASK),
        *_unless_one_of((_SOCK_STREAM, _SOCK_SEQPACKET), DENY, ALLOW),
    ],
}
