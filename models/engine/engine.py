"""The engine: token ids in, token ids out, from any thread or event loop.

One thread owns the model. Requests are put into its queue; up to `cache_threads` of them are under way at once and
take turns, one forward step each, and the others wait in the order they came.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import tokenizers
import torch

from openhearth.errors import ModelUnavailableError
from openhearth.models.architectures.decoder import Decoder, Layer, build_decoder
from openhearth.models.base import ProgressCallback
from openhearth.models.devices import choose_device, physical_cores
from openhearth.models.engine.cache import CachePool
from openhearth.models.engine.huge_pages import use_huge_pages
from openhearth.models.engine.request import Finished, GenerationRequest, Output
from openhearth.models.engine.runner import Runner, check_prompt
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
        self._worker = _Worker(threads, slots)
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
        opened = ModelStore.open(store)
        config = opened.config
        context = min(context, config.max_context)

        def each(build: Callable[[int], Layer], indices: range) -> list[Layer]:
            layers = []
            for layer in pool.map(build, indices):
                layers.append(layer)
                if progress is not None:
                    progress("Loading the model", len(layers), config.layers)
            return layers

        def build() -> Decoder:
            return build_decoder(
                config, opened.tensors, opened.manifest.linears, context=context, device=place, each=each
            )

        # A thread that ever ran a parallel operation keeps its OpenMP helpers. With more of them than cores, libgomp
        # stops waiting actively, and decoding takes half as long again: so nothing here is parallel within a thread.
        with ThreadPoolExecutor(threads + 1, "hearth-load", torch.set_num_threads, (1,)) as pool:
            decoder = pool.submit(build).result()
        caches = CachePool(config, cache_threads, context, place)
        return cls(Runner(decoder, caches, context), opened, device=place, threads=threads, slots=cache_threads)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Output, None]:
        """Tokens as they come, then one `Finished`. Closing the iterator cancels within one step.

        Raises ContextOverflowError before anything runs; what a constraint raises comes out here too.
        """
        loop = asyncio.get_running_loop()
        outputs: asyncio.Queue[_Batch] = asyncio.Queue()

        def emit(batch: _Batch) -> None:
            loop.call_soon_threadsafe(outputs.put_nowait, batch)

        job = self._submit(request, emit)
        try:
            while True:
                for output in _opened(await outputs.get()):
                    yield output
                    if isinstance(output, Finished):
                        return
        finally:
            job.cancelled = True

    def generate_sync(self, request: GenerationRequest) -> Generator[Output, None, None]:
        """`generate` for code without an event loop."""
        outputs: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        job = self._submit(request, outputs.put)
        try:
            while True:
                for output in _opened(outputs.get()):
                    yield output
                    if isinstance(output, Finished):
                        return
        finally:
            job.cancelled = True

    def logits(self, ids: Sequence[int]) -> torch.Tensor:
        """Logits float32 [len(ids), vocabulary] after each of `ids`, without any cache."""
        check_prompt(ids, self.context_length + 1, self.config.vocab_size)
        answers: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        self._worker.submit(_Job(lambda: iter([[self._runner.logits(ids)]]), answers.put))
        (logits,) = _opened(answers.get())
        return logits  # type: ignore[no-any-return]

    def close(self) -> None:
        """End what is under way with an error and free the threads. Closing twice is fine."""
        self._stop.set()
        self._worker.close()
        if self._pages.ident is not None:
            self._pages.join()

    def _submit(self, request: GenerationRequest, emit: Callable[[_Batch], None]) -> _Job:
        check_prompt(request.prompt, self.context_length, self.config.vocab_size)
        started = time.monotonic()
        job = _Job(lambda: self._runner.steps(request, started), emit)
        self._worker.submit(job)
        return job


_Batch = Sequence[Any] | BaseException


def _opened(batch: _Batch) -> Sequence[Any]:
    if isinstance(batch, BaseException):
        raise batch
    return batch


class _Job:
    """Work for the engine's thread: an iterator made there, whose items are handed to `emit`, as is its failure."""

    __slots__ = ("_steps", "cancelled", "emit", "start")

    def __init__(self, start: Callable[[], Iterator[Sequence[Any]]], emit: Callable[[_Batch], None]) -> None:
        self.start, self.emit = start, emit
        self.cancelled = False
        self._steps: Iterator[Sequence[Any]] | None = None

    def step(self) -> bool:
        """Take one step; False when there is no more to do."""
        try:
            if self._steps is None:
                self._steps = self.start()
            batch = next(self._steps, None)
            if batch is None:
                return False
            if batch:
                self.emit(batch)
        except Exception as error:
            self.fail(error)
            return False
        return True

    def fail(self, error: Exception) -> None:
        self.end()
        try:
            self.emit(error)
        except RuntimeError:
            # The listener's event loop is closed: nobody is left to tell.
            self.cancelled = True

    def end(self) -> None:
        close = getattr(self._steps, "close", None)
        if close is not None:
            close()


class _Worker:
    """The one thread that runs jobs, up to `slots` of them in turn."""

    def __init__(self, threads: int, slots: int) -> None:
        self._threads, self._slots = threads, slots
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hearth-engine", daemon=True)
        self._thread.start()

    def submit(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise _closed()
            self._inbox.put(job)

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        # The number of OpenMP threads is a setting of the thread that asks.
        torch.set_num_threads(self._threads)
        active: deque[_Job] = deque()
        while self._take(active):
            job = active.popleft()
            if job.cancelled:
                job.end()
            elif job.step():
                active.append(job)
        for job in active:
            job.fail(_closed())
        while (waiting := self._next(block=False)) is not None:
            waiting.fail(_closed())

    def _take(self, active: deque[_Job]) -> bool:
        """Fill the free slots, waiting when there is nothing at all to do; False when the engine closes."""
        while len(active) < self._slots:
            try:
                job = self._inbox.get(block=not active)
            except queue.Empty:
                return True
            if job is None:
                return False
            active.append(job)
        return not self._closed

    def _next(self, *, block: bool) -> _Job | None:
        try:
            return self._inbox.get(block=block)
        except queue.Empty:
            return None


def _closed() -> ModelUnavailableError:
    return ModelUnavailableError("The engine is closed.", hint="Load the model again.")
