"""Does a transformers model give the same with our attention as with its own? Asked once, when it is converted.

Models differ in more than a config says: some have attention sinks, or biases by distance, or states besides keys and
values. So nothing is presumed; a short text is read both ways, in two pieces with ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openhearth.errors import ModelUnavailableError
from openhearth.models.architectures.foreign import ATTENTION, ForeignDecoder, attending, refused
from openhearth.models.architectures.solo import Solo
from openhearth.models.loading.config import DecoderConfig

_LENGTH = 24
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Of the mean difference of two logits, relative to how much logits differ among themselves."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a model's attention is given: for `layers` layers, `kv_heads` keys and values of `head_dim`, for `heads`
    queries. `windowed`: some layer says how far it sees."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    windowed: bool


def foreign_shapes(model: Any) -> Shapes:
    """Run the model with an attention that only looks. Raises ModelUnavailableError for what blocks cannot keep."""
    kind = model.config.model_type
    seen: list[tuple[int | None, tuple[int, int, int], bool]] = []

    def look(module: Any, queries: Tensor, keys: Tensor, values: Tensor, arguments: Mapping[str, Any]) -> Tensor:
        if arguments.get("s_aux") is not None:
            raise refused(kind, "has attention sinks")
        if values.shape != keys.shape or queries.shape[1] % keys.shape[1]:
            raise refused(kind, "has values of another shape than its keys")
        shape = (queries.shape[1], keys.shape[1], keys.shape[3])
        seen.append((getattr(module, "layer_idx", None), shape, arguments.get("sliding_window") is not None))
        return queries[0].transpose(0, 1).flatten(1)

    ids = torch.arange(4)[None] + 3
    try:
        with attending(look), torch.inference_mode():
            model(input_ids=ids, position_ids=torch.arange(4)[None], use_cache=False)
    except ModelUnavailableError:
        raise
    except Exception as error:  # whatever a model makes of being run like this
        raise refused(kind, f"fails without a cache of its own ({error})") from error
    layers = model.config.get_text_config().num_hidden_layers
    if [index for index, *_ in seen] != list(range(layers)):
        raise refused(kind, f"has {len(seen)} layers of attention among its {layers}; other states are not kept")
    shapes = {shape for _, shape, _ in seen}
    if len(shapes) != 1:
        raise refused(kind, "has layers of different shapes")
    return Shapes(layers, *shapes.pop(), any(windowed for *_, windowed in seen))


def check_foreign(model: Any, config: DecoderConfig) -> None:
    """Raises ModelUnavailableError where our attention leads to other logits than the model's own."""
    kind = model.config.model_type
    length = min(_LENGTH, config.max_context)
    ids = torch.arange(length) * 7 % config.vocab_size
    solo = Solo(ForeignDecoder(config, model, device=torch.device("cpu")), length)
    with torch.inference_mode():
        found = torch.cat(
            [solo(piece, every_row=True) for piece in ids.split_with_sizes([length // 2, length - length // 2])]
        )
        try:
            model.set_attn_implementation("eager")
            expected = model(input_ids=ids[None], use_cache=False).logits[0].float()
        finally:
            model.set_attn_implementation(ATTENTION)
    spread = float(expected.std()) or 1.0
    if float((found - expected).abs().mean()) > _TOLERANCE[model.dtype] * spread:
        raise refused(kind, "computes something else with the engine's attention than with its own")
