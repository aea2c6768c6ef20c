"""prepare: put the system prompt and the task at the end of the thread."""

from __future__ import annotations

from langgraph.runtime import Runtime

from openhearth.agents.execution import Execution
from openhearth.agents.prompt import system_prompt
from openhearth.agents.state import LoopState
from openhearth.storage import threads
from openhearth.storage.ids import new_id
from openhearth.types import Message


async def prepare(state: LoopState, runtime: Runtime[Execution]) -> LoopState:
    run = runtime.context
    run.enter(state)
    head = await run.journal.read(lambda session: threads.get(session, run.thread_id).head_id)
    known = [message.content for message in await run.path(head) if message.role == "system"]
    specs = run.toolset.specs()
    system = system_prompt(run.spec, specs, "")
    # An unchanged prompt is not repeated, so that the model's cache of the thread stays good.
    new = [] if known and known[-1] == system else [Message(role="system", content=system)]
    for message in (*new, Message(role="user", content=run.task)):
        message_id = new_id("msg")
        run.journal.stage(run.message(message, head, message_id))
        head = message_id
    return {"head": message_id}
