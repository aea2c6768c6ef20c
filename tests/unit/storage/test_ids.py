from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from openhearth.storage import ids


def test_an_id_tells_its_kind_and_has_sixteen_lower_case_characters() -> None:
    assert re.fullmatch(r"run_[0-9a-hjkmnp-tv-z]{16}", ids.new_id("run"))


def test_ids_sort_in_the_order_they_were_made() -> None:
    made = [ids.new_id("msg") for _ in range(5_000)]
    assert made == sorted(set(made))


def test_ids_keep_rising_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ids.new_id("run")
    monkeypatch.setattr("time.time_ns", lambda: ids._EPOCH_MS * 1_000_000)
    assert ids.new_id("run") > first


def test_threads_never_share_an_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [*pool.map(lambda _: ids.new_id("apr"), range(4_000))]
    assert len(set(made)) == len(made)
