"""How the screens look, in both themes and two sizes. `pytest --snapshot-update` accepts a new look: view it first.

The past is kept in the database with fixed times and durations; the clock stands still; nothing blinks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.tui_stage import NOW, ChatStage, ready, send, until
from textual.pilot import Pilot

from openhearth.events import (
    ApprovalDecided,
    ApprovalRequested,
    CallDelta,
    Event,
    ModelFinished,
    Notice,
    RunFinished,
    RunStarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from openhearth.tui.app import HearthApp
from openhearth.tui.clock import Clock
from openhearth.tui.driver import Phase
from openhearth.tui.widgets.decision import Decision
from openhearth.types import FileChange, Message, ModelInfo, Timings, ToolCall, ToolOutput, Usage

pytestmark = pytest.mark.slow

Compare = Callable[..., bool]
Play = Callable[[Pilot[None]], Awaitable[None]]

SCRIPT = """
- {match: fail, text: "", expect: never said}
- {text: Good day., repeat: true}
"""
LOOKS = pytest.mark.parametrize(
    ("theme", "size"),
    [(theme, size) for theme in ("hearth-dark", "hearth-light") for size in ((80, 24), (120, 40))],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}x{value[1]}",
)

MODEL = ModelInfo(reference="scripted:", backend="scripted", context_length=8192)
TASK = "Which customer spent most in March, and how much? Write it to report.md."
CODE = """import csv
from collections import defaultdict

spent = defaultdict(float)
for order in csv.DictReader(open("orders.csv")):
    if order["date"].startswith("2026-03"):
        spent[order["customer"]] += int(order["quantity"]) * float(order["unit_price"])
print(max(spent.items(), key=lambda pair: pair[1]))"""
DIFF = "--- a/report.md\n+++ b/report.md\n@@ -1,2 +1,3 @@\n # March\n-To be written.\n+\n+Hollis & Sons spent most.\n"
ANSWER = """## Result

**Hollis & Sons** spent most in March: `18,432.50`.

| customer | spent |
|---|---|
| Hollis & Sons | 18,432.50 |
| Brightwater | 17,210.00 |

- 212 of 3,200 orders fall in March.
- It is written to [report.md](report.md).

