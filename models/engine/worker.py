"""The thread that owns the model, and how work gets there."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from openhearth.errors import ModelUnavailableError
from openhearth.models.engine.generation import Batch, Generation
from openhearth.models.engine.scheduler import Scheduler


class Call:
    """A function that is to be run in the worker's thread, between steps; `emit` gets `[its result]`, or its error."""

    def __init__(self, function: Callable[[], Any], emit: Callable[[Batch], None]) -> None:
        self.function, self.emit = function, emit


class Worker:
    """One thread that steps a scheduler while it is busy, and sleeps while it is not."""

    def __init__(self, scheduler: Scheduler, threads: int) -> None:
        self._scheduler, self._threads = scheduler, threads
        self._inbox: queue.SimpleQueue[Generation | Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hearth-engine", daemon=True)
        self._thread.start()

    def submit(self, work: Generation | Call) -> None:
        """Raises ModelUnavailableError once the worker is closed."""
        with self._lock:
            if self._closed:
                raise _closed()
            self._inbox.put(work)

    def close(self) -> None:
        """Fail all work after the step that is under way, and end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        # The number of OpenMP threads is a setting of the thread that asks.
        torch.set_num_threads(self._threads)
        while not self._closed:
            self._receive(wait=not self._scheduler.busy)
            if self._scheduler.busy and not self._closed:
                self._step()
        self._scheduler.fail_all(_closed())
        while not self._inbox.empty():
            work = self._inbox.get()
            if isinstance(work, Generation):
                work.fail(_closed())
            elif work is not None:
                work.emit(_closed())

    def _step(self) -> None:
        try:
            self._scheduler.step()
        except Exception as error:
            # Nobody may be left waiting for ever, whatever went wrong.
            self._scheduler.fail_all(error)

    def _receive(self, *, wait: bool) -> None:
        """Take what has come; with `wait`, at least one thing."""
        while wait or not self._inbox.empty():
            work = self._inbox.get()
            wait = False
            if isinstance(work, Generation):
                self._scheduler.add(work)
            elif work is not None:
                self._call(work)

    @staticmethod
    def _call(call: Call) -> None:
        try:
            result = call.function()
        except Exception as error:
            call.emit(error)
        else:
            call.emit([result])


def unwrap(batch: Batch) -> Sequence[Any]:
    """The items of a batch; raises what it failed with."""
    if isinstance(batch, BaseException):
        raise batch
    return batch


def _closed() -> ModelUnavailableError:
    return ModelUnavailableError("The engine is closed.", hint="Load the model again.")
