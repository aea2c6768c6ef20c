"""The hub and URL sources against a real server."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhearth import paths
from openhearth.errors import DiskFullError, DownloadError, IntegrityError
from openhearth.models.pull import find_store, list_pulled, pull, remove

HUB = {"kind": "hub", "repo": "org/tiny"}
FILE = "/org/tiny/resolve/main/weights.bin"

Make = Callable[..., Any]


@pytest.fixture
def tiny(catalogue: Make, content: bytes) -> str:
    """A catalog model of one file on the hub."""
    return str(catalogue({"weights.bin": content}, HUB))


def download_folder() -> Path:
    return paths.cache_dir() / "downloads" / "tiny"


def test_a_model_arrives_whole_is_listed_and_can_be_removed(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    web.pages[FILE] = page(content)
    settings = settings_for(web.url)
    seen: list[tuple[str, int, int]] = []

    store = pull(tiny, settings, lambda *step: seen.append(step))

    assert (store / "weights.bin").read_bytes() == content
    assert store == find_store(tiny, settings) == paths.models_dir() / "tiny-float32"
    assert [(m.name, m.reference, m.kind) for m in list_pulled()] == [("tiny-float32", "tiny", "embedding")]
    assert seen[-1] == ("Downloading tiny", len(content), len(content))
    assert not download_folder().exists()
    remove(tiny)
    assert find_store(tiny, settings) is None
    assert list(paths.models_dir().iterdir()) == []


def test_a_model_that_is_here_needs_no_server(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    web.pages[FILE] = page(content)
    store = pull(tiny, settings_for(web.url))
    web.requests.clear()
    assert pull(tiny, settings_for(web.url)) == store
    assert web.requests == []


def test_broken_connections_are_resumed_where_they_broke(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    web.pages[FILE] = page(content, cut=1_000_000, cuts=2)
    store = pull(tiny, settings_for(web.url))
    assert (store / "weights.bin").read_bytes() == content
    assert web.ranges(FILE) == ["", "bytes=1000000-", "bytes=2000000-"]
    assert web.requests[1][1]["If-Range"] == '"one"'


def test_a_later_pull_goes_on_from_what_an_earlier_one_left(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    web.pages[FILE] = page(content, cut=50_000, cuts=99)
    web.pages[FILE].stuck_after = 2
    with pytest.raises(DownloadError, match="broke off"):
        pull(tiny, settings_for(web.url))
    kept = (download_folder() / "weights.bin.part").stat().st_size
    assert kept > 0
    web.pages[FILE] = page(content)
    web.requests.clear()
    assert (pull(tiny, settings_for(web.url)) / "weights.bin").read_bytes() == content
    assert web.ranges(FILE) == [f"bytes={kept}-"]


def test_a_changed_file_is_fetched_from_its_start(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    download_folder().mkdir(parents=True)
    (download_folder() / "weights.bin.part").write_bytes(b"x" * 1000)
    (download_folder() / "weights.bin.part.json").write_text('{"etag": "\\"older\\""}')
    web.pages[FILE] = page(content)
    assert (pull(tiny, settings_for(web.url)) / "weights.bin").read_bytes() == content
    assert web.ranges(FILE) == ["bytes=1000-"]


def test_a_foreign_leftover_costs_one_clean_attempt(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    download_folder().mkdir(parents=True)
    (download_folder() / "weights.bin.part").write_bytes(b"x" * 1000)
    web.pages[FILE] = page(content)
    assert (pull(tiny, settings_for(web.url)) / "weights.bin").read_bytes() == content
    assert web.ranges(FILE) == ["bytes=1000-", ""]


def test_a_server_without_ranges_starts_again(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    web.pages[FILE] = page(content, cut=1_000_000, cuts=1, ranges=False)
    assert (pull(tiny, settings_for(web.url)) / "weights.bin").read_bytes() == content


def test_passing_trouble_is_retried(web: Any, page: Make, tiny: str, settings_for: Make, content: bytes) -> None:
    web.pages[FILE] = page(content, failures=2)
    assert pull(tiny, settings_for(web.url)).is_dir()
    assert len(web.requests) == 3


def test_wrong_bytes_are_deleted_and_both_hashes_told(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    wrong = b"!" + content[1:]
    web.pages[FILE] = page(wrong)
    with pytest.raises(IntegrityError) as raised:
        pull(tiny, settings_for(web.url))
    assert hashlib.sha256(content).hexdigest() in raised.value.message
    assert hashlib.sha256(wrong).hexdigest() in raised.value.message
    assert list(download_folder().iterdir()) == []
    assert find_store(tiny, settings_for(web.url)) is None


def test_more_bytes_than_promised_are_refused(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes
) -> None:
    web.pages[FILE] = page(content * 2)
    with pytest.raises(IntegrityError, match="sent more than"):
        pull(tiny, settings_for(web.url))
    assert list(download_folder().iterdir()) == []


@pytest.mark.parametrize(
    ("status", "words", "hint"),
    [(404, "answered 404", ""), (401, "refuses access", "HF_TOKEN"), (403, "refuses access", "HF_TOKEN")],
)
def test_refusals_say_what_to_do(
    web: Any, page: Make, tiny: str, settings_for: Make, status: int, words: str, hint: str
) -> None:
    web.pages[FILE] = page(status=status)
    with pytest.raises(DownloadError, match=words) as raised:
        pull(tiny, settings_for(web.url))
    assert hint in raised.value.hint
    assert len(web.requests) == 1


def test_lasting_server_errors_end_the_pull(web: Any, page: Make, tiny: str, settings_for: Make) -> None:
    web.pages[FILE] = page(status=500)
    with pytest.raises(DownloadError, match="answered 500"):
        pull(tiny, settings_for(web.url))
    assert len(web.requests) == 4


def test_the_token_stays_with_the_hub(
    serve: Make, page: Make, tiny: str, settings_for: Make, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, store = serve("127.0.0.1"), serve("localhost")
    hub.pages[FILE] = page(location=f"{store.url}/blob", token="s3cret")
    store.pages["/blob"] = page(content)
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    assert (pull(tiny, settings_for(hub.url)) / "weights.bin").read_bytes() == content
    assert hub.requests[0][1]["Authorization"] == "Bearer s3cret"
    assert "Authorization" not in store.requests[0][1]


def test_the_setting_beats_the_variable(
    web: Any, page: Make, tiny: str, settings_for: Make, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages[FILE] = page(content, token="mine")
    monkeypatch.setenv("HF_TOKEN", "other")
    assert pull(tiny, settings_for(web.url, hub_token="mine")).is_dir()


def test_endless_redirects_end(web: Any, page: Make, tiny: str, settings_for: Make) -> None:
    web.pages[FILE] = page(location=FILE)
    with pytest.raises(DownloadError, match="redirect"):
        pull(tiny, settings_for(web.url))


def test_an_unreachable_hub_gives_way_to_the_next_source_with_one_remark(
    web: Any, page: Make, catalogue: Make, settings_for: Make, content: bytes
) -> None:
    web.pages["/files/weights.bin"] = page(content)
    name = catalogue({"weights.bin": content}, HUB, {"kind": "url", "url": f"{web.url}/files/"})
    remarks: list[str] = []
    pull(name, settings_for(), lambda what, done, total: None if total else remarks.append(what))
    assert len(remarks) == 1
    assert remarks[0].startswith("Cannot reach 127.0.0.1")
    assert remarks[0].endswith("; trying the web address.")


def test_a_silent_hub_is_given_up_within_seconds(tiny: str, settings_for: Make, silent: str) -> None:
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"no answer within 0\.5 s"):
        pull(tiny, settings_for(silent, connect_timeout_s=0.5))
    assert time.monotonic() - began < 20


def test_when_all_sources_fail_each_is_told(web: Any, catalogue: Make, settings_for: Make, content: bytes) -> None:
    name = catalogue({"weights.bin": content}, HUB, {"kind": "url", "url": f"{web.url}/gone"})
    with pytest.raises(DownloadError) as raised:
        pull(name, settings_for())
    assert "the hub: Cannot reach" in raised.value.message
    assert "the web address: 127.0.0.1 answered 404" in raised.value.message


def test_no_enabled_source_is_an_error_of_its_own(tiny: str, settings_for: Make) -> None:
    with pytest.raises(DownloadError, match="None of the sources") as raised:
        pull(tiny, settings_for(sources=("url",)))
    assert "hub" in raised.value.hint


def test_a_folder_is_verified_and_read_in_place(
    catalogue: Make, settings_for: Make, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(content)
    name = catalogue({"weights.bin": content}, {"kind": "folder", "path": str(tmp_path)})
    assert (pull(name, settings_for()) / "weights.bin").read_bytes() == content
    assert (tmp_path / "weights.bin").exists()


def test_a_folder_with_wrong_bytes_is_left_alone(
    catalogue: Make, settings_for: Make, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"other")
    name = catalogue({"weights.bin": content}, {"kind": "folder", "path": str(tmp_path)})
    with pytest.raises(IntegrityError):
        pull(name, settings_for())
    assert (tmp_path / "weights.bin").read_bytes() == b"other"


def test_too_large_a_model_fails_before_the_first_byte(
    web: Any, catalogue: Make, settings_for: Make, content: bytes
) -> None:
    name = catalogue({"weights.bin": content}, HUB, parameters=10**15)
    with pytest.raises(DiskFullError, match="needs"):
        pull(name, settings_for(web.url))
    assert web.requests == []
