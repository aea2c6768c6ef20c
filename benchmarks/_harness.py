"""What every benchmark shares: alternating repeats, medians, and one way to print ratios.

A figure on its own says little about software and much about a machine. So ours and the peer's are measured in one
run, in turns, and what counts is the ratio of the medians. Bars are those of docs/architecture.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openhearth.config import Settings, load_settings
from openhearth.errors import HearthError
from openhearth.models.devices import physical_cores
from openhearth.models.loading.convert import convert
from openhearth.models.pull import fetch_raw, pull
from openhearth.models.pulled import precision_of
from openhearth.models.reference import resolve_reference

CATALOG_MODELS = ("smollm2-135m", "qwen2.5-coder-1.5b")


@dataclass(frozen=True, slots=True)
class Result:
    """One figure. `bar` bounds the ratio ours / peer, or, where there is no peer, our own value.

    `at_most` turns the bar round: lower is better. Without a bar, nothing is promised.
    """

    name: str
    unit: str
    ours: float
    peer_name: str | None = None
    peer: float | None = None
    bar: float | None = None
    at_most: bool = False
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer if self.peer else None

    @property
    def holds(self) -> bool | None:
        value = self.ratio if self.peer_name else self.ours
        if self.bar is None or value is None:
            return None
        return value <= self.bar if self.at_most else value >= self.bar

    def to_json(self) -> str:
        return json.dumps(
            {
                "name": self.name,
                "ours": self.ours,
                "peer": self.peer,
                "peer_name": self.peer_name,
                "unit": self.unit,
                "ratio": self.ratio,
                "bar": self.bar,
                "holds": self.holds,
            }
        )

    def to_row(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:6.2f} ×"
        peer = "" if self.peer is None else f"{self.peer:10.4g} {self.peer_name}"
        bar = "" if self.bar is None else f"{'≤' if self.at_most else '≥'} {self.bar:g}"
        verdict = {True: "holds", False: "MISSED", None: ""}[self.holds]
        return f"{self.name:<44}{self.ours:10.4g} {self.unit:<7}{ratio:>9}  {bar:<8}{verdict:<8}{peer}"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model twice: as the peers read it, and converted."""

    name: str
    gguf: Path
    store: Path


class Report:
    """Prints results as they come. `finish` gives the exit code: 1 if `--check` was asked for and a bar was missed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._json, self._check = options.json, options.check
        self._missed = False

    def add(self, result: Result) -> None:
        self._missed |= result.holds is False
        print(result.to_json() if self._json else result.to_row(), flush=True)
        for label, values in result.samples.items():
            say(f"  {label}: " + " ".join(f"{value:.4g}" for value in values))

    def finish(self) -> int:
        return int(self._check and self._missed)


def argument_parser(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """The options that all model benchmarks take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object a line")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"measurements of each side ({repeats})")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="threads of every side (physical cores)")
    parser.add_argument("--model", action="append", dest="models", help="a catalog model; may be repeated (both)")
    parser.add_argument("--gguf", type=Path, help="measure this file instead, converted into a temporary store")
    parser.add_argument("--store", type=Path, help="the store of --gguf, where it is converted already")
    return parser


@contextlib.contextmanager
def model_files(options: argparse.Namespace) -> Iterator[list[ModelFiles]]:
    """The models that `options` name; catalog models are pulled, and their GGUF file is kept."""
    if options.gguf is None:
        settings = load_settings()
        yield [_catalog_model(name, settings) for name in options.models or CATALOG_MODELS]
        return
    if options.store is not None:
        yield [ModelFiles(options.gguf.stem, options.gguf, options.store)]
        return
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:
        store = Path(folder) / "store"
        precision = precision_of(resolve_reference(str(options.gguf.absolute())), load_settings())
        convert(options.gguf, store, precision=precision, progress=progress)
        yield [ModelFiles(options.gguf.stem, options.gguf, store)]


def _catalog_model(name: str, settings: Settings) -> ModelFiles:
    raw = fetch_raw(name, settings, progress)
    gguf = raw if raw.is_file() else next(raw.glob("*.gguf"))
    return ModelFiles(name, gguf, pull(name, settings, progress, keep_raw=True))


def require_peers(modules: Sequence[str], *, without: bool) -> bool:
    """Whether to measure the peers. Ends the program when one is not installed, unless `--without-peers` was given."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing and not without:
        raise SystemExit(
            f"Not installed: {', '.join(missing)}. Install the bench extra (pip install 'openhearth[bench]'), "
            "or measure ours alone with --without-peers."
        )
    return not without


def in_turns(measures: Mapping[str, Callable[[int], float]], repeats: int) -> dict[str, list[float]]:
    """Call each measure once per round, after a round that is thrown away. The argument numbers the round."""
    samples: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(repeats + 1):
        for name, measure in measures.items():
            value = measure(turn)
            if turn:
                samples[name].append(value)
    return samples


def medians(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in samples.items()}


def say(text: str) -> None:
    """Narration, on stderr."""
    print(text, file=sys.stderr, flush=True)


def progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what} {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main(run: Callable[[], int]) -> None:
    """Run a benchmark as a program; OpenHearth's own errors end it without a traceback."""
    busy = os.getloadavg()[0]
    if busy > physical_cores() / 2:
        say(f"The machine is busy (load average {busy:.1f}): even ratios will be noise. Measure when it is quiet.")
    try:
        sys.exit(run())
    except HearthError as error:
        sys.exit(str(error))
