"""Rotations, masks, norms and embeddings against their textbook forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from openhearth.errors import MalformedFileError
from openhearth.models.layers.attention import attend, causal_mask
from openhearth.models.layers.embedding import Embedding
from openhearth.models.layers.norm import RMSNorm
from openhearth.models.layers.paged import BLOCK, KVStore, Span
from openhearth.models.layers.quantise import quantise_rows
from openhearth.models.layers.rope import interleave, rotate_, rotations, spread

CPU = torch.device("cpu")


def test_rotation_turns_pairs_by_their_angle() -> None:
    table = rotations(4, 100.0, None, 10, CPU)
    heads = torch.tensor([[1.0, 0.0, 0.0, 2.0, 5.0, 6.0, 7.0, 8.0]])
    rotate_(heads, spread(table[3:4], 1, 1))
    slow = 3 / math.sqrt(100.0)
    expected = [math.cos(3), math.sin(3), -2 * math.sin(slow), 2 * math.cos(slow), 5.0, 6.0, 7.0, 8.0]
    torch.testing.assert_close(heads, torch.tensor([expected]))


def test_interleave_brings_halves_together() -> None:
    rows = torch.arange(12.0)[:, None].expand(12, 2)
    assert interleave(rows, 2, 6)[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert interleave(torch.arange(6.0), 1, 6).tolist() == [0, 3, 1, 4, 2, 5]


def test_factors_divide_each_frequency() -> None:
    plain = rotations(4, 100.0, None, 5, CPU)
    scaled = rotations(4, 100.0, {"rope_type": "factors", "factors": [1.0, 4.0]}, 5, CPU)
    torch.testing.assert_close(scaled[:, :, 0], plain[:, :, 0])
    torch.testing.assert_close(scaled[4, :, 1], plain[1, :, 1])


def test_unknown_scaling_is_an_error() -> None:
    with pytest.raises(MalformedFileError, match="spiral"):
        rotations(4, 100.0, {"rope_type": "spiral"}, 5, CPU)


@pytest.mark.parametrize("rows", [1, 5])
def test_norm_and_its_scale(rows: int) -> None:
    x = torch.randn(rows, 32)
    weight = torch.rand(32)
    scaled, factor = RMSNorm(weight, 1e-3)(x)
    torch.testing.assert_close(scaled * factor, F.rms_norm(x, (32,), weight, 1e-3))


def test_mask_hides_what_comes_later() -> None:
    mask = causal_mask(2, 3, CPU)
    assert mask is not None
    assert (mask == 0).tolist() == [[True] * (3 + i) + [False] * (2 - i) for i in range(3)]
    assert causal_mask(0, 3, CPU) is None
    assert causal_mask(7, 1, CPU) is None


@pytest.mark.parametrize("blocks", [[1, 2], [2, 0]], ids=["in a row", "scattered"])
@pytest.mark.parametrize("window", [None, 1, 4, 100])
@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 2), (4, 4), (3, 1)])
@pytest.mark.parametrize(("start", "rows"), [(0, 7), (35, 3), (39, 1), (0, 1)])
def test_attention_by_the_book(
    heads: int, kv_heads: int, start: int, rows: int, window: int | None, blocks: list[int]
) -> None:
    dim, length = 8, start + rows
    queries = torch.randn(rows, heads, dim)
    keys, values = torch.randn(length, kv_heads, dim), torch.randn(length, kv_heads, dim)
    expected = torch.empty(rows, heads, dim)
    for row in range(rows):
        for head in range(heads):
            group = head // (heads // kv_heads)
            end = start + row + 1
            seen = slice(0 if window is None else max(0, end - window), end)
            weights = torch.softmax(keys[seen, group] @ queries[row, head] / math.sqrt(dim), 0)
            expected[row, head] = weights @ values[seen, group]

    store = KVStore(1, kv_heads, dim, 3, device=CPU)
    first = blocks[0] * BLOCK if blocks == [1, 2] else None
    slots = torch.tensor([blocks[at // BLOCK] * BLOCK + at % BLOCK for at in range(length)])
    for begin, end in ((0, start), (start, length)):
        span = Span(0, end - begin, end, first)
        (kv,) = store.views([span])
        kv.write(torch.cat([keys[begin:end].flatten(1), values[begin:end].flatten(1)], 1), slots[begin:end])
    mask = causal_mask(start, rows, CPU, window)
    found = attend(queries.view(rows, -1), kv, [span], [mask], lambda _: slots, window)
    torch.testing.assert_close(found, expected.view(rows, -1))
    for at in range(length):
        torch.testing.assert_close(store.keys[0][blocks[at // BLOCK], :, at % BLOCK], keys[at])
        torch.testing.assert_close(store.values[0][blocks[at // BLOCK], :, at % BLOCK], values[at])


def test_a_block_is_copied_in_every_layer() -> None:
    store = KVStore(2, 2, 4, 3, device=CPU)
    for tensor in (*store.keys, *store.values):
        tensor.copy_(torch.randn(tensor.shape))
    store.copy_block(2, 0)
    for tensor in (*store.keys, *store.values):
        assert torch.equal(tensor[0], tensor[2])
        assert not torch.equal(tensor[1], tensor[2])
    assert store.block_bytes == 2 * 2 * 2 * BLOCK * 4 * 4


def test_embedding_rows_are_new_memory() -> None:
    weight = torch.randn(9, 4)
    ids = torch.tensor([3, 3, 8])
    found = Embedding(weight)(ids)
    torch.testing.assert_close(found, weight[ids])
    found.zero_()
    assert bool(weight[3].any())
    quantised = Embedding(*quantise_rows(weight))(ids)
    torch.testing.assert_close(quantised, weight[ids], atol=0.05, rtol=0)
    assert Embedding(weight.bfloat16())(ids).dtype is torch.float32
