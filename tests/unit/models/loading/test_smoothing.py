"""Smoothing moves magnitudes from inputs to weights, and changes nothing in exact arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.families import tiny_family
from torch import Tensor

from openhearth.models.architectures.layer import build_layer
from openhearth.models.architectures.layout import layer_linears, layer_tensors
from openhearth.models.architectures.place import Positions
from openhearth.models.architectures.solo import whole_text
from openhearth.models.layers.linear import Linear, RowScale
from openhearth.models.layers.paged import KVStore
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.smoothing import smooth_layer
from openhearth.models.loading.source import open_source

CPU = torch.device("cpu")


class Seen:
    def __init__(self, linear: Linear) -> None:
        self.linear, self.largest = linear, torch.empty(0)

    def __call__(self, x: Tensor, row_scale: RowScale = None) -> Tensor:
        self.largest = (x if row_scale is None else x * row_scale).abs().amax(0)
        return self.linear(x, row_scale)


def run(config: DecoderConfig, tensors: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The layer's result, and the largest inputs of its linears."""
    seen: dict[str, Seen] = {}

    def watch(name: str, linear: Linear) -> Linear:
        return seen.setdefault(name, Seen(linear))

    step, blocks = whole_text(len(x))
    kv = KVStore(1, config.kv_heads, config.head_dim, blocks, device=CPU)
    layer = build_layer(config, 0, tensors, dict.fromkeys(layer_linears(config, 0), "float32"), CPU, watch=watch)
    result = layer(x.clone(), kv.views(step.spans)[0], Positions(config, len(x), CPU).place(step))
    return result, {name: linear.largest for name, linear in seen.items()}


@pytest.mark.parametrize("name", ["qwen2", "llama, biases everywhere", "gemma2", "olmo2", "qwen3moe", "stablelm"])
@torch.inference_mode()
def test_nothing_changes_but_the_magnitudes(name: str, tmp_path: Path) -> None:
    tiny_family(tmp_path, name)
    source = open_source(tmp_path)
    config = source.config()
    tensors = layer_tensors(config, 0, source.load)
    source.close()
    x = torch.randn(20, config.hidden_size)
    x[:, 3] *= 50
    before, largest = run(config, tensors, x)
    smooth_layer(config, tensors, largest)
    after, smoothed = run(config, tensors, x)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    evened = {linear for linear in largest if not torch.allclose(largest[linear], smoothed[linear])}
    assert "o" in evened
    assert ("qkv" in evened) == (name != "olmo2")
