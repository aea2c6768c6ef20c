"""The vocabulary that a GGUF file's metadata hold, checked."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from openhearth.errors import MalformedFileError
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_metadata import Metadata


class TokenKind(IntEnum):
    """`tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Vocabulary:
    """The tokens and their kinds, by id. Raises MalformedFileError."""

    def __init__(self, file: GgufFile) -> None:
        self.path = file.path
        self.metadata = Metadata(file.path, file.metadata)
        self._raw = file.metadata
        self.tokens = self.metadata.strings("tokenizer.ggml.tokens")
        self.kinds = self._kinds()

    @property
    def is_sentencepiece(self) -> bool:
        return self._raw.get("tokenizer.ggml.model") != "gpt2"

    def used_ids(self) -> dict[str, int]:
        """Ids by token, without unused ones."""
        used = [index for index, kind in enumerate(self.kinds) if kind != TokenKind.UNUSED]
        ids = {self.tokens[index]: index for index in used}
        if len(ids) != len(used):
            raise self.malformed("a token occurs twice in the vocabulary")
        return ids

    def merges(self) -> list[tuple[str, str]]:
        merges = []
        for merge in self.metadata.strings("tokenizer.ggml.merges"):
            left, space, right = merge.partition(" ")
            if not (left and space and right) or " " in right:
                raise self.malformed(f"the merge {merge[:40]!r} is not two tokens")
            merges.append((left, right))
        return merges

    def scores(self) -> list[float]:
        """One finite score for each token."""
        scores = self._raw.get("tokenizer.ggml.scores")
        count = len(self.tokens)
        if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f" or len(scores) != count:
            raise self.malformed(f"tokenizer.ggml.scores is not an array of {count} numbers")
        if not np.isfinite(scores).all():
            raise self.malformed("tokenizer.ggml.scores holds something that is no number")
        values: list[float] = scores.tolist()
        return values

    def unknown(self) -> int | None:
        """The id of the token for what the vocabulary cannot say."""
        unknown = self.metadata.token("tokenizer.ggml.unknown_token_id", len(self.tokens))
        if unknown is not None:
            return unknown
        return next((index for index, kind in enumerate(self.kinds) if kind == TokenKind.UNKNOWN), None)

    def bytes(self, key: str) -> bytes:
        """An array of small numbers as bytes; empty where there is none."""
        value = self._raw.get(key)
        if value is None:
            return b""
        if not isinstance(value, np.ndarray) or value.dtype.itemsize != 1 or value.dtype.kind not in "iu":
            raise self.malformed(f"{key} is not an array of bytes")
        return value.tobytes()

    def malformed(self, problem: str) -> MalformedFileError:
        return MalformedFileError(f"{self.path}: {problem}.", hint="Fetch the file again.")

    def _kinds(self) -> list[int]:
        kinds = self._raw.get("tokenizer.ggml.token_type")
        count = len(self.tokens)
        if kinds is None:
            return [TokenKind.NORMAL] * count
        if not isinstance(kinds, np.ndarray) or kinds.dtype.kind not in "iu" or len(kinds) != count:
            raise self.malformed(f"tokenizer.ggml.token_type is not an array of {count} whole numbers")
        values: list[int] = kinds.tolist()
        return values
