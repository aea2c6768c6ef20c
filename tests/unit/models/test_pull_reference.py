"""Model references: which strings name what."""

from __future__ import annotations

from pathlib import Path

import pytest

from openhearth.errors import ConfigError, ModelUnavailableError
from openhearth.models.pull import resolve_reference
from openhearth.models.reference import parse_hub_reference


@pytest.mark.parametrize(
    ("reference", "kind", "value", "name"),
    [
        ("smollm2-135m", "catalog", "smollm2-135m", "smollm2-135m"),
        ("hf:Org/Name", "hf", "Org/Name", "org--name"),
        ("hf:Org/Name@v1:q4/File.gguf", "hf", "Org/Name@v1:q4/File.gguf", "org--name--v1--q4--file.gguf"),
        ("http://host:8000/v1#name", "remote", "http://host:8000/v1#name", "name"),
        ("https://host/v1#org/name", "remote", "https://host/v1#org/name", "org/name"),
        ("scripted:talk.yaml", "scripted", "talk.yaml", "scripted"),
    ],
)
def test_references(reference: str, kind: str, value: str, name: str) -> None:
    resolved = resolve_reference(reference)
    assert (resolved.kind, resolved.value, resolved.name) == (kind, value, name)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "  ",
        "hf:",
        "hf:name",
        "hf:a/b/c",
        "hf:../b",
        "hf:a/..",
        "hf:a/b:weights.bin",
        "http://host/v1",
        "https://#x",
    ],
)
def test_what_names_nothing_says_how_to_write_it(reference: str) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve_reference(reference)
    assert raised.value.hint


def test_hub_references_have_parts() -> None:
    parts = parse_hub_reference("org/name@abc:dir/file.gguf")
    assert (parts.repo, parts.revision, parts.file) == ("org/name", "abc", "dir/file.gguf")
    assert parse_hub_reference("org/name").revision == "main"


def test_a_file_is_named_by_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "My Model.gguf"
    file.write_bytes(b"GGUF")
    first = resolve_reference(str(file))
    assert (first.kind, first.value) == ("file", str(file))
    assert first.name.startswith("my--model-")
    assert resolve_reference(str(file)) == first
    file.write_bytes(b"GGUF changed")
    assert resolve_reference(str(file)).name != first.name


def test_a_folder_is_named_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    first = resolve_reference(str(folder))
    assert first.kind == "folder"
    (folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert resolve_reference("./model").name != first.name
    assert resolve_reference("./model") == resolve_reference(str(folder))


@pytest.mark.parametrize("reference", ["./gone.gguf", "gone.gguf", "org/name"])
def test_a_path_that_is_not_there(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelUnavailableError, match="Cannot read the model") as raised:
        resolve_reference(reference)
    assert "hf:ORG/NAME" in raised.value.hint
