"""Numbers about an engine, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Metrics:
    """One look at an engine, from any thread; the counts are since it was loaded.

    `prompt_tokens` are those of all requests that were begun, `hit_tokens` those of them that were found in the cache.
    `completion_tokens` came out. `evictions` are blocks that were forgotten for others; `used_bytes` of
    `budget_bytes` hold keys and values, be it only for later. `running` requests are being worked on, `waiting` ones
    are not yet, and `preemptions` counts how often one had to step back. Of `proposed_tokens` that were guessed ahead,
    `accepted_tokens` came true. `steps` is how often the model ran, over `rows` tokens altogether.
    """

    prompt_tokens: int = 0
    hit_tokens: int = 0
    completion_tokens: int = 0
    evictions: int = 0
    used_bytes: int = 0
    budget_bytes: int = 0
    running: int = 0
    waiting: int = 0
    preemptions: int = 0
    proposed_tokens: int = 0
    accepted_tokens: int = 0
    steps: int = 0
    rows: int = 0
