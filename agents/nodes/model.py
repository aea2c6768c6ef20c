"""model: one round. Build the request, stream the reply, keep it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from langgraph.runtime import Runtime

from openhearth.agents import budget, context, prompt
from openhearth.agents.execution import Draft, Execution
from openhearth.agents.grounding import ungrounded
from openhearth.agents.repetition import pushed
from openhearth.agents.scope import closing
from openhearth.agents.state import LoopState
from openhearth.errors import ModelError, RunError
from openhearth.events import CallDelta, ModelFinished, ModelRouted, Notice, StepStarted, TextDelta
from openhearth.storage import runs, steps
from openhearth.storage.ids import new_id
from openhearth.storage.store import Session
from openhearth.types import Message, ModelRequest, Reply, Routing, TextPiece, Usage

MOST_SENT_BACK = 2
"""How often a run's answers are sent back; a model that insists then has its way."""


@dataclass(frozen=True, slots=True)
class Round:
    """A request that fits, and what it may use. `closing` says why no tools are offered; empty: they are."""

    request: ModelRequest
    granted: budget.Allowance
    prompt_tokens: int
    closing: str
    answers_in_json: bool


async def model(state: LoopState, runtime: Runtime[Execution]) -> LoopState:
    run = runtime.context
    started = run.enter(state)
    step = state["step"] + 1
    path = await run.path(state["head"])
    planned = await _plan(run, state, path)
    await _announce(run, step, planned)
    reply, cut_call = await run.scope.guard(_stream(run, planned))
    message = _kept(reply, planned, path)
    spent = run.spent.with_reply(reply.usage, reply.timings, time.monotonic() - started)
    run.spent, run.draft.usage = spent, Usage()
    _check(run, reply, message, planned)
    run.draft = Draft()
    phase, follow_up = _what_next(run, state, path, reply, message, planned, cut_call=cut_call)
    new = [message, *(prompt.from_runtime(text) for text in follow_up)]
    head, ids = state["head"], [new_id("msg") for _ in new]
    writes = [run.message(each, parent, id_) for each, parent, id_ in zip(new, [head, *ids], ids, strict=False)]

    def write(session: Session) -> None:
        for each in writes:
            each(session)
        steps.finish(session, run.run_id, step, usage=reply.usage)
        runs.update(session, run.run_id, usage=spent.usage, steps=spent.rounds, duration_s=spent.work_s)

    finished = ModelFinished(
        **run.ids,
        message=message,
        usage=reply.usage,
        timings=reply.timings,
        context_used=reply.usage.total_tokens,
        context_length=run.model.info.context_length,
    )
    sent_back = bool(follow_up) and phase in ("check", "mend")
    run.journal.stage(write, finished, *_notices(run, reply, message, planned, sent_back=sent_back))
    return {
        "head": ids[-1],
        "reply": ids[0],
        "calls": len(message.tool_calls),
        "next_call": 0,
        "step": step,
        "phase": phase,
        "sent_back": state["sent_back"] + sent_back,
        "spent": spent.model_dump(mode="json"),
    }


async def _plan(run: Execution, state: LoopState, path: list[Message]) -> Round:
    limits, specs = run.spec.limits, run.tools.all.specs()
    schema = run.spec.output_schema
    request = ModelRequest(
        messages=context.conversation(path, reminder=prompt.data_reminder(specs) if prompt.shows_data(path) else ""),
        tools=specs,
        tool_choice=("required" if state["phase"] == "mend" else "auto") if specs else "none",
    )
    tokens = await context.count_prompt(run.model, request)
    granted = budget.allowance(limits, run.spent, tokens)
    closing = granted.last or state["withhold"] if specs else ""
    as_json = schema is not None and (not specs or bool(closing) or state["phase"] == "answer")
    notices = [prompt.last_round(closing)] if closing else []
    if as_json and state["phase"] != "answer":
        notices.append(prompt.JSON_ANSWER)
    if as_json:
        request = request.model_copy(update={"tool_choice": "none"})
    if notices:
        request = request.model_copy(
            update={"messages": context.with_notice(request.messages, "\n".join(notices)), "tool_choice": "none"}
        )
        tokens = await context.count_prompt(run.model, request)
    sampling = pushed(run.spec.sampling, run.spent.rounds) if state["repeated"] else run.spec.sampling
    room = run.model.info.context_length - tokens if tokens is not None else granted.max_tokens
    request = request.model_copy(
        update={
            "sampling": sampling.model_copy(update={"max_tokens": min(granted.max_tokens, room)}),
            "output_schema": schema if as_json else None,
            "time_limit_s": granted.time_limit_s,
        }
    )
    return Round(request, granted, tokens or 0, closing, as_json)


