"""Which event loop an SDK agent's runs live in, and the runtimes that agents share there.

Asynchronous calls run in the caller's loop, so that asynchronous tools find their own connections there. Synchronous
calls run in one loop on a thread of its own, which works inside a running loop too (in a notebook, say).
Agents with equal settings share a runtime in each loop, and with it the models that it has opened.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from openhearth.agents.runtime import Runtime
from openhearth.config import Settings

T = TypeVar("T")


class _Shared:
    """The runtimes of one loop, and how many agents use each."""

    def __init__(self) -> None:
        self.runtimes: dict[Settings, Runtime] = {}
        self.users: dict[Settings, int] = {}
        self.opening = asyncio.Lock()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


async def join(settings: Settings) -> Runtime:
    """The running loop's runtime for these settings. Call `leave` once for each `join`."""
    shared = _by_loop.setdefault(asyncio.get_running_loop(), _Shared())
    async with shared.opening:
        if settings not in shared.runtimes:
            shared.runtimes[settings] = await Runtime.open(settings)
        shared.users[settings] = shared.users.get(settings, 0) + 1
        return shared.runtimes[settings]


async def leave(settings: Settings) -> None:
    """The last one to leave closes the runtime."""
    shared = _by_loop[asyncio.get_running_loop()]
    async with shared.opening:
        shared.users[settings] -= 1
        if shared.users[settings] == 0:
            del shared.users[settings]
            await shared.runtimes.pop(settings).aclose()


async def _close_all() -> None:
    shared = _by_loop.get(asyncio.get_running_loop())
    while shared is not None and shared.runtimes:
        await shared.runtimes.popitem()[1].aclose()


class LoopThread:
    """An event loop on a daemon thread, for synchronous callers. One per process, started on first use."""

    _lock = threading.Lock()
    _instance: LoopThread | None = None

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hearth-sdk", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    @classmethod
    def get(cls) -> LoopThread:
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. An interrupt (Ctrl-C) of the waiting thread cancels it, and waits for its end."""
        ended = threading.Event()

        async def watched() -> T:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(watched(), self._loop)
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                ended.wait()
            raise

    def _stop(self) -> None:
        # At this point executors take no more work, so a model may be unable to say goodbye; the process ends anyway.
        with suppress(RuntimeError):
            asyncio.run_coroutine_threadsafe(_close_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
