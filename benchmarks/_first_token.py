"""A fresh process that opens a model, makes one token, and says so: what `startup.py` measures from outside.

    python _first_token.py ours|llama.cpp PATH THREADS CONTEXT

It prints a line at the first token. When a line comes in on standard input, that many tokens are read as a prompt and
another line is printed; at the end of the input it ends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

First = Callable[[list[int]], None]
"""Reads a prompt and makes one token."""


def ours(store: Path, threads: int, context: int) -> First:
    from openhearth.models.engine.engine import Engine
    from openhearth.models.engine.request import GenerationRequest
    from openhearth.types import Sampling

    engine = Engine.load(store, device="cpu", threads=threads, context=context)

    def first(prompt: list[int]) -> None:
        list(engine.generate_sync(GenerationRequest(prompt, Sampling(max_tokens=1), stop_ids=frozenset())))

    return first


def llama_cpp(gguf: Path, threads: int, context: int) -> First:
    from _llama import LlamaContext

    llama = LlamaContext(gguf, threads, context=context)

    def first(prompt: list[int]) -> None:
        llama.forget()
        llama.prompt(prompt)

    return first


def main() -> None:
    kind, path, threads, context = sys.argv[1:]
    first = {"ours": ours, "llama.cpp": llama_cpp}[kind](Path(path), int(threads), int(context))
    first([200, 300, 400, 500, 600, 700, 800, 900])
    print("first token", flush=True)
    for line in sys.stdin:
        first([1000 + number * 17 % 20_000 for number in range(int(line))])
        print("read", flush=True)


if __name__ == "__main__":
    main()
