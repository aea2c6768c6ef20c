"""Opens the model that a reference names, whichever backend answers for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from openhearth.config import Settings
from openhearth.errors import ModelUnavailableError
from openhearth.models.base import Model, ProgressCallback
from openhearth.models.catalog import find_entry
from openhearth.models.pulled import find_store
from openhearth.models.reference import resolve_reference


async def open_model(reference: str, settings: Settings, *, progress: ProgressCallback | None = None) -> Model:
    """The model behind `reference`, ready to answer. The caller closes it with `aclose`.

    A model that is not here yet is pulled first, when `settings.model.auto_pull` allows it.
    Raises ModelUnavailableError, or ConfigError for a reference or a script with mistakes.
    """
    resolved = resolve_reference(reference)
    # Backends are imported on use: a scripted or remote model needs no torch.
    if resolved.kind == "scripted":
        from openhearth.models.backends.scripted import ScriptedModel

        return ScriptedModel.from_file(Path(resolved.value), reference=reference)
    if resolved.kind == "router":
        from openhearth.models.backends.router import RouterModel

        return RouterModel.from_file(Path(resolved.value), settings, reference=reference, progress=progress)
    if resolved.kind == "remote":
        from openhearth.models.backends.remote import RemoteModel

        return await RemoteModel.open(resolved.value, settings)
    if resolved.kind == "catalog" and find_entry(resolved.name).kind == "embedding":
        raise ModelUnavailableError(
            f"{reference} embeds texts; it cannot answer.", hint="`hearth models list` shows which models chat."
        )
    store = await asyncio.to_thread(_store, reference, settings, progress)
    from openhearth.models.backends.local import LocalModel

    return await LocalModel.open(store, settings, reference=reference, progress=progress)


def _store(reference: str, settings: Settings, progress: ProgressCallback | None) -> Path:
    store = find_store(reference, settings)
    if store is not None:
        return store
    if not settings.model.auto_pull:
        raise ModelUnavailableError(
            f"{reference} is not on this machine.",
            hint=f"Run `hearth models pull {reference}`, or set model.auto_pull.",
        )
    from openhearth.models.pull import pull

    return pull(reference, settings, progress)
