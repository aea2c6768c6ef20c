"""What the default precision costs: the converted model's predictions against the file's own weights in float32.

    python benchmarks/quality.py [--model NAME …] [--gguf FILE] [--json] [--tokens 800]

The quality gate does the work (openhearth/models/quality/gate.py; `hearth models check` asks it, too): both read the
same text, in pieces (`prefill`) and token by token (`decode`), and at each position the two distributions over the next
token are compared: Kullback-Leibler divergence in nats, and whether the most likely token is the same.
"""

from __future__ import annotations

from _harness import ModelFiles, Report, Result, argument_parser, main, model_files, progress, say

from openhearth.models.quality.gate import AGREEMENT_BAR, MEAN_BAR, TOKENS, measure


def run() -> int:
    parser = argument_parser(__doc__, repeats=1)
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"length of the text in tokens, at most ({TOKENS})")
    options = parser.parse_args()
    report = Report(options)
    with model_files(options) as models:
        for model in models:
            compare(model, options.tokens, options.threads, report)
    return report.finish()


def compare(model: ModelFiles, tokens: int, threads: int, report: Report) -> None:
    found = measure(model.gguf, model.store, tokens=tokens, threads=threads, progress=progress)
    say(f"{model.name}: {found.precision} against float32 on {found.tokens} tokens")
    for way, divergence in (("prefill", found.prefill), ("decode", found.decode)):
        name = f"{way} {model.name}"
        report.add(Result(f"mean KL, {name}", "nats", divergence.mean, bar=MEAN_BAR, at_most=True))
        report.add(Result(f"max KL, {name}", "nats", divergence.largest))
        report.add(Result(f"same top token, {name}", "share", divergence.agreement, bar=AGREEMENT_BAR))


if __name__ == "__main__":
    main(run)
