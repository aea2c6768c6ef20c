"""Ours against one peer at a time: the options that name peers, opening both, and one result for each measure."""

from __future__ import annotations

import argparse
import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from _harness import ModelFiles, Report, Result, in_turns, medians, require_peers, say
from _peers import LLAMA_CPP, TRANSFORMERS, VLLM, LlamaCpp, Ours, Side, Transformers, Vllm

PEERS = (LLAMA_CPP, TRANSFORMERS, VLLM)


def add_peer_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    parser.add_argument("--peer", action="append", choices=PEERS, dest="peers", help="may be repeated (all there are)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of transformers' weights")
    parser.add_argument("--vllm-python", type=Path, metavar="PATH", help="an interpreter that has vLLM's CPU build")


def chosen_peers(options: argparse.Namespace) -> list[str | None]:
    """The peers to measure, one after another; [None] for ours alone. vLLM only where its interpreter is named."""
    known = [peer for peer in PEERS if peer != VLLM or options.vllm_python]
    peers = options.peers or known
    if VLLM in peers and not options.vllm_python:
        raise SystemExit("vLLM lives in an environment of its own: name its interpreter with --vllm-python PATH.")
    needed = ["llama_cpp"] if LLAMA_CPP in peers else []
    return list(peers) if require_peers(needed, without=options.without_peers) else [None]


@contextlib.contextmanager
def versus(
    model: ModelFiles, peer: str | None, options: argparse.Namespace, *, sequences: int = 1
) -> Iterator[tuple[Ours, list[Side]]]:
    """Ours, and all sides with ours first; the other peers are not in memory meanwhile."""
    ours = Ours(model.store, options.threads)
    sides: list[Side] = [ours]
    try:
        if peer == LLAMA_CPP:
            sides.append(LlamaCpp(model.gguf, options.threads, sequences=sequences))
        elif peer == TRANSFORMERS:
            sides.append(Transformers(model.gguf, options.threads, getattr(torch, options.dtype)))
        elif peer == VLLM:
            sides.append(Vllm(model.gguf, options.threads, options.vllm_python))
        say(f"{model.name}: {', '.join(side.name for side in sides)}; {options.threads} threads")
        yield ours, sides
    finally:
        for side in sides:
            side.close()
        gc.collect()


def measure(
    name: str,
    once: Callable[[Side, int], float],
    sides: Sequence[Side],
    repeats: int,
    bars: Mapping[str, float],
    report: Report,
) -> None:
    """Report tokens a second of all sides, in turns. `bars` are by peer; no promise is made about others."""
    peer = next((known for known in PEERS for side in sides[1:] if side.name.startswith(known)), None)
    # The other peers are far slower: fewer rounds of them say as much.
    repeats = repeats if peer in (None, LLAMA_CPP) else max(1, repeats // 2)
    samples = in_turns({side.name: partial(once, side) for side in sides}, repeats)
    speeds = medians(samples)
    ours, *others = (side.name for side in sides)
    report.add(
        Result(
            name if peer in (None, LLAMA_CPP) else f"{name} ({peer})",
            "tok/s",
            speeds[ours],
            others[0] if others else None,
            speeds[others[0]] if others else None,
            bars.get(peer or ""),
            samples=samples,
        )
    )
