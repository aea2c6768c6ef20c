"""`hearth version`."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Annotated

import typer

from openhearth import __version__
from openhearth.cli.options import JsonOption

_LIBRARIES = ("torch", "transformers", "langgraph", "sqlmodel", "textual", "llguidance")


def version(
    json: JsonOption = False,
    libraries: Annotated[bool, typer.Option("--libraries", help="Those of the main libraries too.")] = False,
) -> None:
    """Print the version."""
    versions = {"openhearth": __version__}
    if libraries or json:
        versions |= {"python": platform.python_version()} | {name: _installed(name) for name in _LIBRARIES}
    if json:
        from openhearth.cli.console import write_json

        write_json(versions)
        return
    for name, number in versions.items():
        typer.echo(f"{name} {number}")


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
