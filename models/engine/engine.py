"""The engine: token ids in, token ids out, from any thread or event loop.

One thread owns the model. Requests are put into its queue; up to `cache_threads` of them are under way at once and
take turns, one forward step each, and the others wait in the order they came.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import tokenizers
import torch

from openhearth.models.architectures.decoder import Decoder, build_decoder
from openhearth.models.architectures.layer import AnyLayer
from openhearth.models.base import ProgressCallback
from openhearth.models.devices import choose_device, physical_cores
from openhearth.models.engine.cache import CachePool
from openhearth.models.engine.huge_pages import use_huge_pages
from openhearth.models.engine.request import Finished, GenerationRequest, Output
from openhearth.models.engine.runner import Runner, check_prompt
from openhearth.models.engine.worker import Batch, Job, Worker, unwrap
from openhearth.models.layers.paged import BLOCK
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.store import ModelStore


class Engine:
    """A loaded model. Open one with `load`, and `close` it; safe to use from any thread."""

    def __init__(self, runner: Runner, store: ModelStore, *, device: torch.device, threads: int, slots: int) -> None:
        self.config: DecoderConfig = runner.decoder.config
        self.tokenizer: tokenizers.Tokenizer = store.tokenizer()
        self.chat_template: str | None = store.chat_template()
        self.context_length: int = runner.context
        self.device: str = str(device)
        self.precision: str = store.manifest.precision
        self._runner = runner
        self._worker = Worker(threads, slots)
        self._stop = threading.Event()
        self._pages = threading.Thread(target=use_huge_pages, args=(self._stop,), name="hearth-huge-pages", daemon=True)
        if device.type == "cpu":
            self._pages.start()

    @classmethod
    def load(
        cls,
        store: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        context: int = 8192,
        cache_threads: int = 4,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """Load the converted model in the folder `store`; blocks for as long as that takes.

        `threads` None means one a physical core, `context` is cut to the model's own limit. Raises
        ModelUnavailableError, MalformedFileError, and ConfigError for a device that is not there.
        """
        place = choose_device(device)
        threads = threads or physical_cores()
        files = ModelStore.open(store)
        config = files.config
        context = min(context, config.max_context)

        def each(build: Callable[[int], AnyLayer], indices: range) -> list[AnyLayer]:
            layers = []
            for layer in pool.map(build, indices):
                layers.append(layer)
                if progress is not None:
                    progress("Loading the model", len(layers), config.layers)
            return layers

        def build() -> Decoder:
            return build_decoder(
                config, files.tensors, files.manifest.linears, context=context, device=place, each=each
            )

        # A thread that ever ran a parallel operation keeps its OpenMP helpers. With more of them than cores, libgomp
        # stops waiting actively, and decoding takes half as long again: so nothing here is parallel within a thread.
        with ThreadPoolExecutor(threads + 1, "hearth-load", torch.set_num_threads, (1,)) as pool:
            decoder = pool.submit(build).result()
        caches = CachePool(decoder.new_store(cache_threads * -(-context // BLOCK)), cache_threads)
        return cls(Runner(decoder, caches, context), files, device=place, threads=threads, slots=cache_threads)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Output, None]:
        """Tokens as they come, then one `Finished`. Closing the iterator cancels within one step.

        Raises ContextOverflowError before anything runs; what a constraint raises comes out here too.
        """
        loop = asyncio.get_running_loop()
        outputs: asyncio.Queue[Batch] = asyncio.Queue()

        def emit(batch: Batch) -> None:
            loop.call_soon_threadsafe(outputs.put_nowait, batch)

        job = self._submit(request, emit)
        try:
            while True:
                for output in unwrap(await outputs.get()):
                    yield output
                    if isinstance(output, Finished):
                        return
        finally:
            job.cancelled = True

    def generate_sync(self, request: GenerationRequest) -> Generator[Output, None, None]:
        """`generate` for code without an event loop."""
        outputs: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        job = self._submit(request, outputs.put)
        try:
            while True:
                for output in unwrap(outputs.get()):
                    yield output
                    if isinstance(output, Finished):
                        return
        finally:
            job.cancelled = True

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        """Logits float32 [len(ids), vocabulary] after each of `ids`, without any cache."""
        check_prompt(ids, self.context_length + 1, self.config.vocab_size)
        answers: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._worker.submit(Job(lambda: iter([[self._runner.logits(ids)]]), answers.put))
        (logits,) = unwrap(answers.get())
        return logits  # type: ignore[no-any-return]

    def close(self) -> None:
        """End what is under way with an error and free the threads. Closing twice is fine."""
        self._stop.set()
        self._worker.close()
        if self._pages.ident is not None:
            self._pages.join()

    def _submit(self, request: GenerationRequest, emit: Callable[[Batch], None]) -> Job:
        check_prompt(request.prompt, self.context_length, self.config.vocab_size)
        started = time.monotonic()
        job = Job(lambda: self._runner.steps(request, started), emit)
        self._worker.submit(job)
        return job
