"""A model that answers from a YAML file: for tests, demonstrations and work on the user interface.

A script is a list of turns, or a mapping with `turns` and `context` (the pretended context length in tokens):

    - match: weather                # optional: only when the last user message contains this
      text: Let me look that up.    # what the model writes
      calls:                        # optional tool calls
        - {name: lookup, arguments: {city: Rome}}
    - expect: "21"                  # optional: the request's last message must contain this, else it is an error
      text: It is 21 degrees.
      delay_s: 0.5                  # optional: seconds that the reply takes, spread over its pieces
      repeat: true                  # optional: this turn also answers everything after it

Turns whose `match` does not fit are skipped; of the others the n-th answers, where n is the number of assistant
messages since the last user message. Nothing is remembered between requests, so a script survives a restart.

Tokens are counted by a simple rule: a run of letters, digits and underscores is one token, any other character
that is not a space is one token, and spaces are none.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from openhearth.errors import ContextOverflowError, ModelError
from openhearth.models.backends.script_file import read_script_file
from openhearth.types import (
    CallPiece,
    FinishReason,
    Message,
    ModelInfo,
    ModelRequest,
    Piece,
    Reply,
    TextPiece,
    Timings,
    ToolCall,
    Usage,
)

_TOKEN = re.compile(r"\w+|[^\w\s]")
_PIECE = re.compile(r"\s*(?:\w+|[^\w\s])(?:\s+$)?|\s+$")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScriptedCall(_Part):
    name: Annotated[str, Field(min_length=1)]
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class ScriptedTurn(_Part):
    """One reply; the module's docstring explains the fields."""

    text: str = ""
    calls: tuple[ScriptedCall, ...] = ()
    match: str | None = None
    expect: str | None = None
    delay_s: Annotated[float, Field(ge=0)] = 0.0
    repeat: bool = False


class Script(_Part):
    turns: Annotated[tuple[ScriptedTurn, ...], Field(min_length=1)]
    context: Annotated[int, Field(ge=1)] = 32_768


def count_text_tokens(text: str) -> int:
    """Tokens of `text` by the rule of the module's docstring."""
    return sum(1 for _ in _TOKEN.finditer(text))


class ScriptedModel:
    """Implements `openhearth.models.base.Model`."""

    def __init__(self, script: Script | Sequence[ScriptedTurn], *, reference: str = "scripted:") -> None:
        self.script = script if isinstance(script, Script) else Script(turns=tuple(script))
        self._info = ModelInfo(reference=reference, backend="scripted", context_length=self.script.context)

    @classmethod
    def from_file(cls, file: Path, *, reference: str | None = None) -> ScriptedModel:
        """Raises ModelUnavailableError when the file cannot be read, ConfigError (with lines) when it is wrong."""
        return cls(read_script_file(file.expanduser(), Script), reference=reference or f"scripted:{file}")

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def count_tokens(self, request: ModelRequest) -> int:
        messages = sum(
            count_text_tokens(message.role)
            + count_text_tokens(message.content)
            + sum(count_text_tokens(call.model_dump_json(exclude={"id"})) for call in message.tool_calls)
            for message in request.messages
        )
        return messages + sum(count_text_tokens(tool.model_dump_json()) for tool in request.tools)

    async def stream(self, request: ModelRequest) -> AsyncIterator[Piece]:
        prompt_tokens = await self.count_tokens(request)
        if prompt_tokens >= self._info.context_length:
            raise ContextOverflowError(
                f"The prompt has {prompt_tokens} tokens; the context holds {self._info.context_length}.",
                hint="Shorten the conversation, or raise `context` in the script.",
            )
        turn = self._choose(request)
        calls = tuple(
            ToolCall(id=f"call_{number}", name=call.name, arguments=call.arguments)
            for number, call in enumerate(turn.calls, 1 + sum(len(m.tool_calls) for m in request.messages))
        )
        pieces = _pieces(turn.text, calls)
        limit = request.sampling.max_tokens
        pause = turn.delay_s / (len(pieces) or 1)
        started = time.monotonic()
        deadline = started + request.time_limit_s if request.time_limit_s is not None else None
        finish: FinishReason = "tool_calls" if calls else "stop"
        text, tokens, first, done = "", 0, 0.0, 0
        for piece in pieces:
            if deadline is not None and time.monotonic() + pause > deadline:
                await asyncio.sleep(max(0.0, deadline - time.monotonic()))
                finish = "length"
                break
            if limit is not None and piece.tokens > limit:
                finish = "length"
                break
            await asyncio.sleep(pause)
            first = first or time.monotonic() - started
            tokens = piece.tokens
            if isinstance(piece, TextPiece):
                text += piece.text
            else:
                done += 1
            yield piece
        yield Reply(
            message=Message(role="assistant", content=text, tool_calls=calls[:done]),
            usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=tokens),
            finish=finish,
            timings=Timings(first_token_s=first, decode_s=max(0.0, time.monotonic() - started - first)),
        )

    async def aclose(self) -> None:
        """Nothing is held."""

    def _choose(self, request: ModelRequest) -> ScriptedTurn:
        # A user message with a name was written by the runtime: it is no new task.
        users = [i for i, message in enumerate(request.messages) if message.role == "user" and not message.name]
        last_user = users[-1] if users else -1
        task = request.messages[last_user].content if users else ""
        number = sum(message.role == "assistant" for message in request.messages[last_user + 1 :])
        turns = [turn for turn in self.script.turns if turn.match is None or turn.match in task]
        for position, turn in enumerate(turns):
            if position == number or turn.repeat:
                break
        else:
            raise ModelError(
                f"{self._info.reference} has {len(turns)} turns for this message, and turn {number + 1} is asked for.",
                hint="Add a turn to the script, or set `repeat: true` on its last one.",
            )
        last = request.messages[-1].content if request.messages else ""
        if turn.expect is not None and turn.expect not in last:
            raise ModelError(
                f"Turn {number + 1} of {self._info.reference} expects {turn.expect!r} in the last message,"
                f" which is {last[:200]!r}.",
                hint="Mend the script, or what led to this message.",
            )
        return turn


def _pieces(text: str, calls: Sequence[ToolCall]) -> list[TextPiece | CallPiece]:
    """One piece per token of the text, then one per call; `tokens` counts up."""
    pieces: list[TextPiece | CallPiece] = []
    tokens = 0
    for part in _PIECE.findall(text):
        tokens += count_text_tokens(part)
        pieces.append(TextPiece(part, tokens))
    for index, call in enumerate(calls):
        source = json.dumps(call.arguments, ensure_ascii=False)
        tokens += count_text_tokens(call.name) + count_text_tokens(source)
        pieces.append(CallPiece(index, call.name, source, tokens))
    return pieces
