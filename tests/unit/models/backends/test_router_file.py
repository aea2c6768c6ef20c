"""Router files: what they may say, and how their mistakes are told."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from openhearth.errors import ConfigError, ModelUnavailableError
from openhearth.models.backends.router_file import read_router_file
from openhearth.models.reference import absolute_reference, anchored_reference

GOOD = """\
routes:
  - name: easy
    model: scripted:easy.yaml
    examples: [hello]
  - name: hard
    model: qwen2.5-coder-1.5b
default: hard
rules:
  - name: code
    when: {code: true}
    route: hard
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "router.yaml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


def test_a_router_is_read_and_its_paths_are_meant_from_its_folder(tmp_path: Path) -> None:
    content = read_router_file(written(tmp_path, GOOD))
    assert [route.model for route in content.routes] == [f"scripted:{tmp_path / 'easy.yaml'}", "qwen2.5-coder-1.5b"]
    assert (content.embedding, content.margin) == ("minilm", 0.1)
    assert content.order("easy") == ["easy", "hard"]
    assert content.order("hard") == ["hard", "easy"]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("examples:", "exmples:", 4, "there is no such key. Did you mean 'examples'?"),
        ("code: true", "codes: true", 10, "there is no such key. Did you mean 'code'?"),
        ("default: hard", "default: had", 7, "there is no route 'had'. Did you mean 'hard'?"),
        ("route: hard", "route: nowhere", 11, "there is no route 'nowhere'."),
        ("name: hard", "name: easy", 5, "there is a route 'easy' already"),
        ("scripted:easy.yaml", "router:other.yaml", 3, "a route cannot lead to another router"),
        ("qwen2.5-coder-1.5b", "qwen2.5-coder-1.5", 6, "Did you mean qwen2.5-coder-1.5b?"),
        ("scripted:easy.yaml", "http://host:1/v1", 3, "does not say which server and which model"),
        ("{code: true}", "{}", 10, "a rule needs a condition"),
        ("{code: true}", '{matches: "("}', 10, "this is no regular expression"),
        ("{code: true}", "{longer_than: -1}", 10, "greater than or equal to 0"),
        ("{code: true}", "{tool_choice: [sometimes]}", 10, "tool_choice"),
        ("default: hard", "margin: 2", 7, "less than or equal to 1"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        read_router_file(written(tmp_path, GOOD.replace(old, new, 1)))
    told = [part for part in caught.value.message.splitlines() if part.startswith(f"line {line}:")]
    assert any(message in part for part in told), caught.value.message
    assert "docs/router.md" in caught.value.hint


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    wrong = GOOD.replace("route: hard", "route: x").replace("default: hard", "default: y")
    with pytest.raises(ConfigError, match=r"line 7: default(.|\n)*line 11: rules\.0\.route"):
        read_router_file(written(tmp_path, wrong))


def test_what_is_no_router(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="Cannot read the router"):
        read_router_file(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_router_file(written(tmp_path, "routes: ["))
    with pytest.raises(ConfigError, match="line 1: the router"):
        read_router_file(written(tmp_path, "- a list"))


def test_a_model_that_is_not_here_now_is_no_mistake(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD.replace("qwen2.5-coder-1.5b", "./later.gguf"))
    assert read_router_file(file).route("hard").model == str(tmp_path / "later.gguf")


def test_references_are_anchored(tmp_path: Path) -> None:
    assert anchored_reference("hf:org/name", tmp_path) == "hf:org/name"
    assert anchored_reference("http://h:1/v1#m", tmp_path) == "http://h:1/v1#m"
    assert anchored_reference("minilm", tmp_path) == "minilm"
    assert anchored_reference("/a/b.gguf", tmp_path) == "/a/b.gguf"
    assert anchored_reference("scripted:/a.yaml", tmp_path) == "scripted:/a.yaml"
    assert absolute_reference("router:r.yaml") == f"router:{Path.cwd() / 'r.yaml'}"
