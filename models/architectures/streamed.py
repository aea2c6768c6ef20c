"""A text's way through a model of which one layer at a time is in memory, in float32 on the CPU."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from openhearth.models.architectures.layer import Watch, build_layer
from openhearth.models.architectures.layout import layer_linears
from openhearth.models.architectures.place import Positions
from openhearth.models.architectures.solo import whole_text
from openhearth.models.layers.linear import LinearKind
from openhearth.models.layers.paged import KVStore
from openhearth.models.loading.config import DecoderConfig

_CPU = torch.device("cpu")


class StreamedText:
    """`hidden` are the text's hidden states [tokens, size], at first its embeddings, then what each `run` left."""

    def __init__(self, config: DecoderConfig, hidden: Tensor) -> None:
        self.hidden = hidden
        self._config = config
        rows = hidden.shape[0]
        step, blocks = whole_text(rows)
        self._place = Positions(config, rows, _CPU).place(step)
        # One layer's room for keys and values, which every layer uses after the one before it.
        store = KVStore(1, config.kv_heads, config.head_dim, blocks, device=_CPU)
        (self._kv,) = store.views(step.spans)

    def run(self, index: int, tensors: Mapping[str, Tensor], watch: Watch | None = None) -> None:
        """Read the text through layer `index`, whose float32 tensors are named without its prefix."""
        kinds: dict[str, LinearKind] = dict.fromkeys(layer_linears(self._config, index), "float32")
        layer = build_layer(self._config, index, tensors, kinds, _CPU, watch=watch)
        self.hidden = layer(self.hidden, self._kv, self._place)
