"""A GGUF file as a TensorSource."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import tokenizers
import torch

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.config import DecoderConfig, tensor_shapes
from openhearth.models.loading.gguf import GgufFile
from openhearth.models.loading.gguf_config import gguf_config
from openhearth.models.loading.tokenizer import gguf_tokenizer

_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER = re.compile(r"blk\.(0|[1-9]\d*)\.([a-z_]+)\.(weight|bias)")
_IN_CONFIG = frozenset({"rope_freqs.weight"})
"""Not a weight: `gguf_config` reads it."""


class GgufSource:
    """See TensorSource."""

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        try:
            self._config = gguf_config(self._file)
            self._names = self._match_tensors()
        except BaseException:
            self._file.close()
            raise

    def names(self) -> Sequence[str]:
        return tuple(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._file.tensors[self._names[name]].shape

    def load(self, name: str) -> torch.Tensor:
        tensor = self._file.load(self._names[name])
        if self._config.architecture == "llama":
            if ".q_proj." in name:
                return _unpermute(tensor, self._config.heads)
            if ".k_proj." in name:
                return _unpermute(tensor, self._config.kv_heads)
        return tensor

    def config(self) -> DecoderConfig:
        return self._config

    def tokenizer(self) -> tokenizers.Tokenizer:
        return gguf_tokenizer(self._file)

    def chat_template(self) -> str | None:
        template = self._file.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) else None

    def close(self) -> None:
        self._file.close()

    def _match_tensors(self) -> dict[str, str]:
        """Hugging Face names to the file's, in the order of `tensor_shapes`."""
        found: dict[str, str] = {}
        for name in self._file.tensors:
            if name in _IN_CONFIG:
                continue
            known = hugging_face_name(name)
            if known is None:
                raise ModelUnavailableError(
                    f"{self._file.path}: the tensor {name!r} is unknown to {self._config.architecture} models."
                )
            found[known] = name
        expected = tensor_shapes(self._config)
        for known, shape in expected.items():
            if known not in found:
                raise MalformedFileError(f"{self._file.path} lacks the tensor {known}.", hint="Fetch the file again.")
            actual = self._file.tensors[found[known]].shape
            if actual != shape:
                raise MalformedFileError(
                    f"{self._file.path}: {found[known]!r} is {actual}, its metadata say {shape}.",
                    hint="Fetch the file again.",
                )
        if extra := sorted(found.keys() - expected.keys()):
            raise MalformedFileError(
                f"{self._file.path} holds tensors that its metadata do not: {', '.join(extra[:3])}.",
                hint="Fetch the file again.",
            )
        return {known: found[known] for known in expected}


def hugging_face_name(name: str) -> str | None:
    """`blk.0.attn_q.weight` → `model.layers.0.self_attn.q_proj.weight`; None for an unknown name."""
    if name in _TOP:
        return _TOP[name]
    match = _LAYER.fullmatch(name)
    if match is None or match[2] not in _IN_LAYER:
        return None
    return f"model.layers.{match[1]}.{_IN_LAYER[match[2]]}.{match[3]}"


def _unpermute(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo what llama.cpp's converter does to `llama` models: there, rotated pairs are neighbours; in Hugging Face's
    layout the first half of a head is rotated with the second."""
    rows = tensor.shape[0]
    return tensor.view(heads, rows // heads // 2, 2, -1).transpose(1, 2).reshape(tensor.shape)
