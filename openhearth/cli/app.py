"""The command tree. Commands import what they need when they run, so that help costs nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from openhearth.cli import chat, decisions, doctor, model_check, models, run, runs, threads
from openhearth.cli.edge import EdgeGroup
from openhearth.cli.version import version


def _group(name: str, help_text: str) -> typer.Typer:
    group = typer.Typer(name=name, help=help_text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group)
    return group


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


app = typer.Typer(
    name="hearth",
    cls=EdgeGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich takes longer to import than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Agents on open models: local inference, sandboxed tools, durable runs."""


app.command()(run.run)
app.command()(chat.chat)
app.command()(decisions.resume)
app.command()(decisions.approve)
app.command()(decisions.deny)

_models = _group("models", "Models: what is known, and what is here.")
_models.command("list")(models.list_models)
_models.command("pull")(models.pull_model)
_models.command("show")(models.show_model)
_models.command("route")(models.route_text)
_models.command("check")(model_check.check_model)
_models.command("rm")(models.remove_model)

_threads = _group("threads", "Conversations that are kept.")
_threads.command("list")(threads.list_threads)
_threads.command("show")(threads.show_thread)
_threads.command("rm")(threads.remove_thread)

_runs = _group("runs", "What was executed, and what became of it.")
_runs.command("list")(runs.list_runs)
_runs.command("show")(runs.show_run)

app.command()(doctor.doctor)
app.command()(version)