```python
print("the same colours as in cards")
```
"""
LIST = ToolCall(id="c1", name="list_files", arguments={"path": "."})
PYTHON = ToolCall(id="c2", name="python", arguments={"code": CODE})
SHELL = ToolCall(id="c3", name="shell", arguments={"command": "wc -l orders.csv && false"})
WRITE = ToolCall(
    id="c4", name="write_file", arguments={"path": "report.md", "content": "# March\n\nHollis & Sons spent most.\n"}
)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ChatStage:
    # What is shown of the machine is the same everywhere: the model's file, and the workspace below the home folder.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return ChatStage(tmp_path, SCRIPT)


def said(ids: dict[str, Any], text: str, *calls: ToolCall, used: int = 2632) -> ModelFinished:
    return ModelFinished(
        **ids,
        message=Message(role="assistant", content=text, tool_calls=calls),
        usage=Usage(prompt_tokens=used - 100, completion_tokens=100),
        timings=Timings(first_token_s=0.4, decode_s=6.8),
        context_used=used,
        context_length=8192,
    )


def called(ids: dict[str, Any], call: ToolCall, seconds: float, output: ToolOutput) -> Iterator[Event]:
    yield ToolStarted(**ids, call=call)
    yield ToolFinished(**ids, call=call, output=output, duration_s=seconds)


def work(ids: dict[str, Any]) -> Iterator[Event]:
    yield RunStarted(**ids, task=TASK, model=MODEL, approve="ask")
    yield said(ids, "Let me look at the data first.", LIST)
    yield from called(ids, LIST, 0.004, ToolOutput(content="orders.csv  (214 kB)\nreport.md  (1 kB)"))
    yield said(ids, "", PYTHON)
    yield from called(ids, PYTHON, 1.24, ToolOutput(content="('Hollis & Sons', 18432.5)"))
    yield said(ids, "", SHELL)
    yield from called(ids, SHELL, 0.08, ToolOutput(content="3200 orders.csv\nexit code 1", ok=False))
    yield said(ids, "", WRITE)


def asks(ids: dict[str, Any]) -> Iterator[Event]:
    yield from work(ids)
    yield ApprovalRequested(**ids, approval_id="", call=WRITE, preview=DIFF)
    yield RunFinished(**ids, status="waiting", tool_calls=3, tokens_per_second=14.6, duration_s=31.0)


def doubts(ids: dict[str, Any]) -> Iterator[Event]:
    yield from work(ids)
    yield ToolStarted(**ids, call=WRITE)
    yield ApprovalRequested(**ids, approval_id="", call=WRITE, in_doubt=True)
    yield RunFinished(**ids, status="in_doubt", tool_calls=4)


def ends(ids: dict[str, Any]) -> Iterator[Event]:
    yield from work(ids)
    changes = (FileChange(path="report.md", kind="modified", diff=DIFF),)
    yield from called(ids, WRITE, 0.004, ToolOutput(content="Changed report.md.", changes=changes))
    yield Notice(**ids, text="The budget of tokens is nearly spent.")
    yield said(ids, ANSWER, used=3100)
    yield RunFinished(**ids, status="done", steps=5, tool_calls=4, duration_s=42.4, tokens_per_second=14.2)


def denied(ids: dict[str, Any]) -> Iterator[Event]:
    yield RunStarted(**ids, task=TASK, model=MODEL, approve="ask")
    yield said(ids, "", WRITE)
    yield ApprovalRequested(**ids, approval_id="apr", call=WRITE, preview=DIFF)
    yield ApprovalDecided(**ids, approval_id="apr", approved=False, reason="Not into that file.")
    yield said(ids, "Then I leave it here.", used=3100)
    yield RunFinished(**ids, status="cancelled")


class Look:
    """One screen: opens the app on a thread, plays keys, compares."""

    def __init__(self, stage: ChatStage, compare: Compare, theme: str, size: tuple[int, int]) -> None:
        self._stage, self._compare, self._theme, self._size = stage, compare, theme, size

    def holds(self, play: Play | None = None, *, thread_id: str | None = None) -> bool:
        app = self._stage.app(thread_id=thread_id, model="scripted:model.yaml", clock=Clock(NOW))

        async def prepare(pilot: Pilot[None]) -> None:
            app.theme = self._theme
            await until(pilot, lambda: app.chat.driver.phase is not Phase.OPENING)
            if play is not None:
                await play(pilot)
            # Mouse and focus are where they are; only what was asked for by keys may differ between runs.
            await pilot.pause(0.1)

        return self._compare(app, terminal_size=self._size, run_before=prepare)


@pytest.fixture
def look(stage: ChatStage, snap_compare: Compare, request: pytest.FixtureRequest) -> Look:
    values = getattr(request.node, "callspec", None)
    params = values.params if values is not None else {}
    return Look(stage, snap_compare, params.get("theme", "hearth-dark"), params.get("size", (80, 24)))


async def armed(pilot: Pilot[None]) -> None:
    app = pilot.app
    assert isinstance(app, HearthApp)
    await until(pilot, lambda: app.chat.query(Decision) and app.chat.query_one(Decision).armed)


@LOOKS
def test_a_new_thread(look: Look, theme: str, size: tuple[int, int]) -> None:
    assert look.holds()


@LOOKS
def test_a_conversation(look: Look, stage: ChatStage, theme: str, size: tuple[int, int]) -> None:
    thread_id = stage.thread("Who spent most in March?")
    stage.run(thread_id, TASK, ends)
    assert look.holds(thread_id=thread_id)


@LOOKS
def test_tool_cards(look: Look, stage: ChatStage, theme: str, size: tuple[int, int]) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+home")

    thread_id = stage.thread("Who spent most in March?")
    stage.run(thread_id, TASK, ends)
    assert look.holds(play, thread_id=thread_id)


@LOOKS
def test_an_approval(look: Look, stage: ChatStage, theme: str, size: tuple[int, int]) -> None:
    thread_id = stage.thread("Who spent most in March?")
    stage.run(thread_id, TASK, asks, status="waiting")
    assert look.holds(armed, thread_id=thread_id)


@LOOKS
def test_the_list_of_threads(look: Look, stage: ChatStage, theme: str, size: tuple[int, int]) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+t")
        await pilot.pause()

    stage.run(stage.thread("Explain the sandbox", hours_ago=3), "Explain", ends)
    stage.run(stage.thread("Rename the photos by the date they were taken, and sort them", hours_ago=30), "x", denied)
    stage.thread("[bold]not markup[/bold]", hours_ago=900)
    thread_id = stage.thread("Who spent most in March?")
    stage.run(thread_id, TASK, ends)
    assert look.holds(play, thread_id=thread_id)


def test_a_denied_call(look: Look, stage: ChatStage) -> None:
    thread_id = stage.thread("Denied")
    stage.run(thread_id, TASK, denied, status="cancelled")
    assert look.holds(thread_id=thread_id)


def test_a_call_in_doubt(look: Look, stage: ChatStage) -> None:
    thread_id = stage.thread("Cut off in the middle of a call")
    stage.run(thread_id, TASK, doubts, status="in_doubt")
    assert look.holds(armed, thread_id=thread_id)


def test_the_reason_for_denying(look: Look, stage: ChatStage) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await armed(pilot)
        await pilot.press("d")

    thread_id = stage.thread("Who spent most in March?")
    stage.run(thread_id, TASK, asks, status="waiting")
    assert look.holds(play, thread_id=thread_id)


def test_an_interrupted_run(look: Look, stage: ChatStage) -> None:
    thread_id = stage.thread("Cut off")
    stage.run(thread_id, TASK, work, status="running")
    assert look.holds(armed, thread_id=thread_id)


def test_deleting_a_thread(look: Look, stage: ChatStage) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+t", "f8")
        await pilot.pause()

    stage.run(stage.thread("Explain the sandbox"), "Explain", ends)
    assert look.holds(play)


def test_an_error(look: Look) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await send(pilot, "fail")
        await until(pilot, lambda: pilot.app.screen.query("ErrorMessage"))
        await ready(pilot)

    assert look.holds(play)


def test_a_call_while_it_is_written(look: Look, stage: ChatStage) -> None:
    """Deltas are not kept, so these are shown to the screen directly."""

    async def play(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, HearthApp)
        ids: dict[str, Any] = {"run_id": "run", "thread_id": "thr", "time": NOW}
        await app.chat.begin_turn(TASK)
        for event in (
            RunStarted(**ids, task=TASK, model=MODEL, approve="ask"),
            StepStarted(**ids, step=1, node="model"),
            TextDelta(**ids, text="I add up **each order** ", tokens=6),
            TextDelta(**ids, text="of March:", tokens=9),
            CallDelta(**ids, index=0, name="python", text=CODE[:160], tokens=60),
        ):
            await app.chat.show_event(event)
        await pilot.pause(0.2)

    assert look.holds(play)
