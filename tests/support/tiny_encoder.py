"""A tiny BERT with random weights, as a folder on disk and as the transformers model that says what is right."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertModel, PreTrainedModel

LIMIT = 24
WORDS = ("sea", "gull", "har", "##bour", "fog", "lay", "thick", "on", "the", "mill", "river")


def tiny_encoder(folder: Path, **changes: Any) -> PreTrainedModel:
    """Write a model into `folder` and return it as transformers has it."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    vocabulary = {token: number for number, token in enumerate((*special, *WORDS, *letters))}
    sizes: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": LIMIT,
        "initializer_range": 0.3,
    }
    torch.manual_seed(5)
    model = BertModel(BertConfig(**{**sizes, **changes})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name or name.endswith("bias"):
                parameter.uniform_(-0.5, 1.5)
    model.save_pretrained(folder)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))  # type: ignore[arg-type]
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    tokenizer.enable_padding(length=LIMIT)
    tokenizer.enable_truncation(LIMIT // 2)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model


@torch.inference_mode()
def reference_vectors(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """What the model's authors say: padded batches, the mean over the attention mask, normalised."""
    longest = max(map(len, ids))
    padded = torch.tensor([[*text, *[0] * (longest - len(text))] for text in ids])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in ids])
    hidden = model(input_ids=padded, attention_mask=mask).last_hidden_state
    counted = mask[:, :, None].float()
    return F.normalize((hidden * counted).sum(1) / counted.sum(1))
