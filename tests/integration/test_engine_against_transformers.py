"""Real models: float32 equals transformers, and the default precision stays close to float32."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.engines import collect, request
from support.reference import transformers_model
from support.texts import CODE, PROSE
from torch import Tensor

from openhearth.models.architectures.decoder import build_decoder
from openhearth.models.architectures.layout import LAYER_LINEARS
from openhearth.models.architectures.solo import Solo
from openhearth.models.engine.engine import Engine
from openhearth.models.layers.linear import Int8Linear, RowScale, WideInt8Linear
from openhearth.models.loading.convert import convert
from openhearth.models.loading.store import ModelStore

CHAT = "<|im_start|>user\nName three rivers of Europe and their seas.<|im_end|>\n<|im_start|>assistant\n"


@contextmanager
def float32_store(gguf: Path, folder: Path) -> Iterator[Path]:
    """Gigabytes, so they go as soon as they are not needed."""
    store = folder / "float32"
    convert(gguf, store, precision="float32")
    try:
        yield store
    finally:
        shutil.rmtree(store)


def text_ids(engine: Engine) -> list[int]:
    encode: Callable[[str], Sequence[int]] = lambda text: engine.tokenizer.encode(text).ids  # noqa: E731
    return [*encode(CODE)[:200], *encode(PROSE)[:200]]


def divergence(expected: Tensor, found: Tensor) -> tuple[float, float]:
    """Mean KL divergence in nats, and the share of rows with the same best token."""
    p, q = expected.log_softmax(-1), found.log_softmax(-1)
    same = (expected.argmax(-1) == found.argmax(-1)).float().mean()
    return float((p.exp() * (p - q)).sum(-1).mean()), float(same)


@torch.inference_mode()
def check(gguf: Path, default: Path, folder: Path, *, limit: float, same: float) -> None:
    with float32_store(gguf, folder) as store:
        engine = Engine.load(store, device="cpu", context=1024)
        ids = text_ids(engine)
        exact = engine.logits(ids)
        prompt = engine.tokenizer.encode(CHAT).ids
        tokens, _ = collect(engine, request(prompt, 64))
        engine.close()
    model = transformers_model(gguf)
    assert float((model(torch.tensor([ids])).logits[0] - exact).abs().max()) < 1e-3
    expected = model.generate(  # type: ignore[operator]
        torch.tensor([prompt]), max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert tokens == expected[0, len(prompt) :].tolist()
    del model

    engine = Engine.load(default, device="cpu", context=1024)
    mean, agreement = divergence(exact, engine.logits(ids))
    engine.close()
    assert mean <= limit
    assert agreement >= same


@pytest.mark.slow
def test_smollm2(smollm2_gguf: Path, smollm2_store: Path, tmp_path: Path) -> None:
    check(smollm2_gguf, smollm2_store, tmp_path, limit=0.02, same=0.95)


@pytest.mark.slow
@pytest.mark.large
@pytest.mark.timeout(1800)
def test_qwen(qwen_gguf: Path, qwen_store: Path, tmp_path: Path) -> None:
    check(qwen_gguf, qwen_store, tmp_path, limit=0.01, same=0.95)


class _OneScaleForAllRows:
    """What FBGEMM does by itself."""

    def __init__(self, linear: Int8Linear | WideInt8Linear) -> None:
        self._linear = linear
        self._padding = 2 if isinstance(linear, WideInt8Linear) else 0

    def __call__(self, x: Tensor, row_scale: RowScale = None) -> Tensor:
        scaled = F.pad(x if row_scale is None else x * row_scale, (0, self._padding))
        y = torch.ops.quantized.linear_dynamic(scaled, self._linear.packed, reduce_range=False)
        return y if self._linear.bias is None else y + self._linear.bias


@torch.inference_mode()
def cost_of_one_scale(int8: Path) -> float:
    """Mean KL between the store's decoder and the same one without a scale for each row."""
    store = ModelStore.open(int8)
    encode = store.tokenizer().encode
    ids = [*encode(CODE).ids[:200], *encode(PROSE).ids[:200]]
    decoder = build_decoder(
        store.config,
        store.tensors,
        store.manifest.linears,
        context=512,
        device=torch.device("cpu"),
        each=lambda build, indices: [build(index) for index in indices],
    )
    right = Solo(decoder, len(ids))(ids, every_row=True)
    for layer in decoder.layers:
        for name in LAYER_LINEARS:
            setattr(layer, name, _OneScaleForAllRows(getattr(layer, name)))
    spoilt = Solo(decoder, len(ids))(ids, every_row=True)
    return divergence(right, spoilt)[0]


@pytest.mark.slow
def test_smollm2_needs_row_scaling(smollm2_gguf: Path, tmp_path: Path) -> None:
    convert(smollm2_gguf, tmp_path / "int8", precision="int8")
    assert cost_of_one_scale(tmp_path / "int8") > 0.1
