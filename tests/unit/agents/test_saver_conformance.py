"""LangGraph's own conformance suite, whole, on the saver."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance.capabilities import Capability
from langgraph.checkpoint.conformance.initializer import RegisteredCheckpointer
from langgraph.checkpoint.conformance.validate import validate

from openhearth.agents.saver import HearthSaver
from openhearth.storage.store import Store


async def test_every_capability_is_detected_and_passes(tmp_path: Path) -> None:
    async def factory() -> AsyncGenerator[BaseCheckpointSaver[int], None]:
        with Store.open(f"sqlite:///{tmp_path}/hearth.db") as store:
            saver = HearthSaver(store)
            yield saver
            saver.close()

    report = await validate(RegisteredCheckpointer(name="HearthSaver", factory=factory))

    assert {name: result.failures for name, result in report.results.items() if result.failures} == {}
    assert {name for name, result in report.results.items() if result.passed} == {c.value for c in Capability}
