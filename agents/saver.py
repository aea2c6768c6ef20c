"""LangGraph's checkpoints in OpenHearth's database, and outcomes in the same transaction.

A checkpoint's channels are stored once per version, so a step costs what it changed. What a node did to other
tables can ride along: `stage` it, and it is committed together with the node's writes, or not at all.

A node's writes are on the disk before LangGraph goes on. The checkpoint that follows from them is committed without
waiting for the disk: should a power failure lose it, it is computed again from the writes before it.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_serializable_checkpoint_metadata,
)

from openhearth.agents.serde import StrictSerde
from openhearth.storage import checkpoints
from openhearth.storage.store import Session, Store
from openhearth.storage.tables import CheckpointRow

P = ParamSpec("P")
T = TypeVar("T")
Write = Callable[[Session], None]

_FORK_BITS = 32


class HearthSaver(BaseCheckpointSaver[int]):
    """A checkpoint saver over a Store. The async methods run the sync ones on a thread of the saver's own, in order."""

    def __init__(self, store: Store) -> None:
        super().__init__(serde=StrictSerde())
        self._store = store
        self._lock = threading.Lock()
        self._staged: dict[str, list[Write]] = {}
        self._guards: dict[str, Write] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hearth-saver")

    # What rides along

    def stage(self, langgraph_thread_id: str, write: Write) -> None:
        """Commit `write` in the same transaction as the thread's next checkpoint or node writes, before them.

        When that transaction fails, the staged writes wait for the next one: what happened stays to be told.
        """
        with self._lock:
            self._staged.setdefault(langgraph_thread_id, []).append(write)

    def guard(self, langgraph_thread_id: str, check: Write | None) -> None:
        """Call `check` first in every transaction of the thread; when it raises, nothing is written. None ends it."""
        with self._lock:
            if check is None:
                self._guards.pop(langgraph_thread_id, None)
            else:
                self._guards[langgraph_thread_id] = check

    def discard(self, langgraph_thread_id: str) -> None:
        """Forget what is staged for the thread and was not committed."""
        with self._lock:
            self._staged.pop(langgraph_thread_id, None)

    def close(self) -> None:
        """Finish what is under way and end the thread. The store stays open."""
        self._thread.shutdown(wait=True)

    # Writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        thread_id, namespace = _key(config)
        details = get_serializable_checkpoint_metadata(config, metadata)
        values = checkpoint["channel_values"]
        body = {name: value for name, value in checkpoint.items() if name not in ("id", "channel_values")}
        kind, data = self.serde.dumps_typed(body)
        row = {
            "thread_id": thread_id,
            "namespace": namespace,
            "id": checkpoint["id"],
            "parent_id": get_checkpoint_id(config),
            "run_id": details.get("run_id"),
            "kind": kind,
            "body": data,
            "details": details,
        }
        blobs = []
        for channel, version in new_versions.items():
            if channel in values:
                kind, data = self.serde.dumps_typed(values[channel])
                blob = {"thread_id": thread_id, "namespace": namespace, "channel": channel, "version": version}
                blobs.append({**blob, "kind": kind, "data": data})
        with self._transaction(thread_id, durable=False) as session:
            checkpoints.put(session, row, blobs)
        return _config(thread_id, namespace, checkpoint["id"])

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        thread_id, namespace = _key(config)
        rows = []
        for index, (channel, value) in enumerate(writes):
            kind, data = self.serde.dumps_typed(value)
            rows.append(
                {
                    "thread_id": thread_id,
                    "namespace": namespace,
                    "checkpoint_id": get_checkpoint_id(config),
                    "task_id": task_id,
                    "idx": WRITES_IDX_MAP.get(channel, index),
                    "task_path": task_path,
                    "channel": channel,
                    "kind": kind,
                    "data": data,
                }
            )
        with self._transaction(thread_id, durable=True) as session:
            checkpoints.put_writes(session, rows, replace=all(channel in WRITES_IDX_MAP for channel, _ in writes))

    def delete_thread(self, thread_id: str) -> None:
        with self._store.write() as session:
            checkpoints.delete_threads(session, [thread_id])

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        with self._store.write() as session:
            for thread_id, namespace in checkpoints.delete_of_runs(session, run_ids):
                self._drop_unused_blobs(session, thread_id, namespace)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        with self._store.write() as session:
            checkpoints.copy_thread(session, source_thread_id, target_thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"unknown strategy {strategy!r}")
        with self._store.write() as session:
            if strategy == "delete":
                checkpoints.delete_threads(session, thread_ids)
                return
            for thread_id in thread_ids:
                for namespace in checkpoints.keep_latest(session, thread_id):
                    self._drop_unused_blobs(session, thread_id, namespace)

    # Reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        thread_id, namespace = _key(config)
        with self._store.read() as session:
            row = checkpoints.get(session, thread_id, namespace, get_checkpoint_id(config))
            return None if row is None else self._tuple(session, row)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name for it
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        wanted = config["configurable"] if config else {}
        with self._store.read() as session:
            rows = checkpoints.list(
                session,
                thread_id=str(wanted["thread_id"]) if "thread_id" in wanted else None,
                namespace=wanted.get("checkpoint_ns"),
                checkpoint_id=get_checkpoint_id(config) if config else None,
                before=get_checkpoint_id(before) if before else None,
                details=filter,
                limit=limit,
            )
            yield from [self._tuple(session, row) for row in rows]

    # The same, for LangGraph's async loop

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._off_loop(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await self._off_loop(self.put_writes, config, writes, task_id, task_path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._off_loop(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for found in await self._off_loop(lambda: [*self.list(config, filter=filter, before=before, limit=limit)]):
            yield found

    async def adelete_thread(self, thread_id: str) -> None:
        await self._off_loop(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._off_loop(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._off_loop(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await self._off_loop(lambda: self.prune(thread_ids, strategy=strategy))

    # LangGraph's other hooks

    def get_next_version(self, current: int | None, channel: None) -> int:
        """A greater version. Its lower half is random, so that two forks of a thread never share one."""
        return ((current or 0) >> _FORK_BITS) + 1 << _FORK_BITS | secrets.randbits(_FORK_BITS)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> HearthSaver:
        """This saver: what may be stored is fixed in `serde`."""
        return self

    @contextmanager
    def _transaction(self, thread_id: str, *, durable: bool) -> Iterator[Session]:
        staged: Sequence[Write] = ()
        try:
            with self._store.write(durable=durable or bool(self._staged.get(thread_id))) as session:
                # Taken only now, when no other writer can come between them and the commit.
                with self._lock:
                    guard, staged = self._guards.get(thread_id), self._staged.pop(thread_id, ())
                if guard is not None:
                    guard(session)
                for write in staged:
                    write(session)
                yield session
        except BaseException:
            if staged:
                with self._lock:
                    self._staged[thread_id] = [*staged, *self._staged.get(thread_id, ())]
            raise

    def _tuple(self, session: Session, row: CheckpointRow) -> CheckpointTuple:
        body = self.serde.loads_typed((row.kind, row.body))
        versions = body["channel_versions"]
        blobs = checkpoints.blobs(session, row.thread_id, row.namespace, [*versions.items()])
        writes = checkpoints.writes(session, row.thread_id, row.namespace, row.id)
        values = {blob.channel: self.serde.loads_typed((blob.kind, blob.data)) for blob in blobs}
        return CheckpointTuple(
            config=_config(row.thread_id, row.namespace, row.id),
            checkpoint=cast("Checkpoint", {**body, "id": row.id, "channel_values": values}),
            metadata=cast("CheckpointMetadata", row.details),
            parent_config=_config(row.thread_id, row.namespace, row.parent_id) if row.parent_id else None,
            pending_writes=[(w.task_id, w.channel, self.serde.loads_typed((w.kind, w.data))) for w in writes],
        )

    def _drop_unused_blobs(self, session: Session, thread_id: str, namespace: str) -> None:
        used = {
            pair
            for row in checkpoints.list(session, thread_id=thread_id, namespace=namespace)
            for pair in self.serde.loads_typed((row.kind, row.body))["channel_versions"].items()
        }
        checkpoints.keep_blobs(session, thread_id, namespace, used)

    async def _off_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))


def _key(config: RunnableConfig) -> tuple[str, str]:
    return str(config["configurable"]["thread_id"]), config["configurable"].get("checkpoint_ns", "")


def _config(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}
