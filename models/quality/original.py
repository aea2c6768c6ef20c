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
_EMBEDDING = "model.embed_tokens.weight"


class Original:
    """What the original makes of one text. Only a layer, or the vocabulary's matrix, is in memory at a time."""

    def __init__(self, source: TensorSource, ids: Sequence[int], progress: ProgressCallback | None = None) -> None:
        """Read `ids` through all layers."""
        config = self._config = source.config()
        text = StreamedText(config, _embedded(source, config, ids))
        for index in range(config.layers):
            if progress is not None:
                progress("Reading the text with the original weights", index, config.layers)
            text.run(index, layer_tensors(config, index, source.load))
        product, scale = build_norm(config, final_norm(config, source.load), "norm", _CPU)(text.hidden)
        self._rows = product if scale is None else product * scale
        self._head = FloatLinear(source.load(_EMBEDDING if config.tie_embeddings else "lm_head.weight"))

    def logits(self, rows: slice) -> Tensor:
        """Logits float32 [rows, vocabulary] after the text's tokens `rows`."""
        logits = self._head(self._rows[rows])
        cap = self._config.logit_cap
        return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


def _embedded(source: TensorSource, config: DecoderConfig, ids: Sequence[int]) -> Tensor:
    """In a function of its own, so that the matrix is gone when it returns."""
    return source.load(_EMBEDDING)[list(ids)].mul_(config.embedding_multiplier)
