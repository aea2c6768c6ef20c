"""The models on this machine: one folder each, beneath `paths.models_dir()`."""

from __future__ import annotations

import difflib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openhearth import paths
from openhearth.config import Settings
from openhearth.errors import ConfigError, NotFoundError
from openhearth.models.catalog import Precision, load_catalog
from openhearth.models.kernels import library as kernels
from openhearth.models.loading.format import FORMAT_VERSION
from openhearth.models.reference import Reference, resolve_reference

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class PulledModel:
    """A model that can be used without a network. `name` is its folder's; `size` is in bytes on the disk."""

    name: str
    reference: str
    title: str
    kind: str
    precision: str
    size: int
    folder: Path


def find_store(reference: str, settings: Settings) -> Path | None:
    """The folder of a model that has been pulled in the precision that the settings ask for."""
    resolved = resolve_reference(reference)
    if not resolved.is_local:
        return None
    store = store_folder(resolved, settings)
    if not (store / MANIFEST).is_file():
        return None
    # A store that another version made is made anew, except one that the person named as it is.
    current = read_manifest(store).get("format_version") == FORMAT_VERSION
    return store if current or str(store) == resolved.value else None


def store_folder(resolved: Reference, settings: Settings) -> Path:
    """Where the model lies once it has been pulled. A folder that is itself a converted store stays where it is."""
    if resolved.kind == "folder" and (Path(resolved.value) / MANIFEST).is_file():
        return Path(resolved.value)
    return paths.models_dir() / f"{resolved.name}-{precision_of(resolved, settings)}"


def precision_of(resolved: Reference, settings: Settings) -> Precision:
    """The precision that weights are converted to; embeddings are kept in their own."""
    entry = load_catalog().get(resolved.name) if resolved.kind == "catalog" else None
    asked = settings.model.precision
    if entry is not None and entry.precision is not None and (asked == "auto" or entry.kind == "embedding"):
        return entry.precision
    if asked != "auto":
        return asked
    return "native" if kernels.worth_using() else "int8"


def list_pulled() -> list[PulledModel]:
    """Every model on this machine, by name."""
    folder = paths.models_dir()
    stores = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}")) if folder.is_dir() else []
    # A leading dot marks what is being made or deleted.
    return [_describe(store) for store in stores if not store.name.startswith(".")]


def remove(name: str) -> list[PulledModel]:
    """Delete a model, by its folder's name or by the reference it was pulled by (then in every precision).

    Raises NotFoundError.
    """
    pulled = list_pulled()
    chosen = [model for model in pulled if name in (model.name, model.reference)]
    if not chosen:
        near = difflib.get_close_matches(name, [model.name for model in pulled], n=1, cutoff=0.4)
        raise NotFoundError(
            f"No pulled model is called {name!r}.",
            hint=f"Did you mean {near[0]}?" if near else "`hearth models list` shows what is here.",
        )
    for model in chosen:
        # Renamed first, so that no half-deleted model is ever found; a process that has it mapped keeps it.
        doomed = model.folder.with_name(f".{model.name}.removed")
        shutil.rmtree(doomed, ignore_errors=True)
        model.folder.rename(doomed)
        shutil.rmtree(doomed)
    return chosen


def read_manifest(store: Path) -> dict[str, Any]:
    """What the converted store says about itself. Raises ConfigError."""
    try:
        manifest = json.loads((store / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Cannot read {store / MANIFEST}: {error}", hint="Remove the model and pull it again."
        ) from error
    return manifest if isinstance(manifest, dict) else {}


def _describe(store: Path) -> PulledModel:
    manifest = read_manifest(store)
    extra = manifest.get("extra")
    facts = extra if isinstance(extra, dict) else {}
    return PulledModel(
        name=store.name,
        reference=str(facts.get("reference", store.name)),
        title=str(facts.get("title", store.name)),
        kind=str(facts.get("kind", "chat")),
        precision=str(manifest.get("precision", "")),
        size=sum(file.stat().st_size for file in store.rglob("*") if file.is_file()),
        folder=store,
    )
