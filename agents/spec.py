"""What an agent is: everything that a run needs, as data. It is stored with the run, so that resuming needs no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from openhearth.config import AgentSettings, Settings
from openhearth.errors import ConfigError
from openhearth.types import ApprovalPolicy, Sampling, Value


class Limits(Value):
    """Bounds of one run; `openhearth.config.AgentSettings` explains each."""

    max_steps: Annotated[int, Field(ge=1)] = 24
    max_tool_calls: Annotated[int, Field(ge=0)] = 32
    max_tokens: Annotated[int, Field(ge=1)] = 60_000
    max_reply_tokens: Annotated[int, Field(ge=1)] = 1_536
    max_time_s: Annotated[float, Field(gt=0)] = 1_800.0

    @classmethod
    def from_settings(cls, settings: AgentSettings) -> Limits:
        return cls(**{name: getattr(settings, name) for name in cls.model_fields})


class AgentSpec(Value):
    """Instructions, model, tools and limits.

    `model` is a model reference, `workspace` an absolute path. `tools` names built-in tools, and tools that are handed
    over when the run starts. With an `output_schema` (JSON Schema) the run's output is JSON that was asked to fit it.
    """

    model: str
    name: str = "agent"
    instructions: str = ""
    tools: tuple[str, ...] = ()
    workspace: str
    approve: ApprovalPolicy = "ask"
    limits: Limits = Limits()
    sampling: Sampling = Sampling()
    output_schema: dict[str, Any] | None = None

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        model: str | None = None,
        name: str = "agent",
        instructions: str = "",
        tools: Sequence[str] | None = None,
        workspace: str | Path = ".",
        approve: ApprovalPolicy | None = None,
        output_schema: dict[str, Any] | None = None,
    ) -> AgentSpec:
        """The spec that the settings describe; what is given wins. `tools` None means all built-in ones.

        Raises ConfigError when the workspace is no folder or a tool has no such name.
        """
        # Imported on use: the command line reads specs long before it needs tools.
        from openhearth.tools.builtin import BUILTIN_TOOLS

        folder = Path(workspace).expanduser()
        if not folder.is_dir():
            raise ConfigError(f"The workspace {folder} is not a folder.", hint="Make it first, or name another one.")
        return cls(
            model=model or settings.model.default,
            name=name,
            instructions=instructions,
            tools=tuple(BUILTIN_TOOLS if tools is None else tools),
            workspace=str(folder.resolve()),
            approve=approve or settings.agent.approve,
            limits=Limits.from_settings(settings.agent),
            sampling=Sampling(
                temperature=settings.agent.temperature, top_p=settings.agent.top_p, seed=settings.agent.seed
            ),
            output_schema=output_schema,
        )
