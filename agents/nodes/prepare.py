"""prepare: put the system prompt and the task at the end of the thread."""

from __future__ import annotations

from pathlib import Path

from langgraph.runtime import Runtime

from openhearth.agents.execution import Execution
from openhearth.agents.prompt import system_prompt
from openhearth.agents.state import LoopState
from openhearth.errors import SandboxError, SandboxUnavailableError, WorkspaceError
from openhearth.events import Notice
from openhearth.storage import threads
from openhearth.storage.ids import new_id
from openhearth.tools.builtin.describe import describe_files
from openhearth.types import Message


async def prepare(state: LoopState, runtime: Runtime[Execution]) -> LoopState:
    run = runtime.context
    run.enter(state)
    workspace, notices = await _workspace(run)
    system = system_prompt(run.spec, run.tools.all.specs(), workspace)
    head = await run.journal.read(lambda session: threads.get(session, run.thread_id).head_id)
    known = [message.content for message in await run.path(head) if message.role == "system"]
    # An unchanged prompt is not repeated, so that the model's cache of the thread stays good.
    new = [] if known and known[-1] == system else [Message(role="system", content=system)]
    for message in (*new, Message(role="user", content=run.task)):
        message_id = new_id("msg")
        run.journal.stage(run.message(message, head, message_id))
        head = message_id
    run.journal.stage(lambda _: None, *notices)
    return {"head": message_id}


async def _workspace(run: Execution) -> tuple[str, list[Notice]]:
    """What the workspace's data files hold, for agents that can compute with them.

    Data that cannot be described is no reason to give up: the tools will say the same when they are used.
    """
    if not run.tools.compute:
        return "", []
    try:
        return await run.scope.guard(describe_files(Path(run.spec.workspace), run.sandbox)), []
    except SandboxUnavailableError:
        raise
    except (SandboxError, WorkspaceError) as error:
        return "", [Notice(**run.ids, text=f"The workspace's data could not be looked at: {error.message}")]
