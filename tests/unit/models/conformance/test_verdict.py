"""Verdicts say in words what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from openhearth.models.conformance.verdict import Verdict, judge

RIGHT = torch.tensor([[1.0, -2.0], [0.5, 4.0]])


def given(compute: Callable[[], Tensor], tolerance: float = 0.01) -> Verdict:
    return judge("a kernel", "float32", tolerance, RIGHT, compute)


def fail(message: str) -> Callable[[], Tensor]:
    def compute() -> Tensor:
        raise RuntimeError(message)

    return compute


def test_what_is_near_enough_is_right() -> None:
    verdict = given(lambda: RIGHT + 0.02)
    assert verdict.ok
    assert verdict.difference == pytest.approx(0.005, rel=1e-3)
    assert verdict.detail == ""


def test_the_worst_place_is_named() -> None:
    wrong = RIGHT.clone()
    wrong[1, 0] = 3
    verdict = given(lambda: wrong)
    assert not verdict.ok
    assert verdict.difference == pytest.approx(2.5 / 4)
    assert "1 values of 4 are wrong" in verdict.detail
    assert "at [1, 0], is 3 instead of 0.5" in verdict.detail


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        (lambda: torch.zeros(2, 2), "nothing but zeros"),
        (lambda: torch.tensor([[1.0, torch.nan], [0.5, torch.inf]]), "2 values of 4 that are no numbers"),
        (lambda: torch.ones(2), "shape (2,) instead of (2, 2)"),
        (fail("no kernel\nwith a long story"), "RuntimeError: no kernel"),
        (fail(""), "no reason given"),
    ],
)
def test_other_ways_to_be_wrong(compute: Callable[[], Tensor], said: str) -> None:
    verdict = given(compute)
    assert not verdict.ok
    assert said in verdict.detail
    assert "long story" not in verdict.detail
