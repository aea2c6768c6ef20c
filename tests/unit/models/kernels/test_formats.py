"""The formats hold what they are given, and names of kinds say what is in a tensor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.kernels import random_panels

from openhearth.models.kernels.formats import KINDS, Kind, pack_q4, pack_q8, panel_bytes, panels_of, unpack
from openhearth.models.kernels.weights import (
    dequantise_panels,
    is_native,
    native_kind,
    parts_of,
    shape_of,
    weight_bytes,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 256), (1, 256), (50, 512)])
def test_sizes(kind: Kind, outputs: int, inputs: int) -> None:
    panels = random_panels(kind, outputs, inputs)
    assert panels.shape == (panels_of(outputs), panel_bytes(kind, inputs))
    assert weight_bytes(native_kind([(kind, outputs)], inputs)) == panels.nbytes
    assert unpack(panels, kind, outputs, inputs).shape == (outputs, inputs)


def test_four_bits_come_back() -> None:
    rng = np.random.default_rng(0)
    q = rng.integers(0, 16, (21, 70), np.uint8)
    d, m = (rng.normal(size=(21, 3)).astype("<f2") for _ in range(2))
    expected = q * d.astype(np.float32).repeat(32, 1)[:, :70] + m.astype(np.float32).repeat(32, 1)[:, :70]
    np.testing.assert_array_equal(unpack(pack_q4(q, d, m), "q4", 21, 70), expected)


def test_eight_bits_come_back() -> None:
    rng = np.random.default_rng(0)
    q = rng.integers(0, 256, (5, 33), np.uint8)
    d = rng.normal(size=(5, 2)).astype("<f2")
    expected = (q.astype(np.float32) - 128) * d.astype(np.float32).repeat(32, 1)[:, :33]
    np.testing.assert_array_equal(unpack(pack_q8(q, d), "q8", 5, 33), expected)


def test_parts_lie_one_after_the_other() -> None:
    kind = native_kind([("q4k", 32), ("q6k", 20)], 256)
    assert kind == "q4k:32x256+q6k:20x256"
    assert shape_of(kind) == (52, 256)
    first, second = random_panels("q4k", 32, 256), random_panels("q6k", 20, 256)
    whole = torch.from_numpy(np.concatenate([first.reshape(-1), second.reshape(-1)]))
    assert weight_bytes(kind) == whole.numel()
    expected = np.concatenate([unpack(first, "q4k", 32, 256), unpack(second, "q6k", 20, 256)])
    np.testing.assert_array_equal(dequantise_panels(whole, kind).numpy(), expected)


@pytest.mark.parametrize(
    "kind",
    ["q4", "q4:", "q4:0x32", "q4:16x0", "q5:16x32", "q4:16x32+", "q4k:16x32", "q4:8x32+q8:16x32", "q4:16x32+q8:16x64"],
)
def test_kinds_that_are_none(kind: str) -> None:
    with pytest.raises(ValueError, match=r"kind|inputs|fit"):
        parts_of(kind)


def test_other_precisions_are_not_native() -> None:
    assert not any(is_native(kind) for kind in ("float32", "bfloat16", "int8", "int8-wide"))
    assert is_native("q4k:16x256")
