"""A model behind an OpenAI-compatible server, such as vLLM, llama.cpp or OpenAI itself.

Calls that the server reports are taken as they are; calls that the model wrote as text are read by the same parser as
everywhere. Token counts are the server's; where it gives none, the prompt's are estimated from its length and the
reply's from the number of pieces.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Self

import httpx

from openhearth.config import Settings
from openhearth.errors import RemoteModelError
from openhearth.models.backends.remote_http import HttpRefusalError, RemoteClient
from openhearth.models.backends.remote_json import Delta, RemoteCalls, context_length, read_delta, request_body
from openhearth.models.backends.sse import read_events
from openhearth.models.chat.calls import offered_tools
from openhearth.models.chat.reply import ReplyBuilder
from openhearth.types import FinishReason, ModelInfo, ModelRequest, Piece, Reply, Timings, Usage

_DONE = "[DONE]"
_NO_LIST = (404, 405, 501)


class RemoteModel:
    """Implements `openhearth.models.base.Model`."""

    def __init__(self, client: RemoteClient, *, name: str, reference: str, context: int) -> None:
        self._client = client
        self._name = name
        self._info = ModelInfo(reference=reference, backend="remote", context_length=context)

    @classmethod
    async def open(cls, reference: str, settings: Settings, *, backoff_s: float = 0.5) -> Self:
        """Reach the server that `http://HOST:PORT/v1#NAME` names, and ask how long its context is.

        Raises RemoteModelError when it cannot be reached or refuses the key, ConfigError for a key file that is none.
        """
        url, _, name = reference.partition("#")
        client = RemoteClient(url, settings.remote, backoff_s=backoff_s)
        try:
            context = context_length(await client.get_json("/models"), name)
        except HttpRefusalError as error:
            if error.status not in _NO_LIST:
                await client.aclose()
                raise
            context = None
        except BaseException:
            await client.aclose()
            raise
        return cls(client, name=name, reference=reference, context=context or settings.remote.context)

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def count_tokens(self, request: ModelRequest) -> None:
        """Only the server knows its tokenizer and template."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Raises RemoteModelError, or ContextOverflowError when the server says that the prompt is too long."""
        started = time.monotonic()
        deadline = started + request.time_limit_s if request.time_limit_s is not None else None
        body = request_body(request, self._name)
        reply = ReplyBuilder(offered_tools(request), stops=request.sampling.stop)
        calls = RemoteCalls()
        finish: FinishReason | None = None
        usage: Usage | None = None
        pieces, first, last = 0, 0.0, started
        try:
            async with (
                self._client.open("POST", "/chat/completions", body, deadline=deadline) as response,
                aclosing(_until(self._deltas(response), deadline)) as deltas,
            ):
                async for delta in deltas:
                    usage = delta.usage or usage
                    finish = delta.finish or finish
                    if delta.text or delta.calls:
                        pieces, last = pieces + 1, time.monotonic()
                        first = first or last - started
                    for piece in (*reply.feed(delta.text, pieces), *calls.feed(delta.calls, pieces)):
                        yield piece
                    if reply.ended:
                        break
        except TimeoutError:
            finish = finish or "length"
        truncated = finish == "length"
        for piece in (*reply.finish(pieces, truncated=truncated), *calls.finish(reply, pieces, truncated=truncated)):
            yield piece
        yield Reply(
            message=reply.message,
            usage=usage or Usage(prompt_tokens=len(json.dumps(body)) // 4, completion_tokens=pieces),
            finish=reply.finish_reason(finish or "stop"),
            timings=Timings(first_token_s=first, decode_s=max(0.0, last - started - first)),
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _deltas(self, response: httpx.Response) -> AsyncIterator[Delta]:
        """What each event brings. Raises RemoteModelError for what is no event, and when the end is missing."""
        complete = False
        if response.headers.get("content-type", "").startswith("application/json"):
            yield self._delta((await response.aread()).decode(errors="replace"))
            return
        async for data in read_events(response.aiter_bytes()):
            if data.strip() == _DONE:
                return
            delta = self._delta(data)
            complete = complete or delta.finish is not None
            yield delta
        if not complete:
            raise RemoteModelError(
                f"{self._client.base} broke the connection in the middle of a reply.", hint="Ask again."
            )

    def _delta(self, data: str) -> Delta:
        try:
            value: Any = json.loads(data)
        except ValueError as error:
            raise RemoteModelError(
                f"{self._client.base} sent something that is no event: {self._client.redact(data)[:80]!r}."
            ) from error
        if isinstance(value, dict) and value.get("error"):
            said = self._client.redact(json.dumps(value["error"]))
            raise RemoteModelError(f"{self._client.base} failed in the middle of a reply: {said}")
        return read_delta(value)


async def _until(deltas: AsyncIterator[Delta], deadline: float | None) -> AsyncGenerator[Delta, None]:
    """`deltas`; TimeoutError when there is no more time."""
    while True:
        try:
            async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                delta = await anext(deltas)
        except StopAsyncIteration:
            return
        yield delta
