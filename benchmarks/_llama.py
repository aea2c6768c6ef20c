"""llama.cpp at its lowest level: a context of several sequences, decoded together, one batch at a time."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BATCH = 512
"""Tokens of one batch, llama.cpp's own default for one pass."""


@dataclass(frozen=True, slots=True)
class Row:
    """A token to be read. Only a `wanted` row has a prediction."""

    token: int
    position: int
    sequence: int = 0
    wanted: bool = False


class LlamaContext:
    """The GGUF file in a context of `sequences` sequences with room for `context` tokens each; greedy.

    Everything else is as llama.cpp sets it up by itself.
    """

    def __init__(self, gguf: Path, threads: int, *, context: int, sequences: int = 1) -> None:
        import llama_cpp
        from llama_cpp._logger import set_verbose

        set_verbose(False)
        self._lib = llama_cpp
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), llama_cpp.llama_model_default_params())
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max = context * sequences, sequences
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._model or not self._context:
            raise RuntimeError(f"llama.cpp cannot open {gguf}")
        self._batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def read(self, rows: Sequence[Row]) -> list[int]:
        """Decode `rows`; the most likely next token after each wanted one, in order."""
        found: list[int] = []
        for start in range(0, len(rows), BATCH):
            found += self._decode(rows[start : start + BATCH])
        return found

    def prompt(self, tokens: Sequence[int], *, start: int = 0) -> int:
        """Read `tokens` from position `start` on into the only sequence; the most likely next token."""
        last = len(tokens) - 1
        (best,) = self.read([Row(token, start + at, wanted=at == last) for at, token in enumerate(tokens)])
        return best

    def forget(self, *, start: int = 0, sequence: int = -1) -> None:
        """Drop what a sequence (-1: every one) holds from position `start` on."""
        self._lib.llama_memory_seq_rm(self._lib.llama_get_memory(self._context), sequence, start, -1)

    def close(self) -> None:
        self._lib.llama_batch_free(self._batch)
        self._lib.llama_free(self._context)
        self._lib.llama_model_free(self._model)

    def _decode(self, rows: Sequence[Row]) -> list[int]:
        batch = self._batch
        batch.n_tokens = len(rows)
        for at, row in enumerate(rows):
            batch.token[at], batch.pos[at] = row.token, row.position
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, row.sequence
            batch.logits[at] = row.wanted
        if self._lib.llama_decode(self._context, batch) != 0:
            raise RuntimeError("llama.cpp cannot decode this batch")
        return [self._best(at) for at, row in enumerate(rows) if row.wanted]

    def _best(self, row: int) -> int:
        logits = self._lib.llama_get_logits_ith(self._context, row)
        values = np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), shape=(self._vocabulary,))
        return int(values.argmax())
