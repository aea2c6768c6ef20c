"""From texts to batches of token ids, longest texts first, so that what is computed together is of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import tokenizers

from openhearth.errors import ContextOverflowError


@dataclass(frozen=True, slots=True)
class Encoded:
    """Each text's token ids, special ones included, and how many tokens of its end had to go."""

    ids: list[list[int]]
    dropped: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """`texts` are numbers of texts, in the order in which their `ids` follow one another; `groups` gives (texts,
    tokens of each) for each length in turn."""

    texts: list[int]
    ids: list[int]
    groups: list[tuple[int, int]]


def encode(texts: Sequence[str], tokenizer: tokenizers.Tokenizer, *, cut: bool) -> Encoded:
    """`tokenizer` truncates at the model's limit. Texts beyond it lose their end, or, without `cut`, raise
    ContextOverflowError."""
    special = tokenizer.num_special_tokens_to_add(False)
    ids, dropped = [], []
    for number, encoding in enumerate(tokenizer.encode_batch_fast(list(texts))):
        surplus = sum(len(rest.ids) - special for rest in encoding.overflowing)
        if surplus and not cut:
            limit = len(encoding.ids)
            raise ContextOverflowError(
                f"Text {number} has {limit + surplus} tokens; the model reads {limit} of a text.",
                hint="Split the text, or allow its end to be cut.",
            )
        ids.append(encoding.ids)
        dropped.append(surplus)
    return Encoded(ids, tuple(dropped))


def plan(ids: Sequence[Sequence[int]], budget: int) -> Iterator[Batch]:
    """Batches of `budget` tokens or a little less; a text that is longer by itself is a batch of its own."""
    order = sorted(range(len(ids)), key=lambda text: -len(ids[text]))
    texts: list[int] = []
    tokens = 0
    for text in order:
        if texts and tokens + len(ids[text]) > budget:
            yield _batch(texts, ids)
            texts, tokens = [], 0
        texts.append(text)
        tokens += len(ids[text])
    if texts:
        yield _batch(texts, ids)


def _batch(texts: list[int], ids: Sequence[Sequence[int]]) -> Batch:
    lengths = groupby(len(ids[text]) for text in texts)
    return Batch(
        texts, [token for text in texts for token in ids[text]], [(len(list(same)), length) for length, same in lengths]
    )
