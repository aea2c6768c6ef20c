"""A catalog entry's files in a folder of this machine; they are verified and read in place."""

from __future__ import annotations

from pathlib import Path

from openhearth.errors import DownloadError, IntegrityError
from openhearth.models.catalog import CatalogEntry, FolderSource
from openhearth.models.sources.files import sha256_of
from openhearth.models.sources.job import Job


def fetch_from_folder(source: FolderSource, entry: CatalogEntry, job: Job) -> Path:
    """The folder itself, once every file in it has proved right. Raises DownloadError or IntegrityError."""
    folder = source.path.expanduser()
    for file in entry.files:
        path = folder / file.name
        if not path.is_file():
            raise DownloadError(f"There is no {path}.", hint="Mount the folder, or correct its path in catalog.toml.")
        found = sha256_of(path, job)
        if found != file.sha256:
            raise IntegrityError(
                f"{path} has the wrong bytes: expected sha256 {file.sha256}, found {found}.",
                hint="It was left as it is, because it is not ours. Replace it.",
            )
    return folder
