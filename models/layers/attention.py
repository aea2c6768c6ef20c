"""Causal attention over a paged key-value store, with grouped queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openhearth.models.layers.paged import LayerKV, Span

Core = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Attention of one sequence: see `scaled_attention`."""


def causal_mask(start: int, rows: int, device: torch.device, window: int | None = None) -> Tensor | None:
    """What to add to the scores of rows at positions `start` …; None where `attend` hides what must be by itself.

    It is [rows, start + rows]. With a `window` a row sees itself and the `window - 1` positions before it, and what no
    row sees is left out: [rows, min(start, window - 1) + rows].
    """
    if window is not None:
        start = min(start, window - 1)
    if window is not None and start + rows > window and rows > 1:
        behind = torch.arange(start, start + rows, device=device)[:, None] - torch.arange(start + rows, device=device)
        hidden = (behind < 0) | (behind >= window)
        return torch.zeros(hidden.shape, device=device).masked_fill_(hidden, -torch.inf)
    if rows == 1 or start == 0:
        return None
    return torch.full((rows, start + rows), -torch.inf, device=device).triu_(start + 1)


def attend(
    queries: Tensor,
    kv: LayerKV,
    spans: Sequence[Span],
    masks: Sequence[Tensor | None],
    slots_of: Callable[[int], Tensor],
    window: int | None = None,
    core: Core | None = None,
) -> Tensor:
    """Attention of queries [rows, heads * dim] over what is in `kv`, each span by itself; shaped like `queries`.

    `masks` has one `causal_mask` for each span, made with the same `window`. `slots_of` gives the slots of a span whose
    blocks do not lie in a row. `core` computes one span (None: `scaled_attention`).
    """
    core = core or scaled_attention
    if len(spans) == 1:
        return _attend_span(queries, kv, 0, spans[0], masks[0], slots_of, window, core)
    result = torch.empty_like(queries)
    for index, (span, mask) in enumerate(zip(spans, masks, strict=True)):
        rows = slice(span.first, span.first + span.rows)
        result[rows] = _attend_span(queries[rows], kv, index, span, mask, slots_of, window, core)
    return result


def _attend_span(
    queries: Tensor,
    kv: LayerKV,
    index: int,
    span: Span,
    mask: Tensor | None,
    slots_of: Callable[[int], Tensor],
    window: int | None,
    core: Core,
) -> Tensor:
    keys, values = kv.read(index, slots_of)
    if window is not None and (unseen := span.length - span.rows - window + 1) > 0:
        keys, values = keys[:, :, unseen:], values[:, :, unseen:]
    return core(queries, keys, values, mask)


def scaled_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, scale: float | None = None
) -> Tensor:
    """Attention of queries [rows, heads * dim] over keys and values [1, kv_heads, length, dim]; shaped like queries.

    Query head h belongs to key head h // (heads / kv_heads). Without a mask and with several rows, length equals rows.
    `scale` multiplies the scores (None: dim ** -0.5).
    """
    rows, width = queries.shape
    _, kv_heads, _, dim = keys.shape
    if keys.dtype is not queries.dtype:
        mask = None if mask is None else mask.to(keys.dtype)
        return scaled_attention(queries.to(keys.dtype), keys, values, mask, scale=scale).to(queries.dtype)
    if rows == 1:
        # The queries of a group stand side by side like rows that see the same keys: no key is read twice.
        grouped = queries.view(1, kv_heads, -1, dim)
        return F.scaled_dot_product_attention(grouped, keys, values, scale=scale).reshape(1, width)
    heads = queries.view(1, rows, -1, dim).transpose(1, 2)
    result = F.scaled_dot_product_attention(
        heads, keys, values, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
    )
    return result.transpose(1, 2).reshape(rows, width)


def capped_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, scale: float, cap: float
) -> Tensor:
    """`scaled_attention` with scores capped: cap * tanh(scale * score / cap), before the mask."""
    rows, width = queries.shape
    _, kv_heads, length, dim = keys.shape
    if mask is None and rows > 1:
        mask = torch.full((rows, length), -torch.inf, device=queries.device).triu_(1)
    grouped = queries.view(rows, kv_heads, -1, dim).permute(1, 2, 0, 3)
    scores = grouped.flatten(1, 2) @ keys[0].transpose(1, 2).to(queries.dtype)
    scores = scores.mul_(scale / cap).tanh_().mul_(cap).view(*grouped.shape[:3], length)
    if mask is not None:
        scores.add_(mask)
    seen = scores.softmax(-1).flatten(1, 2) @ values[0].to(queries.dtype)
    return seen.view(grouped.shape).permute(2, 0, 1, 3).reshape(rows, width)
