"""The peers, each behind the same two measurements: seconds to read a prompt, and tokens a second after it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers

from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import Finished, GenerationRequest, Token
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.source import open_source
from openhearth.types import Sampling

CONTEXT = 2048


class Side(Protocol):
    """Greedy decoding of one stream. Nothing is remembered from call to call."""

    name: str

    def prefill(self, prompt: Sequence[int]) -> float:
        """Prompt tokens a second, up to the first token's logits."""
        ...

    def decode(self, prompt: Sequence[int], count: int) -> tuple[float, list[int]]:
        """Tokens a second from the first to the last of `count`, and the tokens."""
        ...

    def close(self) -> None: ...


class Ours:
    """The engine, through the interface that backends use, and so with its queue and its thread."""

    def __init__(self, store: Path, threads: int) -> None:
        # One cache: each measurement brings another prompt and so finds nothing of its own in it.
        self.engine = Engine.load(store, device="cpu", threads=threads, context=CONTEXT, cache_threads=1)
        self.name = f"openhearth {self.engine.precision}"

    def prefill(self, prompt: Sequence[int]) -> float:
        started = time.perf_counter()
        (end,) = [output for output in self._generate(prompt, 1) if isinstance(output, Finished)]
        seconds = time.perf_counter() - started
        if end.usage.cached_tokens > 1:
            raise RuntimeError(f"{end.usage.cached_tokens} tokens of the prompt came from the cache")
        return len(prompt) / seconds

    def decode(self, prompt: Sequence[int], count: int) -> tuple[float, list[int]]:
        times, tokens = [], []
        for output in self._generate(prompt, count):
            if isinstance(output, Token):
                times.append(time.perf_counter())
                tokens.append(output.id)
        return (count - 1) / (times[-1] - times[0]), tokens

    def _generate(self, prompt: Sequence[int], count: int) -> Iterator[Any]:
        request = GenerationRequest(prompt, Sampling(max_tokens=count), stop_ids=frozenset())
        return self.engine.generate_sync(request)

    def close(self) -> None:
        self.engine.close()


class LlamaCpp:
    """llama.cpp on the GGUF file itself, through llama-cpp-python's `eval`."""

    name = "llama.cpp"

    def __init__(self, gguf: Path, threads: int) -> None:
        import llama_cpp

        self._module = llama_cpp
        self._llama = llama_cpp.Llama(
            str(gguf), n_ctx=CONTEXT, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
        )

    def prefill(self, prompt: Sequence[int]) -> float:
        started = time.perf_counter()
        self._read(prompt)
        return len(prompt) / (time.perf_counter() - started)

    def decode(self, prompt: Sequence[int], count: int) -> tuple[float, list[int]]:
        tokens = [self._read(prompt)]
        started = time.perf_counter()
        while len(tokens) < count:
            self._llama.eval(tokens[-1:])
            tokens.append(self._best())
        return (count - 1) / (time.perf_counter() - started), tokens

    def _read(self, prompt: Sequence[int]) -> int:
        self._llama.reset()
        self._llama.eval(prompt)
        return self._best()

    def _best(self) -> int:
        logits = self._module.llama_get_logits(self._llama.ctx)
        return int(np.ctypeslib.as_array(logits, shape=(self._llama.n_vocab(),)).argmax())

    def close(self) -> None:
        self._llama.close()


class Transformers:
    """The Hugging Face model class with the GGUF file's weights, in eager mode as `from_pretrained` gives it."""

    def __init__(self, gguf: Path, threads: int, dtype: torch.dtype) -> None:
        self.name = f"transformers {str(dtype).removeprefix('torch.')}"
        self._threads = threads
        self._model = hugging_face_model(gguf, dtype)

    def prefill(self, prompt: Sequence[int]) -> float:
        started = time.perf_counter()
        self._step(prompt, None)
        return len(prompt) / (time.perf_counter() - started)

    def decode(self, prompt: Sequence[int], count: int) -> tuple[float, list[int]]:
        token, cache = self._step(prompt, None)
        tokens = [token]
        started = time.perf_counter()
        while len(tokens) < count:
            token, cache = self._step(tokens[-1:], cache)
            tokens.append(token)
        return (count - 1) / (time.perf_counter() - started), tokens

    @torch.inference_mode()
    def _step(self, ids: Sequence[int], cache: Any) -> tuple[int, Any]:
        torch.set_num_threads(self._threads)
        output = self._model(torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return int(output.logits[0, -1].argmax()), output.past_key_values

    def close(self) -> None:
        del self._model


def hugging_face_model(gguf: Path, dtype: torch.dtype) -> Any:
    """The model's class in transformers, its weights taken from the GGUF file one at a time."""
    source = open_source(gguf)
    try:
        with torch.device("meta"):
            model = _model_class(source.config())
        model = model.to(dtype).to_empty(device="cpu")
        model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name in source.names():
                parameters[name].copy_(source.load(name))
        model.tie_weights()
    finally:
        source.close()
    return model.eval()


def _model_class(config: DecoderConfig) -> Any:
    kinds = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }
    make_config, make_model = kinds[config.architecture]
    rope = {"rope_type": "default", **(config.rope_scaling or {}), "rope_theta": config.rope_theta}
    return make_model(
        make_config(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            rms_norm_eps=config.rms_eps,
            rope_parameters=rope,
            max_position_embeddings=config.max_context,
            tie_word_embeddings=config.tie_embeddings,
            attn_implementation="sdpa",
        )
    )
