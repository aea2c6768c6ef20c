"""The `hearth` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the process ends with the exit code that `exit_codes` explains."""
    from openhearth.cli.app import app

    app()
