"""A model's own chat template: somebody else's program, rendered in a bounded sandbox.

The functions and tags are those that Hugging Face's `transformers` gives to templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2.exceptions import SecurityError, TemplateError
from jinja2.meta import find_undeclared_variables

from openhearth.errors import MalformedFileError, ModelError
from openhearth.models.chat.sandbox import BoundedEnvironment, Budget, Refused, budget

_MIN_VALUE = 1_000_000
_MIN_OUTPUT = 4_000_000
_HINT = "Use another model file, or one with a mended chat template."
_FAILURES = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TemplateError, TypeError)


class TemplateRefusal(ModelError):
    """The template itself refuses the messages, by `raise_exception`."""


class ChatTemplate:
    """A compiled template, and what it can do.

    `takes_system`: a system message reaches the prompt. `takes_tools`: it offers tools and renders calls.
    Raises MalformedFileError for one that is not Jinja.
    """

    def __init__(self, source: str) -> None:
        environment = BoundedEnvironment()
        try:
            variables = find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except (*_FAILURES, ValueError) as error:
            raise MalformedFileError(f"The chat template is not valid: {_text(error)}.", hint=_HINT) from error
        self.takes_tools = "tools" in variables
        self.takes_system = self._probe_system()

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The prompt for `messages`, which are dictionaries of OpenAI's chat API.

        Raises TemplateRefusal when the template rejects them, MalformedFileError when it fails or oversteps.
        """
        variables |= {"messages": messages, "tools": list(tools) or None, "documents": None}
        size = 4 * sum(len(str(message)) for message in messages)
        token = budget.set(Budget(value=max(_MIN_VALUE, size)))
        try:
            pieces = self._template.generate(add_generation_prompt=add_generation_prompt, **variables)
            return _joined(pieces, max(_MIN_OUTPUT, size))
        except Refused as error:
            raise TemplateRefusal(f"The chat template refuses the conversation: {error}") from error
        except SecurityError as error:
            raise MalformedFileError(f"The chat template is not safe: {_text(error)}.", hint=_HINT) from error
        except (*_FAILURES, ValueError) as error:
            raise MalformedFileError(f"The chat template fails: {_text(error)}.", hint=_HINT) from error
        finally:
            budget.reset(token)

    def _probe_system(self) -> bool:
        """Some templates drop a system message, and some refuse it."""
        mark = "hearth-system-probe"
        try:
            return mark in self.render([{"role": "system", "content": mark}, {"role": "user", "content": "x"}])
        except ModelError:
            return False


def _joined(pieces: Iterator[str], limit: int) -> str:
    parts: list[str] = []
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > limit:
            raise SecurityError("it writes too much text")
        parts.append(piece)
    return "".join(parts)


def _text(error: BaseException) -> str:
    line = getattr(error, "lineno", None)
    return f"{str(error).rstrip('.') or type(error).__name__}" + (f" (line {line})" if line else "")
