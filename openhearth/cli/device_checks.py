"""What `hearth doctor` finds out about the device that models run on."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

from openhearth.cli import exit_codes
from openhearth.cli.check import Check
from openhearth.config import Settings

if TYPE_CHECKING:
    from openhearth.models.conformance.verdict import Verdict


def torch_check(settings: Settings) -> Check:
    """Which device there is, and with how many threads it is used."""
    from openhearth.models.device_policy import device_facts
    from openhearth.models.devices import choose_device, physical_cores

    device = choose_device(settings.model.device)
    name = device_facts(device).name
    threads = settings.model.threads or physical_cores()
    where = f"{device} ({name})" + (f", {threads} threads" if device.type == "cpu" else "")
    return Check("torch", "ok", f"{version('torch')} on {where}")


def kernels_check(settings: Settings) -> Check:
    """Whether quantised weights are computed with natively, and with which instructions."""
    from openhearth.models.devices import choose_device
    from openhearth.models.kernels.library import level, why_not, worth_using

    device = choose_device(settings.model.device)
    if device.type != "cpu":
        return Check("kernels", "ok", f"the native ones are for processors; {device} uses torch's")
    if worth_using():
        return Check("kernels", "ok", f"native, {level()}")
    reason = why_not() or f"they would run as {level()} C here, which is slower than torch's"
    hint = "Models are converted to int8 instead of native, and decode a little slower; nothing is lost."
    return Check("kernels", "warning", f"no native ones: {reason}", hint)


def device_check(settings: Settings) -> Check:
    """Whether the device computes what the engine asks of it, in one line."""
    from openhearth.models.conformance.suite import check_device
    from openhearth.models.devices import choose_device

    device = choose_device(settings.model.device)
    verdicts = list(check_device(device))
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    if wrong:
        detail = f"{len(wrong)} of {len(verdicts)} kernels and models come out wrong on {device}: {wrong[0].name}"
        hint = f"`hearth doctor --device {device}` says what is wrong; `--device cpu` runs models on the processor."
        return Check("device", "failed", detail, hint, exit_codes.FAILED)
    return Check("device", "ok", f"{len(verdicts)} kernels and tiny models come out right on {device}")


def memory_check(settings: Settings) -> Check:
    """How much memory models find, and, on a CPU, in which pages: that halves or doubles what it can read a second."""
    from openhearth.models.device_memory import huge_pages, memory_of
    from openhearth.models.devices import choose_device

    device = choose_device(settings.model.device)
    memory = memory_of(device)
    detail = f"{memory.free / 1e9:.1f} of {memory.total / 1e9:.1f} GB free on {device}"
    if device.type != "cpu":
        return Check("memory", "ok", detail)
    pages = huge_pages()
    if pages == "never":
        hint = "Decoding reads all weights for each token; in small pages that can take twice as long.\n"
        hint += "As root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        return Check("memory", "warning", f"{detail}; huge pages are switched off", hint)
    return Check("memory", "ok", detail + (f"; huge pages: {pages}" if pages else ""))


def device_verdicts(name: str) -> Iterator[Verdict]:
    """Everything that the conformance suite finds on the device `name`. Raises ConfigError."""
    from openhearth.models.conformance.suite import check_device
    from openhearth.models.devices import choose_device

    yield from check_device(choose_device(name))


def describe(verdict: Verdict) -> str:
    """A line for a person."""
    state = "ok" if verdict.ok else "failed"
    found = "" if verdict.difference is None else f"{verdict.difference:.2g} of {verdict.tolerance:.2g}"
    return f"{state:<8} {verdict.name:<52} {found}".rstrip()
