"""One turn: what the person said and everything that a run made of it, built from its events alone.

A live run and one read back from the database take the same path: every event goes through `apply`. Before the turn
is mounted its parts are collected and mounted with it, all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

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
from openhearth.tui.widgets.markdown import Reply
from openhearth.tui.widgets.messages import ErrorMessage, NoticeLine, RouteLine, TurnEnd, UserMessage
from openhearth.tui.widgets.tool_card import ToolCard
from openhearth.types import ErrorInfo, ToolCall


class TurnView(Vertical):
    """`run_id` is empty until the run has started."""

    def __init__(self, task: str, *, run_id: str = "", folded: bool = False) -> None:
        super().__init__()
        self.run_id = run_id
        self._folded = folded
        self._parts: list[Widget] = [UserMessage(task)] if task else []
        self._reply: Reply | None = None
        self._writing: dict[int, ToolCard] = {}
        self._cards: dict[str, ToolCard] = {}
        self._approvals: dict[str, str] = {}
        self._end: TurnEnd | None = None

    @classmethod
    async def replay(cls, run_id: str, task: str, events: Iterable[Event], *, folded: bool) -> TurnView:
        """The turn that a run's kept events make."""
        turn = cls(task, run_id=run_id, folded=folded)
        for event in events:
            await turn.apply(event)
        return turn

    def compose(self) -> ComposeResult:
        yield from self._parts

    async def apply(self, event: Event) -> None:
        """Show what happened."""
        match event:
            case RunStarted():
                self.run_id = event.run_id
            case RunResumed():
                await self._reopen()
            case StepStarted():
                await self._settle()
            case TextDelta():
                await self._feed(event.text)
            case CallDelta():
                (await self._writing_card(event.index, event.name)).write(event.text)
            case ModelRouted():
                await self._add(RouteLine(event.routing))
            case ModelFinished():
                await self._finish_reply(event)
            case ToolStarted():
                self._started(await self._card(event.call), event.call)
            case ToolFinished():
                (await self._card(event.call)).finish(event.call, event.output, event.duration_s)
            case ApprovalRequested():
                self._approvals[event.approval_id] = event.call.id
                (await self._card(event.call)).wait(event.call, in_doubt=event.in_doubt)
            case ApprovalDecided():
                if card := self._cards.get(self._approvals.get(event.approval_id, "")):
                    card.decided(event.approved, event.reason)
            case Notice():
                await self._add(NoticeLine(event.text))
            case RunFinished():
                await self._finish(event)

    async def fail(self, error: ErrorInfo) -> None:
        """Show an error that ended the run without an event of its own."""
        await self._settle()
        for card in self.cards():
            card.stop()
        await self._add(ErrorMessage(error))

    def tick(self, now: float) -> None:
        """Let running calls show the seconds that pass."""
        for card in self.cards():
            card.tick(now)

    def cards(self) -> Iterator[ToolCard]:
        yield from (part for part in self._parts if isinstance(part, ToolCard))

    def replies(self) -> list[str]:
        """The Markdown of what the model said, in order."""
        return [part.plain for part in self._parts if isinstance(part, Reply) and part.plain]

    def sources(self) -> list[str]:
        """The code that was written, in order: blocks of replies, and what tools ran."""
        found: list[str] = []
        for part in self._parts:
            if isinstance(part, ToolCard) and part.source:
                found.append(part.source)
            elif isinstance(part, Reply):
                found += part.code_blocks()
        return found

    # -- parts

    async def _add(self, part: Widget) -> None:
        self._parts.append(part)
        if self.is_attached:
            await self.mount(part)

    async def _drop(self, part: Widget) -> None:
        self._parts.remove(part)
        if self.is_attached:
            await part.remove()

    # -- the reply

    async def _feed(self, text: str) -> None:
        if self._reply is None:
            if not text.strip():
                return
            self._reply = Reply()
            await self._add(self._reply)
        await self._reply.feed(text)

    async def _finish_reply(self, event: ModelFinished) -> None:
        text = event.message.content
        if self._reply is None and text.strip():
            self._reply = Reply(text)
            await self._add(self._reply)
        elif self._reply is not None and not text.strip():
            await self._reply.settle()
            await self._drop(self._reply)
        elif self._reply is not None:
            await self._reply.settle(text)
        self._reply = None
        for index, call in enumerate(event.message.tool_calls):
            card = self._writing.pop(index, None) or await self._new_card(call.name)
            self._cards[call.id] = card
            card.written(call)
        for card in self._writing.values():
            await self._drop(card)
        self._writing.clear()

    async def _settle(self) -> None:
        """What was being written is complete, or never will be."""
        if self._reply is not None:
            await self._reply.settle()
            self._reply = None

    # -- calls

    async def _new_card(self, name: str) -> ToolCard:
        card = ToolCard(name, folded=self._folded)
        await self._add(card)
        return card

    async def _writing_card(self, index: int, name: str) -> ToolCard:
        if index not in self._writing:
            if self._reply is not None:
                await self._reply.settle()
            self._writing[index] = await self._new_card(name)
        return self._writing[index]

    async def _card(self, call: ToolCall) -> ToolCard:
        if call.id not in self._cards:
            self._cards[call.id] = await self._new_card(call.name)
        return self._cards[call.id]

    def _started(self, card: ToolCard, call: ToolCall) -> None:
        card.start(call, self.app.clock.monotonic() if self.is_attached else None)  # type: ignore[attr-defined]

    # -- the end

    async def _reopen(self) -> None:
        if self._end is not None:
            await self._drop(self._end)
            self._end = None

    async def _finish(self, event: RunFinished) -> None:
        if event.status in {"failed", "cancelled"} and self._reply is None and event.output.strip():
            # What was written of a reply that never ended is kept as the run's output.
            await self._add(Reply(event.output))
        await self._settle()
        if event.status not in {"waiting", "in_doubt"}:
            for card in self.cards():
                card.stop()
        if event.error is not None and event.status != "cancelled":
            await self._add(ErrorMessage(event.error))
        await self._reopen()
        self._end = TurnEnd(event)
        await self._add(self._end)
