"""Prints the reference of the command line as Markdown: `python -m openhearth.cli.reference`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from openhearth.cli.app import app


def reference() -> str:
    """Every command with its help, as Markdown."""
    root = typer.main.get_command(app)
    return "\n".join(["# The command line", "", *_sections(root, "hearth", 2)]).rstrip() + "\n"


def _sections(command: Any, path: str, level: int) -> Iterator[str]:
    context = command.make_context(path, [], resilient_parsing=True)
    context.info_name, context.terminal_width, context.max_content_width = path, 100, 100
    yield f"{'#' * level} {path}"
    yield ""
    yield "```text"
    yield command.get_help(context).rstrip()
    yield "```"
    yield ""
    for name, child in getattr(command, "commands", {}).items():
        yield from _sections(child, f"{path} {name}", level + 1)


if __name__ == "__main__":
    sys.stdout.write(reference())
