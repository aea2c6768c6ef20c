"""From a model reference to a verdict: fetches what the gate needs, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from openhearth import paths
from openhearth.config import Settings
from openhearth.errors import ConfigError
from openhearth.models.base import ProgressCallback
from openhearth.models.catalog import find_entry
from openhearth.models.loading.convert import convert
from openhearth.models.pull import download_folder, fetch_raw
from openhearth.models.pulled import MANIFEST, find_store, precision_of
from openhearth.models.quality.gate import TOKENS, QualityReport, measure
from openhearth.models.reference import Reference, resolve_reference
from openhearth.models.sources.files import disk_errors


def check_model(
    reference: str,
    settings: Settings,
    progress: ProgressCallback | None = None,
    *,
    tokens: int = TOKENS,
    cancel: threading.Event | None = None,
) -> QualityReport:
    """Measure the model behind `reference` in the precision that the settings ask for.

    A converted model that is here is measured as it is, and else one is made for the occasion. The original files are
    fetched, unless they are still here, and go again. Raises what `pull` and `measure` raise, and ConfigError for a
    reference without original weights.
    """
    resolved = resolve_reference(reference)
    _require_original(reference, resolved)
    with (
        _original(reference, resolved, settings, progress, cancel) as source,
        _converted(reference, resolved, settings, source, progress, cancel) as store,
    ):
        return measure(
            source,
            store,
            tokens=tokens,
            device=settings.model.device,
            threads=settings.model.threads,
            progress=progress,
            cancel=cancel,
        )


def _require_original(reference: str, resolved: Reference) -> None:
    if not resolved.is_local:
        raise ConfigError(f"{reference} is not a model on this machine; there are no weights to compare.")
    if resolved.kind == "catalog" and find_entry(resolved.name).kind == "embedding":
        raise ConfigError(f"{reference} embeds texts, in the precision it came in; there is nothing to compare.")
    if resolved.kind == "folder" and (Path(resolved.value) / MANIFEST).is_file():
        raise ConfigError(
            f"{reference} is a converted model; what it was made from is needed, too.",
            hint="Name the file, folder or catalog entry that was converted.",
        )


@contextlib.contextmanager
def _original(
    reference: str,
    resolved: Reference,
    settings: Settings,
    progress: ProgressCallback | None,
    cancel: threading.Event | None,
) -> Iterator[Path]:
    folder = download_folder(resolved)
    here = folder.exists()
    yield fetch_raw(reference, settings, progress, cancel=cancel)
    if not here:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _converted(
    reference: str,
    resolved: Reference,
    settings: Settings,
    source: Path,
    progress: ProgressCallback | None,
    cancel: threading.Event | None,
) -> Iterator[Path]:
    store = find_store(reference, settings)
    if store is not None:
        yield store
        return
    cache = paths.cache_dir()
    with disk_errors(cache):
        paths.ensure_private(cache)
    with tempfile.TemporaryDirectory(prefix="check-", dir=cache) as folder:
        made = Path(folder) / "store"
        with disk_errors(cache):
            convert(source, made, precision=precision_of(resolved, settings), progress=progress, cancel=cancel)
        yield made