async def _announce(run: Execution, step: int, planned: Round) -> None:
    notices = [Notice(text=f"No more tools: {planned.closing}.", **run.ids)] if planned.closing else []

    def write(session: Session) -> None:
        steps.start(session, run.run_id, step, "model")

    await run.journal.commit(write, StepStarted(step=step, node="model", **run.ids), *notices, durable=False)


async def _stream(run: Execution, planned: Round) -> tuple[Reply, bool]:
    """The reply, and whether it ended inside a call."""
    run.draft, calls_begun = Draft(), 0
    async with closing(run.model.stream(planned.request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Reply):
                run.draft.text = piece.message.content
                return piece, piece.finish == "length" and calls_begun > len(piece.message.tool_calls)
            if isinstance(piece, Routing):
                await run.journal.commit(_nothing, ModelRouted(routing=piece, **run.ids), durable=False)
                continue
            run.draft.usage = Usage(prompt_tokens=planned.prompt_tokens, completion_tokens=piece.tokens)
            if isinstance(piece, TextPiece):
                run.draft.text += piece.text
                run.journal.show(TextDelta(text=piece.text, tokens=piece.tokens, **run.ids))
            else:
                calls_begun = max(calls_begun, piece.index + 1)
                run.journal.show(
                    CallDelta(index=piece.index, name=piece.name, text=piece.text, tokens=piece.tokens, **run.ids)
                )
    raise ModelError(f"{run.model.info.reference} ended its stream without a reply.", hint="Its backend has a bug.")


def _nothing(_: Session) -> None:
    """An event that comes alone."""


def _kept(reply: Reply, planned: Round, path: list[Message]) -> Message:
    """The message for the history: without calls that were not allowed, and with call ids that nobody has used."""
    if planned.request.tool_choice == "none":
        return reply.message.model_copy(update={"tool_calls": ()})
    used = {call.id for message in path for call in message.tool_calls}
    calls = []
    for call in reply.message.tool_calls:
        number = len(used) + 1
        identifier = call.id
        while not identifier or identifier in used:
            identifier, number = f"call_{number}", number + 1
        used.add(identifier)
        calls.append(call.model_copy(update={"id": identifier}))
    return reply.message.model_copy(update={"tool_calls": tuple(calls)})


def _check(run: Execution, reply: Reply, message: Message, planned: Round) -> None:
    """Raise what ends the run here. The text so far is in `run.draft` and will be kept."""
    limits, granted = run.spec.limits, planned.granted
    if reply.finish == "cancelled":
        run.scope.cancel()
        run.scope.check()
    if reply.finish == "length":
        budget.check_cut_reply(limits, granted, run.spent, reply.usage.completion_tokens)
    if planned.closing and not message.content.strip():
        if granted.last:
            raise budget.no_answer(granted)
        raise RunError(
            f"The model gave no answer: {planned.closing}.", hint="Give clearer instructions, or a larger model."
        )


def _notices(run: Execution, reply: Reply, message: Message, planned: Round, *, sent_back: bool) -> list[Notice]:
    texts = []
    if reply.finish == "length":
        texts.append(f"The reply was cut after {reply.usage.completion_tokens:,} tokens.")
    if len(reply.message.tool_calls) > len(message.tool_calls):
        texts.append("The model asked for a tool where none was on offer; the call was left out.")
    if sent_back:
        texts.append("The answer was not computed from the data; it was sent back.")
    return [Notice(**run.ids, text=text) for text in texts]


def _what_next(
    run: Execution,
    state: LoopState,
    path: list[Message],
    reply: Reply,
    message: Message,
    planned: Round,
    *,
    cut_call: bool,
) -> tuple[str, list[str]]:
    """The next phase, and what the model is told for it.

    `work`, `check` (an answer that was not computed goes back), `mend` (so does one after a failed computation, and now
    the model must call), `answer` (once more, as JSON) or `done`.
    """
    if message.tool_calls:
        return "work", []
    if cut_call and not planned.closing:
        return "work", [prompt.CUT_CALL.format(tokens=reply.usage.completion_tokens)]
    if not planned.closing and not planned.answers_in_json and state["sent_back"] < MOST_SENT_BACK:
        sent_back = _complaint(run, state, path, message) if prompt.shows_data(path) else None
        if sent_back is not None:
            return sent_back
    if run.spec.output_schema is not None and not planned.answers_in_json:
        return "answer", [prompt.JSON_ANSWER]
    return "done", []


def _complaint(run: Execution, state: LoopState, path: list[Message], message: Message) -> tuple[str, list[str]] | None:
    """What is wrong with an answer about data: a computation that failed before it, or a figure from nowhere."""
    specs = run.tools.all.specs()
    code = {spec.name for spec in specs if spec.language}
    after_failure = next((m.name in code for m in reversed(path) if m.role == "tool"), False)
    if state["failed"] and after_failure:
        return "mend", [prompt.uncorrected(specs)]
    figures = ungrounded(message.content, path)
    return ("check", [prompt.uncomputed(figures, specs)]) if figures else None
