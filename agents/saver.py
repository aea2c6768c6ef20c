"""LangGraph's checkpoints in OpenHearth's database, and outcomes in the same transaction.

A checkpoint's channels are stored once per version, so a step costs what it changed. What a node did to other
tables can ride along: `stage` it, and it is committed together with the node's writes, or not at all.

A node's writes are on the disk before LangGraph goes on. The checkpoint that follows from them is committed without
waiting for the disk: should a power failure lose it, it is computed again from the writes before it. A graph that
runs one task at a time needs no writes of their own: `unite` them with the checkpoint, and a step is one transaction.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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

from openhearth.agents.riders import Riders, Write
from openhearth.agents.serde import StrictSerde
from openhearth.storage import checkpoints
from openhearth.storage.checkpoints import Columns
from openhearth.storage.store import Session, Store
from openhearth.storage.tables import CheckpointRow

P = ParamSpec("P")
T = TypeVar("T")

_FORK_BITS = 32


class HearthSaver(BaseCheckpointSaver[int]):
    """A checkpoint saver over a Store. The async methods run the sync ones on a thread of the saver's own, in order."""

    def __init__(self, store: Store) -> None:
        super().__init__(serde=StrictSerde())
        self._store = store
        self._riders = Riders(store)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hearth-saver")

    # What rides along

    def stage(self, langgraph_thread_id: str, write: Write) -> None:
        """Commit `write` in the same transaction as the thread's next checkpoint or node writes, before them.

        When that transaction fails, the staged writes wait for the next one: what happened stays to be told.
        """
        self._riders.stage(langgraph_thread_id, write)

    def guard(self, langgraph_thread_id: str, check: Write | None) -> None:
        """Call `check` first in every transaction of the thread; when it raises, nothing is written. None ends it."""
        self._riders.guard(langgraph_thread_id, check)

    def unite(self, langgraph_thread_id: str) -> None:
        """Keep a node's writes in memory until the checkpoint that follows, which replaces them; until `discard`.

        Only for graphs that run one task at a time: nothing else may be waiting for these writes meanwhile.
        """
        self._riders.unite(langgraph_thread_id)

    def flush(self, langgraph_thread_id: str) -> None:
        """Commit united writes, and what is staged with them, that no checkpoint followed. Call it after the graph."""
        if self._riders.node_writes_wait(langgraph_thread_id):
            with self._riders.transaction(langgraph_thread_id, durable=True):
                pass

    def discard(self, langgraph_thread_id: str) -> None:
        """Forget what is staged and united for the thread and was not committed, and unite no more."""
        self._riders.discard(langgraph_thread_id)

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
        with self._riders.transaction(thread_id, durable=False, replaces_writes=True) as session:
            checkpoints.put(session, row, blobs)
        return _config(thread_id, namespace, checkpoint["id"])

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        if self._can_wait(config, writes, task_id, task_path):
            return
        rows = self._write_rows(config, writes, task_id, task_path)
        with self._riders.transaction(_key(config)[0], durable=True) as session:
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
        if not self._can_wait(config, writes, task_id, task_path):
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

    async def aflush(self, langgraph_thread_id: str) -> None:
        """`flush`."""
        await self._off_loop(self.flush, langgraph_thread_id)

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

    def _can_wait(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> bool:
        """Whether these writes were put aside. Errors and interrupts are not: no checkpoint follows them."""
        thread_id, namespace = _key(config)
        special = any(channel in WRITES_IDX_MAP for channel, _ in writes)
        if special or namespace or not self._riders.unites(thread_id):
            return False
        self._riders.put_aside(thread_id, self._write_rows(config, writes, task_id, task_path))
        return True

    def _write_rows(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Sequence[Columns]:
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
        return rows

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
