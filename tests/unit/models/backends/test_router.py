"""The router over scripted models: who answers, what is told, and what happens when one cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openhearth.config import load_settings
from openhearth.errors import ConfigError, ContextOverflowError, ModelError, ModelUnavailableError
from openhearth.models.backends.router import RouterModel
from openhearth.models.open import open_model
from openhearth.types import Message, ModelRequest, Piece, Reply, Routing, TextPiece


class Desk:
    """A folder with a router and its models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model("easy", [{"text": "easy says hi", "repeat": True}])
        self.model("hard", [{"text": "hard says hi", "repeat": True}])
        self.rules: list[dict[str, Any]] = [{"name": "simple", "when": {"words": ["please"]}, "route": "easy"}]
        self.routes = ["easy", "hard"]
        self.default = "hard"

    def model(self, name: str, turns: list[dict[str, Any]], context: int = 4096) -> None:
        (self.folder / f"{name}.yaml").write_text(json.dumps({"turns": turns, "context": context}), encoding="utf-8")

    def router(self) -> RouterModel:
        routes = [{"name": name, "model": f"scripted:{name}.yaml"} for name in self.routes]
        content = {"routes": routes, "default": self.default, "rules": self.rules}
        file = self.folder / "router.yaml"
        file.write_text(json.dumps(content), encoding="utf-8")
        return RouterModel.from_file(file, load_settings())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def user(text: str, name: str | None = None) -> Message:
    return Message(role="user", content=text, name=name)


def said(text: str) -> Message:
    return Message(role="assistant", content=text)


async def ask(router: RouterModel, *messages: Message, **fields: Any) -> tuple[Routing | None, str]:
    """What was told of the routing, and who answered."""
    request = ModelRequest(messages=messages, **fields)
    pieces: list[Piece] = [piece async for piece in router.stream(request)]
    told = [piece for piece in pieces if isinstance(piece, Routing)]
    assert len(told) <= 1
    assert not told or pieces[0] is told[0]
    reply = pieces[-1]
    assert isinstance(reply, Reply)
    assert "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)) == reply.message.content
    return (told or [None])[0], reply.message.content.split()[0]


async def test_a_rule_decides_else_the_default(desk: Desk) -> None:
    router = desk.router()
    routing, who = await ask(router, user("A word, please."))
    assert who == "easy"
    assert routing is not None
    assert (routing.route, routing.rule) == ("easy", "simple")
    assert routing.reason == "simple: the message has the word 'please'"
    assert routing.model == f"scripted:{desk.folder / 'easy.yaml'}"
    routing, who = await ask(router, user("A proof."))
    assert who == "hard"
    assert routing is not None
    assert "this is the default" in routing.reason
    await router.aclose()


async def test_the_choice_holds_for_the_turn_and_is_told_once(desk: Desk) -> None:
    desk.rules = [{"when": {"tools": False}, "route": "easy"}]
    router = desk.router()
    talk = [user("Hello")]
    routing, who = await ask(router, *talk)
    assert (routing is not None, who) == (True, "easy")
    talk += [said("Let me see."), Message(role="tool", content="42", tool_call_id="1"), user("Go on.", name="runtime")]
    assert await ask(router, *talk) == (None, "easy")
    noticed = [user("Hello\n\nNo more tools."), *talk[1:]]
    assert await ask(router, *noticed, output_schema={}) == (None, "easy")
    talk += [said("42"), user("And now?")]
    routing, who = await ask(router, *talk)
    assert (routing is not None, who) == (True, "easy")


async def test_another_message_at_the_same_place_is_another_turn(desk: Desk) -> None:
    router = desk.router()
    assert (await ask(router, user("Hi, please")))[1] == "easy"
    routing, who = await ask(router, user("Hi"))
    assert (routing is not None, who) == (True, "hard")


async def test_the_same_words_said_anew_are_told_anew_and_try_every_route_again(desk: Desk) -> None:
    (desk.folder / "easy.yaml").rename(desk.folder / "away.yaml")
    router = desk.router()
    first, who = await ask(router, user("please"))
    assert (first is not None and len(first.passed_over), who) == (1, "hard")
    (desk.folder / "away.yaml").rename(desk.folder / "easy.yaml")
    assert await ask(router, user("please"), said("hm"), user("go on", name="runtime")) == (None, "hard")
    again, who = await ask(router, user("please"))
    assert (again is not None and again.passed_over, who) == ((), "easy")


