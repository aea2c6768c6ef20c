"""From the start of a process to its first token, and the memory that it then holds, against llama.cpp.

    python benchmarks/startup.py [--model NAME …] [--gguf FILE] [--json] [--context 4096] [--without-peers]

Each measurement is a fresh Python process that imports what it needs, opens the model (ours: the converted store,
llama.cpp: the GGUF file, both in the page cache), reads eight tokens and makes one. Memory is what the kernel counts as
resident once the whole context has been read, shared file pages included. `a second process` is what a second one,
opened beside the first, holds for itself alone.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from _harness import ModelFiles, Report, Result, argument_parser, in_turns, main, medians, model_files, require_peers

OURS, PEER = "openhearth", "llama.cpp"
STARTUP_BAR = 1.0
MEMORY_BAR = {"qwen2.5-coder-1.5b": 2.2}
"""Gigabytes, in the default precision with 4,096 tokens of context."""


class Process:
    """One that has made its first token; `started_s` is how long that took."""

    def __init__(self, kind: str, path: Path, threads: int, context: int) -> None:
        script = str(Path(__file__).with_name("_first_token.py"))
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, script, kind, str(path), str(threads), str(context)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()
        self.started_s = time.perf_counter() - begun

    def read(self, tokens: int) -> None:
        """Have it read a prompt of `tokens` tokens."""
        print(tokens, file=self._process.stdin, flush=True)
        self._answer()

    def resident_gb(self) -> float:
        return self._kilobytes("Rss:") / 1e6

    def own_gb(self) -> float:
        """Memory that no other process shares."""
        return (self._kilobytes("Private_Clean:") + self._kilobytes("Private_Dirty:")) / 1e6

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> None:
        if self._process.stdout is None or not self._process.stdout.readline():
            raise SystemExit(f"The process ended with {self._process.wait()}; its words stand above.")

    def _kilobytes(self, name: str) -> float:
        lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        return 1.024 * sum(int(line.split()[1]) for line in lines if line.startswith(name))


Start = Callable[[], contextlib.AbstractContextManager[Process]]


def run() -> int:
    parser = argument_parser(__doc__, repeats=5)
    parser.add_argument("--context", type=int, default=4096, help="tokens of context when memory is looked at (4096)")
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    options = parser.parse_args()
    peers = require_peers(["llama_cpp"], without=options.without_peers)
    report = Report(options)
    with model_files(options) as models:
        for model in models:
            measure(model, options, report, peer=PEER if peers else None)
    return report.finish()


def measure(model: ModelFiles, options: argparse.Namespace, report: Report, *, peer: str | None) -> None:
    starts: dict[str, Start] = {OURS: partial(_process, "ours", model.store, options.threads, options.context)}
    if peer:
        starts[peer] = partial(_process, peer, model.gguf, options.threads, options.context)

    def first_token(start: Start, _: int) -> float:
        with start() as process:
            return process.started_s

    samples = in_turns({name: partial(first_token, start) for name, start in starts.items()}, options.repeats)
    times = medians(samples)
    name = f"start to first token {model.name}"
    report.add(Result(name, "s", times[OURS], peer, times.get(PEER), STARTUP_BAR if peer else None, True, samples))
    resident, own = {}, {}
    for side, start in starts.items():
        with start() as one, start() as other:
            other.read(options.context - 2)
            own[side] = other.own_gb()
            one.read(options.context - 2)
            resident[side] = one.resident_gb()
    bar = MEMORY_BAR.get(model.name)
    report.add(Result(f"memory, {options.context} tokens, {model.name}", "GB", resident[OURS], bar=bar, at_most=True))
    if peer:
        report.add(Result(f"memory {model.name} ({peer})", "GB", resident[OURS], peer, resident[peer], at_most=True))
    report.add(Result(f"memory, a second process, {model.name}", "GB", own[OURS], peer, own.get(PEER), at_most=True))


@contextlib.contextmanager
def _process(kind: str, path: Path, threads: int, context: int) -> Iterator[Process]:
    process = Process(kind, path, threads, context)
    try:
        yield process
    finally:
        process.close()


if __name__ == "__main__":
    main(run)
