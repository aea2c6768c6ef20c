"""Tells a person, on stderr, what a run is doing while it does it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from pydantic import JsonValue
from rich.console import Console
from rich.status import Status
from rich.text import Text

from openhearth.cli.console import narration
from openhearth.events import (
    ApprovalDecided,
    ApprovalRequested,
    CallDelta,
    Event,
    ModelFinished,
    ModelRouted,
    Notice,
    RunFinished,
    RunResumed,
    RunStarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from openhearth.tui.text import clean, clean_line, duration, head, plural, routed
from openhearth.types import ModelInfo, ToolCall, ToolOutput

_SOURCE_LINES = 16
_RESULT_LINES = 4
_ARGUMENT = 60


class Narrator:
    """Turns events into lines; on a terminal also into one changing line at the bottom."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console: Console = narration()
        self._quiet = quiet
        self._status: Status | None = None
        self._written = ""
        self._begun = False
        self._measured = True

    def event(self, event: Event) -> None:
        """Tell what is worth telling of it."""
        if self._quiet:
            return
        match event:
            case RunStarted() | RunResumed():
                self._begin(event)
            case StepStarted(node="model"):
                self._written = ""
                self._now("Reading")
            case TextDelta():
                self._written += event.text
                self._now(f"Writing, {plural(event.tokens, 'token')}  {self._tail()}")
            case CallDelta():
                self._now(f"Writing a call of {event.name or 'a tool'}, {plural(event.tokens, 'token')}")
            case ModelRouted():
                self._line(routed(event.routing), "dim")
            case ModelFinished():
                self._now("")
                if event.message.tool_calls and event.message.content.strip():
                    self._line(event.message.content.strip(), "dim italic")
            case ToolStarted():
                self._call(event.call)
            case ToolFinished():
                self._result(event.output, event.duration_s)
            case ApprovalRequested():
                self._now("")
            case ApprovalDecided():
                self._line(("approved" if event.approved else "denied") + (f": {event.reason}" if event.reason else ""))
            case Notice():
                self._line(event.text, "yellow")
            case _:  # the end is told by `end`, once it is known whether the run goes on at once
                pass

    def end(self, finished: RunFinished) -> None:
        """The run goes no further for now: what it took, and how to open it."""
        self.close()
        if not self._quiet:
            self._end(finished)

    def stopping(self) -> None:
        """The person asked to stop."""
        if not self._quiet:
            self._line("Stopping; Ctrl-C again quits at once.", "yellow")

    def close(self) -> None:
        """Take the changing line off the screen."""
        if self._status is not None:
            with suppress(Exception):
                self._status.stop()
            self._status = None

    def _begin(self, event: RunStarted | RunResumed) -> None:
        if not self._begun:
            self._line(f"{_model(event.model)}, run {event.run_id}", "dim")
        self._begun = True
        self._measured = event.model.backend != "scripted"

    def _call(self, call: ToolCall) -> None:
        source, rest = _source(call.arguments)
        arguments = " ".join(f"{name}={clean_line(_short(value), _ARGUMENT)}" for name, value in rest.items())
        self._console.print(Text.assemble(("● ", "cyan"), (call.name, "bold cyan"), " ", (arguments, "dim")))
        if source:
            shown, left = head(clean(source), _SOURCE_LINES)
            self._indented(shown + (f"\n… {plural(left, 'more line')}" if left else ""), "")
        self._now(f"Running {call.name}")

    def _result(self, output: ToolOutput, seconds: float) -> None:
        self._now("")
        mark, style = ("✓", "green") if output.ok else ("✗", "red")
        self._console.print(Text.assemble((f"  {mark} ", style), (duration(seconds), "dim")))
        shown, left = head(clean(output.content.strip()), _RESULT_LINES)
        if shown:
            self._indented(shown + (f"\n… {plural(left, 'more line')}" if left else ""), "dim")
        for change in output.changes:
            self._indented(f"{change.kind} {change.path}", "yellow")

    def _end(self, event: RunFinished) -> None:
        facts = [f"{event.status.replace('_', ' ')} in {duration(event.duration_s)}", plural(event.steps, "round")]
        if event.tool_calls:
            facts.append(plural(event.tool_calls, "tool call"))
        if event.usage.total_tokens:
            cached = f" ({event.usage.cached_tokens:,} cached)" if event.usage.cached_tokens else ""
            facts.append(plural(event.usage.total_tokens, "token") + cached)
        if event.tokens_per_second and self._measured:
            facts.append(f"{event.tokens_per_second:.1f} tokens a second")
        self._line(" · ".join(facts), "dim")
        self._line(f"run {event.run_id} · go on with: hearth chat --thread {event.thread_id}", "dim")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(clean(text), style=style))

    def _indented(self, text: str, style: str) -> None:
        self._console.print(Text("\n".join(f"    {line}" for line in text.split("\n")), style=style))

    def _now(self, text: str) -> None:
        """Change the line at the bottom; without a terminal there is none."""
        if not self._console.is_terminal:
            return
        line = Text(text, style="dim", no_wrap=True, overflow="ellipsis")
        if self._status is None:
            self._status = self._console.status(line, spinner="dots")
            self._status.start()
        else:
            self._status.update(line)

    def _tail(self) -> str:
        room = max(0, self._console.width - 40)
        return clean_line(self._written[-room:], room) if room else ""


def _model(info: ModelInfo) -> str:
    where = ", ".join(part for part in (info.device, info.precision) if part)
    return clean_line(info.reference) + (f" ({where})" if where else "")


def _source(arguments: Mapping[str, JsonValue]) -> tuple[str, dict[str, JsonValue]]:
    """Split a call's arguments into its longest text of several lines, and all the others."""
    texts = {name: value for name, value in arguments.items() if isinstance(value, str)}
    long = {name: text for name, text in texts.items() if "\n" in text or len(text) > _ARGUMENT}
    if not long:
        return "", dict(arguments)
    name = max(long, key=lambda name: len(long[name]))
    return long[name], {key: value for key, value in arguments.items() if key != name}


def _short(value: JsonValue) -> str:
    return value if isinstance(value, str) else repr(value)
