"""The engine: token ids in, token ids out, from any thread or event loop.

One thread owns the model. Requests are put into its queue, and all that there are blocks for run together: each step of
the model reads the last tokens of all of them (scheduler.py). What was read stays known to those that begin the same
way (prefix_tree.py), and what is likely to come next is guessed and checked in the same step (speculation.py).
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import tokenizers
import torch

from openhearth.errors import ContextOverflowError
from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.decoder import build_decoder
from openhearth.models.architectures.foreign import build_foreign
from openhearth.models.architectures.layer import AnyLayer
from openhearth.models.architectures.solo import Solo
from openhearth.models.base import ProgressCallback
from openhearth.models.devices import choose_device, physical_cores
from openhearth.models.engine.budget import cache_blocks
from openhearth.models.engine.cache import PrefixCache
from openhearth.models.engine.generation import Batch, Generation
from openhearth.models.engine.huge_pages import use_huge_pages
from openhearth.models.engine.metrics import Metrics
from openhearth.models.engine.request import Finished, GenerationRequest, Output
from openhearth.models.engine.scheduler import Rows, Scheduler
from openhearth.models.engine.worker import Call, Worker, unwrap
from openhearth.models.layers.paged import BLOCK
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.store import ModelStore

_ROWS = 128
"""Rows of one step where logits are wanted of all."""


class Engine:
    """A loaded model. Open one with `load`, and `close` it; safe to use from any thread."""

    def __init__(
        self, decoder: BaseDecoder, store: ModelStore, *, context: int, blocks: int, threads: int, speculate: bool
    ) -> None:
        """`blocks` bound what all requests together may hold, and so the context of each; see `load`."""
        self.config: DecoderConfig = decoder.config
        self.tokenizer: tokenizers.Tokenizer = store.tokenizer()
        self.chat_template: str | None = store.chat_template()
        self.context_length: int = min(context, blocks * BLOCK)
        self.device: str = str(decoder.device)
        self.precision: str = store.manifest.precision
        self._decoder, self._speculate = decoder, speculate
        self._numbers = itertools.count()
        self._scheduler = Scheduler(decoder, PrefixCache(decoder.new_store(blocks)), Rows.on(decoder.device))
        self._worker = Worker(self._scheduler, threads)
        self._stop = threading.Event()
        self._pages = threading.Thread(target=use_huge_pages, args=(self._stop,), name="hearth-huge-pages", daemon=True)
        if decoder.device.type == "cpu" and store.manifest.precision != "native":
            self._pages.start()

    @classmethod
    def load(
        cls,
        store: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        context: int = 8192,
        cache_mb: int | None = None,
        speculate: bool = True,
        share_memory: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """Load the converted model in the folder `store`; blocks for as long as that takes.

        `threads` None means one a physical core, `context` is cut to the model's own limit. `cache_mb` MiB are for keys
        and values, of which one request may have all; None leaves it to the machine's memory (budget.py). `speculate`
        guesses tokens ahead, which changes nothing but the speed. `share_memory` leaves native weights in the file's
        own memory (loading/resident.py). Raises ModelUnavailableError, MalformedFileError, and ConfigError for a device
        that is not there.
        """
        place = choose_device(device)
        threads = threads or physical_cores()
        files = ModelStore.open(store, resident=place.type == "cpu" and not share_memory)
        config = files.config
        context = min(context, config.max_context)

        def each(build: Callable[[int], AnyLayer], indices: range) -> list[AnyLayer]:
            layers = []
            for layer in pool.map(build, indices):
                layers.append(layer)
                if progress is not None:
                    progress("Loading the model", len(layers), config.layers)
            return layers

        def build() -> BaseDecoder:
            if config.foreign is not None:
                return build_foreign(config, files.tensors, device=place)
            return build_decoder(
                config, files.tensors, files.manifest.linears, context=context, device=place, each=each
            )

        # A thread that ever ran a parallel operation keeps its OpenMP helpers. With more of them than cores, libgomp
        # stops waiting actively, and decoding takes half as long again: so nothing here is parallel within a thread.
        with ThreadPoolExecutor(threads + 1, "hearth-load", torch.set_num_threads, (1,)) as pool:
            decoder = pool.submit(build).result()
        blocks = cache_blocks(cache_mb, decoder.block_bytes, context, place)
        return cls(decoder, files, context=context, blocks=blocks, threads=threads, speculate=speculate)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Output, None]:
        """Tokens as they come, then one `Finished`. Closing the iterator cancels within one step.

        Raises ContextOverflowError before anything runs; what a constraint raises comes out here too.
        """
        loop = asyncio.get_running_loop()
        outputs: asyncio.Queue[Batch] = asyncio.Queue()

        def emit(batch: Batch) -> None:
            loop.call_soon_threadsafe(outputs.put_nowait, batch)

        generation = self._submit(request, emit)
        try:
            while True:
                for output in unwrap(await outputs.get()):
                    yield output
                    if isinstance(output, Finished):
                        return
        finally:
            generation.cancelled = True

    def generate_sync(self, request: GenerationRequest) -> Generator[Output, None, None]:
        """`generate` for code without an event loop."""
        outputs: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        generation = self._submit(request, outputs.put)
        try:
            while True:
                for output in unwrap(outputs.get()):
                    yield output
                    if isinstance(output, Finished):
                        return
        finally:
            generation.cancelled = True

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        """Logits float32 [len(ids), vocabulary] after each of `ids`, without any cache."""
        _check_prompt(ids, self.context_length + 1, self.config.vocab_size)

        def read() -> torch.Tensor:
            solo = Solo(self._decoder, len(ids))
            rows = [solo(ids[i : i + _ROWS], every_row=True) for i in range(0, len(ids), _ROWS)]
            return torch.cat(rows).cpu()

        answers: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._worker.submit(Call(read, answers.put))
        (logits,) = unwrap(answers.get())
        return logits  # type: ignore[no-any-return]

    def metrics(self) -> Metrics:
        """What the engine has done and holds; from any thread."""
        return self._scheduler.metrics()

    def close(self) -> None:
        """End what is under way with an error and free the threads. Closing twice is fine."""
        self._stop.set()
        self._worker.close()
        if self._pages.ident is not None:
            self._pages.join()

    def _submit(self, request: GenerationRequest, emit: Callable[[Batch], None]) -> Generation:
        _check_prompt(request.prompt, self.context_length, self.config.vocab_size)
        generation = Generation(
            request,
            emit,
            number=next(self._numbers),
            started=time.monotonic(),
            context=self.context_length,
            end_ids=self.config.eos_ids,
            speculate=self._speculate,
        )
        self._worker.submit(generation)
        return generation


def _check_prompt(prompt: Sequence[int], context: int, vocabulary: int) -> None:
    """Raises ContextOverflowError for a prompt that is too long, ValueError for one that is no prompt."""
    if len(prompt) >= context:
        raise ContextOverflowError(
            f"The prompt has {len(prompt)} tokens; the context of {context} holds {context - 1} and a reply of one.",
            hint="Shorten the conversation, or raise model.context up to the model's own limit (and model.cache_mb).",
        )
    if not prompt:
        raise ValueError("the prompt is empty; there is nothing to continue")
    if min(prompt) < 0 or max(prompt) >= vocabulary:
        raise ValueError(f"the prompt holds a token id outside the vocabulary of {vocabulary}")
