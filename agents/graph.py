"""The loop, as a LangGraph graph.

    prepare ──> model ──> act ──┐
                 │ ^ ^    │ ^   │     act: one tool call at a time, until the reply's calls are answered
                 │ └─┼────┘ └───┘
                 v   └ model: once more, as JSON or after a reply that was cut
                end

Each superstep is durable before the next one starts. A node that is repeated after a crash finds in the tables what
it did before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph

from openhearth.agents.execution import Execution
from openhearth.agents.nodes.act import act
from openhearth.agents.nodes.model import model
from openhearth.agents.nodes.prepare import prepare
from openhearth.agents.state import LoopState

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

UNBOUNDED = 1_000_000
"""Supersteps; the run's own limits end it long before."""


def build_graph(saver: BaseCheckpointSaver[int]) -> CompiledStateGraph[LoopState, Execution, Any, Any]:
    """The compiled loop. It holds no run: each invocation brings its Execution as LangGraph's context."""
    graph = StateGraph(LoopState, context_schema=Execution)
    graph.add_node("prepare", prepare)
    graph.add_node("model", model)
    graph.add_node("act", act)
    graph.add_edge(START, "prepare")
    graph.add_edge("prepare", "model")
    graph.add_conditional_edges("model", route)
    graph.add_conditional_edges("act", route)
    return graph.compile(checkpointer=saver)


def route(state: LoopState) -> Literal["act", "model", "__end__"]:
    """Where to go on."""
    if state["next_call"] < state["calls"]:
        return "act"
    return "__end__" if state["phase"] == "done" else "model"
