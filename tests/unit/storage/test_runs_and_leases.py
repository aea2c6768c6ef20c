from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from openhearth.errors import NotFoundError, RunBusyError
from openhearth.storage import leases, runs
from openhearth.storage.columns import utc_now
from openhearth.storage.store import Store
from openhearth.storage.tables import RunRow
from openhearth.types import ErrorInfo, Usage


def test_a_run_begins_queued_and_keeps_its_agent(store: Store, run_id: str, thread_id: str) -> None:
    with store.read() as session:
        row = runs.get(session, run_id)
    assert (row.status, row.thread_id, row.task, row.agent) == (
        "queued",
        thread_id,
        "count the orders",
        {"name": "agent"},
    )
    assert (row.error, row.finished_at, row.owner) == (None, None, None)


def test_only_what_is_given_changes(store: Store, run_id: str) -> None:
    with store.write() as session:
        runs.update(session, run_id, status="running", steps=2, usage=Usage(prompt_tokens=5))
        runs.update(session, run_id, output="42")
    with store.read() as session:
        row = runs.get(session, run_id)
    assert (row.status, row.steps, row.output, row.usage["prompt_tokens"]) == ("running", 2, "42", 5)


def test_a_final_status_sets_the_end_and_another_clears_it(store: Store, run_id: str) -> None:
    problem = ErrorInfo(code="model", title="Model error", message="no")
    with store.write() as session:
        runs.update(session, run_id, status="failed", error=problem)
    ended_at, error = _end(store, run_id)
    assert ended_at is not None
    assert error == problem.model_dump()
    with store.write() as session:
        runs.update(session, run_id, status="running")
    assert _end(store, run_id) == (None, None)


def test_runs_are_listed_newest_first_and_filtered(store: Store, thread_id: str) -> None:
    with store.write() as session:
        ids = [runs.create(session, thread_id, "t", {}, status=s).id for s in ("done", "waiting", "in_doubt")]
    with store.read() as session:
        assert [row.id for row in runs.list(session)] == ids[::-1]
        assert [row.id for row in runs.list(session, status="done")] == ids[:1]
        assert [row.id for row in runs.list(session, status=("waiting", "in_doubt"))] == ids[:0:-1]
        assert runs.list(session, thread_id="thr_other") == []
        assert [row.id for row in runs.list(session, limit=1, offset=1)] == [ids[1]]


def test_a_run_that_does_not_exist_is_not_found(store: Store) -> None:
    with store.write() as session:
        for action in (
            lambda: runs.update(session, "run_none", status="done"),
            lambda: runs.acquire(session, "run_none", "me", 1),
            lambda: runs.verify(session, "run_none", "me", 1),
        ):
            with pytest.raises(NotFoundError):
                action()


def test_a_lease_is_held_by_one_owner_until_released(store: Store, run_id: str) -> None:
    me, other = leases.new_owner(), leases.new_owner()
    with store.write() as session:
        fence = runs.acquire(session, run_id, me, 60)
        for somebody in (me, other):
            with pytest.raises(RunBusyError, match="being executed"):
                runs.acquire(session, run_id, somebody, 60)
        runs.renew(session, run_id, me, fence, 60)
        runs.release(session, run_id, other, fence)
        with pytest.raises(RunBusyError):
            runs.acquire(session, run_id, other, 60)
        runs.release(session, run_id, me, fence)
        assert runs.acquire(session, run_id, other, 60) == fence + 1


def test_whoever_lost_the_lease_can_neither_renew_nor_write(store: Store, run_id: str) -> None:
    me, other = leases.new_owner(), leases.new_owner()
    with store.write() as session:
        fence = runs.acquire(session, run_id, me, 60)
        session.execute(update(RunRow).values(lease_until=utc_now() - timedelta(seconds=1)))
        runs.verify(session, run_id, me, fence)
        runs.acquire(session, run_id, other, 60)
        with pytest.raises(RunBusyError, match="taken over"):
            runs.verify(session, run_id, me, fence)
        with pytest.raises(RunBusyError, match="taken over"):
            runs.renew(session, run_id, me, fence, 60)
        runs.release(session, run_id, me, fence)
        with pytest.raises(RunBusyError, match="being executed"):
            runs.acquire(session, run_id, me, 60)


def test_a_dead_owner_loses_its_lease_at_once(store: Store, run_id: str) -> None:
    code = "from openhearth.storage import leases; print(leases.new_owner())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    with store.write() as session:
        runs.acquire(session, run_id, dead, 3_600)
        assert runs.acquire(session, run_id, leases.new_owner(), 60) == 2


def test_owners_are_gone_only_when_that_is_certain() -> None:
    me = leases.new_owner()
    host, boot, namespace, pid, started, nonce = me.split("/")
    assert me != leases.new_owner()
    assert not leases.is_gone(me)
    parent = os.getppid()
    assert not leases.is_gone("/".join((host, boot, namespace, str(parent), leases._started(parent), nonce)))
    assert leases.is_gone("/".join((host, boot, namespace, pid, "1", nonce)))
    assert leases.is_gone("/".join((host, "another-boot", namespace, pid, started, nonce)))
    assert not leases.is_gone("/".join(("another-host", boot, namespace, "1", "1", nonce)))
    assert not leases.is_gone("/".join((host, boot, "pid:[1]", pid, "1", nonce)))
    assert not leases.is_gone("somebody")


def _end(store: Store, run_id: str) -> tuple[datetime | None, dict[str, Any] | None]:
    with store.read() as session:
        row = runs.get(session, run_id)
    return row.finished_at, row.error
