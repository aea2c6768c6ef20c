"""Native linears and embeddings, with the library and with what stands in for it."""

from __future__ import annotations

import pytest
import torch
from support.kernels import random_panels, rounded
from torch import Tensor

from openhearth.models.kernels.weights import dequantise_panels
from openhearth.models.layers import native
from openhearth.models.layers.embedding import build_embedding
from openhearth.models.layers.linear import FloatLinear, build_linear

CPU = torch.device("cpu")
KIND = "q4k:32x256+q6k:20x256"


def stored() -> Tensor:
    parts = [random_panels("q4k", 32, 256, 1), random_panels("q6k", 20, 256, 2)]
    return torch.cat([torch.from_numpy(part).flatten() for part in parts])


@pytest.mark.parametrize("with_library", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 21])
def test_product_with_bias_and_row_scale(with_library: bool, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_library:
        monkeypatch.setattr(native, "library", lambda: None)
    weight, bias, x = stored(), torch.randn(52), torch.randn(rows, 256)
    linear = build_linear({"l.weight": weight, "l.bias": bias}, "l", KIND, CPU)
    assert isinstance(linear, FloatLinear) or with_library
    product = rounded(x) @ dequantise_panels(weight, KIND).T
    limit = 0.02 * float(product.norm(dim=-1).max())
    assert float((linear(x) - product - bias).norm(dim=-1).max()) < limit
    scale = torch.rand(rows, 1) + 0.5
    assert float((linear(x, scale) - product * scale - bias).norm(dim=-1).max()) < 2 * limit
    assert float((linear(x, 0.25) - product * 0.25 - bias).norm(dim=-1).max()) < limit


@pytest.mark.parametrize("with_library", [True, False])
def test_embedding(with_library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_library:
        monkeypatch.setattr(native, "library", lambda: None)
    weight = torch.from_numpy(random_panels("q8", 50, 96)).flatten()
    embed = build_embedding({"embedding.weight": weight}, "q8:50x96", CPU)
    ids = torch.tensor([49, 0, 7, 7])
    assert torch.equal(embed(ids), dequantise_panels(weight, "q8:50x96")[ids])
