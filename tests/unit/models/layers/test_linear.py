"""Linears of every precision against a plain product; and why int8 rows are divided by their maximum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from openhearth.models.layers.linear import FloatLinear, Int8Linear, LinearKind, WideInt8Linear, build_linear
from openhearth.models.layers.quantise import dequantise_rows, quantise_rows, smoothing_factors

CPU = torch.device("cpu")


def case(rows: int, inputs: int = 96, outputs: int = 40, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, inputs, generator=generator),
        torch.randn(outputs, inputs, generator=generator),
        torch.randn(outputs, generator=generator),
    )


def error(found: Tensor, expected: Tensor) -> float:
    """Relative to the size of each row."""
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


@pytest.mark.parametrize(
    ("kind", "limit"), [("float32", 1e-6), ("bfloat16", 0.01), ("int8", 0.02), ("int8-wide", 0.0005)]
)
@pytest.mark.parametrize("rows", [1, 2, 17])
@pytest.mark.parametrize("with_bias", [False, True])
def test_product_with_row_scale(kind: LinearKind, limit: float, rows: int, with_bias: bool) -> None:
    x, weight, bias = case(rows)
    tensors = {"l.bias": bias} if with_bias else {}
    if kind.startswith("int8"):
        tensors["l.weight"], tensors["l.scale"] = quantise_rows(weight)
        weight = dequantise_rows(tensors["l.weight"], tensors["l.scale"])
    else:
        tensors["l.weight"] = weight.to(torch.bfloat16 if kind == "bfloat16" else torch.float32)
    linear = build_linear(tensors, "l", kind, CPU)
    plain = F.linear(x, weight)
    added = bias if with_bias else 0.0
    assert error(linear(x), plain + added) < limit
    scale = torch.rand(rows, 1) + 0.5
    assert error(linear(x, scale), plain * scale + added) < limit
    assert error(linear(x, 0.25), plain * 0.25 + added) < limit


@pytest.mark.parametrize("kind", [Int8Linear, WideInt8Linear])
def test_rows_do_not_disturb_one_another(kind: type[Int8Linear]) -> None:
    x, weight, _ = case(6)
    x[3] *= 10_000
    quantised, scale = quantise_rows(weight)
    linear = kind(quantised, scale)
    together = linear(x)
    alone = torch.cat([linear(row[None]) for row in x])
    assert error(together, alone) < 0.02
    assert error(together, F.linear(x, weight)) < 0.03


def test_without_row_scaling_one_outlier_ruins_the_others() -> None:
    x, weight, _ = case(6)
    x[3] *= 10_000
    quantised, scale = quantise_rows(weight)
    bare = torch.ops.quantized.linear_dynamic(x, Int8Linear(quantised, scale).packed, reduce_range=False)
    others = [0, 1, 2, 4, 5]
    expected = F.linear(x, weight)
    assert error(bare[others], expected[others]) > 0.9


@pytest.mark.parametrize("rows", [1, 9])
def test_seven_bit_activations(rows: int) -> None:
    """The path of processors that clip sums of 8-bit products."""
    x, weight, bias = case(rows)
    quantised, scale = quantise_rows(weight)
    exact = F.linear(x, dequantise_rows(quantised, scale))
    assert 0.002 < error(Int8Linear(quantised, scale, narrow=True)(x), exact) < 0.03
    assert error(WideInt8Linear(quantised, scale, narrow=True)(x), exact) < 0.001
    scaled = WideInt8Linear(quantised, scale, bias, narrow=True)(x, 0.5)
    assert error(scaled, exact * 0.5 + bias) < 0.001


def test_zero_rows_give_the_bias() -> None:
    _, weight, bias = case(1)
    quantised, scale = quantise_rows(weight)
    for kind in (Int8Linear, WideInt8Linear):
        for rows in (1, 3):
            found = kind(quantised, scale, bias)(torch.zeros(rows, weight.shape[1]), 2.0)
            torch.testing.assert_close(found, bias.expand(rows, -1))


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), inputs=st.integers(1, 130), outputs=st.integers(1, 70), seed=st.integers(0, 999))
def test_wide_is_far_closer_than_plain(rows: int, inputs: int, outputs: int, seed: int) -> None:
    x, weight, _ = case(rows, inputs, outputs, seed)
    quantised, scale = quantise_rows(weight)
    exact = F.linear(x.double(), dequantise_rows(quantised, scale).double())
    largest = x.abs().amax(-1, True) * scale * 127 * inputs
    wide = (WideInt8Linear(quantised, scale)(x) - exact).abs()
    assert float((wide / largest).max()) < 1 / 30_000


def test_a_linear_keeps_its_input() -> None:
    x, weight, _ = case(4)
    before = x.clone()
    quantised, scale = quantise_rows(weight)
    for linear in (FloatLinear(weight), Int8Linear(quantised, scale), WideInt8Linear(quantised, scale)):
        linear(x, 0.5)
        linear(x[:1], 0.5)
    assert torch.equal(x, before)


def test_quantised_rows_are_within_half_a_step() -> None:
    _, weight, _ = case(1, 300, 5000)
    weight[7] = 0
    quantised, scale = quantise_rows(weight)
    assert quantised.dtype is torch.int8
    assert int(quantised.abs().max()) == 127
    assert bool(((dequantise_rows(quantised, scale) - weight).abs() <= scale[:, None] * 0.5001).all())


def test_smoothing_evens_out_outliers() -> None:
    x, weight, _ = case(50)
    x[:, 11] *= 300
    weight[:, 11] /= 300
    factors = smoothing_factors(x.abs().amax(0), weight)
    torch.testing.assert_close(F.linear(x / factors, weight * factors), F.linear(x, weight), rtol=1e-4, atol=1e-3)
    expected = F.linear(x, weight)
    plain = Int8Linear(*quantise_rows(weight))(x)
    smooth = Int8Linear(*quantise_rows(weight * factors))(x / factors)
    assert error(smooth, expected) < error(plain, expected) / 2
