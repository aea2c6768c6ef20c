"""`hearth runs`: what was executed, and what became of it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from openhearth.cli.options import JsonOption, ThreadOption

RunArgument = Annotated[str, typer.Argument(metavar="ID", help="The run's id; part of it will do.")]
Status = Literal["queued", "running", "waiting", "in_doubt", "done", "failed", "cancelled"]


def list_runs(
    json: JsonOption = False,
    status: Annotated[Status | None, typer.Option("--status", help="Only these.")] = None,
    thread: ThreadOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 30,
) -> None:
    """List runs, the newest first."""
    from openhearth.cli.console import write_json, write_table
    from openhearth.cli.state import opened, when
    from openhearth.storage import runs, threads
    from openhearth.tui.text import clean_line

    with opened() as store, store.read() as session:
        thread_id = threads.get(session, thread).id if thread else None
        found = runs.list(session, status=status, thread_id=thread_id, limit=limit)
    if json:
        for run in found:
            write_json(run.model_dump(mode="json"))
        return
    rows = [(run.id, when(run.created_at), run.status, run.thread_id, clean_line(run.task)) for run in found]
    write_table(("run", "started", "status", "thread", "task"), rows)


def show_run(
    run_id: RunArgument,
    json: JsonOption = False,
    events: Annotated[
        bool, typer.Option("--events", help="The run's events as JSON lines, as `hearth run --json` gave them.")
    ] = False,
) -> None:
    """Print what a run was asked, what it did, and how it ended."""
    from openhearth.cli.console import write, write_facts, write_json
    from openhearth.cli.state import opened, when
    from openhearth.storage import approvals, ledger, runs
    from openhearth.storage import events as kept
    from openhearth.tui.text import clean_line, duration
    from openhearth.types import Usage

    with opened() as store, store.read() as session:
        run = runs.get(session, run_id)
        if events:
            for event in kept.after(session, run.id):
                write(event.model_dump_json())
            return
        calls = ledger.list(session, run.id)
        pending = approvals.pending(session, run.id)
    if json:
        write_json(
            {
                **run.model_dump(mode="json"),
                "calls": [call.model_dump(mode="json") for call in calls],
                "pending": [row.model_dump(mode="json") for row in pending],
            }
        )
        return
    usage = Usage.model_validate(run.usage)
    error = run.error or {}
    write_facts(
        {
            "run": run.id,
            "thread": run.thread_id,
            "status": run.status,
            "started": when(run.created_at),
            "worked": duration(run.duration_s) if run.duration_s else "",
            "model": run.agent.get("model"),
            "workspace": run.agent.get("workspace"),
            "tokens": f"{usage.total_tokens:,} ({usage.cached_tokens:,} cached)" if usage.total_tokens else "",
            "task": run.task,
            "error": "\n".join(str(error[key]) for key in ("message", "hint") if error.get(key)),
            "output": run.output,
        }
    )
    for call in calls:
        took = duration(call.duration_s) if call.duration_s is not None else ""
        arguments = clean_line(" ".join(f"{name}={value!r}" for name, value in call.arguments.items()), 80)
        write(f"  {call.state:<9} {call.name} {took:>8}  {arguments}")
    for row in pending:
        write(f"  waits for: hearth approve {row.id}, or hearth deny {row.id}")
