"""The catalog models' weights, read by us and by the reference implementations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from openhearth.models.loading.gguf_names import hugging_face_name
from openhearth.models.loading.source import open_source


@pytest.mark.slow
def test_smollm2_is_what_transformers_makes_of_it(smollm2_gguf: Path) -> None:
    source = open_source(smollm2_gguf)
    theirs: Any = load_gguf_checkpoint(str(smollm2_gguf))["config"]
    ours = source.config()
    assert (ours.hidden_size, ours.layers, ours.heads) == (576, 30, 9)
    assert ours.kv_heads == theirs["num_key_value_heads"]
    assert ours.rope_theta == theirs["rope_theta"]
    assert np.float32(ours.rms_eps) == np.float32(theirs["rms_norm_eps"])
    assert (ours.bos_id, ours.eos_ids[0]) == (theirs["bos_token_id"], theirs["eos_token_id"])
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**theirs))
    tensors: Any = load_gguf_checkpoint(str(smollm2_gguf), return_tensors=True, model_to_load=model)["tensors"]
    assert dict.fromkeys(sorted(tensors)) == dict.fromkeys(sorted(source.names()))
    for name in source.names():
        assert torch.equal(source.load(name), torch.as_tensor(tensors[name])), name
    source.close()


@pytest.mark.large
@pytest.mark.slow
def test_qwen_is_what_the_gguf_package_makes_of_it(qwen_gguf: Path) -> None:
    source = open_source(qwen_gguf)
    reader = gguf.GGUFReader(qwen_gguf)
    for tensor in reader.tensors:
        name = hugging_face_name(tensor.name, source.config())
        assert name is not None
        if name.startswith(("model.layers.0.", "model.layers.27.", "model.norm", "lm_head")):
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            assert np.array_equal(source.load(name).numpy().view(np.uint32), values.view(np.uint32)), name
    config = source.config()
    assert (config.architecture, config.vocab_size, config.max_context) == ("qwen2", 151_936, 32_768)
    assert (config.tie_embeddings, config.attention_bias, config.rope_theta) == (False, True, 1e6)
    assert config.eos_ids == (151_645, 151_643)
    template = source.chat_template()
    assert template is not None
    assert "<tool_call>" in template
    source.close()
