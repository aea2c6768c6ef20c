"""Where a model's bytes come from. Every source ends in the same verified files."""

from __future__ import annotations

from pathlib import Path

from openhearth.models.catalog import CatalogEntry, FolderSource, HubSource, IndexSource, Source
from openhearth.models.sources.files import sha256_of
from openhearth.models.sources.folder import fetch_from_folder
from openhearth.models.sources.hub import fetch_from_hub
from openhearth.models.sources.index import fetch_from_index
from openhearth.models.sources.job import Job
from openhearth.models.sources.web import fetch_from_url


def fetch(source: Source, entry: CatalogEntry, folder: Path, job: Job) -> Path:
    """The folder that holds all of the entry's files, verified: `folder`, or the source's own.

    Raises DownloadError, IntegrityError, DiskFullError or CancelledError; what has arrived stays for the next attempt.
    """
    if isinstance(source, HubSource):
        return fetch_from_hub(source, entry, folder, job)
    if isinstance(source, IndexSource):
        return fetch_from_index(source, entry, folder, job)
    if isinstance(source, FolderSource):
        return fetch_from_folder(source, entry, job)
    return fetch_from_url(source, entry, folder, job)


def is_complete(entry: CatalogEntry, folder: Path, job: Job) -> bool:
    """Whether an earlier pull has left all of the entry's files in `folder`; a damaged one is deleted."""
    complete = True
    for file in entry.files:
        path = folder / file.name
        if not path.exists():
            complete = False
        elif path.stat().st_size != file.size or sha256_of(path, job) != file.sha256:
            path.unlink()
            complete = False
    return complete
