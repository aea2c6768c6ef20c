"""The families of decoders that the engine runs itself, and by which names checkpoints call them.

This is the one list: error messages and the table of docs/models.md are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from openhearth.errors import ModelUnavailableError


@dataclass(frozen=True, slots=True)
class Family:
    """`classes` are transformers' class names in a config.json, `gguf` the values of `general.architecture`.

    `models` and `traits` are for readers. `fused_attention`: a checkpoint holds query, key and value in one tensor;
    `fused_mlp`: gate and up. `permuted`: in GGUF, query and key rows are ordered such that rotated pairs are
    neighbours. `offset_norms`: in Hugging Face's files, a norm's weight is stored less one (in GGUF files it is not).
    `own_window_positions`: the scaling of rotary positions is not for layers with a window.
    `partly_rotated`: a share of each head may be left as it is.
    """

    name: str
    models: str
    traits: str
    classes: tuple[str, ...]
    gguf: tuple[str, ...] = ()
    fused_attention: bool = False
    fused_mlp: bool = False
    permuted: bool = False
    offset_norms: bool = False
    own_window_positions: bool = False
    partly_rotated: bool = False


_GEMMA = "GeGLU, scaled embeddings, norms around every block"

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "llama",
            "Llama 2 and 3, SmolLM, SmolLM2, TinyLlama and kin",
            "RMSNorm, SwiGLU, grouped queries",
            ("LlamaForCausalLM",),
            ("llama",),
            permuted=True,
        ),
        Family("mistral", "Mistral, Mistral NeMo", "sliding window", ("MistralForCausalLM",), permuted=True),
        Family("qwen2", "Qwen2, Qwen2.5", "biases on query, key and value", ("Qwen2ForCausalLM",), ("qwen2",)),
        Family("qwen3", "Qwen3", "norms on queries and keys", ("Qwen3ForCausalLM",), ("qwen3",)),
        Family(
            "qwen3moe",
            "Qwen3 mixtures of experts",
            "norms on queries and keys, experts",
            ("Qwen3MoeForCausalLM",),
            ("qwen3moe",),
        ),
        Family(
            "smollm3",
            "SmolLM3",
            "every fourth layer without positions",
            ("SmolLM3ForCausalLM",),
            ("smollm3",),
            permuted=True,
        ),
        Family(
            "granite",
            "Granite 3, and dense Granite 4 as GGUF",
            "multipliers on embeddings, attention, residuals and logits",
            ("GraniteForCausalLM",),
            ("granite",),
            permuted=True,
        ),
        Family(
            "granitehybrid",
            "Granite 4, the dense sizes",
            "as Granite 3, with gate and up in one tensor",
            ("GraniteMoeHybridForCausalLM",),
            fused_mlp=True,
        ),
        Family(
            "gemma",
            "Gemma",
            "GeGLU, scaled embeddings",
            ("GemmaForCausalLM",),
            ("gemma",),
            offset_norms=True,
        ),
        Family(
            "gemma2",
            "Gemma 2",
            f"{_GEMMA}, capped scores and logits, a window in every other layer",
            ("Gemma2ForCausalLM",),
            ("gemma2",),
            offset_norms=True,
        ),
        Family(
            "gemma3",
            "Gemma 3, the text part",
            f"{_GEMMA}, norms on queries and keys, windowed layers with positions of their own",
            ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
            ("gemma3",),
            offset_norms=True,
            own_window_positions=True,
        ),
        Family(
            "phi3",
            "Phi-3, Phi-3.5, Phi-4, Phi-4-mini",
            "fused projections, LongRoPE, sliding window, partly rotated heads",
            ("Phi3ForCausalLM",),
            ("phi3",),
            fused_attention=True,
            partly_rotated=True,
            fused_mlp=True,
        ),
        Family(
            "olmo2",
            "OLMo 2",
            "norms behind the blocks, and on whole queries and keys",
            ("Olmo2ForCausalLM",),
            ("olmo2",),
        ),
        Family(
            "olmo3",
            "OLMo 3",
            "as OLMo 2 (also its name in GGUF), with a window in three of four layers",
            ("Olmo3ForCausalLM",),
            own_window_positions=True,
        ),
        Family(
            "olmoe",
            "OLMoE",
            "norms on whole queries and keys, experts",
            ("OlmoeForCausalLM",),
            ("olmoe",),
        ),
        Family(
            "stablelm",
            "StableLM 3B, StableLM 2 1.6B and kin",
            "LayerNorm, partly rotated heads",
            ("StableLmForCausalLM",),
            ("stablelm",),
            partly_rotated=True,
        ),
    )
}

BY_CLASS: dict[str, Family] = {name: family for family in FAMILIES.values() for name in family.classes}
BY_GGUF: dict[str, Family] = {name: family for family in FAMILIES.values() for name in family.gguf}


def unsupported_architecture(name: object) -> ModelUnavailableError:
    models = "; ".join(family.models for family in FAMILIES.values())
    return ModelUnavailableError(f"The architecture {name!r} is not supported.", hint=f"Supported are {models}.")
