"""Texts a second through the embedding model, against transformers on the same weights in float32.

    python benchmarks/embeddings.py [--texts 1000] [--json] [--repeats 3] [--without-peers]

The texts are passages of one to five sentences and lines of code, as a search index holds them. The peer does what
sentence-transformers does: it sorts by length, pads batches of 32 to their longest text, and takes the mean over the
attention mask.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from _harness import Report, Result, argument_parser, in_turns, main, medians, progress, say
from _text import CODE, PROSE

from openhearth.config import load_settings
from openhearth.models.embedding.model import EmbeddingModel
from openhearth.models.pull import pull

MODEL = "minilm"
BATCH = 32
BAR = 1.0
FARTHEST = 1e-5
"""How far any component may lie from the peer's: both compute the same in float32."""


def run() -> int:
    parser = argument_parser(__doc__, repeats=3)
    parser.add_argument("--texts", type=int, default=1000, help="how many passages (1000)")
    parser.add_argument("--without-peers", action="store_true", help="measure ours alone")
    options = parser.parse_args()
    texts = passages(options.texts)
    folder = pull(MODEL, load_settings(), progress)
    model = EmbeddingModel.load(folder, device="cpu", threads=options.threads)
    embedded = model.embed_sync(texts)
    lengths = embedded.tokens
    say(f"{len(texts)} passages of {min(lengths)} to {max(lengths)} tokens, {sum(lengths)} in all")
    measures: dict[str, Callable[[int], float]] = {"ours": lambda _: speed(model.embed_sync, texts)}
    if not options.without_peers:
        peer = Peer(folder, options.threads)
        farthest = float(np.abs(embedded.vectors - peer(texts)).max())
        say(f"the largest difference of any component is {farthest:.1e}")
        if farthest > FARTHEST:
            raise SystemExit(f"The vectors differ by {farthest:.1e}; speed says nothing then.")
        measures["transformers"] = lambda _: speed(peer, texts)
    samples = in_turns(measures, options.repeats)
    figures = medians(samples)
    report = Report(options)
    report.add(
        Result(
            f"embed {MODEL}",
            "texts/s",
            figures["ours"],
            peer_name=None if options.without_peers else "transformers",
            peer=figures.get("transformers"),
            bar=None if options.without_peers else BAR,
            samples=samples,
        )
    )
    model.close()
    return report.finish()


def passages(count: int) -> list[str]:
    """The same ones each time."""
    sentences = [*re.split(r"(?<=[.;])\s+", PROSE), *filter(None, map(str.strip, CODE.splitlines()))]
    chooser = random.Random(7)
    return [" ".join(chooser.sample(sentences, chooser.randint(1, 5))) for _ in range(count)]


def speed(embed: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    started = time.perf_counter()
    embed(texts)
    return len(texts) / (time.perf_counter() - started)


class Peer:
    """transformers' model and tokenizer."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._threads = threads
        self._model = transformers.AutoModel.from_pretrained(folder).eval()
        self._tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"),
            pad_token="[PAD]",
            model_max_length=self._model.config.max_position_embeddings,
        )

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        torch.set_num_threads(self._threads)
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
        vectors = np.empty((len(texts), self._model.config.hidden_size), np.float32)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = self._tokenizer(
                [texts[number] for number in chosen], padding=True, truncation=True, return_tensors="pt"
            )
            hidden = self._model(**batch).last_hidden_state
            counted = batch["attention_mask"][:, :, None].float()
            vectors[chosen] = F.normalize((hidden * counted).sum(1) / counted.sum(1)).numpy()
        return vectors


if __name__ == "__main__":
    main(run)
