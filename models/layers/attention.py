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
    """Attention of queries [rows, heads, dim] over keys and values [kv_heads, length, dim]; gives [rows, heads * dim].

    Query head h belongs to key head h // (heads / kv_heads). Without a mask and with several rows, length equals rows.
    """
    rows, heads, dim = queries.shape
    keys, values = keys[None], values[None]
    if rows == 1:
        # The queries of a group stand side by side like rows that see the same keys: no key is read twice.
        grouped = queries.view(1, keys.shape[1], heads // keys.shape[1], dim)
        return F.scaled_dot_product_attention(grouped, keys, values).reshape(1, heads * dim)
    result = F.scaled_dot_product_attention(
        queries.transpose(0, 1)[None], keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return result[0].transpose(0, 1).reshape(rows, heads * dim)
