"""Opens the model that a reference names, whichever backend answers for it."""

from __future__ import annotations

from pathlib import Path

from openhearth.config import Settings
from openhearth.errors import ModelUnavailableError
from openhearth.models.base import Model, ProgressCallback

_SCRIPTED = "scripted:"


async def open_model(reference: str, settings: Settings, *, progress: ProgressCallback | None = None) -> Model:
    """The model behind `reference`, ready to answer. The caller closes it with `aclose`.

    A catalog model that is not here yet is pulled first, when `settings.model.auto_pull` allows it.
    Raises ModelUnavailableError, or ConfigError for a script with mistakes.
    """
    if reference.startswith(_SCRIPTED):
        # Backends are imported on use: a scripted or remote model needs no torch.
        from openhearth.models.backends.scripted import ScriptedModel

        return ScriptedModel.from_file(Path(reference.removeprefix(_SCRIPTED)), reference=reference)
    raise ModelUnavailableError(
        f"No model answers to {reference!r}.",
        hint="`hearth models list` names the catalog; a file, a folder, http://HOST/v1#NAME or hf:ORG/NAME also work.",
    )
