"""`hearth threads`: conversations that are kept."""

from __future__ import annotations

from typing import Annotated

import typer

from openhearth.cli.options import JsonOption
from openhearth.errors import ConfigError

ThreadArgument = Annotated[str, typer.Argument(metavar="ID", help="The thread's id; part of it will do.")]


def list_threads(
    json: JsonOption = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 30,
) -> None:
    """List threads, the latest activity first."""
    from openhearth.cli.console import write_json, write_table
    from openhearth.cli.state import opened, when
    from openhearth.storage import threads

    with opened() as store, store.read() as session:
        found = threads.list(session, limit=limit)
    if json:
        for thread in found:
            write_json({name: getattr(thread, name) for name in thread.__slots__})
        return
    rows = [(t.id, when(t.updated_at), str(t.messages), t.last_status or "", t.title) for t in found]
    write_table(("thread", "active", "messages", "last run", "title"), rows)


def show_thread(thread_id: ThreadArgument, json: JsonOption = False) -> None:
    """Print a thread's messages."""
    from openhearth.cli.console import write, write_json
    from openhearth.cli.state import opened
    from openhearth.storage import messages, runs, threads

    with opened() as store, store.read() as session:
        thread = threads.get(session, thread_id)
        path = messages.path(session, thread.head_id)
        run_ids = [run.id for run in runs.list(session, thread_id=thread.id)]
    if json:
        written = [message.model_dump(mode="json") for message in path]
        write_json({**thread.model_dump(mode="json"), "runs": run_ids, "messages": written})
        return
    write(f"# {thread.title or thread.id}")
    for message in path:
        write(f"\n## {message.role}" + (f" {message.name}" if message.name else ""))
        if message.content:
            write(message.content)
        for call in message.tool_calls:
            arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
            write(f"→ {call.name}({arguments})")


def remove_thread(
    thread_id: ThreadArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a thread with its runs and messages, for good."""
    from openhearth.cli.console import is_interactive, say
    from openhearth.cli.state import opened
    from openhearth.storage import threads

    with opened() as store:
        with store.read() as session:
            thread = threads.get(session, thread_id)
        if not yes:
            if not is_interactive():
                raise ConfigError(f"Deleting {thread.id} must be confirmed.", hint="Repeat it with --yes.")
            typer.confirm(f"Delete {thread.title or thread.id!r} for good?", abort=True, err=True)
        with store.write() as session:
            threads.delete(session, thread.id)
    say(f"Deleted {thread.id}.")
