"""Which rule holds for which request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhearth.models.backends.router_file import Rule, When
from openhearth.models.backends.router_rules import fired, task
from openhearth.types import Message, ModelRequest, ToolSpec

TOOL = ToolSpec(name="sql", description="", parameters={"type": "object"})
FENCED = "Mend this:\n```python\nprint(1\n```\n"


def asked(text: str, **fields: Any) -> ModelRequest:
    return ModelRequest(messages=(Message(role="user", content=text),), **fields)


@pytest.mark.parametrize(
    ("when", "request_", "reason"),
    [
        ({"matches": r"trace\w+"}, asked("A traceback."), "the message has 'traceback'"),
        ({"matches": "TRACE"}, asked("A traceback."), None),
        ({"words": ["SQL", "join"]}, asked("An sql query"), "the message has the word 'SQL'"),
        ({"words": ["sql"]}, asked("mysqldump"), None),
        ({"code": True}, asked(FENCED), "the message holds code"),
        ({"code": True}, asked("reply with one ```sql block, please"), None),
        ({"code": False}, asked("hello"), "it is not so that the message holds code"),
        ({"names_file": True}, asked("Read data/orders.csv."), "the message names a file"),
        ({"names_file": True}, asked("It costs 3.50. Thanks."), None),
        ({"longer_than": 3}, asked("one two, three"), "the message has 4 tokens, more than 3"),
        ({"longer_than": 4}, asked("one two, three"), None),
        ({"tools": True}, asked("x", tools=(TOOL,)), "tools are on offer"),
        ({"tools": True}, asked("x", tools=(TOOL,), tool_choice="none"), None),
        ({"tools": False}, asked("x"), "it is not so that tools are on offer"),
        ({"tool_choice": ["required", "tool:sql"]}, asked("x", tool_choice="tool:sql"), "tool_choice is tool:sql"),
        ({"tool_choice": ["required"]}, asked("x"), None),
        ({"structured": True}, asked("x", output_schema={}), "the answer must fit a schema"),
        (
            {"tools": True, "words": ["x"]},
            asked("x", tools=(TOOL,)),
            "the message has the word 'x' and tools are on offer",
        ),
        ({"tools": True, "words": ["y"]}, asked("x", tools=(TOOL,)), None),
    ],
)
def test_a_condition(when: dict[str, Any], request_: ModelRequest, reason: str | None) -> None:
    found = fired([Rule(when=When.model_validate(when), route="r")], request_)
    assert (found and found[2]) == reason


def test_the_whole_conversation_can_be_counted() -> None:
    request = ModelRequest(messages=(Message(role="system", content="a b c"), Message(role="user", content="d")))
    assert fired([Rule(when=When(prompt_longer_than=3), route="r")], request)
    assert not fired([Rule(when=When(prompt_longer_than=4), route="r")], request)


def test_the_first_rule_decides_and_is_named() -> None:
    rules = [
        Rule(when=When(words=("no",)), route="a"),
        Rule(when=When(words=("yes",)), route="b"),
        Rule(name="late", when=When(words=("yes",)), route="c"),
    ]
    found = fired(rules, asked("yes"))
    assert found is not None
    assert (found[0].route, found[1]) == ("b", "rule 2")
    assert fired(rules, asked("maybe")) is None


def test_the_task_is_the_last_message_of_a_person() -> None:
    messages = (
        Message(role="user", content="first"),
        Message(role="assistant", content="?"),
        Message(role="user", content="second"),
        Message(role="assistant", content="…"),
        Message(role="user", content="compute it", name="runtime"),
    )
    assert task(ModelRequest(messages=messages)) == (2, "second")
    assert task(ModelRequest(messages=(Message(role="system", content="x"),))) == (-1, "")


@given(st.text(), st.text(min_size=1), st.text())
def test_a_word_between_spaces_is_found_in_any_text(before: str, word: str, after: str) -> None:
    assert fired([Rule(when=When(words=(word,)), route="r")], asked(f"{before} {word} {after}"))


@given(st.text())
def test_no_text_breaks_a_rule(text: str) -> None:
    for when in ({"code": True}, {"names_file": True}, {"longer_than": 2}, {"words": ["a"]}, {"matches": "a.c"}):
        fired([Rule(when=When.model_validate(when), route="r")], asked(text))
