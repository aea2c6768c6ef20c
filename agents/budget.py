"""What a run may still use. The last affordable model round gets no tools, so that there is an answer."""

from __future__ import annotations

from dataclasses import dataclass

from openhearth.agents.spec import Limits
from openhearth.agents.state import Spent
from openhearth.errors import BudgetExceededError

_LAST_SHARE_OF_TIME = 0.1


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the next model round may use. `last` says why it is the last one; empty: it is not."""

    max_tokens: int
    time_limit_s: float
    last: str = ""


def allowance(limits: Limits, spent: Spent, prompt_tokens: int | None) -> Allowance:
    """`prompt_tokens` are those of the coming request; what it shares with the previous one counts as cached.

    Raises BudgetExceededError when nothing is left for another round.
    """
    new_prompt = max(0, (prompt_tokens or 0) - spent.context_used)
    tokens_left = limits.max_tokens - spent.tokens - new_prompt
    time_left = limits.max_time_s - spent.work_s
    if tokens_left <= 0:
        raise BudgetExceededError(
            f"The run may use {limits.max_tokens:,} tokens; it has used {spent.tokens:,}"
            f" and needs {new_prompt:,} to go on.",
            hint="Raise agent.max_tokens, or give a smaller task.",
        )
    if spent.rounds >= limits.max_steps:
        raise BudgetExceededError(
            f"The run has made its {limits.max_steps} model rounds.",
            hint="Raise agent.max_steps, or give a smaller task.",
        )
    return Allowance(
        max_tokens=min(limits.max_reply_tokens, tokens_left),
        time_limit_s=time_left_s(limits, spent),
        last=_why_last(limits, spent, tokens_left, time_left),
    )


def time_left_s(limits: Limits, spent: Spent, now_s: float = 0.0) -> float:
    """Seconds of work that are left, `now_s` of the current node taken off. Raises BudgetExceededError at zero."""
    left = limits.max_time_s - spent.work_s - now_s
    if left <= 0:
        raise out_of_time(limits)
    return left


def check_cut_reply(limits: Limits, granted: Allowance, spent: Spent, completion_tokens: int) -> None:
    """Raise BudgetExceededError when a reply was cut because the run's budget ended, and not its own limit."""
    if completion_tokens >= granted.max_tokens:
        if granted.max_tokens < limits.max_reply_tokens:
            raise _cut_by_tokens(limits, granted)
    # A backend stops at the last token that ends in time, so a little is always left.
    elif limits.max_time_s - spent.work_s <= 0.1 + 0.02 * granted.time_limit_s:
        raise out_of_time(limits)


def out_of_time(limits: Limits) -> BudgetExceededError:
    return BudgetExceededError(
        f"The run has worked for its {limits.max_time_s:g} seconds.",
        hint="Raise agent.max_time_s, or give a smaller task.",
    )


def _cut_by_tokens(limits: Limits, granted: Allowance) -> BudgetExceededError:
    return BudgetExceededError(
        f"The reply was cut after {granted.max_tokens:,} tokens, where the run's {limits.max_tokens:,} tokens ended.",
        hint="Raise agent.max_tokens, or give a smaller task.",
    )


def no_answer(granted: Allowance) -> BudgetExceededError:
    """The error for a last round in which the model wrote nothing."""
    return BudgetExceededError(
        f"The model gave no answer in its last round: {granted.last}.",
        hint="Raise the limit, or give a smaller task.",
    )


def _why_last(limits: Limits, spent: Spent, tokens_left: int, time_left: float) -> str:
    if spent.rounds + 1 >= limits.max_steps:
        return f"this is the last of {limits.max_steps} rounds"
    if spent.calls >= limits.max_tool_calls:
        return f"the limit of {limits.max_tool_calls} tool calls is reached"
    if tokens_left <= limits.max_reply_tokens:
        return "the token budget is nearly spent"
    if time_left <= limits.max_time_s * _LAST_SHARE_OF_TIME:
        return "the time is nearly over"
    return ""
