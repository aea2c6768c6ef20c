"""Proving a sandbox before it is used: each layer is attacked from inside, and what was found is judged here."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openhearth.config import SandboxSettings
from openhearth.errors import SandboxError, SandboxUnavailableError
from openhearth.tools.base import SandboxResult
from openhearth.tools.runners import runner_source
from openhearth.tools.sandbox.bwrap import rlimits
from openhearth.tools.sandbox.sandbox import BwrapSandbox
from openhearth.tools.sandbox.staging import NOBODY

_TIME_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `hearth doctor`. `hint` says what to do when it is not `ok`."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


async def prove(sandbox: BwrapSandbox, settings: SandboxSettings) -> list[Check]:
    """Run the canary program and judge every layer. Raises SandboxUnavailableError when it cannot even run."""
    with tempfile.TemporaryDirectory(prefix="openhearth-canary-") as folder:
        secret, workspace = await asyncio.to_thread(_bait, Path(folder))
        try:
            result = await sandbox.run(
                ["python", "/input/canary.py", str(secret)],
                workspace=workspace,
                files={"canary.py": runner_source("canary.py")},
                timeout_s=_TIME_LIMIT_S,
            )
        except SandboxError as error:
            raise SandboxUnavailableError(error.message, hint=_advice(error.message)) from error
        findings = _findings(result)
    applied = "made/file" in [change.path for change in result.changes]
    return [*_judge(findings, settings), Check("changes come back", applied, "from the copy of the workspace")]


def _bait(folder: Path) -> tuple[Path, Path]:
    """A file that everybody can read, so that only the sandbox can be what hides it, and an empty workspace."""
    folder.chmod(0o755)
    bait = folder / "bait"
    bait.write_text("seen")
    workspace = folder / "workspace"
    workspace.mkdir()
    return bait, workspace


def _findings(result: SandboxResult) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(result.stdout)
    except ValueError as error:
        said = (result.stderr or result.stdout).strip() or f"exit code {result.exit_code} {result.killed_for}"
        raise SandboxUnavailableError(f"The sandbox's self-test failed: {said}", hint=_advice(said)) from error
    return found


def _judge(found: Mapping[str, Any], settings: SandboxSettings) -> Iterator[Check]:
    # Root on the host could write this file even from inside, stripped of all capabilities.
    yield Check("user", found["uid"] != 0 and found["core_pattern_refused"], "not root, inside or outside")
    held = found["capabilities"]
    yield Check("privileges", held == 0 and found["no_new_privileges"], "no capabilities, none to be gained")
    yield Check("system calls", found["seccomp"] and found["user_namespace_refused"], "filtered by seccomp")
    yield Check("Landlock", True, "active" if found["landlock"] else "not in this kernel: the other layers hold alone")
    hidden = not found["first_process_environment"] and set(found["environment"]) <= _EXPECTED_VARIABLES
    yield Check("environment", hidden, "the host's variables are hidden")
    yield Check("files", found["secret_hidden"] and found["shadow_hidden"], "the host's files are hidden")
    yield Check("writing", found["writes_refused"], "refused outside the workspace")
    yield Check(
        "workspace", found["workspace_works"] and found["scratch_works"], "the workspace and /tmp can be written"
    )
    alone = found["processes"] <= 3
    yield Check("processes", alone, "the host's processes are hidden")
    network = found["socket_refused"] and found["interfaces"] in ([], ["lo"]) and found["pair_works"]
    yield Check("network", network, "off")
    expected = rlimits(settings, _TIME_LIMIT_S)
    limited = all(value == expected[name] for name, value in found["limits"].items())
    yield Check("limits", limited, f"{settings.memory_mb:,} MB, {settings.processes} processes")


_EXPECTED_VARIABLES = {
    "PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PWD", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LD_LIBRARY_PATH",
}  # fmt: skip


def _advice(said: str) -> str:
    """What to do about bwrap's own words."""
    if "user namespace" in said or "uid map" in said or "No permissions to creat" in said or "NEWUSER" in said:
        return (
            "User namespaces are switched off. On Debian or Ubuntu install the package bubblewrap, whose bwrap is "
            "allowed to make them; elsewhere set sysctl user.max_user_namespaces=15000 (and "
            "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0 where they exist). "
            "In Docker, run with --security-opt seccomp=unconfined --security-opt apparmor=unconfined."
        )
    if "mount proc" in said or "Can't mount" in said:
        return "The container masks /proc. In Docker, run with --security-opt systempaths=unconfined."
    if "Permission denied" in said:
        return f"Uid {NOBODY} must be able to reach the folder named above: check its parents' modes, or set TMPDIR."
    return "`hearth doctor` shows each check."
