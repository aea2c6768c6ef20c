"""Those who decode, ours and the peers, each behind the same three measurements."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from _llama import LlamaContext, Row

from openhearth.models.engine.engine import Engine
from openhearth.models.engine.request import Finished, GenerationRequest, Token
from openhearth.models.loading.config import DecoderConfig
from openhearth.models.loading.source import open_source
from openhearth.types import Sampling

CONTEXT = 2048
LLAMA_CPP, TRANSFORMERS, VLLM = "llama.cpp", "transformers", "vllm"


class Side(Protocol):
    """Greedy decoding, past any end token. A prompt is never like an earlier one, so nothing remembered can help."""

    name: str

    def prefill(self, prompt: Sequence[int]) -> float:
        """Prompt tokens a second, up to the first token."""
        ...

    def decode(self, prompt: Sequence[int], count: int) -> tuple[float, list[int]]:
        """Tokens a second from the first to the last of `count`, and the tokens."""
        ...

    def together(self, prompts: Sequence[Sequence[int]], count: int) -> float:
        """`count` tokens for each of the prompts, all asked for at once: tokens a second of all, prompts included.

        The prompts are of one length.
        """
        ...

    def close(self) -> None: ...


class Ours:
    """The engine, through the interface that backends use, and so with its queue and its thread."""

    def __init__(self, store: Path, threads: int) -> None:
        self.engine = Engine.load(store, device="cpu", threads=threads, context=CONTEXT)
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

    def together(self, prompts: Sequence[Sequence[int]], count: int) -> float:
        async def one(prompt: Sequence[int]) -> int:
            async with aclosing(self.engine.generate(_request(prompt, count))) as outputs:
                return sum([isinstance(output, Token) async for output in outputs])

        async def every() -> list[int]:
            return await asyncio.gather(*map(one, prompts))

        started = time.perf_counter()
        return sum(asyncio.run(every())) / (time.perf_counter() - started)

    def _generate(self, prompt: Sequence[int], count: int) -> Iterator[Any]:
        return self.engine.generate_sync(_request(prompt, count))

    def close(self) -> None:
        self.engine.close()


def _request(prompt: Sequence[int], count: int) -> GenerationRequest:
    return GenerationRequest(prompt, Sampling(max_tokens=count), stop_ids=frozenset())


class LlamaCpp:
    """llama.cpp on the GGUF file itself; prompts that come together are its sequences, decoded in one batch."""

    name = LLAMA_CPP

    def __init__(self, gguf: Path, threads: int, *, sequences: int = 1) -> None:
        self._llama = LlamaContext(gguf, threads, context=CONTEXT, sequences=sequences)

    def prefill(self, prompt: Sequence[int]) -> float:
        self._llama.forget()
        started = time.perf_counter()
        self._llama.prompt(prompt)
        return len(prompt) / (time.perf_counter() - started)

    def decode(self, prompt: Sequence[int], count: int) -> tuple[float, list[int]]:
        self._llama.forget()
        tokens = [self._llama.prompt(prompt)]
        started = time.perf_counter()
        while len(tokens) < count:
            tokens.append(self._llama.prompt(tokens[-1:], start=len(prompt) + len(tokens) - 1))
        return (count - 1) / (time.perf_counter() - started), tokens

    def together(self, prompts: Sequence[Sequence[int]], count: int) -> float:
        self._llama.forget()
        length = len(prompts[0])
        started = time.perf_counter()
        best = self._llama.read(
            [
                Row(token, position, sequence, position == length - 1)
                for sequence, prompt in enumerate(prompts)
                for position, token in enumerate(prompt)
            ]
        )
        for position in range(length, length + count - 1):
            best = self._llama.read([Row(token, position, sequence, True) for sequence, token in enumerate(best)])
        return count * len(prompts) / (time.perf_counter() - started)

    def close(self) -> None:
        self._llama.close()


class Transformers:
    """The Hugging Face model class with the GGUF file's weights, in eager mode as `from_pretrained` gives it."""

    def __init__(self, gguf: Path, threads: int, dtype: torch.dtype) -> None:
        self.name = f"{TRANSFORMERS} {str(dtype).removeprefix('torch.')}"
        self._threads = threads
        self._model = hugging_face_model(gguf, dtype)

    def prefill(self, prompt: Sequence[int]) -> float:
        started = time.perf_counter()
        self._step([prompt], None)
        return len(prompt) / (time.perf_counter() - started)

    def decode(self, prompt: Sequence[int], count: int) -> tuple[float, list[int]]:
        (token,), cache = self._step([prompt], None)
        tokens = [token]
        started = time.perf_counter()
        while len(tokens) < count:
            (token,), cache = self._step([tokens[-1:]], cache)
            tokens.append(token)
        return (count - 1) / (time.perf_counter() - started), tokens

    def together(self, prompts: Sequence[Sequence[int]], count: int) -> float:
        started = time.perf_counter()
        best, cache = self._step(prompts, None)
        for _ in range(count - 1):
            best, cache = self._step([[token] for token in best], cache)
        return count * len(prompts) / (time.perf_counter() - started)

    @torch.inference_mode()
    def _step(self, ids: Sequence[Sequence[int]], cache: Any) -> tuple[list[int], Any]:
        torch.set_num_threads(self._threads)
        output = self._model(torch.tensor(ids), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1].argmax(-1).tolist(), output.past_key_values

    def close(self) -> None:
        del self._model
        gc.collect()


class Vllm:
    """vLLM's CPU build in a process of its own, in bfloat16: on a CPU it has no use for a GGUF file's weights."""

    name = f"{VLLM} bfloat16"

    def __init__(self, gguf: Path, threads: int, python: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hearth-bench-")
        hugging_face_model(gguf, torch.bfloat16).save_pretrained(self._folder.name)
        gc.collect()
        script = Path(__file__).with_name("_vllm_side.py")
        self._process = subprocess.Popen(
            [str(python), str(script), self._folder.name, str(CONTEXT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "VLLM_CPU_OMP_THREADS_BIND": f"0-{threads - 1}", "OMP_NUM_THREADS": str(threads)},
        )
        self._answer()

    def prefill(self, prompt: Sequence[int]) -> float:
        return len(prompt) / float(self._ask([prompt], 1)["steps"][-1][0])

    def decode(self, prompt: Sequence[int], count: int) -> tuple[float, list[int]]:
        answer = self._ask([prompt], count)
        times = [seconds for seconds, tokens in answer["steps"] if tokens]
        return (count - 1) / (times[-1] - times[0]), answer["tokens"][0]

    def together(self, prompts: Sequence[Sequence[int]], count: int) -> float:
        return count * len(prompts) / float(self._ask(prompts, count)["steps"][-1][0])

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def _ask(self, prompts: Sequence[Sequence[int]], count: int) -> dict[str, Any]:
        if self._process.stdin is None:
            raise RuntimeError("vLLM's process has no standard input")
        self._process.stdin.write(json.dumps({"prompts": [list(prompt) for prompt in prompts], "count": count}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"vLLM's process ended with {self._process.wait()}; its words stand above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


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
