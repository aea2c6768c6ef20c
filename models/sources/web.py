"""A catalog entry's files from web addresses, and the URL source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx

from openhearth.errors import IntegrityError
from openhearth.models.catalog import CatalogEntry, ModelFile, UrlSource
from openhearth.models.sources.files import accept, require_space
from openhearth.models.sources.http import check_reachable, download, forget, open_client
from openhearth.models.sources.job import Job


def fetch_from_url(source: UrlSource, entry: CatalogEntry, folder: Path, job: Job) -> Path:
    """Bring a catalog entry's files into `folder`."""
    whole = not source.url.endswith("/")
    urls = {file.name: source.url if whole else source.url + file.name for file in entry.files}
    with open_client(job) as client:
        check_reachable(client, source.url, job)
        return fetch_files(client, urls, entry, folder, job)


def fetch_files(client: httpx.Client, urls: Mapping[str, str], entry: CatalogEntry, folder: Path, job: Job) -> Path:
    """Download what `folder` lacks of the entry, verify each file, and return `folder`."""
    missing = [file for file in entry.files if not (folder / file.name).exists()]
    arrived = sum(part.stat().st_size for file in missing if (part := _part(folder, file)).exists())
    require_space(folder, sum(file.size for file in missing) - arrived, f"The download of {job.title}")
    done = entry.size - sum(file.size for file in missing)
    for file in missing:
        _fetch_file(client, urls[file.name], file, folder, job, done, entry.size)
        done += file.size
    return folder


def _fetch_file(client: httpx.Client, url: str, file: ModelFile, folder: Path, job: Job, done: int, total: int) -> None:
    part = _part(folder, file)
    resumed = part.exists()
    what = f"Downloading {job.title}"
    download(client, url, part, size=file.size, job=job, report=lambda n: job.progress(what, done + n, total))
    try:
        accept(part, folder / file.name, file.sha256, job)
    except IntegrityError:
        forget(part)
        if not resumed:
            raise
        # What an earlier pull left may have been of another file; the source deserves one clean attempt.
        _fetch_file(client, url, file, folder, job, done, total)
    forget(part)


def _part(folder: Path, file: ModelFile) -> Path:
    return folder / f"{file.name}.part"
