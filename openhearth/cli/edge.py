"""The edge of the program: errors become words on stderr and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from openhearth.cli import exit_codes
from openhearth.errors import HearthError


class EdgeGroup(TyperGroup):
    """The root group. Whatever a command raises ends here."""

    debug = False

    def main(self, args: Any = None, *rest: Any, **keywords: Any) -> Any:
        """Take `--debug` from anywhere on the line, then go on as usual."""
        given = list(sys.argv[1:] if args is None else args)
        plain = given[: given.index("--")] if "--" in given else given
        self.debug = "--debug" in plain
        given = [word for word in plain if word != "--debug"] + given[len(plain) :]
        return super().main(given, *rest, **keywords)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except HearthError as error:
            self._traceback()
            report(error.title, error.message, error.hint)
            raise typer.Exit(exit_codes.of_error(error.code)) from None
        except KeyboardInterrupt:
            sys.stderr.write("\nCancelled.\n")
            raise typer.Exit(exit_codes.CANCELLED) from None
        except BrokenPipeError:
            # Whoever read the output has gone. Nothing may be written there any more, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(exit_codes.PIPE) from None
        except Exception as error:
            if hasattr(error, "exit_code"):  # a usage error, which Typer reports with code 2
                raise
            self._traceback()
            hint = "" if self.debug else "This is a bug; --debug shows where. Please report it."
            report("Internal error", f"{type(error).__name__}: {error}", hint)
            raise typer.Exit(exit_codes.FAILED) from None

    def _traceback(self) -> None:
        if self.debug:
            traceback.print_exc()


def report(title: str, message: str, hint: str = "") -> None:
    """An error for a person, on stderr: what happened, then what to do."""
    from openhearth.cli.console import narration

    console = narration()
    console.print(f"[bold red]{title}:[/] ", end="")
    console.print(message, markup=False, soft_wrap=True)
    if hint:
        console.print("\n".join(f"  {line}" for line in hint.splitlines()), markup=False, soft_wrap=True)
