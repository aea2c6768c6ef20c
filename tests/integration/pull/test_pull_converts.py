"""A repository on the hub, pulled, converted and opened: every step but the real hub's network."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhearth.errors import ModelUnavailableError
from openhearth.models.loading.store import ModelStore
from openhearth.models.open import open_model
from openhearth.models.pull import find_store, list_pulled, pull

Make = Callable[..., Any]
COMMIT = "0123456789abcdef0123456789abcdef01234567"

pytestmark = pytest.mark.slow


@pytest.fixture
def checkpoint(tmp_path: Path) -> dict[str, bytes]:
    """The files of a tiny Llama with random weights, in two shards."""
    import tokenizers
    import transformers

    folder = tmp_path / "checkpoint"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = transformers.LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="20KB")
    vocabulary = {f"token{n}": n for n in range(64)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="token0"))
    tokenizer.save(str(folder / "tokenizer.json"))
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_sharded_checkpoint_becomes_a_store(
    web: Any, page: Make, settings_for: Make, checkpoint: dict[str, bytes]
) -> None:
    siblings = []
    for name, content in checkpoint.items():
        large = {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}}
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        siblings.append(
            {"rfilename": name, "size": len(content)} | (large if name.endswith(".safetensors") else {"blobId": blob})
        )
        web.pages[f"/org/model/resolve/{COMMIT}/{name}"] = page(content)
    web.pages["/api/models/org/model/revision/main"] = page(json.dumps({"sha": COMMIT, "siblings": siblings}).encode())
    assert sum(name.endswith(".safetensors") for name in checkpoint) > 1

    store = pull("hf:org/model", settings_for(web.url, precision="float32"))

    assert ModelStore.open(store).config.layers == 2
    assert [(m.name, m.reference, m.precision) for m in list_pulled()] == [
        ("org--model-float32", "hf:org/model", "float32")
    ]
    web.pages.clear()
    assert find_store("hf:org/model", settings_for(precision="float32")) == store
    assert pull("hf:org/model", settings_for(precision="float32")) == store


async def test_an_embedding_model_cannot_answer(settings_for: Make) -> None:
    with pytest.raises(ModelUnavailableError, match="cannot answer"):
        await open_model("minilm", settings_for())
