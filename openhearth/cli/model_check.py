"""`hearth models check`: what a model's precision costs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from openhearth.cli.options import DeviceOption, JsonOption, PrecisionOption, QuietOption, settings_with

if TYPE_CHECKING:
    from openhearth.models.quality.gate import Divergence


def check_model(
    reference: Annotated[str, typer.Argument(metavar="REF", help="A model reference.")],
    precision: PrecisionOption = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", min=1, metavar="N", help="Tokens of the text, at most; 800 by default.")
    ] = None,
    device: DeviceOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare a converted model's predictions with its original weights in float32.

    Both read the same text, in pieces (prefill) and token by token (decode). Exit code 1 when the precision costs more
    than is allowed: a mean KL divergence of 0.02 nats, and another likeliest token at 5 % of the positions.
    """
    from openhearth.cli import exit_codes
    from openhearth.cli.console import say, write, write_json, write_table
    from openhearth.cli.progress import ProgressDisplay
    from openhearth.models.quality import check
    from openhearth.models.quality.gate import AGREEMENT_BAR, MEAN_BAR, TOKENS

    settings = settings_with(model={"precision": precision, "device": device})
    with ProgressDisplay(quiet=quiet) as progress:
        report = check.check_model(reference, settings, progress, tokens=tokens or TOKENS)
    if json:
        bars = {"mean": MEAN_BAR, "agreement": AGREEMENT_BAR}
        write_json({"model": reference, **dataclasses.asdict(report), "bars": bars, "holds": report.holds})
    else:
        rows = [("prefill", *_figures(report.prefill)), ("decode", *_figures(report.decode))]
        write_table(("", "mean KL", "max KL", "same top token"), rows)
        verdict = "good enough" if report.holds else "NOT good enough"
        write(f"{reference} in {report.precision} on {report.device}: {verdict}")
        say(
            f"The bars are a mean KL of {MEAN_BAR} and {AGREEMENT_BAR:.0%}. {report.tokens} tokens, "
            f"{report.seconds:.0f} s, at most {report.peak_bytes / 1e9:.1f} GB of memory.",
            "dim",
        )
    raise typer.Exit(exit_codes.DONE if report.holds else exit_codes.FAILED)


def _figures(divergence: Divergence) -> tuple[str, str, str]:
    return f"{divergence.mean:.4f}", f"{divergence.largest:.3f}", f"{divergence.agreement:.1%}"
