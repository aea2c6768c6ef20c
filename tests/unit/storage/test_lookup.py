from __future__ import annotations

import pytest

from openhearth.errors import NotFoundError
from openhearth.storage import approvals, runs, threads
from openhearth.storage.store import Store
from openhearth.storage.tables import ThreadRow


@pytest.fixture
def _threads(store: Store) -> None:
    with store.write() as session:
        for identifier in ("thr_0aaaa1111", "thr_0aaaa2222", "thr_0bbbb2222", "thr_0c%c_3333"):
            session.add(ThreadRow(id=identifier))


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("thr_0aaaa1111", "thr_0aaaa1111"),
        ("thr_0aaaa1", "thr_0aaaa1111"),
        ("0aaaa1", "thr_0aaaa1111"),
        ("1111", "thr_0aaaa1111"),
        ("THR_0B", None),
        ("THR_0BBB", "thr_0bbbb2222"),
        ("  0bbb ", "thr_0bbbb2222"),
        ("c%c", None),
        ("0%c", None),
        ("0c%c", "thr_0c%c_3333"),
        ("%c_3333", "thr_0c%c_3333"),
    ],
)
def test_any_part_that_names_one_row_alone_will_do(store: Store, text: str, found: str | None) -> None:
    with store.read() as session:
        if found is None:
            with pytest.raises(NotFoundError):
                threads.get(session, text)
        else:
            assert threads.get(session, text).id == found


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("text", ["0aaaa", "2222", "thr_0aa"])
def test_several_candidates_are_named(store: Store, text: str) -> None:
    with store.read() as session, pytest.raises(NotFoundError, match=r"could be any of these threads: .*thr_0aaaa2222"):
        threads.get(session, text)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("text", ["", "a", "thr_", "thr", "_", "%", "zzzz", "thr_zzz"])
def test_nothing_or_too_little_is_not_found(store: Store, text: str) -> None:
    with store.read() as session, pytest.raises(NotFoundError, match="No thread is named"):
        threads.get(session, text)


def test_many_candidates_are_cut_short(store: Store) -> None:
    with store.write() as session:
        for number in range(9):
            session.add(ThreadRow(id=f"thr_0aaaa{number}"))
    with store.read() as session, pytest.raises(NotFoundError, match="…"):
        threads.get(session, "0aaaa")


def test_runs_and_approvals_are_found_the_same_way(store: Store, run_id: str) -> None:
    with store.read() as session:
        assert runs.get(session, run_id[-5:]).id == run_id
        with pytest.raises(NotFoundError, match="hearth runs list"):
            runs.get(session, "run_none")
        with pytest.raises(NotFoundError):
            approvals.get(session, "apr_none")
