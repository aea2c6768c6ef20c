"""What the kernels stand for, written out plainly and slowly in float64; nothing here is shared with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from openhearth.models.loading.config import DecoderConfig


def plain_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm of rows [rows, size]."""
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt() * weight


def plain_rotation(heads: Tensor, theta: float) -> Tensor:
    """Heads [positions, heads, dim] turned by their position, component 2i together with 2i + 1."""
    positions, _, dim = heads.shape
    angles = torch.outer(torch.arange(positions), theta ** -(torch.arange(0, dim, 2).double() / dim))[:, None]
    first, second = heads[..., 0::2].double(), heads[..., 1::2].double()
    turned = torch.empty(heads.shape, dtype=torch.float64)
    turned[..., 0::2] = first * angles.cos() - second * angles.sin()
    turned[..., 1::2] = first * angles.sin() + second * angles.cos()
    return turned


def plain_attention(queries: Tensor, keys: Tensor, values: Tensor, window: int | None = None) -> Tensor:
    """Queries [rows, heads, dim] of a text's last rows over its keys and values [length, kv_heads, dim]."""
    rows, heads, dim = queries.shape
    length, kv_heads, _ = keys.shape
    result = torch.empty(queries.shape, dtype=torch.float64)
    for row in range(rows):
        end = length - rows + row + 1
        seen = slice(max(end - window, 0) if window else 0, end)
        for head in range(heads):
            group = head // (heads // kv_heads)
            scores = keys[seen, group].double() @ queries[row, head].double() / dim**0.5
            result[row, head] = scores.softmax(0) @ values[seen, group].double()
    return result


def plain_decoder(config: DecoderConfig, tensors: Mapping[str, Tensor], ids: Sequence[int]) -> Tensor:
    """Logits float32 [ids, vocabulary] of a decoder whose layers are all standard (`DecoderConfig.is_standard`), from
    the float32 tensors of its layout (architectures/layout.py)."""
    weights = {name: tensor.double() for name, tensor in tensors.items()}
    heads, kv_heads, dim = config.heads, config.kv_heads, config.head_dim
    x = weights["embedding.weight"][list(ids)]
    for index in range(config.layers):
        own = {name.removeprefix(f"layers.{index}."): weight for name, weight in weights.items()}
        projected = plain_norm(x, own["attention_norm.weight"], config.rms_eps) @ own["qkv.weight"].T
        if config.attention_bias:
            projected = projected + own["qkv.bias"]
        parts = projected.view(len(ids), heads + 2 * kv_heads, dim).split_with_sizes([heads, kv_heads, kv_heads], 1)
        queries, keys = (plain_rotation(part, config.rope_theta) for part in parts[:2])
        x = x + plain_attention(queries, keys, parts[2]).flatten(1) @ own["o.weight"].T
        up, gate = (plain_norm(x, own["mlp_norm.weight"], config.rms_eps) @ own["up_gate.weight"].T).chunk(2, 1)
        x = x + (up * gate / (1 + (-gate).exp())) @ own["down.weight"].T
    return (plain_norm(x, weights["norm.weight"], config.rms_eps) @ weights["head.weight"].T).float()
