"""The state of the loop. It is small and its size does not grow: messages, calls and outcomes live in their tables."""

from __future__ import annotations

from typing import Any, TypedDict

from openhearth.types import Timings, Usage, Value


class Spent(Value):
    """What a run has used so far. `work_s` leaves out the time it waited for a person."""

    rounds: int = 0
    calls: int = 0
    usage: Usage = Usage()
    work_s: float = 0.0
    decode_s: float = 0.0
    context_used: int = 0

    @property
    def tokens(self) -> int:
        """What counts against the token budget: cached prompt tokens cost nothing."""
        return self.usage.total_tokens - self.usage.cached_tokens

    @property
    def tokens_per_second(self) -> float:
        """Decode speed over all rounds; each round's first token belongs to its prefill."""
        decoded = self.usage.completion_tokens - self.rounds
        return decoded / self.decode_s if decoded > 0 and self.decode_s > 0 else 0.0

    def with_reply(self, usage: Usage, timings: Timings, work_s: float) -> Spent:
        return Spent(
            rounds=self.rounds + 1,
            calls=self.calls,
            usage=self.usage + usage,
            work_s=self.work_s + work_s,
            decode_s=self.decode_s + timings.decode_s,
            context_used=usage.total_tokens,
        )

    def with_call(self, work_s: float) -> Spent:
        return self.model_copy(update={"calls": self.calls + 1, "work_s": self.work_s + work_s})


class LoopState(TypedDict, total=False):
    """Channels of the graph. All values are JSON.

    `head` is the run's last message, `reply` the assistant message whose calls are being worked on, `next_call` the
    index of the first one without a result. `recent` remembers fingerprints of the latest calls, `failed` and
    `repeated` what the last one was, `withhold` says why the next round gets no tools, `phase` is what the next model
    round is for, `sent_back` how many answers were sent back. `step` counts executed nodes.
    """

    head: str
    reply: str
    next_call: int
    calls: int
    step: int
    phase: str
    sent_back: int
    withhold: str
    recent: list[str]
    failed: bool
    repeated: bool
    spent: dict[str, Any]


def first_state() -> LoopState:
    """Where every run starts."""
    return {
        "calls": 0,
        "next_call": 0,
        "step": 0,
        "phase": "work",
        "sent_back": 0,
        "withhold": "",
        "recent": [],
        "failed": False,
        "repeated": False,
        "spent": {},
    }
