"""`hf:` references against a hub that runs on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from openhearth import paths
from openhearth.errors import DownloadError, IntegrityError, ModelUnavailableError
from openhearth.models.pull import fetch_raw

Make = Callable[..., Any]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(web: Any, page: Make) -> Make:
    """Publishes a repository: its listing, and its files at one commit."""

    def publish(files: dict[str, bytes], *, large: tuple[str, ...] = (), lies: dict[str, bytes] | None = None) -> Any:
        siblings = []
        for path, content in files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sibling: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": blob}
            if path in large:
                sibling["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            siblings.append(sibling)
            web.pages[f"/org/model/resolve/{COMMIT}/{path}"] = page((lies or {}).get(path, content))
        listing = json.dumps({"sha": COMMIT, "siblings": siblings}).encode()
        web.pages["/api/models/org/model/revision/main"] = page(listing)
        return web

    return publish


WHOLE = {
    "README.md": b"# hello",
    "config.json": b"{}",
    "tokenizer.json": b"{ }",
    "chat_template.jinja": b"{{ messages }}",
    "model-00001-of-00002.safetensors": b"first",
    "model-00002-of-00002.safetensors": b"second",
    "model.safetensors.index.json": b"[]",
    "pytorch_model.bin": b"a pickle",
    "consolidated.safetensors": b"the same once more",
}
LARGE = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def test_weights_and_companions_are_chosen_and_nothing_else(hub: Make, settings_for: Make) -> None:
    web = hub(WHOLE, large=LARGE)
    folder = fetch_raw("hf:org/model", settings_for(web.url))
    expected = WHOLE.keys() - {"README.md", "pytorch_model.bin", "consolidated.safetensors"}
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {name: WHOLE[name] for name in expected}


def test_one_gguf_file_can_be_named(hub: Make, settings_for: Make) -> None:
    web = hub({"a.gguf": b"GGUF a", "q4/b.gguf": b"GGUF b"}, large=("a.gguf", "q4/b.gguf"))
    file = fetch_raw("hf:org/model:q4/b.gguf", settings_for(web.url))
    assert (file.name, file.read_bytes()) == ("b.gguf", b"GGUF b")


def test_a_repository_of_gguf_files_says_how_to_name_one(hub: Make, settings_for: Make) -> None:
    web = hub({"a.gguf": b"GGUF a", "b.gguf": b"GGUF b"})
    with pytest.raises(ModelUnavailableError, match="no safetensors") as raised:
        fetch_raw("hf:org/model", settings_for(web.url))
    assert "hf:org/model:a.gguf" in raised.value.hint


def test_pickles_are_refused(hub: Make, settings_for: Make) -> None:
    web = hub({"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"pickle"})
    with pytest.raises(ModelUnavailableError, match="pickle can run any code"):
        fetch_raw("hf:org/model", settings_for(web.url))


def test_a_missing_tokenizer_is_told_before_the_download(hub: Make, settings_for: Make) -> None:
    web = hub({"config.json": b"{}", "model.safetensors": b"weights"})
    with pytest.raises(ModelUnavailableError, match=r"tokenizer\.json"):
        fetch_raw("hf:org/model", settings_for(web.url))
    assert len(web.requests) == 1


@pytest.mark.parametrize("spoiled", ["config.json", "model-00002-of-00002.safetensors"])
def test_spoiled_files_are_refused_and_the_good_ones_kept(hub: Make, settings_for: Make, spoiled: str) -> None:
    lie = b"!" * len(WHOLE[spoiled])
    web = hub(WHOLE, large=LARGE, lies={spoiled: lie})
    with pytest.raises(IntegrityError, match="wrong bytes"):
        fetch_raw("hf:org/model", settings_for(web.url))
    folder = paths.cache_dir() / "downloads" / "org--model" / COMMIT
    assert not (folder / spoiled).exists()
    assert not (folder / f"{spoiled}.part").exists()
    web = hub(WHOLE, large=LARGE)
    web.requests.clear()
    fetch_raw("hf:org/model", settings_for(web.url))
    fetched = [path.rpartition("/")[2] for path, _ in web.requests]
    assert spoiled in fetched
    assert (spoiled == "config.json") == ("model-00001-of-00002.safetensors" in fetched)


def test_a_gated_repository_asks_for_a_token(web: Any, page: Make, settings_for: Make) -> None:
    web.pages["/api/models/org/model/revision/main"] = page(status=401)
    with pytest.raises(DownloadError, match="refuses access") as raised:
        fetch_raw("hf:org/model", settings_for(web.url))
    assert "HF_TOKEN" in raised.value.hint


@pytest.mark.parametrize("answer", [b"<html>welcome to the hotel</html>", b'{"siblings": 3}'])
def test_a_captive_portal_is_recognised(web: Any, page: Make, settings_for: Make, answer: bytes) -> None:
    web.pages["/api/models/org/model/revision/main"] = page(answer)
    with pytest.raises(DownloadError, match="answered with something"):
        fetch_raw("hf:org/model", settings_for(web.url))
