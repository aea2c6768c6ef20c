"""Run as a program: what happens on a second torch device, as one JSON object on stdout. See second_device.py."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.engines import collect, request
from support.second_device import FAULTS, MEMORY, NAME, register
from support.tiny import random_ids, tiny_model
from support.tiny_encoder import WORDS, tiny_encoder

from openhearth.cli.app import app
from openhearth.models.conformance.suite import check_device
from openhearth.models.device_memory import memory_of
from openhearth.models.device_policy import device_facts, device_policy
from openhearth.models.devices import choose_device
from openhearth.models.embedding.model import EmbeddingModel
from openhearth.models.engine.engine import Engine
from openhearth.models.loading.convert import convert
from openhearth.models.loading.store import Precision


def main() -> None:
    place = register()
    with tempfile.TemporaryDirectory() as folder:
        facts: dict[str, Any] = {
            "auto": str(choose_device("auto")),
            "kind": device_facts(place).kind,
            "half": str(device_policy(place).half),
            "memory_is_told": (memory_of(place).free, memory_of(place).total) == MEMORY,
            "embedding": embedding(Path(folder) / "encoder"),
        }
        tiny_model(Path(folder) / "checkpoint", "qwen2")
        for precision in ("float32", "bfloat16", "int8"):
            facts[precision] = engine(Path(folder), precision)
    facts["conformance"] = conformance()
    facts["doctor"] = [doctor()]
    FAULTS["aten.linear"] = lambda product: product * 1.1
    facts["doctor"].append(doctor())
    print(json.dumps(facts))


def engine(folder: Path, precision: Precision) -> dict[str, Any]:
    """The same questions to an engine on the CPU and to one on the second device."""
    store = folder / precision
    convert(folder / "checkpoint", store, precision=precision)
    prompts = [random_ids(40, seed=seed) for seed in range(3)]
    answers: list[tuple[torch.Tensor, list[list[int]], int]] = []
    for device in ("cpu", NAME):
        loaded = Engine.load(store, device=device, context=256)
        with ThreadPoolExecutor(3) as pool:
            together = [
                tokens for tokens, _ in pool.map(partial(collect, loaded), [request(prompt, 12) for prompt in prompts])
            ]
        again = collect(loaded, request([*prompts[0], *together[0], 7, 8, 9], 4))[1]
        answers.append((loaded.logits(prompts[0]), together, again.usage.cached_tokens))
        loaded.close()
    (expected, tokens, cached), (found, tokens_there, cached_there) = answers
    return {
        "farthest": float((found - expected).abs().max() / expected.abs().max()),
        "same_tokens": tokens == tokens_there,
        "cached": [cached, cached_there],
    }


def conformance() -> dict[str, list[str]]:
    """The checks that fail, by the kernel that was broken."""
    broken: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
        "nothing": None,
        "aten.linear": lambda product: product * 1.1,
        "aten.scaled_dot_product_attention": lambda seen: seen * 0.9,
        "aten.mul": lambda product: product + 0.01,
        "aten.index_select": lambda rows: rows.roll(1, 0),
        "aten.glu": lambda gated: torch.full_like(gated, torch.nan),
    }
    found = {}
    for name, fault in broken.items():
        FAULTS.clear()
        if fault is not None:
            FAULTS[name] = fault
        found[name] = [verdict.name for verdict in check_device(torch.device(NAME)) if not verdict.ok]
    FAULTS.clear()
    return found


def doctor() -> dict[str, Any]:
    """`hearth doctor --device slate --json`: its exit code, and the names of what is wrong."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = main_command(["doctor", "--device", NAME, "--json"])
    verdicts = [json.loads(line) for line in output.getvalue().splitlines()]
    return {"code": code, "checks": len(verdicts), "wrong": [v["name"] for v in verdicts if not v["ok"]]}


def main_command(arguments: Sequence[str]) -> int:
    try:
        app(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def embedding(folder: Path) -> float:
    tiny_encoder(folder)
    texts = [" ".join(WORDS[:count]) for count in range(1, len(WORDS))]
    vectors = []
    for device in ("cpu", NAME):
        model = EmbeddingModel.load(folder, device=device, threads=1)
        vectors.append(model.embed_sync(texts).vectors)
        model.close()
    return float(np.abs(vectors[0] - vectors[1]).max())


if __name__ == "__main__":
    main()
