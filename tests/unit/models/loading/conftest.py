"""Tiny model files: real GGUF through the reference writer, and raw bytes for all that the writer would refuse."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel

HIDDEN, HEADS, KV_HEADS, INTERMEDIATE, LAYERS, CONTEXT = 32, 4, 2, 64, 2, 128
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ hello", "a a"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<tool_call>"]
UNUSED = ["[PAD0]", "[PAD1]"]


class GgufBytes:
    """Builds a GGUF file field by field; nothing is checked, so that anything can be wrong."""

    def __init__(self, magic: bytes = b"GGUF", version: int = 3) -> None:
        self._head = magic + struct.pack("<I", version)
        self._pairs: list[bytes] = []
        self._tensors: list[bytes] = []
        self.alignment = 32
        self.tensor_count: int | None = None
        self.pair_count: int | None = None

    @staticmethod
    def text(value: str | bytes) -> bytes:
        raw = value.encode() if isinstance(value, str) else value
        return struct.pack("<Q", len(raw)) + raw

    def pair(self, key: str | bytes, kind: int, value: bytes) -> GgufBytes:
        self._pairs.append(self.text(key) + struct.pack("<I", kind) + value)
        return self

    def array(self, key: str, kind: int, count: int, items: bytes) -> GgufBytes:
        return self.pair(key, 9, struct.pack("<IQ", kind, count) + items)

    def tensor(self, name: str, dimensions: Sequence[int], kind: int, offset: int) -> GgufBytes:
        sizes = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        self._tensors.append(self.text(name) + sizes + struct.pack("<IQ", kind, offset))
        return self

    def build(self, data: bytes = b"") -> bytes:
        counts = struct.pack(
            "<QQ",
            len(self._tensors) if self.tensor_count is None else self.tensor_count,
            len(self._pairs) if self.pair_count is None else self.pair_count,
        )
        head = self._head + counts + b"".join(self._pairs) + b"".join(self._tensors)
        return head + bytes(-len(head) % self.alignment) + data


@pytest.fixture
def gguf_bytes() -> type[GgufBytes]:
    return GgufBytes


def valid_gguf() -> bytes:
    """A small valid file with every kind of value: the seed of the fuzz tests."""
    text = GgufBytes.text
    return (
        GgufBytes()
        .pair("general.architecture", 8, text("llama"))
        .pair("general.alignment", 4, struct.pack("<I", 32))
        .pair("a.bool", 7, b"\1")
        .pair("a.double", 12, struct.pack("<d", 1.5))
        .array("an.array", 5, 4, struct.pack("<4i", 1, -2, 3, -4))
        .array("some.strings", 8, 3, text("one") + text("") + text("thrée"))
        .array("a.nest", 9, 2, struct.pack("<IQ2B", 0, 2, 7, 8) + struct.pack("<IQ", 8, 1) + text("x"))
        .tensor("first", (4, 2), 0, 0)
        .tensor("second", (32,), 8, 32)
        .build(np.arange(8, dtype="<f4").tobytes() + struct.pack("<e", 0.5) + bytes(range(32)))
    )


@pytest.fixture(scope="session")
def valid_gguf_bytes() -> bytes:
    return valid_gguf()


def vocabulary() -> tuple[list[str], list[int]]:
    """Tokens and kinds: the byte alphabet, the merges' results, then special tokens."""
    alphabet = sorted(ByteLevel.alphabet())
    merged = [merge.replace(" ", "") for merge in MERGES]
    tokens = [*alphabet, *merged, *CONTROL, *USER_DEFINED, *UNUSED]
    kinds = [1] * (len(alphabet) + len(merged)) + [3] * len(CONTROL) + [4] * len(USER_DEFINED) + [5] * len(UNUSED)
    return tokens, kinds


def tensor_values(architecture: str, tied: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Random float32 weights under GGUF's names."""
    rng = np.random.default_rng(7)
    size = len(vocabulary()[0])
    head = HIDDEN // HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (size, HIDDEN), "output_norm.weight": (HIDDEN,)}
    if not tied:
        shapes["output.weight"] = (size, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        shapes |= {
            prefix + "attn_norm.weight": (HIDDEN,),
            prefix + "attn_q.weight": (HEADS * head, HIDDEN),
            prefix + "attn_k.weight": (KV_HEADS * head, HIDDEN),
            prefix + "attn_v.weight": (KV_HEADS * head, HIDDEN),
            prefix + "attn_output.weight": (HIDDEN, HEADS * head),
            prefix + "ffn_norm.weight": (HIDDEN,),
            prefix + "ffn_gate.weight": (INTERMEDIATE, HIDDEN),
            prefix + "ffn_up.weight": (INTERMEDIATE, HIDDEN),
            prefix + "ffn_down.weight": (HIDDEN, INTERMEDIATE),
        }
        if architecture == "qwen2":
            shapes |= {
                prefix + "attn_q.bias": (HEADS * head,),
                prefix + "attn_k.bias": (KV_HEADS * head,),
                prefix + "attn_v.bias": (KV_HEADS * head,),
            }
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def write_tiny_gguf(
    path: Path,
    architecture: str = "llama",
    *,
    tied: bool = True,
    pre: str | None = "smollm",
    metadata: dict[str, Any] | None = None,
    leave_out: Sequence[str] = (),
    extra: dict[str, np.ndarray[Any, Any]] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Write a whole model and return its weights under GGUF's names. `metadata` adds to or replaces pairs."""
    tokens, kinds = vocabulary()
    writer = gguf.GGUFWriter(path, architecture)
    pairs: dict[str, Any] = {
        f"{architecture}.block_count": LAYERS,
        f"{architecture}.context_length": CONTEXT,
        f"{architecture}.embedding_length": HIDDEN,
        f"{architecture}.feed_forward_length": INTERMEDIATE,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.head_count_kv": KV_HEADS,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-6,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.bos_token_id": tokens.index("<|im_start|>"),
        "tokenizer.chat_template": "{{ messages }}",
    }
    if pre is not None:
        pairs["tokenizer.ggml.pre"] = pre
    for key, value in (pairs | (metadata or {})).items():
        if key in leave_out:
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    values = {name: value for name, value in tensor_values(architecture, tied).items() if name not in leave_out}
    for name, value in (values | (extra or {})).items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny model to `tmp_path/tiny.gguf`; takes what `write_tiny_gguf` takes."""

    def write(architecture: str = "llama", **options: Any) -> Path:
        path = tmp_path / "tiny.gguf"
        path.unlink(missing_ok=True)
        write_tiny_gguf(path, architecture, **options)
        return path

    return write
