"""Models of transformers that are no family of ours, run on the engine's blocks of keys and values.

transformers lets an attention be registered by name. Ours writes a layer's keys and values where the step says, and
attends to what the sequence has there already; a model sees one text of [1, rows], whose rows belong to several
sequences, with their positions. So batching, prefix reuse and speculation work as with the decoder of our own. What
keeps states of another kind (state spaces, encoders, latent attention) cannot run like that, and is refused when it is
converted (foreign_check.py).

transformers takes seconds to import, so that this module does so on use.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from openhearth.errors import MalformedFileError, ModelUnavailableError
from openhearth.models.architectures.base import BaseDecoder
from openhearth.models.architectures.place import Place
from openhearth.models.architectures.step import Step
from openhearth.models.device_policy import device_policy
from openhearth.models.layers.attention import attend, capped_attention, scaled_attention
from openhearth.models.layers.paged import KVStore, LayerKV
from openhearth.models.loading.config import DecoderConfig

ATTENTION = "openhearth"
"""The name under which transformers knows our attention."""

Attention = Callable[[Any, Tensor, Tensor, Tensor, Mapping[str, Any]], Tensor]
"""From the module, queries [1, heads, rows, dim], keys and values [1, kv_heads, rows, dim], and what else transformers
says, to [rows, heads * dim]."""

_here = threading.local()


class ForeignDecoder(BaseDecoder):
    """A transformers model behind the decoder's interface."""

    def __init__(
        self, config: DecoderConfig, model: Any, *, device: torch.device, kv_dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(config, device, kv_dtype)
        self._model = model

    def __call__(self, step: Step, kv: KVStore) -> Tensor:
        pages = _Pages(step, kv.views(step.spans))
        kept = {} if step.wanted is None else {"logits_to_keep": step.wanted}
        with attending(pages):
            output = self._model(
                input_ids=step.ids[None], position_ids=step.positions[None].long(), use_cache=False, **kept
            )
        logits: Tensor = output.logits[0].float()
        return logits


class _Pages:
    """Attention of one step; see `Attention`."""

    def __init__(self, step: Step, layers: Sequence[LayerKV]) -> None:
        self._layers = layers
        self._place = Place(_NO_ROTATION, _NO_ROTATION, step)

    def __call__(
        self, module: Any, queries: Tensor, keys: Tensor, values: Tensor, arguments: Mapping[str, Any]
    ) -> Tensor:
        step, kv = self._place.step, self._layers[module.layer_idx]
        kv.write(torch.stack([keys[0], values[0]]).permute(2, 0, 1, 3).flatten(1), step.slots)
        scale, cap, window = (arguments.get(name) for name in ("scaling", "softcap", "sliding_window"))
        core = functools.partial(scaled_attention, scale=scale)
        if cap is not None:
            scale = queries.shape[-1] ** -0.5 if scale is None else scale
            core = functools.partial(capped_attention, scale=scale, cap=cap)
        rows = queries[0].transpose(0, 1).flatten(1)
        return attend(rows, kv, step.spans, self._place.masks(window), self._place.slots_of, window, core)


_NO_ROTATION = torch.empty(0)
"""transformers turns queries and keys itself."""


@contextmanager
def attending(attention: Attention) -> Iterator[None]:
    """What models of this thread call as their attention, within the block."""
    _here.attention = attention
    try:
        yield
    finally:
        del _here.attention


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **arguments: Any
) -> tuple[Tensor, None]:
    """The function that transformers calls; its result is [1, rows, heads, dim]."""
    heads, rows = query.shape[1:3]
    return _here.attention(module, query, key, value, arguments).view(1, rows, heads, -1), None


def build_foreign(config: DecoderConfig, tensors: Mapping[str, Tensor], *, device: torch.device) -> ForeignDecoder:
    """The decoder over a store's tensors, in their own floating type. Raises what `load_foreign` raises."""
    dtype = next(tensor.dtype for tensor in tensors.values())
    model = load_foreign(config.foreign or {}, tensors, dtype).to(device)
    kv_dtype = torch.float32 if dtype is torch.float32 else device_policy(device).cache
    return ForeignDecoder(config, model, device=device, kv_dtype=kv_dtype)


def load_foreign(raw: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
    """The transformers model of the config.json `raw` with these weights, computing in `dtype`.

    Raises ModelUnavailableError where this version of transformers does not know it or it cannot use our attention,
    MalformedFileError where the weights do not fit. No code that comes with a model is ever run.
    """
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, __version__, logging
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, lambda *arguments, **named: None)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise ModelUnavailableError(
            f"transformers {__version__} does not know models of type {kind!r}.",
            hint="A newer version may (`pip install -U transformers`). Code that comes with a model is never run.",
        )
    try:
        config = CONFIG_MAPPING[kind].from_dict(dict(raw))
    except Exception as error:  # whatever a config class makes of nonsense
        raise MalformedFileError(f"config.json is no {kind} config: {error}.", hint="Fetch the file again.") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or getattr(config, "is_encoder_decoder", False):
        raise refused(kind, "is not a decoder that continues a text")
    try:
        model, report = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(
            None,
            config=config,
            state_dict=dict(tensors),
            dtype=dtype,
            attn_implementation=ATTENTION,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a model class makes of nonsense
        if ATTENTION in str(error):
            raise refused(kind, "brings an attention of its own, which cannot be replaced") from error
        raise MalformedFileError(f"The weights do not fit a {kind} model: {error}", hint="Fetch it again.") from error
    if wrong := [*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])]:
        raise MalformedFileError(
            f"The weights lack {min(wrong)} of a {kind} model, or it is of another shape.", hint="Fetch it again."
        )
    return model.eval().requires_grad_(False)


def refused(kind: object, why: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Models of type {kind!r} cannot run here: this one {why}.",
        hint="Choose a model of one of the families in docs/models.md, or serve it with vLLM and name it by its URL.",
    )
