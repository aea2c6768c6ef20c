"""What one request allows and demands of its reply, in grammars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from openhearth.models.chat import call_grammar
from openhearth.models.chat.call_grammar import TokenId
from openhearth.models.chat.calls import offered_tools
from openhearth.models.chat.events import Region
from openhearth.models.chat.formats import ToolFormat
from openhearth.models.chat.grammar import GrammarCompiler
from openhearth.types import ModelRequest, ToolSpec


@dataclass(frozen=True)
class CallPlan:
    """`tools` may be called; with `must_call` the reply begins with a call, with `one_call` it also ends with it.

    With `output`, a JSON Schema, the reply is an instance of it unless it begins with a call.
    """

    tools: tuple[ToolSpec, ...]
    tool_format: ToolFormat
    compiler: GrammarCompiler
    token_id: TokenId
    must_call: bool = False
    one_call: bool = False
    output: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls, request: ModelRequest, tool_format: ToolFormat, compiler: GrammarCompiler, token_id: TokenId
    ) -> CallPlan:
        """Raises ModelError when the request demands a tool that it does not offer."""
        tools = offered_tools(request)
        named = request.tool_choice.startswith("tool:")
        must_call = named or request.tool_choice == "required"
        return cls(
            tools,
            tool_format,
            compiler,
            token_id,
            must_call=must_call,
            one_call=named,
            output=None if must_call else request.output_schema,
        )

    @property
    def steers(self) -> bool:
        """Whether there is anything to hold the decoder to."""
        return bool(self.tools) or self.output is not None

    def opening(self) -> str | None:
        """The grammar that the reply begins with, if it may not begin freely."""
        if not self.must_call and self.output is None:
            return None
        return call_grammar.first_thing(self._enforceable, self.tool_format, self.token_id, output=self.output)

    def grammars(self, region: Region) -> Iterator[str]:
        """The grammars that may hold for a call that has begun as `region` did, best first."""
        tools = self._enforceable
        if region.kind == "marker":
            yield call_grammar.marked_call(tools, self.tool_format, self.token_id)
            if not self.tool_format.named:
                yield call_grammar.free_call(tools, self.tool_format, self.token_id)
        else:
            yield call_grammar.free_call(tools)
            if region.sure:
                yield call_grammar.unknown_call()

    @cached_property
    def _enforceable(self) -> tuple[ToolSpec, ...]:
        """The tools; a schema that the grammar library cannot express is enforced as any JSON object."""
        return tuple(
            tool
            if self.compiler.compiles(call_grammar.instance(tool.parameters))
            else tool.model_copy(update={"parameters": {"type": "object"}})
            for tool in self.tools
        )
