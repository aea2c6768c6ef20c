"""Files that announce more than they hold end in an error within the memory that their size justifies.

A process of its own opens them, because its address space is limited: an allocation by a hostile size would end in
MemoryError or a signal there, and not in the error that is asked for.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MARGIN = 64 << 20

OPEN = f"""
import resource, sys
from pathlib import Path
import torch
from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.loading.source import open_source
import openhearth.models.loading.gguf_source, openhearth.models.loading.safetensors_source

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {MARGIN},) * 2)
for name in sys.argv[1:]:
    try:
        source = open_source(Path(name))
        source.tokenizer()
        source.close()
        print("opened")
    except (MalformedFileError, ModelUnavailableError) as error:
        print(type(error).__name__)
"""


@pytest.fixture
def outcomes() -> Callable[[list[Path]], list[str]]:
    def run(paths: list[Path]) -> list[str]:
        process = subprocess.run(
            [sys.executable, "-c", OPEN, *map(str, paths)], capture_output=True, text=True, timeout=120, check=False
        )
        assert process.returncode == 0, process.stderr[-2000:]
        return process.stdout.split()

    return run


def gguf_files(folder: Path, builder: Any, tiny_gguf: Callable[..., Path]) -> list[Path]:
    huge = (1 << 63) - 1
    strings = builder().array("tokenizer.ggml.tokens", 8, 1 << 40, b"")
    numbers = builder().array("tokenizer.ggml.scores", 6, 1 << 40, b"")
    nested = builder().array("a", 9, 1 << 40, b"")
    tensor = builder().tensor("token_embd.weight", (1 << 31, 1 << 31), 0, 0)
    offset = builder().tensor("token_embd.weight", (4,), 0, huge - huge % 32)
    name = builder()
    name._tensors.append(struct.pack("<Q", huge))
    contents = [builder_.build() for builder_ in (strings, numbers, nested, tensor, offset, name)]
    for counts in ((huge, 0), (0, huge), (1 << 32, 1 << 32)):
        counted = builder()
        counted.tensor_count, counted.pair_count = counts
        contents.append(counted.build())
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number}.gguf")
        paths[-1].write_bytes(content)
    for number, (architecture, change) in enumerate(
        [
            ("llama", {"llama.block_count": 4096}),
            ("llama", {"llama.embedding_length": 1 << 24, "llama.feed_forward_length": 1 << 24}),
            ("gemma3", {"gemma3.block_count": 0xFFFFFFFF}),
            ("qwen3moe", {"qwen3moe.expert_count": 4096, "qwen3moe.expert_used_count": 8}),
            ("smollm3", {"smollm3.block_count": 1 << 24}),
        ]
    ):
        changed = {f"{architecture}.expert_feed_forward_length": 1 << 24} | change
        written = tiny_gguf(architecture, pre="smollm", metadata=changed)
        paths.append(written.rename(folder / f"whole-{number}.gguf"))
    return paths


@pytest.mark.slow
def test_gguf(tmp_path: Path, gguf_bytes: Any, tiny_gguf: Callable[..., Path], outcomes: Any) -> None:
    paths = gguf_files(tmp_path, gguf_bytes, tiny_gguf)
    assert outcomes([*paths, tiny_gguf()]) == ["MalformedFileError"] * len(paths) + ["opened"]


CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 24,
    "intermediate_size": 1 << 24,
    "moe_intermediate_size": 1 << 24,
    "num_hidden_layers": 4096,
    "num_attention_heads": 1 << 20,
    "num_experts": 4096,
    "num_experts_per_tok": 8,
    "max_position_embeddings": 1 << 24,
}


def safetensors_folder(folder: Path, content: bytes, index: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(content)
    if index is not None:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def header(entries: dict[str, Any]) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.slow
def test_safetensors(tmp_path: Path, outcomes: Any) -> None:
    def entry(shape: list[int], end: int) -> dict[str, Any]:
        return {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}

    contents = [
        struct.pack("<Q", (1 << 64) - 1) + b"{}",
        struct.pack("<Q", 100_000_000) + b"{" + b" " * 100,
        header(entry([1 << 40], 1 << 42)),
        header(entry([1 << 62, 0], 0)),
        header(entry([2] * 64, 0)),
        header({}),
        b"\0" * 7,
    ]
    paths = [safetensors_folder(tmp_path / str(n), content) for n, content in enumerate(contents)]
    whole = header(entry([], 4)) + bytes(4)
    index = {"weight_map": dict.fromkeys((str(n) for n in range(100_000)), "model.safetensors")}
    paths.append(safetensors_folder(tmp_path / "sharded", whole, index))
    assert outcomes(paths) == ["MalformedFileError"] * len(paths)
