"""A program with an agent whose tools leave marks outside the workspace, to be killed at any instant.

    counting_agent.py DATABASE MARKS start
    counting_agent.py DATABASE MARKS resume RUN
    counting_agent.py DATABASE MARKS approve|deny APPROVAL RUN

It prints a line for each event: `run ID` once the run exists, `ask APPROVAL NUMBER` for each question, `status STATUS`
at the end, `event TYPE` for all others.
`count` appends its number to MARKS and may not be repeated; `put` appends its number and idempotency key and may.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from openhearth.agents.runtime import Runtime
from openhearth.agents.spec import AgentSpec
from openhearth.config import load_settings
from openhearth.events import ApprovalRequested, Event, RunFinished, RunResumed, RunStarted
from openhearth.storage.store import Store
from openhearth.tools.base import ToolContext
from openhearth.tools.function import tool
from openhearth.types import Message, ModelInfo, ModelRequest, Piece, Reply, TextPiece, ToolCall

PAUSE_S = 0.03
CALLS = (("count", 1), ("put", 2), ("count", 3))
MARKS = Path(sys.argv[2])


def _mark(text: str) -> None:
    time.sleep(PAUSE_S)
    file = os.open(MARKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{text}\n".encode())
    os.close(file)
    time.sleep(PAUSE_S)


@tool
def count(number: int) -> str:
    """Leave a mark."""
    _mark(str(number))
    return f"counted {number}"


@tool(idempotent=True)
def put(number: int, context: ToolContext) -> str:
    """Leave a mark under a key."""
    _mark(f"{number} {context.idempotency_key}")
    return f"put {number}"


class SlowModel:
    """Calls the tools one after the other, taking its time over every word."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(reference="slow", backend="scripted", context_length=8_192)

    async def count_tokens(self, request: ModelRequest) -> int | None:
        return len(request.messages)

    async def stream(self, request: ModelRequest) -> AsyncIterator[Piece]:
        turn = sum(message.role == "assistant" for message in request.messages)
        for number in range(3):
            await asyncio.sleep(PAUSE_S)
            yield TextPiece("word ", number + 1)
        calls = [ToolCall(id=f"call_{turn}", name=CALLS[turn][0], arguments={"number": CALLS[turn][1]})]
        yield Reply(message=Message(role="assistant", content="word word word", tool_calls=calls))

    async def aclose(self) -> None:
        pass


class LastWord(SlowModel):
    """Ends the run after the last call."""

    async def stream(self, request: ModelRequest) -> AsyncIterator[Piece]:
        if sum(message.role == "assistant" for message in request.messages) < len(CALLS):
            async for piece in super().stream(request):
                yield piece
        else:
            yield Reply(message=Message(role="assistant", content="done"))


def _say(*words: object) -> None:
    print(*words, flush=True)


def _tell(event: Event) -> None:
    if isinstance(event, RunStarted | RunResumed):
        _say("run", event.run_id)
    elif isinstance(event, ApprovalRequested):
        _say("ask", event.approval_id, event.call.arguments["number"])
    elif isinstance(event, RunFinished):
        _say("status", event.status)
    else:
        _say("event", event.type)


async def main(database: str, action: str, *ids: str) -> None:
    settings = load_settings()
    own = {"tools": [count, put], "model": LastWord()}
    with Store.open(f"sqlite:///{database}") as store:
        async with await Runtime.open(settings, store=store) as runtime:
            if action in ("approve", "deny"):
                await runtime.decide(ids[0], approve=action == "approve", by="test")
            if action == "start":
                spec = AgentSpec(model="slow", workspace=str(Path(database).parent), approve="auto")
                stream = runtime.run("Count.", spec, **own)  # type: ignore[arg-type]  # both are what they say
            else:
                stream = runtime.resume(ids[-1], **own)  # type: ignore[arg-type]
            async for event in stream:
                _tell(event)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *sys.argv[3:]))
