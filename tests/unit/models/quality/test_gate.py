"""The gate on tiny models: float32 is exact, a ruined store fails, and every family's original is read right."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.families import tiny_family
from support.tiny import VOCABULARY, random_ids, tiny_model, tiny_tokenizer

from openhearth.errors import CancelledError, ConfigError
from openhearth.models.loading.convert import convert
from openhearth.models.loading.source import open_source
from openhearth.models.quality.gate import Divergence, measure
from openhearth.models.quality.original import read_original

TOKENS = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    tiny_model(folder / "checkpoint", "qwen2")
    for precision in ("float32", "int8"):
        convert(folder / "checkpoint", folder / precision, precision=precision)  # type: ignore[arg-type]
    return folder


def test_float32_costs_nothing(folder: Path) -> None:
    report = measure(folder / "checkpoint", folder / "float32", tokens=TOKENS, threads=1)
    assert (report.precision, report.device, report.tokens) == ("float32", "cpu", TOKENS)
    for way in (report.prefill, report.decode):
        assert way.largest < 1e-5
        assert way.agreement == 1
    assert report.holds
    assert report.peak_bytes > 1 << 24


def test_int8_costs_something_in_both_ways(folder: Path) -> None:
    report = measure(folder / "checkpoint", folder / "int8", tokens=TOKENS, threads=1)
    assert 0 < report.prefill.mean < report.prefill.largest < 0.1
    assert 0 < report.decode.mean < report.decode.largest < 0.1


def test_a_ruined_store_fails(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "ruined"
    convert(folder / "checkpoint", store, precision="float32")
    file = store / "weights.safetensors"
    size = file.stat().st_size
    tensors = load_file(file)
    tensors["layers.1.down.weight"] = tensors["layers.1.down.weight"].flip(0).contiguous()
    save_file(tensors, file)
    manifest = store / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f": {size}", f": {file.stat().st_size}"))
    report = measure(folder / "checkpoint", store, tokens=TOKENS, threads=1)
    assert not report.holds
    assert not report.prefill.holds
    assert not report.decode.holds


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "qwen3moe", "stablelm"])
def test_the_streamed_original_is_the_authors_model(family: str, tmp_path: Path) -> None:
    model = tiny_family(tmp_path, family)
    ids = random_ids(80)
    source = open_source(tmp_path)
    with torch.inference_mode():
        original = read_original(source, ids, lambda *_: None)
        expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    source.close()
    assert torch.allclose(original, expected, atol=1e-4, rtol=1e-4)


def test_progress_and_cancel(folder: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    cancel = threading.Event()

    def progress(*step: object) -> None:
        steps.append(step)  # type: ignore[arg-type]
        if step[1] == 70:
            cancel.set()

    with pytest.raises(CancelledError):
        measure(folder / "checkpoint", folder / "float32", tokens=TOKENS, threads=1, progress=progress, cancel=cancel)
    assert steps[0] == ("Reading the text with the original weights", 0, 3)
    assert steps[-1] == ("Reading the text with the converted model", 70, TOKENS)


def test_another_models_store_is_refused(folder: Path, tmp_path: Path) -> None:
    tiny_model(tmp_path, "qwen2", num_hidden_layers=2)
    with pytest.raises(ConfigError, match="not made from"):
        measure(tmp_path, folder / "float32", tokens=TOKENS, threads=1)


@pytest.mark.parametrize(
    ("mean", "agreement", "holds"), [(0.02, 0.95, True), (0.021, 0.99, False), (0.001, 0.949, False)]
)
def test_both_bars_count(mean: float, agreement: float, holds: bool) -> None:
    assert Divergence(mean, 5.0, agreement).holds is holds


def test_a_model_of_transformers_own_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.GPTNeoXConfig(vocab_size=VOCABULARY, max_position_embeddings=64, **sizes)
    transformers.GPTNeoXForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ConfigError, match="run by transformers"):
        measure(tmp_path, tmp_path / "store", threads=1)
