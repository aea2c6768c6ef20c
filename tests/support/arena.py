"""Where hostile programs are tried: outside, in a harmless form, to prove that they would work; then inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openhearth.config import SandboxSettings
from openhearth.tools.base import SandboxResult
from openhearth.tools.sandbox import open_sandbox

PRELUDE = '''
import ctypes, errno, json, os, signal, socket, stat, sys, time

LIBC = ctypes.CDLL(None, use_errno=True)

def attempt(action, *arguments):
    """`worked`, or the name of the error."""
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "worked"

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def syscall(number, *arguments):
    return checked(LIBC.syscall(*map(ctypes.c_long, (number, *arguments))))

def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)

def read(path):
    with open(path, "rb") as file:
        return file.read().decode(errors="replace")

def report(**findings):
    print(json.dumps(findings), flush=True)
'''
"""Put before every program; programs end with `report(name=value, …)`."""


@dataclass
class Arena:
    """One attack's place. `folder` can be reached by every user, so that only the sandbox can keep a program out."""

    folder: Path
    settings: SandboxSettings = field(default_factory=SandboxSettings)
    mark: str = field(default_factory=lambda: f"attack-{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.folder.chmod(0o755)
        self.workspace = self.folder / "workspace"
        self.workspace.mkdir()
        self.open_folder = self.folder / "open"
        self.open_folder.mkdir()
        self.open_folder.chmod(0o777)
        self.bait = self.open_folder / "bait.txt"
        self.bait.write_text("bait")
        self.bait.chmod(0o666)

    def outside(
        self, program: str, *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Run the program as it is, on the host; its findings."""
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-c", PRELUDE + program, *map(str, arguments)],
            cwd=cwd or self.open_folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return found

    async def inside(self, program: str, *arguments: object, timeout_s: float | None = None) -> SandboxResult:
        """Run the program in the sandbox, over the workspace."""
        sandbox = await open_sandbox(self.settings)
        name = f"{self.mark}.py"
        return await sandbox.run(
            ["python", f"/input/{name}", *map(str, arguments)],
            workspace=self.workspace,
            files={name: (PRELUDE + program).encode()},
            timeout_s=timeout_s,
        )

    async def found(self, program: str, *arguments: object) -> dict[str, Any]:
        """The findings of a program that ended well in the sandbox."""
        result = await self.inside(program, *arguments)
        assert result.exit_code == 0, result
        found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return found

    def survivors(self) -> list[int]:
        """Host pids of processes that run this arena's programs."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    alive = self.mark.encode() in (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if alive:
                    found.append(int(entry.name))
        return found
