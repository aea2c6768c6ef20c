"""Causal attention over a key-value cache, with grouped queries."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_mask(start: int, rows: int, device: torch.device) -> Tensor | None:
    """What to add to the scores [rows, start + rows] of rows at positions `start` …; None where nothing is hidden
    or `attend` can do without."""
    if rows == 1 or start == 0:
        return None
    hidden = torch.full((rows, start + rows), -torch.inf, device=device)
    return hidden.triu_(start + 1)


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of queries [rows, heads * dim] over keys and values [1, kv_heads, length, dim]; shaped like queries.

    Query head h belongs to key head h // (heads / kv_heads). Without a mask and with several rows, length equals rows.
    """
    rows, width = queries.shape
    _, kv_heads, _, dim = keys.shape
    if rows == 1:
        # The queries of a group stand side by side like rows that see the same keys: no key is read twice.
        grouped = queries.view(1, kv_heads, -1, dim)
        return F.scaled_dot_product_attention(grouped, keys, values).reshape(1, width)
    heads = queries.view(1, rows, -1, dim).transpose(1, 2)
    result = F.scaled_dot_product_attention(
        heads, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return result.transpose(1, 2).reshape(rows, width)
