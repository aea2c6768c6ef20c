"""Finding, listing and removing the models on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openhearth import paths
from openhearth.config import Settings, load_settings
from openhearth.errors import ConfigError, NotFoundError
from openhearth.models.kernels import library as kernels
from openhearth.models.loading.format import FORMAT_VERSION
from openhearth.models.pull import find_store, list_pulled, pull, remove


def store(name: str, precision: str, version: int = FORMAT_VERSION, **extra: str) -> Path:
    folder = paths.models_dir() / name
    folder.mkdir(parents=True)
    manifest = {"format_version": version, "precision": precision, "extra": extra}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "weights.safetensors").write_bytes(b"12345")
    return folder


def settings(precision: str = "auto") -> Settings:
    return load_settings({"model": {"precision": precision}}, folder=Path("/"))


def test_nothing_is_here_at_first() -> None:
    assert list_pulled() == []
    assert find_store("smollm2-135m", settings()) is None


def test_each_precision_is_a_model_of_its_own() -> None:
    small, large = store("smollm2-135m-int8", "int8"), store("smollm2-135m-float32", "float32")
    assert find_store("smollm2-135m", settings("int8")) == small
    assert find_store("smollm2-135m", settings("float32")) == large
    assert find_store("smollm2-135m", settings("bfloat16")) is None


@pytest.mark.parametrize(("level", "precision"), [("avx2", "native"), ("plain", "int8"), (None, "int8")])
def test_the_machine_decides_the_default(level: str | None, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "level", lambda: level)
    stores = {name: store(f"smollm2-135m-{name}", name) for name in ("native", "int8")}
    assert find_store("smollm2-135m", settings()) == stores[precision]


def test_an_embedding_model_keeps_its_precision() -> None:
    folder = store("minilm-float32", "float32")
    assert find_store("minilm", settings("int8")) == folder


def test_a_store_of_another_version_is_made_anew() -> None:
    store("smollm2-135m-int8", "int8", FORMAT_VERSION - 1)
    assert find_store("smollm2-135m", settings("int8")) is None
    assert [model.name for model in list_pulled()] == ["smollm2-135m-int8"]


def test_a_folder_that_is_a_store_is_used_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert find_store(str(tmp_path), settings()) == tmp_path == pull(str(tmp_path), settings())


@pytest.mark.parametrize("reference", ["scripted:x.yaml", "http://host/v1#name"])
def test_other_backends_have_nothing_to_pull(reference: str) -> None:
    assert find_store(reference, settings()) is None
    with pytest.raises(ConfigError, match="nothing to pull"):
        pull(reference, settings())


def test_half_made_models_are_not_listed() -> None:
    store("a-int8", "int8", reference="a", title="A", kind="chat")
    store(".b-int8.draft", "int8")
    (paths.models_dir() / "c-int8").mkdir()
    (only,) = list_pulled()
    assert (only.name, only.reference, only.title, only.precision) == ("a-int8", "a", "A", "int8")
    assert only.size == sum(file.stat().st_size for file in only.folder.iterdir())


def test_remove_by_folder_or_by_reference() -> None:
    store("a-int8", "int8", reference="a")
    store("a-float32", "float32", reference="a")
    store("b-int8", "int8", reference="b")
    assert [model.name for model in remove("a-int8")] == ["a-int8"]
    assert [model.name for model in remove("a")] == ["a-float32"]
    with pytest.raises(NotFoundError, match="'b-int'") as raised:
        remove("b-int")
    assert raised.value.hint == "Did you mean b-int8?"
    assert [path.name for path in paths.models_dir().iterdir()] == ["b-int8"]


def test_a_damaged_manifest_is_named() -> None:
    (store("a-int8", "int8") / "manifest.json").write_text("{")
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        list_pulled()
