"""Model references: the strings that name models."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from openhearth.errors import ConfigError, ModelUnavailableError
from openhearth.models.catalog import find_entry

ReferenceKind = Literal["catalog", "hf", "file", "folder", "remote", "scripted", "router"]

_FILE_KINDS: tuple[Literal["scripted", "router"], ...] = ("scripted", "router")
"""Prefixes that a file's name follows."""

_HF = re.compile(
    r"^(?P<repo>[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]*))?"
    r"(?::(?P<file>[A-Za-z0-9][A-Za-z0-9._/-]*\.gguf))?$"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference, understood. `value` is what follows the prefix; `name` is fit for a folder's name and unique."""

    kind: ReferenceKind
    value: str
    name: str

    @property
    def is_local(self) -> bool:
        """Whether the engine in this process answers for it, from a converted store."""
        return self.kind in ("catalog", "hf", "file", "folder")


@dataclass(frozen=True, slots=True)
class HubReference:
    """The parts of `ORG/NAME[@REVISION][:FILE.gguf]`."""

    repo: str
    revision: str
    file: str | None


def resolve_reference(reference: str) -> Reference:
    """Understand a model reference; nothing is fetched or opened.

    Raises ModelUnavailableError for a file, folder or catalog name that does not exist, ConfigError for a string that
    is no reference at all.
    """
    if not reference.strip():
        raise ConfigError("The model reference is empty.", hint="`hearth models list` shows names to choose from.")
    for kind in _FILE_KINDS:
        if reference.startswith(f"{kind}:"):
            return Reference(kind, reference.removeprefix(f"{kind}:"), kind)
    if reference.startswith(("http://", "https://")):
        return _remote(reference)
    if reference.startswith("hf:"):
        value = reference.removeprefix("hf:")
        parse_hub_reference(value)
        return Reference("hf", value, _slug(value))
    if _looks_like_path(reference):
        return _path(Path(reference).expanduser())
    return Reference("catalog", find_entry(reference).name, reference)


def absolute_reference(reference: str) -> str:
    """The same reference, meaning the same from every working folder. Raises what `resolve_reference` raises."""
    resolved = resolve_reference(reference)
    if resolved.kind in _FILE_KINDS:
        return f"{resolved.kind}:{Path(resolved.value).expanduser().absolute()}"
    return resolved.value if resolved.kind in ("file", "folder") else reference


def anchored_reference(reference: str, folder: Path) -> str:
    """The same reference, a relative path in it meant from `folder`. Nothing is looked at."""
    for kind in _FILE_KINDS:
        if reference.startswith(f"{kind}:"):
            return f"{kind}:{folder.absolute() / Path(reference.removeprefix(f'{kind}:')).expanduser()}"
    if reference.startswith(("http://", "https://", "hf:")) or not _looks_like_path(reference):
        return reference
    return str(folder.absolute() / Path(reference).expanduser())


def parse_hub_reference(value: str) -> HubReference:
    """Split what follows `hf:`. Raises ConfigError."""
    match = _HF.match(value)
    if match is None or ".." in value:
        raise ConfigError(
            f"hf:{value} does not name a repository.",
            hint="Write hf:ORG/NAME, hf:ORG/NAME@REVISION, or hf:ORG/NAME:FILE.gguf.",
        )
    return HubReference(match["repo"], match["revision"] or "main", match["file"])


def _remote(reference: str) -> Reference:
    parts = urlsplit(reference)
    if not parts.hostname or not parts.fragment:
        raise ConfigError(
            f"{reference} does not say which server and which model.",
            hint="Write http://HOST:PORT/v1#MODEL; a model file on the web is fetched first, then named by its path.",
        )
    return Reference("remote", reference, parts.fragment)


def _looks_like_path(reference: str) -> bool:
    return "/" in reference or "\\" in reference or reference in (".", "..") or reference.endswith(".gguf")


def _path(path: Path) -> Reference:
    try:
        path = path.resolve(strict=True)
        identity = _identity(path)
    except OSError as error:
        raise ModelUnavailableError(
            f"Cannot read the model {path}: {error.strerror}.",
            hint="A reference with a slash is a path; a model on the hub is written hf:ORG/NAME.",
        ) from error
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return Reference("folder" if path.is_dir() else "file", str(path), f"{_slug(path.stem)}-{digest}")


def _identity(path: Path) -> str:
    """Where the model is and what its files look like, so that a changed model never passes for the converted one."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    seen = [(file.name, file.stat()) for file in files if file.is_file()]
    return "\n".join([str(path), *(f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in seen)])


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "--", text.lower()).strip("-._") or "model"
