"""The engine in this process as a model: messages in, text and tool calls out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Self

from openhearth.config import Settings
from openhearth.errors import ContextOverflowError
from openhearth.models.backends.engines import LoadedModel, acquire, release
from openhearth.models.base import ProgressCallback
from openhearth.models.chat.call_plan import CallPlan
from openhearth.models.chat.calls import is_code_tool
from openhearth.models.chat.constraint import BannedTokens, ToolCallConstraint
from openhearth.models.chat.detokenise import Detokeniser
from openhearth.models.chat.reply import ReplyBuilder
from openhearth.models.engine.constraint import Constraint
from openhearth.models.engine.request import Finished, GenerationRequest
from openhearth.types import ModelInfo, ModelRequest, Piece, Reply


class LocalModel:
    """Implements `openhearth.models.base.Model`. The engine is shared by all that opened the same store and device."""

    def __init__(self, loaded: LoadedModel, *, reference: str) -> None:
        self._loaded = loaded
        self._closed = False
        self._prompt: tuple[ModelRequest, list[int]] | None = None
        engine = loaded.engine
        self._info = ModelInfo(
            reference=reference,
            backend="local",
            context_length=engine.context_length,
            device=engine.device,
            precision=engine.precision,
        )

    @classmethod
    async def open(
        cls, store: Path, settings: Settings, *, reference: str | None = None, progress: ProgressCallback | None = None
    ) -> Self:
        """Load the converted model in `store`, or share it. Raises what `Engine.load` raises."""
        loaded = await asyncio.to_thread(acquire, store, settings, progress)
        return cls(loaded, reference=reference or store.name)

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def count_tokens(self, request: ModelRequest) -> int:
        return len(self._encode(request))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Raises ContextOverflowError before anything is decoded, ModelError for tools or schemas that cannot be."""
        prompt = self._encode(request)
        if len(prompt) >= self._info.context_length:
            raise ContextOverflowError(
                f"The prompt has {len(prompt)} tokens, tools included; the context holds {self._info.context_length}.",
                hint="Shorten the conversation, offer fewer tools, or raise model.context up to the model's own limit.",
            )
        loaded = self._loaded
        plan = CallPlan.of(request, loaded.tool_format, loaded.compiler, loaded.token_id)
        if plan.steers:
            # The vocabulary is read while the prompt is; whoever comes first to need it waits.
            asyncio.get_running_loop().run_in_executor(None, loaded.compiler.warm_up)
        generation = GenerationRequest(
            prompt=prompt,
            sampling=request.sampling,
            constraint=self._constraint(request, plan),
            deadline=time.monotonic() + request.time_limit_s if request.time_limit_s is not None else None,
        )
        reply = ReplyBuilder(plan.tools, stops=request.sampling.stop, tool_format=loaded.tool_format)
        detokeniser = Detokeniser(loaded.token_bytes)
        tokens = 0
        async with aclosing(loaded.engine.generate(generation)) as outputs:
            async for output in outputs:
                if isinstance(output, Finished):
                    for piece in reply.feed(detokeniser.finish(), tokens):
                        yield piece
                    for piece in reply.finish(tokens, truncated=output.reason == "length"):
                        yield piece
                    yield Reply(
                        message=reply.message,
                        usage=output.usage,
                        finish=reply.finish_reason(output.reason),
                        timings=output.timings,
                    )
                    return
                tokens += 1
                for piece in reply.feed(detokeniser.feed([output.id]), tokens):
                    yield piece

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(release, self._loaded)

    def _encode(self, request: ModelRequest) -> list[int]:
        # An agent counts a request's tokens and then sends the same request.
        if self._prompt is None or self._prompt[0] is not request:
            text = self._loaded.writer.write(request)
            encoded = self._loaded.engine.tokenizer.encode(text, add_special_tokens=False)
            self._prompt = (request, list(encoded.ids))
        return self._prompt[1]

    def _constraint(self, request: ModelRequest, plan: CallPlan) -> Constraint | None:
        loaded = self._loaded
        if plan.steers or request.sampling.stop:
            return ToolCallConstraint(plan, loaded.token_bytes, stops=request.sampling.stop)
        if not request.tools:
            return None
        # The prompt offers the tools all the same, so that it begins as those before it did (`PromptWriter.write`).
        marker = loaded.token_id(loaded.tool_format.opener)
        return BannedTokens(
            [] if marker is None else [marker],
            vocab_size=loaded.engine.config.vocab_size,
            at_first=loaded.fences if any(is_code_tool(tool) for tool in request.tools) else (),
        )
