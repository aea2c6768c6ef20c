"""The small catalog model passes the gate in every precision that it can be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from openhearth.models.kernels.library import worth_using
from openhearth.models.loading.convert import convert
from openhearth.models.loading.store import Precision
from openhearth.models.quality.gate import AGREEMENT_BAR, MEAN_BAR, measure

PRECISIONS: tuple[Precision, ...] = ("bfloat16", "int8", *(("native",) if worth_using() else ()))  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_smollm2_holds(precision: Precision, smollm2_gguf: Path, tmp_path: Path) -> None:
    convert(smollm2_gguf, tmp_path / "store", precision=precision)
    report = measure(smollm2_gguf, tmp_path / "store")
    assert report.tokens > 700
    for way in (report.prefill, report.decode):
        assert 0 < way.mean <= MEAN_BAR
        assert way.agreement >= AGREEMENT_BAR
