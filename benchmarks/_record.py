"""Runs the benchmarks and writes `docs/benchmarks.json`, and from it the table and the plot beside it.

    python benchmarks/_record.py [--only decode …] [--vllm-python PATH] [-- OPTION …]
    python benchmarks/_record.py --render

Every figure in `docs/benchmarks.md` and `docs/benchmarks.svg` comes from the lines that a benchmark printed in one run.
With `--only`, the other benchmarks keep the lines and the date of their last run. What stands after `--` is handed to
every script that runs. `--render` measures nothing.
`bfcl.py` runs only where it is named, because it takes hours; `data_questions.py`, which asks the default agent the
same questions under many seeds, has no peer and is not recorded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from _harness import say
from _page import page
from _plot import plot

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
RECORD = DOCS / "benchmarks.json"
SCRIPTS = (
    "decode",
    "embeddings",
    "concurrent_runs",
    "second_turn",
    "agent_work",
    "startup",
    "quality",
    "router",
    "grammar",
    "steps",
)
LONG = ("bfcl",)
WITH_VLLM = ("decode", "concurrent_runs")
PACKAGES = ("torch", "llama-cpp-python", "transformers", "langgraph-checkpoint-sqlite", "llguidance", "xgrammar")


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=(*SCRIPTS, *LONG), default=SCRIPTS, help="run these alone")
    parser.add_argument("--vllm-python", metavar="PATH", help="an interpreter that has vLLM's CPU build")
    parser.add_argument("--render", action="store_true", help="write the table and the plot anew, from the last runs")
    parser.add_argument("rest", nargs="*", metavar="OPTION", help="for the scripts themselves, after --")
    options = parser.parse_args()
    vllm = ["--vllm-python", options.vllm_python] if options.vllm_python else []
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    failed = []
    for script in () if options.render else options.only:
        say(f"{script}:")
        results = lines(script, [*(vllm if script in WITH_VLLM else []), *options.rest])
        if results is None:
            failed.append(script)
            continue
        record[script] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), "results": results}
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, text in rendered(record).items():
        (DOCS / name).write_text(text, encoding="utf-8")
    if failed:
        say(f"Failed, and not recorded: {', '.join(failed)}.")
    return int(bool(failed))


def rendered(record: dict[str, Any]) -> dict[str, str]:
    """The pages that a record makes, by file name."""
    ordered = {script: record[script] for script in (*SCRIPTS, *LONG) if script in record}
    sources = {script: HERE / f"{script}.py" for script in ordered}
    return {"benchmarks.md": page(ordered, sources), "benchmarks.svg": plot(ordered)}


def lines(script: str, options: list[str]) -> list[dict[str, Any]] | None:
    """What the benchmark printed; None when it failed."""
    command = [sys.executable, str(HERE / f"{script}.py"), "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return None
    return [json.loads(line) for line in done.stdout.splitlines()]


def machine() -> dict[str, str]:
    """What the figures depend on, in words."""
    cpu = _field("/proc/cpuinfo", "model name")
    cores = _field("/proc/cpuinfo", "cpu cores")
    memory = int(_field("/proc/meminfo", "MemTotal").split()[0]) / 1024**2
    versions = {package: version for package in PACKAGES if (version := _version(package))}
    return {
        "processor": f"{cpu}, {cores} cores",
        "memory": f"{memory:.0f} GiB",
        "python": sys.version.split()[0],
        **versions,
    }


def _field(file: str, name: str) -> str:
    """The last value of a `name: value` line of a file under /proc."""
    found = [line.partition(":")[2] for line in Path(file).read_text(encoding="utf-8").splitlines() if name in line]
    return found[-1].strip() if found else "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(run())