async def test_conversations_are_told_apart_by_what_came_before(desk: Desk) -> None:
    router = desk.router()
    assert (await ask(router, user("please"), said("a"), user("x, please")))[1] == "easy"
    assert (await ask(router, user("please"), said("b"), user("x")))[1] == "hard"
    tool_round = (user("please"), said("a"), user("x, please"), said("…"))
    assert await ask(router, *tool_round) == (None, "easy")


async def test_tokens_are_counted_by_the_chosen_model(desk: Desk) -> None:
    router = desk.router()
    assert await router.count_tokens(ModelRequest(messages=(user("one, please"),))) == 4
    assert router.info.backend == "router"
    assert router.info.context_length == 4096


async def test_a_missing_model_is_passed_over_and_said_so(desk: Desk) -> None:
    (desk.folder / "easy.yaml").unlink()
    routing, who = await ask(desk.router(), user("please"))
    assert who == "hard"
    assert routing is not None
    assert routing.route == "hard"
    (passed,) = routing.passed_over
    assert passed.startswith("easy: Cannot read the script")
    assert routing.reason.startswith("simple: ")


async def test_the_default_takes_over_first_then_the_others_in_order(desk: Desk) -> None:
    desk.routes = ["easy", "third", "hard"]
    desk.model("third", [{"text": "third says hi"}])
    (desk.folder / "easy.yaml").unlink()
    router = desk.router()
    assert (await ask(router, user("please")))[1] == "hard"
    (desk.folder / "hard.yaml").unlink()
    routing, who = await ask(desk.router(), user("please"))
    assert who == "third"
    assert routing is not None
    assert [passed.split(":")[0] for passed in routing.passed_over] == ["easy", "hard"]


async def test_a_prompt_that_does_not_fit_goes_to_the_next_that_it_fits(desk: Desk) -> None:
    desk.model("easy", [{"text": "easy"}], context=64)
    router = desk.router()
    long = "please " + "word " * 100
    routing, who = await ask(router, user(long))
    assert who == "hard"
    assert routing is not None
    assert routing.passed_over == ("easy: the prompt's 102 tokens do not fit its context of 64",)
    assert (await ask(router, user("please")))[1] == "easy"


async def test_a_prompt_that_fits_nowhere_is_the_roomiest_models_to_refuse(desk: Desk) -> None:
    desk.model("easy", [{"text": "easy"}], context=64)
    desk.model("hard", [{"text": "hard"}], context=80)
    router = desk.router()
    request = ModelRequest(messages=(user("word " * 100),))
    assert await router.count_tokens(request) == 101
    for _ in range(2):
        with pytest.raises(ContextOverflowError, match="the context holds 80"):
            _ = [piece async for piece in router.stream(request)]


async def test_when_none_is_there_all_reasons_are_told_and_nothing_is_remembered(desk: Desk) -> None:
    for name in ("easy", "hard"):
        (desk.folder / f"{name}.yaml").unlink()
    router = desk.router()
    with pytest.raises(ModelUnavailableError, match=r"easy: Cannot read(.|\n)*hard: Cannot read"):
        await ask(router, user("please"))
    desk.model("easy", [{"text": "easy is back"}])
    routing, who = await ask(router, user("please"))
    assert (routing is not None and routing.passed_over, who) == ((), "easy")


async def test_an_error_after_the_first_text_is_not_covered_up(desk: Desk) -> None:
    desk.model("easy", [{"text": "easy", "expect": "something else"}])
    with pytest.raises(ModelError, match="expects"):
        await ask(desk.router(), user("please"))


async def test_a_mistake_in_a_routes_own_file_is_no_reason_to_go_on(desk: Desk) -> None:
    (desk.folder / "easy.yaml").write_text("- {txt: hi}", encoding="utf-8")
    with pytest.raises(ConfigError, match="Did you mean 'text'"):
        desk.router()


async def test_without_an_embedding_model_the_default_is_taken(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MODEL__AUTO_PULL", "false")
    file = desk.folder / "compared.yaml"
    routes = [
        {"name": name, "model": f"scripted:{name}.yaml", "examples": [f"{name} one"]} for name in ("easy", "hard")
    ]
    file.write_text(json.dumps({"routes": routes, "default": "hard"}), encoding="utf-8")
    router = RouterModel.from_file(file, load_settings())
    routing, who = await ask(router, user("easy one"))
    assert who == "hard"
    assert routing is not None
    assert "minilm is not on this machine" in routing.reason


async def test_it_is_opened_by_its_reference(desk: Desk) -> None:
    desk.router()
    model = await open_model(f"router:{desk.folder / 'router.yaml'}", load_settings())
    assert isinstance(model, RouterModel)
    assert (await ask(model, user("please")))[1] == "easy"
    await model.aclose()
    await model.aclose()
