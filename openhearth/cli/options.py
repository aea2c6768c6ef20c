"""Options that several commands share, and the settings that they change.

Nothing here imports what a command needs, so that `hearth --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from openhearth.config import Settings

Policy = Literal["ask", "auto", "never"]


def _complete_models(incomplete: str) -> list[str]:
    from openhearth.models.catalog import load_catalog

    return [name for name in load_catalog() if name.startswith(incomplete)]


ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="REF",
        help="A catalog name, ./FILE.gguf, ./FOLDER, hf:ORG/NAME, http://HOST/v1#NAME, router:FILE or scripted:FILE.",
        autocompletion=_complete_models,
    ),
]
ModelArgument = Annotated[
    str | None, typer.Argument(metavar="[REF]", help="A model reference.", autocompletion=_complete_models)
]
WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", metavar="DIR", help="The folder that the agent may read and change.")
]
ApproveOption = Annotated[
    Policy | None,
    typer.Option("--approve", help="What happens to calls that are not read-only: ask, auto (run them), never."),
]
ThreadOption = Annotated[
    str | None, typer.Option("--thread", "-t", metavar="ID", help="Go on with this thread; part of an id will do.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON lines on stdout instead of text.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No narration and no progress.")]
DeviceOption = Annotated[str | None, typer.Option("--device", metavar="NAME", help="A torch device; auto by default.")]
PrecisionOption = Annotated[
    Literal["auto", "native", "int8", "bfloat16", "float32"] | None,
    typer.Option("--precision", help="Precision of the weights."),
]


def settings_with(**sections: Mapping[str, Any]) -> Settings:
    """The settings of this folder and environment, with a command's options on top; None leaves a setting alone."""
    from openhearth.config import load_settings

    return load_settings(sections)
