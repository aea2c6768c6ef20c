"""A run whose model is a router: the choice is an event of the run, and is kept with it."""

from __future__ import annotations

import json
from pathlib import Path

from support.stage import Stage, read

from openhearth.config import load_settings
from openhearth.events import ModelFinished, ModelRouted, StepStarted
from openhearth.models.backends.router import RouterModel
from openhearth.tools.function import tool

EASY = [{"text": "Looking.", "calls": [{"name": "look", "arguments": {}}]}, {"text": "Easy.", "repeat": True}]
HARD = [{"text": "Hard.", "repeat": True}]


@tool(read_only=True)
def look() -> str:
    """Look."""
    return "There it is."


def router(folder: Path, *, missing: bool = False) -> RouterModel:
    for name, turns in (("easy", EASY), ("hard", HARD)):
        (folder / f"{name}.yaml").write_text(json.dumps(turns), encoding="utf-8")
    if missing:
        (folder / "easy.yaml").unlink()
    routes = [{"name": name, "model": f"scripted:{name}.yaml"} for name in ("easy", "hard")]
    rules = [{"when": {"words": ["please"]}, "route": "easy"}]
    file = folder / "router.yaml"
    file.write_text(json.dumps({"routes": routes, "default": "hard", "rules": rules}), encoding="utf-8")
    return RouterModel.from_file(file, load_settings())


async def test_the_choice_is_an_event_before_the_reply_and_made_once(stage: Stage, tmp_path: Path) -> None:
    model = router(tmp_path)
    played = await read(stage.runtime.run("Look, please.", stage.spec(tools=("look",)), tools=[look], model=model))
    assert played.finished.output == "Easy."
    (routed,) = played.of(ModelRouted)
    assert (routed.routing.route, routed.routing.rule) == ("easy", "rule 1")
    kinds = [type(event) for event in played.events if type(event) in (StepStarted, ModelRouted, ModelFinished)]
    assert kinds[:3] == [StepStarted, ModelRouted, ModelFinished]
    kept = [event for event in await stage.runtime.run_events(played.run_id) if isinstance(event, ModelRouted)]
    assert kept == [routed]


async def test_a_route_that_was_passed_over_is_kept_with_its_reason(stage: Stage, tmp_path: Path) -> None:
    model = router(tmp_path, missing=True)
    played = await read(stage.runtime.run("Look, please.", stage.spec(), model=model))
    assert played.finished.output == "Hard."
    (routed,) = played.of(ModelRouted)
    assert routed.routing.route == "hard"
    assert "easy: Cannot read the script" in routed.routing.passed_over[0]
