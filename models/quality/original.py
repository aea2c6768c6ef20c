"""The original: a checkpoint's own weights in float32, read a layer at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from openhearth.models.architectures.layout import final_norm, layer_tensors
from openhearth.models.architectures.streamed import StreamedText
from openhearth.models.architectures.varied import build_norm
from openhearth.models.base import ProgressCallback
from openhearth.models.layers.linear import FloatLinear
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.source import TensorSource

_CPU = torch.device("cpu")
_ROWS = 64
_EMBEDDING = "model.embed_tokens.weight"


def read_original(source: TensorSource, ids: Sequence[int], progress: ProgressCallback) -> Tensor:
    """Logarithms of the original's probabilities after each of `ids`, float32 [ids, vocabulary].

    Only a layer, or the vocabulary's matrix, is in memory at a time.
    """
    config = source.config()
    text = StreamedText(config, _embedded(source, config, ids))
    for index in range(config.layers):
        progress("Reading the text with the original weights", index, config.layers)
        text.run(index, layer_tensors(config, index, source.load))
    product, scale = build_norm(config, final_norm(config, source.load), "norm", _CPU)(text.hidden)
    head = FloatLinear(source.load(_EMBEDDING if config.tie_embeddings else "lm_head.weight"))
    result = torch.empty(len(ids), config.vocab_size)
    for start in range(0, len(ids), _ROWS):
        rows = slice(start, start + _ROWS)
        logits = head(product[rows], scale[rows] if isinstance(scale, Tensor) else scale)
        if config.logit_cap is not None:
            logits.div_(config.logit_cap).tanh_().mul_(config.logit_cap)
        torch.log_softmax(logits, -1, out=result[rows])
    return result


def _embedded(source: TensorSource, config: DecoderConfig, ids: Sequence[int]) -> Tensor:
    """In a function of its own, so that the matrix is gone when it returns."""
    return source.load(_EMBEDDING)[list(ids)].mul_(config.embedding_multiplier)
