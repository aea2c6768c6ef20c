"""The thread that owns the model, and the work it is given."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from openhearth.errors import ModelUnavailableError

Batch = Sequence[Any] | BaseException
"""What one step brought, or how the work failed."""


class Worker:
    """One thread that runs jobs, up to `slots` of them in turn, one step each; the others wait in their order."""

    def __init__(self, threads: int, slots: int) -> None:
        self._threads, self._slots = threads, slots
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hearth-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Raises ModelUnavailableError once the worker is closed."""
        with self._lock:
            if self._closed:
                raise _closed()
            self._inbox.put(job)

    def close(self) -> None:
        """Fail all jobs after the step that is under way, and end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        # The number of OpenMP threads is a setting of the thread that asks.
        torch.set_num_threads(self._threads)
        active: deque[Job] = deque()
        while self._take(active):
            job = active.popleft()
            if job.cancelled:
                job.end()
            elif job.step():
                active.append(job)
        while not self._inbox.empty():
            job_or_end = self._inbox.get()
            if job_or_end is not None:
                active.append(job_or_end)
        for job in active:
            job.fail(_closed())

    def _take(self, active: deque[Job]) -> bool:
        """Fill the free slots, waiting when there is nothing at all to do; False when the worker closes."""
        while len(active) < self._slots:
            try:
                job = self._inbox.get(block=not active)
            except queue.Empty:
                break
            if job is None:
                return False
            active.append(job)
        return not self._closed


class Job:
    """An iterator that `start` makes in the worker's thread. Its items are handed to `emit`, as is its failure.

    Whoever has lost interest sets `cancelled`; the job then ends before its next step.
    """

    def __init__(self, start: Callable[[], Iterator[Sequence[Any]]], emit: Callable[[Batch], None]) -> None:
        self.cancelled = False
        self._start, self._emit = start, emit
        self._steps: Iterator[Sequence[Any]] | None = None

    def step(self) -> bool:
        """Take one step; False when there is no more to do."""
        try:
            if self._steps is None:
                self._steps = self._start()
            batch = next(self._steps, None)
            if batch is None:
                return False
            if batch:
                self._emit(batch)
        except Exception as error:
            self.fail(error)
            return False
        return True

    def fail(self, error: Exception) -> None:
        self.end()
        try:
            self._emit(error)
        except RuntimeError:
            # The listener's event loop is closed: nobody is left to tell.
            self.cancelled = True

    def end(self) -> None:
        """Let the iterator clean up behind itself."""
        close = getattr(self._steps, "close", None)
        if close is not None:
            close()


def unwrap(batch: Batch) -> Sequence[Any]:
    """The items of a batch; raises what it failed with."""
    if isinstance(batch, BaseException):
        raise batch
    return batch


def _closed() -> ModelUnavailableError:
    return ModelUnavailableError("The engine is closed.", hint="Load the model again.")
