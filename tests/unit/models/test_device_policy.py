"""What each kind of device computes in: the table, from facts; and what the CPU in here says of itself."""

from __future__ import annotations

import pytest
import torch

from openhearth.models.device_policy import (
    DeviceFacts,
    DevicePolicy,
    computes,
    device_facts,
    device_policy,
    place_weight,
    policy_for,
)
from openhearth.models.layers.linear import FloatLinear

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "halves", "int8", "expected"),
    [
        ("cpu", {BF16}, True, DevicePolicy(BF16, F32, True)),
        ("cpu", {BF16}, False, DevicePolicy(BF16, F32, False)),
        ("cuda", {BF16, F16}, False, DevicePolicy(BF16, BF16, False)),
        ("cuda", {F16}, False, DevicePolicy(F16, F16, False)),
        ("rocm", {BF16, F16}, False, DevicePolicy(BF16, BF16, False)),
        ("xpu", set(), False, DevicePolicy(F32, F32, False)),
        ("mps", {BF16, F16}, False, DevicePolicy(BF16, BF16, False)),
        ("mps", {F16}, False, DevicePolicy(F32, F32, False)),
        ("abacus", {F16}, True, DevicePolicy(F16, F16, False)),
    ],
)
def test_the_table(kind: str, halves: set[torch.dtype], int8: bool, expected: DevicePolicy) -> None:
    assert policy_for(DeviceFacts(kind, "any", frozenset(halves), int8)) == expected


def test_the_cpu_knows_itself() -> None:
    facts = device_facts(CPU)
    assert facts.kind == "cpu"
    assert facts.name
    assert facts.int8 == ("fbgemm" in torch.backends.quantized.supported_engines)
    assert device_policy(CPU) == policy_for(facts)


@pytest.mark.parametrize("dtype", [F32, BF16, F16])
def test_a_type_that_works_is_seen_to_work(dtype: torch.dtype) -> None:
    assert computes(CPU, dtype)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float8_e5m2])
def test_one_that_does_not_is_seen_not_to(dtype: torch.dtype) -> None:
    assert not computes(CPU, dtype)


def test_a_device_that_is_not_there_computes_nothing() -> None:
    assert not computes(torch.device("meta"), BF16)


def test_weights_keep_their_type_where_it_works() -> None:
    for dtype in (F32, BF16, torch.int8):
        assert place_weight(torch.ones(2, 2, dtype=dtype), CPU).dtype is dtype


def test_float16_takes_values_beyond_its_range() -> None:
    generator = torch.Generator().manual_seed(3)
    weight, x = torch.randn(6, 40, generator=generator), torch.randn(3, 40, generator=generator)
    x[1] *= 1e6
    x[2] = 0
    scale = torch.tensor([[1.0], [1e-6], [2.0]])
    expected = scale * (x @ weight.T)
    for row_scale in (scale, None):
        found = FloatLinear(weight.half())(x, row_scale)
        found = found if row_scale is not None else found * scale
        assert torch.allclose(found, expected, atol=0.02, rtol=0.01)
