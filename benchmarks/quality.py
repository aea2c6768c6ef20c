"""What the default precision costs: the converted model's predictions against the file's own weights in float32.

    python benchmarks/quality.py [--model NAME …] [--gguf FILE] [--json] [--tokens 800]

The reference is transformers' model class in float32. Both read the same text (code, prose, an agent's turn), and at
each position the two distributions over the next token are compared: Kullback-Leibler divergence in nats, and whether
the most likely token is the same. `prefill` reads the text in one piece, `decode` token by token, because kernels and
scaling differ between the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from _harness import ModelFiles, Report, Result, argument_parser, main, model_files, say
from _peers import hugging_face_model
from _text import MIXED

from openhearth.models.architectures.decoder import Decoder, build_decoder
from openhearth.models.architectures.solo import Solo
from openhearth.models.loading.store import ModelStore

MEAN_BAR = 0.02
AGREEMENT_BAR = 0.95
CPU = torch.device("cpu")
ROWS = 64


def run() -> int:
    parser = argument_parser(__doc__, repeats=1)
    parser.add_argument("--tokens", type=int, default=800, help="length of the text in tokens, at most (800)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = Report(options)
    with model_files(options) as models, torch.inference_mode():
        for model in models:
            compare(model, options.tokens, report)
    return report.finish()


def compare(model: ModelFiles, limit: int, report: Report) -> None:
    store = ModelStore.open(model.store)
    ids = store.tokenizer().encode(MIXED).ids[:limit]
    say(f"{model.name}: {store.manifest.precision} against float32 on {len(ids)} tokens")
    reference = reference_logits(model, ids)
    decoder = build_decoder(
        store.config,
        store.tensors,
        store.manifest.linears,
        context=len(ids),
        device=CPU,
        each=lambda build, indices: [build(index) for index in indices],
    )
    for way, logits in (("prefill", prefill(decoder, ids)), ("decode", decode(decoder, ids))):
        divergence, agreement = differences(reference, logits)
        name = f"{way} {model.name}"
        report.add(Result(f"mean KL, {name}", "nats", float(divergence.mean()), bar=MEAN_BAR, at_most=True))
        report.add(Result(f"max KL, {name}", "nats", float(divergence.max())))
        report.add(Result(f"same top token, {name}", "share", float(agreement.mean()), bar=AGREEMENT_BAR))


def reference_logits(model: ModelFiles, ids: Sequence[int]) -> torch.Tensor:
    """[tokens, vocabulary]."""
    reference = hugging_face_model(model.gguf, torch.float32)
    logits: torch.Tensor = reference(torch.tensor([ids])).logits[0]
    return logits


def prefill(decoder: Decoder, ids: Sequence[int]) -> Iterator[torch.Tensor]:
    yield Solo(decoder, len(ids))(ids, every_row=True)


def decode(decoder: Decoder, ids: Sequence[int]) -> Iterator[torch.Tensor]:
    solo = Solo(decoder, len(ids))
    for token in ids:
        yield solo([token])


def differences(reference: torch.Tensor, logits: Iterator[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Divergence and agreement at each position; a few rows at a time, because a vocabulary is wide."""
    divergences, agreements, start = [], [], 0
    for piece in logits:
        for rows in torch.split(piece, ROWS):
            expected = torch.log_softmax(reference[start : start + len(rows)].float(), -1)
            given = torch.log_softmax(rows, -1)
            divergences.append((expected.exp() * (expected - given)).sum(-1))
            agreements.append((expected.argmax(-1) == given.argmax(-1)).float())
            start += len(rows)
    return torch.cat(divergences), torch.cat(agreements)


if __name__ == "__main__":
    main(run)
