"""What the engine needs of a decoder, whoever computes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from openhearth.models.architectures.step import Step
from openhearth.models.layers.paged import BLOCK, KVStore
from openhearth.models.loading.config import DecoderConfig


class BaseDecoder(ABC):
    """Token ids in, logits out; keys and values are kept in a store of blocks, in `kv_dtype`."""

    def __init__(self, config: DecoderConfig, device: torch.device, kv_dtype: torch.dtype) -> None:
        self.config, self.device, self.kv_dtype = config, device, kv_dtype

    @abstractmethod
    def __call__(self, step: Step, kv: KVStore) -> Tensor:
        """Run the rows of `step`, whose keys and values go into `kv`; logits float32 [wanted rows, vocabulary].

        Positions must lie within the context that the decoder was built for.
        """

    @property
    def block_bytes(self) -> int:
        """What one block of keys and values takes."""
        config = self.config
        return 2 * config.layers * config.kv_heads * config.head_dim * BLOCK * self.kv_dtype.itemsize

    def new_store(self, blocks: int) -> KVStore:
        """An empty store of `blocks` blocks for this decoder."""
        config = self.config
        return KVStore(config.layers, config.kv_heads, config.head_dim, blocks, device=self.device, dtype=self.kv_dtype)
