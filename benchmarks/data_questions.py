"""How often the default agent answers questions about `examples/data/orders.csv` rightly, seed by seed.

    python benchmarks/data_questions.py [--model REF] [--seeds 10] [--temperature 0.2] [--only NAME …] [--json]

The right answers are computed here with DuckDB, from the same file. An answer is right when it names every expected
name, and every expected figure to the precision that it is given in (a figure may be rounded, not changed).
Three sets: the demo's own question, five that prompts were tuned on, and five that were held out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from openhearth.agents.agent import Agent
from openhearth.config import load_settings
from openhearth.tools.builtin import BUILTIN_TOOLS

DATA = Path(__file__).parents[1] / "examples" / "data"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Question:
    name: str
    group: str
    text: str
    answer: str
    """SQL for one row that holds what the answer must name."""


def _top(key: str, measure: str, where: str = "true") -> str:
    return f"SELECT {key}, {measure} AS m FROM orders WHERE {where} GROUP BY 1 ORDER BY m DESC LIMIT 1"


REVENUE = "sum(quantity * unit_price)"
QUESTIONS = (
    Question(
        "march",
        "demo",
        "Which customer spent the most in March, and how much?",
        _top("customer", REVENUE, "month(date) = 3"),
    ),
    Question(
        "quarter",
        "tuned",
        "Which category brought in the most revenue in the third quarter, and how much?",
        _top("category", REVENUE, "quarter(date) = 3"),
    ),
    Question(
        "month", "tuned", "Which month had the highest revenue, and what was it?", _top("monthname(date)", REVENUE)
    ),
    Question(
        "germany",
        "tuned",
        "Which product sold the most units to customers in Germany, and how many units?",
        _top("product", "sum(quantity)", "country = 'Germany'"),
    ),
    Question(
        "average",
        "tuned",
        "Which country has the highest average order value, and what is it?",
        _top("country", "avg(quantity * unit_price)"),
    ),
    Question(
        "benches",
        "tuned",
        "How many different customers bought a Garden bench in June?",
        "SELECT count(DISTINCT customer) FROM orders WHERE product = 'Garden bench' AND month(date) = 6",
    ),
    Question(
        "kitchen",
        "held out",
        "What was the total revenue from Kitchen products in December?",
        f"SELECT {REVENUE} FROM orders WHERE category = 'Kitchen' AND month(date) = 12",
    ),
    Question(
        "weekday",
        "held out",
        "On which day of the week do we sell the most units?",
        "SELECT dayname(date) FROM orders GROUP BY 1 ORDER BY sum(quantity) DESC LIMIT 1",
    ),
    Question(
        "orders", "held out", "Which customer placed the most orders, and how many?", _top("customer", "count(*)")
    ),
    Question(
        "italy",
        "held out",
        "What share of revenue, in per cent, came from Italy?",
        f"SELECT 100 * {REVENUE} FILTER (country = 'Italy') / {REVENUE} FROM orders",
    ),
    Question(
        "smallest",
        "held out",
        "Which product brought in the least revenue in the first half of the year, and how much?",
        f"SELECT product, {REVENUE} AS m FROM orders WHERE month(date) <= 6 GROUP BY 1 ORDER BY m LIMIT 1",
    ),
)


def expected(question: Question) -> tuple[str | float, ...]:
    with duckdb.connect() as database:
        database.read_csv(DATA / "orders.csv").create_view("orders")
        row = database.execute(question.answer).fetchone()
    assert row is not None
    return tuple(part if isinstance(part, str) else float(part) for part in row)


def is_right(answer: str, wanted: Sequence[str | float]) -> bool:
    plain = re.sub(r"(?<=\d)[,   ](?=\d{3}(?!\d))", "", answer)
    return all(_names(plain, part) for part in wanted)


def _names(answer: str, part: str | float) -> bool:
    if isinstance(part, str):
        return part.lower() in answer.lower()
    for figure in NUMBER.findall(answer):
        digits = len(figure.partition(".")[2])
        if abs(float(figure) - part) <= 0.5 * 10**-digits + 1e-9 and (digits > 0 or abs(part) >= 100 or part % 1 == 0):
            return True
    return False


async def ask(question: Question, model: str, seed: int, temperature: float) -> dict[str, object]:
    choices = {"seed": seed, "temperature": temperature, "approve": "auto"}
    settings = load_settings({"agent": choices, "model": {"default": model}})
    # Of a copy: an agent that is asked for an answer may write a report beside the data.
    with tempfile.TemporaryDirectory(prefix="hearth-questions-") as folder:
        workspace = shutil.copytree(DATA, Path(folder) / "data")
        agent = Agent(tools=BUILTIN_TOOLS, workspace=workspace, settings=settings)
        began = time.perf_counter()
        result = await agent.arun(question.text)
    return {
        "question": question.name,
        "group": question.group,
        "seed": seed,
        "right": result.status == "done" and is_right(result.output, expected(question)),
        "status": result.status,
        "answer": result.output,
        "run": result.run_id,
        "seconds": round(time.perf_counter() - began, 1),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0.2, help="seeds change nothing at 0")
    parser.add_argument("--only", nargs="*", default=[question.name for question in QUESTIONS])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for question in QUESTIONS:
        if question.name not in options.only:
            continue
        rows = []
        for seed in range(options.seeds):
            row = await ask(question, options.model, seed, options.temperature)
            rows.append(row)
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                verdict = "right" if row["right"] else "WRONG"
                print(f"  seed {seed}: {verdict} in {row['seconds']} s: {str(row['answer'])[:160]!r}", flush=True)
        if not options.json:
            right = sum(bool(row["right"]) for row in rows)
            print(f"{question.name} ({question.group}): {right} of {len(rows)} right", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
