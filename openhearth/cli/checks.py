"""The checks of `hearth doctor`, each independent of the others."""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections.abc import Callable, Iterator

from openhearth import paths
from openhearth.cli import exit_codes
from openhearth.cli.check import Check
from openhearth.cli.device_checks import device_check, kernels_check, memory_check, torch_check
from openhearth.config import Settings, load_settings
from openhearth.errors import HearthError

_LITTLE_DISK = 5_000_000_000


def run_checks() -> Iterator[Check]:
    """One after the other, as they are done."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    try:
        settings = load_settings()
    except HearthError as error:
        yield _failed("settings", error)
        settings = Settings()
    for name, check in _CHECKS.items():
        try:
            yield check(settings)
        except HearthError as error:
            yield _failed(name, error)
        except Exception as error:
            yield Check(name, "failed", f"{type(error).__name__}: {error}", exit_code=exit_codes.FAILED)


def _sandbox(settings: Settings) -> Check:
    from openhearth.tools.sandbox import probe

    layers = asyncio.run(probe(settings.sandbox))
    broken = [layer for layer in layers if not layer.ok]
    if broken:
        detail = "; ".join(f"{layer.name}: {layer.detail}" for layer in broken)
        hint = "\n".join(dict.fromkeys(layer.hint for layer in broken if layer.hint))
        return Check("sandbox", "failed", detail, hint, exit_codes.SANDBOX)
    return Check("sandbox", "ok", "holds: " + ", ".join(layer.name for layer in layers))


def _database(settings: Settings) -> Check:
    from openhearth.storage import runs, threads
    from openhearth.storage.store import Store

    with (
        Store.open(settings.database_url, keep_backups=settings.storage.keep_backups) as store,
        store.read() as session,
    ):
        counts = f"{len(threads.list(session))} threads, {len(runs.list(session))} runs"
        return Check("database", "ok", f"{store.file} ({counts})")


def _models(settings: Settings) -> Check:
    from openhearth.models.pull import find_store, list_pulled, resolve_reference

    pulled = ", ".join(model.name for model in list_pulled()) or "none"
    reference = settings.model.default
    if resolve_reference(reference).is_local and find_store(reference, settings) is None:
        hint = f"The default model comes with the first run, or now: hearth models pull {reference}"
        return Check("models", "warning", f"pulled: {pulled}; {reference} is not among them", hint)
    return Check("models", "ok", f"pulled: {pulled}; default: {reference}")


def _disk(settings: Settings) -> Check:
    folder = next(parent for parent in (paths.data_dir(), *paths.data_dir().parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free in {folder}"
    if free < _LITTLE_DISK:
        return Check("disk", "warning", detail, "A model needs some gigabytes; HEARTH_HOME moves all files elsewhere.")
    return Check("disk", "ok", detail)


_CHECKS: dict[str, Callable[[Settings], Check]] = {
    "torch": torch_check,
    "kernels": kernels_check,
    "device": device_check,
    "memory": memory_check,
    "sandbox": _sandbox,
    "database": _database,
    "models": _models,
    "disk": _disk,
}


def _failed(name: str, error: HearthError) -> Check:
    return Check(name, "failed", error.message, error.hint, exit_codes.of_error(error.code))
