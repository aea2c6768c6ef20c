"""The two grammar libraries side by side: llguidance, which OpenHearth uses, and xgrammar.

    python benchmarks/grammar.py [--json] [--without-peers] [--repeats 5] [--model NAME]

Both hold the same reply, a tool call in the layout of Qwen's template, to a grammar with one alternative per tool.
llguidance gets the schemas that the decoder enforces, with their bounds. xgrammar gets them without: bounds on strings
cost it seconds (measured as well), and forbid every escape in them. Measured are the import (in a process of its own,
torch being loaded already, as it always is where a model runs), reading the vocabulary, compiling for 1 and for 20
tools, and the mask of one token. `forced` is the share of the call's tokens that need no sampling; `canonical` is the
share of all forced tokens that are the ones the tokenizer itself would have chosen. Needs `pip install xgrammar`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from _harness import CATALOG_MODELS, Report, Result, argument_parser, in_turns, main, medians, progress, require_peers
from tokenizers import Tokenizer

from openhearth.config import load_settings
from openhearth.models.chat import call_grammar
from openhearth.models.chat.detokenise import TokenBytes
from openhearth.models.chat.formats.hermes import HERMES
from openhearth.models.chat.grammar import GrammarCompiler
from openhearth.models.chat.schema import bounded
from openhearth.models.loading.store import CONFIG, TOKENIZER
from openhearth.models.pull import pull
from openhearth.types import ToolSpec

PARAMETERS = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "mode": {"enum": ["text", "binary"]},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "options": {
            "type": "object",
            "properties": {"follow": {"type": "boolean"}, "limit": {"type": "integer", "minimum": 1}},
            "required": ["limit"],
        },
    },
    "required": ["path", "mode"],
}
ARGUMENTS = {
    "path": 'notes/été "2024".txt',
    "mode": "text",
    "lines": [1, 20, 300],
    "options": {"follow": True, "limit": 10},
}
COUNTS = (1, 20)


def tools(count: int) -> list[ToolSpec]:
    return [ToolSpec(name=f"read_part_{n}", description="Read.", parameters=PARAMETERS) for n in range(count)]


def reply(count: int) -> str:
    arguments = json.dumps(ARGUMENTS, ensure_ascii=False)
    return f'<tool_call>\n{{"name": "read_part_{count - 1}", "arguments": {arguments}}}\n</tool_call>'


class Place(Protocol):
    """Where a reply stands in its grammar."""

    def forced(self) -> Sequence[int]: ...

    def allows(self, token: int) -> bool:
        """Whether the mask, computed now, has `token`."""
        ...

    def accept(self, token: int) -> None: ...


class Llguidance:
    """Through the code that the decoder uses."""

    name = "llguidance"

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_ids: Sequence[int]) -> None:
        self._compiler = GrammarCompiler(tokenizer, vocab_size=vocab_size, eos_ids=eos_ids)
        self._compiler.warm_up()
        self._added = {token.content: id_ for id_, token in tokenizer.get_added_tokens_decoder().items()}
        self._round = 0

    def compile(self, count: int, *, bounds: bool = True) -> Callable[[], Place]:
        # A comment, so that the compiler's cache does not know it.
        self._round += 1
        grammar = f"{call_grammar.marked_call(tools(count), HERMES, self._added.get)}// {self._round}\n"
        self._compiler.start(grammar)
        return lambda: _LlguidancePlace(self._compiler.start(grammar))


class _LlguidancePlace:
    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher
        self.forced, self.accept = matcher.forced, matcher.accept

    def allows(self, token: int) -> bool:
        return bool(int(self._matcher.mask()[token // 32]) >> token % 32 & 1)


class Xgrammar:
    """Through its structural tags; its jump-forward text is cut by the tokenizer, as its users must do."""

    name = "xgrammar"

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_ids: Sequence[int]) -> None:
        import xgrammar

        self._xgrammar, self._tokenizer = xgrammar, tokenizer
        pieces = TokenBytes(tokenizer, keep=(HERMES.opener, HERMES.closer))
        info = xgrammar.TokenizerInfo(
            [pieces[token] for token in range(vocab_size)], vocab_size=vocab_size, stop_token_ids=list(eos_ids)
        )
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self._vocab_size = vocab_size

    def compile(self, count: int, *, bounds: bool = False) -> Callable[[], Place]:
        schema = bounded(PARAMETERS) if bounds else PARAMETERS
        tags = [
            {
                "type": "tag",
                "begin": f'<tool_call>\n{{"name": "{tool.name}", "arguments": ',
                "content": {"type": "json_schema", "json_schema": schema, "any_whitespace": False},
                "end": "}\n</tool_call>",
            }
            for tool in tools(count)
        ]
        compiled = self._compiler.compile_structural_tag(
            {"type": "structural_tag", "format": {"type": "or", "elements": tags}}
        )
        return lambda: _XgrammarPlace(self._xgrammar.GrammarMatcher(compiled), self)

    def cut(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def bitmask(self) -> torch.Tensor:
        mask: torch.Tensor = self._xgrammar.allocate_token_bitmask(1, self._vocab_size)
        return mask


class _XgrammarPlace:
    def __init__(self, matcher: Any, library: Xgrammar) -> None:
        self._matcher, self._library, self._mask = matcher, library, library.bitmask()

    def forced(self) -> Sequence[int]:
        text = self._matcher.find_jump_forward_string()
        return self._library.cut(text) if text else ()

    def allows(self, token: int) -> bool:
        self._matcher.fill_next_token_bitmask(self._mask)
        return bool(int(self._mask[0, token // 32]) >> token % 32 & 1)

    def accept(self, token: int) -> None:
        if not self._matcher.accept_token(token):
            raise RuntimeError(f"xgrammar refused token {token}")


Library = Llguidance | Xgrammar


def import_time(module: str) -> float:
    code = f"import torch, time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def compile_time(library: Library, count: int, **options: bool) -> float:
    started = time.perf_counter()
    library.compile(count, **options)
    return 1e3 * (time.perf_counter() - started)


def mask_times(place: Place, ids: Sequence[int]) -> Iterator[float]:
    """Milliseconds of each token's mask along the reply, nothing being forced."""
    for token in ids:
        started = time.perf_counter()
        allowed = place.allows(token)
        yield 1e3 * (time.perf_counter() - started)
        if not allowed:
            raise RuntimeError(f"the grammar does not allow token {token} of its own reply")
        place.accept(token)


