"""The CPU passes; a kernel that is broken is found, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from openhearth.models.architectures.native import NativeDecoder
from openhearth.models.conformance.suite import check_device
from openhearth.models.layers import linear, norm
from openhearth.models.layers.linear import Int8Linear, WideInt8Linear
from openhearth.models.layers.native import NativeLinear
from openhearth.models.layers.paged import KVStore, LayerKV

CPU = torch.device("cpu")
Patch = pytest.MonkeyPatch


def wrong_checks() -> set[str]:
    """The first words of the names of all checks that fail."""
    return {verdict.name for verdict in check_device(CPU) if not verdict.ok}


def off(original: Callable[..., Any], by: float = 1.1) -> Callable[..., Any]:
    return lambda *args, **kwargs: original(*args, **kwargs) * by


def test_the_cpu_computes_what_it_should() -> None:
    verdicts = list(check_device(CPU))
    assert [verdict for verdict in verdicts if not verdict.ok] == []
    assert len({verdict.name for verdict in verdicts}) == len(verdicts)
    assert {verdict.precision for verdict in verdicts} >= {
        "float32",
        "bfloat16",
        "int8",
        "int8-wide",
        "q4",
        "q4k",
        "q6k",
        "q8",
        "native",
    }


def test_broken_attention_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(F, "scaled_dot_product_attention", off(F.scaled_dot_product_attention))
    wrong = wrong_checks()
    assert {name for name in wrong if not name.startswith("tiny model")} == {
        verdict.name for verdict in check_device(CPU) if verdict.name.startswith("attention")
    }
    assert any(name.startswith("tiny model") for name in wrong)


@pytest.mark.parametrize(
    ("kind", "checks", "count", "precision"),
    [
        (Int8Linear, "linear, int8,", 3, "int8"),
        (WideInt8Linear, "linear, int8-wide,", 3, "int8"),
    ],
)
def test_a_broken_integer_product_is_found(
    monkeypatch: Patch, kind: type, checks: str, count: int, precision: str
) -> None:
    monkeypatch.setattr(kind, "__call__", off(kind.__call__))
    wrong = wrong_checks()
    assert len([name for name in wrong if name.startswith(checks)]) == count
    assert all(name.startswith((checks, f"tiny model, {precision}")) for name in wrong)
    assert f"tiny model, {precision}, a text at once" in wrong


def test_a_broken_native_product_is_found(monkeypatch: Patch) -> None:
    # The tiny model runs in one native call, and so never comes by here.
    monkeypatch.setattr(NativeLinear, "__call__", off(NativeLinear.__call__))
    wrong = wrong_checks()
    assert len(wrong) == 15
    assert all(name.startswith("linear, q") for name in wrong)


def test_a_broken_native_step_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(NativeDecoder, "__call__", off(NativeDecoder.__call__))
    wrong = wrong_checks()
    assert len(wrong) == 4
    assert all(name.startswith("tiny model, native") for name in wrong)


def test_scaling_a_tensor_instead_of_a_row_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(linear, "_largest", lambda x: x.abs().max().expand(x.shape[0], 1))
    assert wrong_checks() >= {"linear, int8, 5 rows", "linear, int8-wide, 5 rows"}


def test_a_broken_norm_is_found(monkeypatch: Patch) -> None:
    def skewed(self: norm.RMSNorm, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        product, scale = original(self, x)
        return product + 0.01, scale

    original = norm.RMSNorm.__call__
    monkeypatch.setattr(norm.RMSNorm, "__call__", skewed)
    assert wrong_checks() >= {"RMSNorm, one row", "RMSNorm, 5 rows", "RMSNorm, 40 rows"}


def test_a_lost_block_is_found(monkeypatch: Patch) -> None:
    monkeypatch.setattr(KVStore, "copy_block", lambda *_: None)
    assert wrong_checks() == {
        f"tiny model, {kind}, a prefix used again" for kind in ("float32", "bfloat16", "int8", "native")
    }


def test_writing_to_the_wrong_slot_is_found(monkeypatch: Patch) -> None:
    def shifted(self: LayerKV, keys_values: torch.Tensor, slots: torch.Tensor) -> None:
        original(self, keys_values.roll(1, 0), slots)

    original = LayerKV.write
    monkeypatch.setattr(LayerKV, "write", shifted)
    wrong = wrong_checks()
    assert "attention, a whole text" in wrong
    assert "attention, 20 rows, scattered blocks" in wrong
