"""The quality gate: may a precision stand for the model?

A converted model and the weights that it was made from, in float32, read the same text. At each position their two
distributions over the next token are compared: the Kullback-Leibler divergence from the original, in nats, and whether
the likeliest token is the same. The converted model reads the text as the engine does, once in pieces (`prefill`) and
once token by token (`decode`), because kernels and scaling differ between the two. The original is streamed a layer at
a time, so that its float32 weights are never in memory as a whole.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from openhearth.errors import CancelledError, ConfigError
from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.decoder import build_decoder
from openhearth.models.architectures.solo import Solo
from openhearth.models.base import ProgressCallback
from openhearth.models.devices import choose_device, physical_cores
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.source import TensorSource, open_source
from openhearth.models.loading.store import ModelStore
from openhearth.models.quality.original import read_original
from openhearth.models.quality.text import MIXED

MEAN_BAR = 0.02
"""Nats of mean divergence that are allowed."""
AGREEMENT_BAR = 0.95
"""The share of positions at which the likeliest token has to be the same."""
TOKENS = 800
"""Of the text, which is about as long: fewer make the share of equal tokens a matter of luck."""

_PIECE = 64


@dataclass(frozen=True, slots=True)
class Divergence:
    """Over all positions: `mean` and `largest` in nats, `agreement` as a share."""

    mean: float
    largest: float
    agreement: float

    @property
    def holds(self) -> bool:
        return self.mean <= MEAN_BAR and self.agreement >= AGREEMENT_BAR


@dataclass(frozen=True, slots=True)
class QualityReport:
    """`peak_bytes` is the most memory that this process ever had resident, whatever else it did before."""

    precision: str
    device: str
    tokens: int
    prefill: Divergence
    decode: Divergence
    seconds: float
    peak_bytes: int

    @property
    def holds(self) -> bool:
        return self.prefill.holds and self.decode.holds


def measure(
    source: Path,
    store: Path,
    *,
    tokens: int = TOKENS,
    device: str = "cpu",
    threads: int | None = None,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> QualityReport:
    """Compare the converted model in the folder `store` with the checkpoint `source` (see `open_source`).

    The text has at most `tokens` tokens. `cancel`, once set, ends the work soon. Raises what `open_source` and
    `ModelStore.open` raise, ConfigError where the two are not the same model, CancelledError.
    """
    cancel = cancel or threading.Event()
    opened = open_source(source)
    # In a thread of its own, whose OpenMP helpers end with it: see Engine.load.
    with ThreadPoolExecutor(1, "hearth-quality", torch.set_num_threads, (threads or physical_cores(),)) as pool:
        work = pool.submit(_measure, opened, store, tokens, device, progress or _silent, cancel)
        try:
            return work.result()
        finally:
            cancel.set()  # Ctrl-C arrives here, not in the thread


@torch.inference_mode()
def _measure(
    source: TensorSource,
    store: Path,
    tokens: int,
    device: str,
    progress: ProgressCallback,
    cancel: threading.Event,
) -> QualityReport:
    started = time.monotonic()

    def report(what: str, done: int, total: int) -> None:
        if cancel.is_set():
            raise CancelledError("The check was cancelled.")
        progress(what, done, total)

    try:
        if source.config().foreign is not None:
            raise ConfigError(
                "This model is run by transformers, whose arithmetic is not ours to measure.",
                hint="It is kept in the floating type it came in, or in bfloat16.",
            )
        if not _same_model(ModelStore.open(store).config, source.config()):
            raise ConfigError(f"{store} was not made from these weights.", hint="Pull the model again.")
        ids = _text(source, tokens)
        original = read_original(source, ids, report)
    finally:
        # What was read of the file counts as this process's memory until then.
        source.close()
    place = choose_device(device)
    decoder, precision = _decoder(store, len(ids), place)
    prefill, decode = _compare(original, decoder, ids, report)
    return QualityReport(
        precision=precision,
        device=str(place),
        tokens=len(ids),
        prefill=prefill,
        decode=decode,
        seconds=time.monotonic() - started,
        peak_bytes=_peak_bytes(),
    )


def _same_model(converted: DecoderConfig, original: DecoderConfig) -> bool:
    return (converted.vocab_size, converted.layers) == (original.vocab_size, original.layers)


def _decoder(store: Path, context: int, device: torch.device) -> tuple[BaseDecoder, str]:
    """The converted model, and its precision. What only the store's file holds is gone when this returns."""
    files = ModelStore.open(store)
    decoder = build_decoder(
        files.config,
        files.tensors,
        files.manifest.linears,
        context=context,
        device=device,
        each=lambda build, indices: [build(index) for index in indices],
    )
    return decoder, files.manifest.precision


def _text(source: TensorSource, tokens: int) -> list[int]:
    config = source.config()
    ids = source.tokenizer().encode(MIXED, add_special_tokens=False).ids
    first = [config.bos_id] if config.add_bos and config.bos_id is not None else []
    return [*first, *ids][: min(tokens, config.max_context)]


def _compare(
    original: Tensor, decoder: BaseDecoder, ids: Sequence[int], report: ProgressCallback
) -> tuple[Divergence, Divergence]:
    """`original` is what `read_original` gives. The text goes by in pieces, because a vocabulary is wide."""
    ways = (Solo(decoder, len(ids)), Solo(decoder, len(ids)))
    seen: tuple[list[tuple[Tensor, Tensor]], ...] = ([], [])
    for start in range(0, len(ids), _PIECE):
        piece = ids[start : start + _PIECE]
        report("Reading the text with the converted model", start, len(ids))
        expected = original[start : start + len(piece)]
        seen[0].append(_differences(expected, ways[0](piece, every_row=True)))
        for at, token in enumerate(piece):
            seen[1].append(_differences(expected[at : at + 1], ways[1]([token])))
            report("Reading the text with the converted model", start + at + 1, len(ids))
    prefill, decode = (_summary(pairs) for pairs in seen)
    return prefill, decode


def _differences(expected: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Divergence and agreement of each row; `expected` are logarithms of probabilities."""
    given = torch.log_softmax(logits.float().cpu(), -1)
    divergence = (expected.exp() * (expected - given)).sum(-1)
    return divergence.clamp_min_(0), expected.argmax(-1) == given.argmax(-1)


def _summary(pairs: Sequence[tuple[Tensor, Tensor]]) -> Divergence:
    divergence, agreement = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return Divergence(float(divergence.mean()), float(divergence.max()), int(agreement.sum()) / len(agreement))


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody follows."""
