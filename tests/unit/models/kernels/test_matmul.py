"""The matrix kernels: near the exact product, and the same to the last bit on every level and in any company."""

from __future__ import annotations

import ctypes

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.kernels import levels_of, multiply, rounded, weights
from torch import Tensor

from openhearth.models.kernels.formats import KINDS, Kind, unpack

given_shapes = given(
    kind=st.sampled_from(KINDS),
    rows=st.integers(1, 40),
    outputs=st.integers(1, 70),
    units=st.integers(1, 3),
    cut=st.integers(0, 31),
    spread=st.sampled_from([1e-20, 1.0, 1e4]),
    seed=st.integers(0, 99),
    threads=st.integers(1, 3),
)
quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def random_rows(rows: int, inputs: int, seed: int, spread: float = 1.0) -> Tensor:
    """Rows with an outlier, some zeros and one group of nothing but zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=generator) * spread
    x[:, seed % inputs] *= 300
    x[:, : min(32, inputs // 2)] = 0
    return x


def inputs_of(kind: Kind, units: int, cut: int) -> int:
    return 256 * units if kind in ("q4k", "q6k") else max(64 * units - cut, 2)


@quickly
@given_shapes
def test_every_level_gives_the_same_bits(
    library: ctypes.CDLL,
    kind: Kind,
    rows: int,
    outputs: int,
    units: int,
    cut: int,
    spread: float,
    seed: int,
    threads: int,
) -> None:
    inputs = inputs_of(kind, units, cut)
    bias = torch.randn(outputs)
    weight = weights(kind, outputs, inputs, seed, bias)
    x = random_rows(rows, inputs, seed, spread)
    found: list[Tensor] = []
    for level in levels_of(library):
        assert library.hearth_use(level.encode()) == 0
        found.append(multiply(library, weight, x, threads=threads))
    assert all(torch.equal(found[0], other) for other in found[1:])
    exact = rounded(x).double() @ weight.values.double().T + bias
    size = (x.abs().amax(1, True).double() * weight.values.abs().amax(1).double()) * inputs
    assert float(((found[0] - exact).abs() / (size + bias.abs())).max()) < 1e-6


@quickly
@given_shapes
def test_a_row_does_not_depend_on_its_company(
    library: ctypes.CDLL,
    kind: Kind,
    rows: int,
    outputs: int,
    units: int,
    cut: int,
    spread: float,
    seed: int,
    threads: int,
) -> None:
    inputs = inputs_of(kind, units, cut)
    weight = weights(kind, outputs, inputs, seed)
    x = random_rows(rows, inputs, seed, spread)
    together = multiply(library, weight, x, threads=threads)
    alone = torch.cat([multiply(library, weight, row[None], threads=1) for row in x])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_values(library: ctypes.CDLL, kind: Kind) -> None:
    """All weights and activations at the ends of their ranges: no sum may clip on any level."""
    for level in levels_of(library):
        library.hearth_use(level.encode())
        for quantised in (0, 255):
            weight = weights(kind, 16, 512)
            weight.panels[:] = quantised
            start = {"q4": 320, "q4k": 2368, "q6k": 3392, "q8": 512}[kind]
            one = torch.ones(1, dtype=torch.float16).view(torch.uint8).numpy()
            # Scales of 1, and the widest values; the layout is that of formats.py.
            if kind == "q8":
                weight.panels[:, :512].reshape(-1, 2)[:] = one
            else:
                for panel in weight.panels.reshape(-1, start):
                    panel[:64].reshape(-1, 2)[:] = one
            values = torch.from_numpy(unpack(weight.panels, kind, 16, 512)).double()
            for sign in (-1.0, 1.0):
                x = torch.full((3, 512), 127 * sign)
                found = multiply(library, weight, x)
                torch.testing.assert_close(found.double(), x.double() @ values.T, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_factors_adding_and_wide_results(library: ctypes.CDLL, kind: Kind) -> None:
    weight, x = weights(kind, 40, 256), torch.randn(5, 256)
    plain = multiply(library, weight, x)
    factors = torch.rand(5) + 0.5
    found = multiply(library, weight, x, factors=factors)
    torch.testing.assert_close(found, plain * factors[:, None], rtol=1e-5, atol=1e-3)
    wide = torch.ones(5, 64)
    multiply(library, weight, x, out=wide[:, :40])
    torch.testing.assert_close(wide[:, :40], plain + 1, rtol=1e-5, atol=1e-3)
    assert torch.equal(wide[:, 40:], torch.ones(5, 24))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_an_embedding(library: ctypes.CDLL, kind: Kind) -> None:
    weight = weights(kind, 37, 512)
    ids = torch.tensor([0, 36, 5, 5, 17])
    out = torch.empty(5, 512)
    library.hearth_rows(ctypes.byref(weight.matrix), ids.data_ptr(), 5, out.data_ptr())
    assert torch.equal(out, weight.values[ids])


def test_levels_that_do_not_exist(library: ctypes.CDLL) -> None:
    best = library.hearth_level()
    assert library.hearth_use(b"avx9") == -1
    assert library.hearth_level() == best
