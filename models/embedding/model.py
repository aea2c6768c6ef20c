"""Texts in, vectors out.

On a CPU each thread works on a batch of its own, and no operation is parallel within itself: nothing waits for another
thread, and there are no OpenMP helpers, which would get into the way of an engine's (see Engine.load). An accelerator
gets one batch at a time, and a larger one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from openhearth.config import Settings
from openhearth.errors import CancelledError, ModelUnavailableError
from openhearth.models.architectures.encoder import Encoder
from openhearth.models.base import ProgressCallback
from openhearth.models.catalog import find_entry
from openhearth.models.devices import choose_device, physical_cores
from openhearth.models.embedding.batches import Batch, encode, plan
from openhearth.models.embedding.files import EmbeddingFiles, read_embedding_files
from openhearth.models.pulled import find_store
from openhearth.models.reference import resolve_reference

_CPU_TOKENS, _ACCELERATOR_TOKENS = 512, 16_384
"""Tokens of a batch. More make a CPU no faster, and a short text would wait longer behind them."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Embedded:
    """`vectors` [texts, size], each of length 1. `tokens` counts what was read of each text, special tokens included,
    and `dropped` the tokens of its end that did not fit the model."""

    vectors: Vectors
    tokens: tuple[int, ...]
    dropped: tuple[int, ...]


class EmbeddingModel:
    """A loaded model. Get one with `open` or `load`, and `close` it; safe to use from any thread and event loop."""

    def __init__(self, files: EmbeddingFiles, *, device: torch.device, threads: int) -> None:
        self.size: int = files.config.hidden_size
        self.limit: int = files.limit
        self.device: str = str(device)
        self._tokenizer, self._pooling = files.tokenizer, files.pooling
        self._encoder = Encoder(files.config, {name: tensor.to(device) for name, tensor in files.tensors.items()})
        on_cpu = device.type == "cpu"
        self._budget = _CPU_TOKENS if on_cpu else _ACCELERATOR_TOKENS
        self._at_once = threads if on_cpu else 1
        self._pool = ThreadPoolExecutor(self._at_once, "hearth-embed", torch.set_num_threads, (1,))

    @classmethod
    def open(cls, reference: str, settings: Settings, *, progress: ProgressCallback | None = None) -> Self:
        """The model behind `reference`: a catalog name, pulled first where `settings.model.auto_pull` allows it, or a
        folder. Blocks meanwhile.

        Raises ModelUnavailableError, MalformedFileError, and ConfigError for a device that is not there.
        """
        options = settings.model
        folder = _folder(reference, settings, progress)
        return cls.load(folder, device=options.device, threads=options.threads)

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto", threads: int | None = None) -> Self:
        """The model in `folder` (see embedding/files.py); `threads` None means one a physical core."""
        place = choose_device(device)
        return cls(read_embedding_files(folder), device=place, threads=threads or physical_cores())

    async def embed(
        self, texts: Sequence[str], *, cut: bool = True, progress: ProgressCallback | None = None
    ) -> Embedded:
        """Vectors of `texts`, in their order; cancelling ends the work within a batch.

        A text of more than `limit` tokens loses its end, and `Embedded.dropped` says how much; without `cut` it raises
        ContextOverflowError. Batches of concurrent calls take turns.
        """
        cancel = threading.Event()
        try:
            return await asyncio.to_thread(self.embed_sync, texts, cut=cut, progress=progress, cancel=cancel)
        finally:
            cancel.set()

    def embed_sync(
        self,
        texts: Sequence[str],
        *,
        cut: bool = True,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Embedded:
        """`embed` for code without an event loop. Once `cancel` is set, it raises CancelledError within a batch."""
        encoded = encode(texts, self._tokenizer, cut=cut)
        vectors = np.empty((len(texts), self.size), np.float32)
        under_way: deque[tuple[Batch, Future[Vectors]]] = deque()
        batches = plan(encoded.ids, self._budget)
        done = 0
        try:
            while True:
                if cancel is not None and cancel.is_set():
                    raise CancelledError("Embedding was cancelled.")
                # One more than can run, so that no thread waits for this one.
                while len(under_way) <= self._at_once and (batch := next(batches, None)) is not None:
                    under_way.append((batch, self._submit(batch)))
                if not under_way:
                    return Embedded(vectors, tuple(map(len, encoded.ids)), encoded.dropped)
                batch, future = under_way.popleft()
                vectors[batch.texts] = future.result()
                done += len(batch.texts)
                if progress is not None:
                    progress("Embedding", done, len(texts))
        except FutureCancelledError as error:
            raise _closed() from error
        finally:
            for _, future in under_way:
                future.cancel()

    def close(self) -> None:
        """End what is under way with an error and free the threads. Closing twice is fine."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, batch: Batch) -> Future[Vectors]:
        try:
            return self._pool.submit(self._compute, batch)
        except RuntimeError as error:
            raise _closed() from error

    @torch.inference_mode()
    def _compute(self, batch: Batch) -> Vectors:
        """[texts, size], in the batch's order."""
        hidden = self._encoder(torch.tensor(batch.ids).to(self._encoder.device), batch.groups)
        parts = hidden.split_with_sizes([texts * length for texts, length in batch.groups])
        grouped = [part.view(*group, self.size) for part, group in zip(parts, batch.groups, strict=True)]
        pooled = torch.cat([group.mean(1) if self._pooling == "mean" else group[:, 0] for group in grouped])
        return F.normalize(pooled).cpu().numpy()


def _folder(reference: str, settings: Settings, progress: ProgressCallback | None) -> Path:
    resolved = resolve_reference(reference)
    if resolved.kind == "folder":
        return Path(resolved.value)
    if resolved.kind != "catalog" or find_entry(resolved.name).kind != "embedding":
        raise ModelUnavailableError(
            f"{reference} does not embed texts.",
            hint="`hearth models list` shows which models embed; a folder with a BERT encoder will do, too.",
        )
    folder = find_store(reference, settings)
    if folder is not None:
        return folder
    if not settings.model.auto_pull:
        raise ModelUnavailableError(
            f"{reference} is not on this machine.",
            hint=f"Run `hearth models pull {reference}`, or set model.auto_pull.",
        )
    from openhearth.models.pull import pull

    return pull(reference, settings, progress)


def _closed() -> ModelUnavailableError:
    return ModelUnavailableError("The embedding model is closed.", hint="Open it again.")
