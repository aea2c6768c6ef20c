"""Batches: every text once, nothing padded, little more than the budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openhearth.models.embedding.batches import plan

LENGTHS = st.lists(st.integers(1, 60), max_size=80)


@given(LENGTHS, st.integers(1, 100))
def test_every_token_is_in_one_batch(lengths: list[int], budget: int) -> None:
    ids = [[number * 100 + place for place in range(length)] for number, length in enumerate(lengths)]
    batches = list(plan(ids, budget))
    assert sorted(text for batch in batches for text in batch.texts) == list(range(len(ids)))
    for batch in batches:
        assert batch.ids == [token for text in batch.texts for token in ids[text]]
        assert [length for texts, length in batch.groups for _ in range(texts)] == [len(ids[t]) for t in batch.texts]
        assert len({length for _, length in batch.groups}) == len(batch.groups)
        assert len(batch.ids) <= budget or len(batch.texts) == 1


@given(LENGTHS)
def test_long_texts_come_first(lengths: list[int]) -> None:
    planned = [text for batch in plan([[0] * length for length in lengths], 64) for text in batch.texts]
    assert [lengths[text] for text in planned] == sorted(lengths, reverse=True)
