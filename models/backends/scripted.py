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

Calls may also stand in the text, in any of the forms that models write them; the same parser reads them.

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
from openhearth.models.backends.yaml_file import YamlKind, read_yaml_file
from openhearth.models.chat.calls import offered_tools
from openhearth.models.chat.reply import ReplyBuilder
from openhearth.types import ModelInfo, ModelRequest, Piece, Reply, Timings, Usage

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


_FILE = YamlKind(
    Script,
    name="script",
    how_to_name="A scripted model is named scripted:FILE.yaml, relative to the working folder.",
    what_it_holds="A script is a list of turns with text, calls, match, expect, delay_s, repeat.",
    list_field="turns",
)


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
        return cls(read_yaml_file(file.expanduser(), _FILE), reference=reference or f"scripted:{file}")

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
        before = sum(len(message.tool_calls) for message in request.messages)
        reply = ReplyBuilder(offered_tools(request), call_id=lambda index: f"call_{before + index + 1}")
        pieces = _pieces(turn)
        pause = turn.delay_s / (len(pieces) or 1)
        started = time.monotonic()
        deadline = started + request.time_limit_s if request.time_limit_s is not None else None
        tokens, first, truncated = 0, 0.0, False
        for text, call, count in pieces:
            if deadline is not None and time.monotonic() + pause > deadline:
                await asyncio.sleep(max(0.0, deadline - time.monotonic()))
                truncated = True
            if request.sampling.max_tokens is not None and tokens + count > request.sampling.max_tokens:
                truncated = True
            if truncated or (reply.ended and call is None):
                break
            await asyncio.sleep(pause)
            first = first or time.monotonic() - started
            tokens += count
            for piece in reply.feed(text, tokens) if call is None else reply.call(call.name, call.arguments, tokens):
                yield piece
        for piece in reply.finish(tokens, truncated=truncated):
            yield piece
        yield Reply(
            message=reply.message,
            usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=tokens),
            finish=reply.finish_reason("length" if truncated else "stop"),
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


def _pieces(turn: ScriptedTurn) -> list[tuple[str, ScriptedCall | None, int]]:
    """The reply token by token: text, then calls, each with its number of tokens."""
    texts = [(part, None, count_text_tokens(part)) for part in _PIECE.findall(turn.text)]
    calls = [("", call, count_text_tokens(f"{call.name} {json.dumps(call.arguments)}")) for call in turn.calls]
    return [*texts, *calls]
