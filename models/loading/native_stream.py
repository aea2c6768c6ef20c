"""A checkpoint's tensors for the native kernels, a layer at a time: blocks are rearranged, nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from openhearth.models.architectures.layout import (
    final_norm,
    layer_linears,
    layer_prefix,
    layer_tensors,
)
from openhearth.models.layers.linear import LinearKind
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.repack import Repacker
from openhearth.models.loading.source import TensorSource


class NativeStream:
    """The store's tensors one after the other; `kinds` is complete when they have all been taken.

    `report` is told how many parts are done, the layers and one before and behind them; it may raise to end the work.
    """

    def __init__(self, source: TensorSource, config: DecoderConfig, report: Callable[[int], None]) -> None:
        self.kinds: dict[str, LinearKind] = {}
        self._config, self._report = config, report
        self._repacker = Repacker(source)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        config, load = self._config, self._repacker.load
        yield from self._linear("embedding", load("model.embed_tokens.weight"))
        self._next_part(1)
        for index in range(config.layers):
            linears = layer_linears(config, index)
            for name, tensor in layer_tensors(config, index, load).items():
                owner, _, part = name.rpartition(".")
                full = f"{layer_prefix(index)}.{owner}"
                if part == "weight" and owner in linears:
                    yield from self._linear(full, tensor)
                else:
                    yield f"{full}.{part}", tensor if tensor.dim() == 1 else self._repacker.floats(tensor)
            self._next_part(index + 2)
        yield from final_norm(config, load).items()
        if config.tie_embeddings:
            self.kinds["head"] = self.kinds["embedding"]
        else:
            yield from self._linear("head", load("lm_head.weight"))
        self._next_part(config.layers + 2)

    def _linear(self, name: str, numbers: Tensor) -> Iterator[tuple[str, Tensor]]:
        experts = self._config.experts
        shares = experts.count if experts is not None and "experts_" in name else 1
        self.kinds[name], weight = self._repacker.native(numbers, shares)
        yield f"{name}.weight", weight

    def _next_part(self, done: int) -> None:
        self._repacker.forget()
        self._report(done)
