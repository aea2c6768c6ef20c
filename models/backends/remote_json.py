"""OpenAI's chat API as JSON: requests out, streamed pieces in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from openhearth.models.chat.calls import decode_arguments
from openhearth.models.chat.openai import message_as_json, tool_as_json
from openhearth.models.chat.reply import ReplyBuilder
from openhearth.types import CallPiece, FinishReason, ModelRequest, Piece, Sampling, Usage

_CONTEXT_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx")
_REASONS: dict[str, FinishReason] = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


@dataclass(frozen=True, slots=True)
class Delta:
    """One event's news."""

    text: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    finish: FinishReason | None = None
    usage: Usage | None = None


def request_body(request: ModelRequest, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [message_as_json(message, arguments_as_text=True) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.sampling),
    }
    if request.tools:
        body["tools"] = [tool_as_json(tool) for tool in request.tools]
        body["tool_choice"] = _choice(request.tool_choice)
    if request.output_schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "output", "schema": request.output_schema},
        }
    return body


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """OpenAI's parameters always; those that only other servers know where they change something."""
    values: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    optional = {
        "seed": sampling.seed,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop),
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty if sampling.repetition_penalty != 1.0 else None,
    }
    # A seed of 0 is a seed.
    return values | {key: value for key, value in optional.items() if value or (key == "seed" and value is not None)}


def _choice(choice: str) -> Any:
    if choice.startswith("tool:"):
        return {"type": "function", "function": {"name": choice.removeprefix("tool:")}}
    return choice


def context_length(models: Any, name: str) -> int | None:
    """What `/v1/models` says about the context of `name`; None when it says nothing."""
    entries = models.get("data") if isinstance(models, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("id") == name:
            meta = entry.get("meta")  # llama.cpp
            parts = (entry, meta) if isinstance(meta, dict) else (entry,)
            found = [part.get(key) for part in parts for key in _CONTEXT_KEYS]
            return next((value for value in found if isinstance(value, int) and value > 0), None)
    return None


def read_delta(event: Any) -> Delta:
    """The news in one event, or in a whole completion from a server that does not stream."""
    event = event if isinstance(event, dict) else {}
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("delta") or choice.get("message") or {}
    text = message.get("content")
    calls = message.get("tool_calls")
    reason = choice.get("finish_reason")
    return Delta(
        text=text if isinstance(text, str) else "",
        calls=tuple(call for call in calls if isinstance(call, dict)) if isinstance(calls, list) else (),
        finish=_REASONS.get(reason, "stop") if isinstance(reason, str) else None,
        usage=_usage(event.get("usage")),
    )


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    return Usage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(details, "cached_tokens") if isinstance(details, dict) else 0,
    )


def _count(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    return value if isinstance(value, int) and value > 0 else 0


@dataclass(slots=True)
class _Call:
    name: str = ""
    arguments: str = ""
    shown: int = 0


class RemoteCalls:
    """Puts calls together that a server sends in fragments."""

    def __init__(self) -> None:
        self._calls: dict[Any, _Call] = {}
        self._last: Any = None

    def feed(self, fragments: Iterable[dict[str, Any]], tokens: int) -> Iterator[Piece]:
        for fragment in fragments:
            call = self._calls.setdefault(self._key(fragment), _Call())
            function = fragment.get("function")
            function = function if isinstance(function, dict) else {}
            # The name comes whole; a server that repeats it does not mean to double it.
            call.name = call.name or str(function.get("name") or "")
            arguments = function.get("arguments")
            if isinstance(arguments, str):
                call.arguments += arguments
            if call.name and len(call.arguments) > call.shown:
                text, call.shown = call.arguments[call.shown :], len(call.arguments)
                yield CallPiece(list(self._calls.values()).index(call), call.name, text, tokens)

    def finish(self, reply: ReplyBuilder, tokens: int, *, truncated: bool) -> Iterator[Piece]:
        """Hand the complete calls to `reply`; one that cannot be read, or was cut off, is shown as text."""
        for call in self._calls.values():
            arguments = _whole(call.arguments) if truncated else decode_arguments(call.arguments)
            if arguments is None or not call.name:
                yield from reply.show(f"{call.name} {call.arguments}".strip(), tokens)
            else:
                reply.add_call(call.name, arguments)

    def _key(self, fragment: dict[str, Any]) -> Any:
        """Servers number the calls; some only give ids, and some nothing at all after the first fragment."""
        key = fragment.get("index")
        if key is None:
            key = fragment.get("id") or self._last or len(self._calls)
        self._last = key
        return key


def _whole(arguments: str) -> dict[str, Any] | None:
    """Arguments of a reply that was cut off, if this call had been finished by then."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