def forced_shares(place: Place, text: str, tokenizer: Tokenizer) -> tuple[float, float]:
    """The share of forced tokens, and of those the share that the tokenizer would choose, for the reply `text`."""
    canonical = tokenizer.encode(text, add_special_tokens=False).ids
    pieces = TokenBytes(tokenizer, keep=(HERMES.opener, HERMES.closer))
    ends = {0}
    for position, token in enumerate(canonical):
        ends.add(len(b"".join(pieces[t] for t in canonical[:position])) + len(pieces[token]))
    done, rest, total, forced, right = 0, text.encode(), 0, 0, 0
    while rest:
        batch = list(place.forced())
        sampled = not batch
        if sampled:
            batch = [tokenizer.encode(rest.decode(), add_special_tokens=False).ids[0]]
        for token in batch:
            start, done = done, done + len(pieces[token])
            place.accept(token)
            total += 1
            if not sampled:
                forced += 1
                right += start in ends and done in ends
        rest = text.encode()[done:]
    return forced / total, right / forced


def measure(name: str, report: Report, repeats: int, *, peers: bool) -> None:
    store = pull(name, load_settings(), progress)
    tokenizer = Tokenizer.from_file(str(store / TOKENIZER))
    config = json.loads((store / CONFIG).read_text())
    kinds: list[type[Library]] = [Llguidance, *([Xgrammar] if peers else [])]
    libraries: dict[str, Library] = {}

    def add(what: str, unit: str, values: dict[str, float], samples: dict[str, list[float]]) -> None:
        peer = {"peer_name": Xgrammar.name, "peer": values[Xgrammar.name]} if peers else {}
        report.add(Result(f"{name}: {what}", unit, values[Llguidance.name], samples=samples, **peer))  # type: ignore[arg-type]

    def load(kind: type[Library]) -> float:
        started = time.perf_counter()
        libraries[kind.name] = kind(tokenizer, config["vocab_size"], config["eos_ids"])
        return time.perf_counter() - started

    samples = in_turns({kind.name: lambda _, kind=kind: load(kind) for kind in kinds}, repeats)
    add("reading the vocabulary", "s", medians(samples), samples)
    for count in COUNTS:
        samples = in_turns(
            {key: lambda _, it=library, n=count: compile_time(it, n) for key, library in libraries.items()}, repeats
        )
        add(f"compiling, {count} tool{'s' * (count > 1)}", "ms", medians(samples), samples)
    samples = in_turns(
        {key: lambda _, it=library: compile_time(it, 1, bounds=True) for key, library in libraries.items()}, 1
    )
    add("compiling, 1 tool, strings bounded", "ms", medians(samples), samples)
    starts = {key: library.compile(COUNTS[-1]) for key, library in libraries.items()}
    ids = tokenizer.encode(reply(COUNTS[-1]), add_special_tokens=False).ids
    masks = {
        key: [milliseconds for _ in range(repeats) for milliseconds in mask_times(start(), ids)]
        for key, start in starts.items()
    }
    add("mask, median", "ms", {key: statistics.median(times) for key, times in masks.items()}, {})
    add("mask, slowest", "ms", {key: max(times) for key, times in masks.items()}, {})
    shares = {key: forced_shares(start(), reply(COUNTS[-1]), tokenizer) for key, start in starts.items()}
    add("forced", "", {key: forced for key, (forced, _) in shares.items()}, {})
    add("forced, canonical", "", {key: canonical for key, (_, canonical) in shares.items()}, {})


def run() -> int:
    parser = argument_parser(__doc__, repeats=5)
    parser.add_argument("--without-peers", action="store_true", help="measure llguidance alone")
    options = parser.parse_args()
    peers = require_peers(["xgrammar"], without=options.without_peers)
    report = Report(options)
    modules = [Llguidance.name, *([Xgrammar.name] if peers else [])]
    samples = in_turns({module: lambda _, module=module: import_time(module) for module in modules}, options.repeats)
    values = medians(samples)
    report.add(
        Result(
            "import, torch being loaded",
            "s",
            values[Llguidance.name],
            peer_name=Xgrammar.name if peers else None,
            peer=values.get(Xgrammar.name),
            samples=samples,
        )
    )
    for name in options.models or CATALOG_MODELS:
        measure(name, report, options.repeats, peers=peers)
    return report.finish()


if __name__ == "__main__":
    main(run)
