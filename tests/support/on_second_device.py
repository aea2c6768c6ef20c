"""Run as a program: what happens on a second torch device, as one JSON object on stdout. See second_device.py."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.engines import collect, request
from support.second_device import MEMORY, NAME, register
from support.tiny import random_ids, tiny_model
from support.tiny_encoder import WORDS, tiny_encoder

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
