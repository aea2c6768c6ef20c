"""Every numbered example runs as its docstring says, in a process of its own."""

from __future__ import annotations

import filecmp
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openhearth import paths

EXAMPLES = Path(__file__).parents[2] / "examples"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs an example with the models of `home` and a database of its own."""

    def run(name: str, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "HEARTH_STORAGE__URL": f"sqlite:///{tmp_path / 'hearth.db'}",
            **({paths.HOME_VARIABLE: str(home)} if home else {}),
        }
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def model_home(smollm2_store: Path) -> Path:
    """The HEARTH_HOME that the pulled test models lie in."""
    return next(parent.parent for parent in smollm2_store.parents if parent.name == "data")


@pytest.fixture
def large_home(qwen_store: Path) -> Path:
    return next(parent.parent for parent in qwen_store.parents if parent.name == "data")


@pytest.mark.slow
def test_hello(run: Run, model_home: Path) -> None:
    assert len(run("01_hello.py", home=model_home).stdout.split()) >= 3


@pytest.mark.large
@pytest.mark.slow
def test_tool(run: Run, large_home: Path) -> None:
    done = run("02_tool.py", home=large_home)
    assert "exchange_rate({'currency': 'NOK'})" in done.stderr
    assert "0.085" in done.stdout


@pytest.mark.large
@pytest.mark.slow
def test_the_snippet_of_the_readme(run: Run, large_home: Path, tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    snippet = tmp_path / "snippet.py"
    snippet.write_text(found[1], encoding="utf-8")
    assert "0.085" in run(str(snippet), home=large_home).stdout


@pytest.mark.slow
def test_chat_turns(run: Run, model_home: Path) -> None:
    done = run("03_chat_turns.py", home=model_home)
    assert done.stdout.strip()
    kept, of = (int(word) for word in done.stderr.split() if word.isdigit())
    assert of > kept > of / 2


@pytest.mark.large
@pytest.mark.slow
def test_structured_files(run: Run, large_home: Path) -> None:
    assert run("04_structured_files.py", home=large_home).stdout.strip() == "Terracotta pot: 104"


def test_scripted(run: Run) -> None:
    done = run("05_scripted.py")
    assert done.stdout.splitlines() == [
        "waiting: send_mail {'to': 'ada@example.com', 'text': 'The report is ready.'}",
        "I have told Ada.",
    ]


def test_the_orders_are_what_their_script_writes(tmp_path: Path) -> None:
    script = tmp_path / "make_orders.py"
    script.write_bytes((EXAMPLES / "data" / "make_orders.py").read_bytes())
    subprocess.run([sys.executable, str(script)], check=True)
    assert filecmp.cmp(tmp_path / "orders.csv", EXAMPLES / "data" / "orders.csv", shallow=False)


def test_every_numbered_example_is_run_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("[0-9]*.py"):
        assert f'"{example.name}"' in text
