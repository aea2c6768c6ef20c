"""A stage for the chat: the real app, runtime, database and scripted model, in a folder of its own."""

from __future__ import annotations

import html
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from openhearth.config import Settings, load_settings
from openhearth.events import ApprovalDecided, ApprovalRequested, Event
from openhearth.storage import approvals, events, messages, runs, threads
from openhearth.storage.store import Store
from openhearth.tui.app import HearthApp
from openhearth.tui.clock import Clock
from openhearth.tui.driver import Phase
from openhearth.tui.session import Session
from openhearth.types import ApprovalPolicy, Message, RunStatus

FILE_TOOLS = ("read_file", "write_file", "edit_file", "list_files", "search_text")
"""The built-in tools that need no sandbox."""
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
_PATIENCE = 1500


class ChatStage:
    """Builds apps over one database and one workspace. `script` is the model's YAML."""

    def __init__(self, folder: Path, script: str) -> None:
        self.workspace = folder / "sales"
        self.workspace.mkdir()
        self.script = folder / "model.yaml"
        self.script.write_text(textwrap.dedent(script), encoding="utf-8")

    @property
    def settings(self) -> Settings:
        return load_settings(folder=self.workspace)

    def app(
        self,
        *,
        thread_id: str | None = None,
        approve: ApprovalPolicy = "ask",
        tools: Sequence[str] = FILE_TOOLS,
        clock: Clock | None = None,
        model: str | None = None,
    ) -> HearthApp:
        reference = model or f"scripted:{self.script}"
        session = Session(self.settings, model=reference, workspace=self.workspace, approve=approve, tools=tools)
        app = HearthApp(session, thread_id=thread_id, clock=clock)
        app.animation_level = "none"
        return app

    def store(self) -> Store:
        return Store.open(self.settings.database_url)

    def thread(self, title: str, *, hours_ago: float = 0) -> str:
        """Keep an empty thread that was last changed that long before NOW."""
        with self.store() as store, store.write() as session:
            row = threads.create(session, title=title)
            row.created_at = row.updated_at = NOW - timedelta(hours=hours_ago)
            session.add(row)
            return row.id

    def run(
        self,
        thread_id: str,
        task: str,
        happened: Callable[[dict[str, Any]], Iterable[Event]] | None = None,
        *,
        status: RunStatus = "done",
    ) -> str:
        """Keep a run with the events that `happened` makes of its ids."""
        app = self.app()
        spec = {
            "model": app.session.reference,
            "workspace": str(self.workspace),
            "tools": [*FILE_TOOLS],
            "approve": "ask",
        }
        with self.store() as store, store.write() as session:
            before = threads.get(session, thread_id)
            changed_at, asked = before.updated_at, ""
            row = runs.create(session, thread_id, task, spec, status=status)
            said = messages.add(session, thread_id, before.head_id, Message(role="user", content=task), row.id)
            before.head_id = said
            session.add(before)
            for event in happened({"run_id": row.id, "thread_id": thread_id, "time": NOW}) if happened else ():
                if isinstance(event, ApprovalRequested):
                    kept = approvals.request(session, row.id, event.call, event.preview, event.in_doubt)
                    asked = kept.id
                if isinstance(event, ApprovalRequested | ApprovalDecided):
                    event = event.model_copy(update={"approval_id": asked})
                events.append(session, event)
            session.refresh(before)
            before.updated_at = changed_at
            session.add(before)
            return row.id

    def status(self, number: int = 0) -> str:
        """The status of a run, newest first."""
        with self.store() as store, store.read() as session:
            return runs.list(session)[number].status


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Let the app work until `condition` holds."""
    for _ in range(_PATIENCE):
        if condition():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError(f"it never came to that; the screen shows:\n{shown(pilot.app)}")


async def ready(pilot: Pilot[None]) -> None:
    """Let the app open, or finish its run and all that is queued."""
    app = stage_app(pilot)
    await until(pilot, lambda: app.chat.driver.phase is Phase.READY and not app.chat.driver.queue)


async def send(pilot: Pilot[None], text: str) -> None:
    """Write `text` and press Enter, as fast as a paste."""
    prompt = stage_app(pilot).chat.query_one("Prompt")
    prompt.focus()
    await pilot.pause()
    await pilot.press(*("space" if c == " " else c for c in text), "enter")


def stage_app(pilot: Pilot[None]) -> HearthApp:
    assert isinstance(pilot.app, HearthApp)
    return pilot.app


def shown(app: object) -> str:
    """What stands on the screen, line by line."""
    assert isinstance(app, HearthApp)
    lines: defaultdict[float, list[tuple[float, str]]] = defaultdict(list)
    for attributes, text in re.findall(r"<text([^>]*)>([^<]*)</text>", app.export_screenshot()):
        x, y = (float(match) for match in re.findall(r'\b[xy]="([\d.]+)"', attributes)[:2])
        lines[y].append((x, html.unescape(text).replace("\xa0", " ")))
    return "\n".join("".join(text for _, text in sorted(parts)) for _, parts in sorted(lines.items()))
