"""The sandbox in which all model-written code runs. A missing one is an error, never a downgrade."""

from __future__ import annotations

import asyncio
import sys

from openhearth.config import SandboxSettings
from openhearth.errors import SandboxUnavailableError
from openhearth.tools.sandbox.canary import Check, prove
from openhearth.tools.sandbox.sandbox import BwrapSandbox

__all__ = ["BwrapSandbox", "Check", "open_sandbox", "probe"]

_PLATFORM: str = sys.platform
_proved: dict[str, BwrapSandbox] = {}


async def open_sandbox(settings: SandboxSettings | None = None) -> BwrapSandbox:
    """A sandbox that has proved itself in this process with the same settings, or does so now.

    Raises SandboxUnavailableError, which says which layer fails and what to do.
    """
    settings = settings or SandboxSettings()
    key = settings.model_dump_json()
    if key not in _proved:
        sandbox = await _make(settings)
        failed = [check for check in await prove(sandbox, settings) if not check.ok]
        if failed:
            names = ", ".join(check.name for check in failed)
            raise SandboxUnavailableError(
                f"The sandbox does not hold: {names}.", hint="Do not run code on this system; please report this."
            )
        _proved[key] = sandbox
    return _proved[key]


async def probe(settings: SandboxSettings | None = None) -> list[Check]:
    """Every layer's check, afresh, for `hearth doctor`. Raises nothing: what is missing is a failed check."""
    settings = settings or SandboxSettings()
    try:
        return await prove(await _make(settings), settings)
    except SandboxUnavailableError as error:
        return [Check("sandbox", False, error.message, error.hint)]


async def _make(settings: SandboxSettings) -> BwrapSandbox:
    if _PLATFORM != "linux":
        raise SandboxUnavailableError(
            f"There is no sandbox for {_PLATFORM} yet, so code is not run.",
            hint="Use Linux, a Linux virtual machine, or WSL 2.",
        )
    return await asyncio.to_thread(BwrapSandbox, settings)
