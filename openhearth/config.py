"""Settings, from five places; later ones win:

defaults < the user's `config.toml` < the project's `hearth.toml` < `HEARTH_*` variables < flags

A section and its key are joined by two underscores in the environment: `HEARTH_MODEL__PRECISION=float32`.
`hearth.toml` is looked for in the working folder and its parents. An unknown key is an error that names the
nearest known one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from openhearth import paths
from openhearth.errors import ConfigError
from openhearth.types import ApprovalPolicy

PROJECT_FILE = "hearth.toml"
ENV_PREFIX = "HEARTH_"
_DELIMITER = "__"

SourceName = Literal["hub", "index", "url", "folder"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelSettings(Section):
    """Which model answers, and how it is run."""

    default: str = "qwen2.5-coder-1.5b"
    """The model reference used when none is named."""
    auto_pull: bool = True
    """Fetch a catalog model on first use."""
    sources: tuple[SourceName, ...] = ("hub", "index", "url", "folder")
    """The order in which a catalog model's sources are tried."""
    hub_endpoint: str = "https://huggingface.co"
    """The Hugging Face Hub, or a mirror of it."""
    hub_token: SecretStr | None = None
    """Token for gated or private repositories; `HF_TOKEN` is read when this is unset."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Seconds after which an unreachable source is given up."""
    precision: Literal["auto", "native", "int8", "bfloat16", "float32"] = "auto"
    """Weight precision. `native` keeps the numbers of a GGUF file as they are, for the kernels in C; `auto` takes it
    where these run, and `int8` elsewhere."""
    device: str = "auto"
    """A torch device such as `cpu` or `cuda:0`; `auto` takes the best one that works."""
    threads: int | None = Field(default=None, ge=1)
    """Threads for inference; unset means one per physical core."""
    share_memory: bool = False
    """Leave native weights in the file's own memory, which processes share, in place of huge pages of each process's
    own. Decoding is then a tenth slower at least, up to twice on a machine with a fast memory."""
    context: int = Field(default=8192, ge=256)
    """The longest context in tokens; the model's own limit still holds."""
    cache_mb: int | None = Field(default=None, ge=1)
    """MiB for keys and values of what is being read and written, and of what was; unset takes an eighth of the memory,
    at most 4096, and at least what one whole context needs."""


class RemoteSettings(Section):
    """OpenAI-compatible servers."""

    api_key: SecretStr | None = None
    """Sent as a bearer token; `OPENAI_API_KEY` is read for api.openai.com alone."""
    api_key_file: Path | None = None
    """A file whose first line is the key."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds without a byte after which a request is given up."""
    retries: int = Field(default=3, ge=0)
    """Attempts after the first, with exponential backoff, on refused connections, 429 and 5xx."""
    context: int = Field(default=32768, ge=256)
    """Assumed context length in tokens where the server does not tell."""


class AgentSettings(Section):
    """Limits of one run."""

    max_steps: int = Field(default=24, ge=1)
    """Model rounds; the last one runs without tools, so that there is an answer."""
    max_tool_calls: int = Field(default=32, ge=0)
    """Executed tool calls."""
    max_tokens: int = Field(default=60_000, ge=1)
    """Prompt and completion tokens of all rounds together, cached ones not counted."""
    max_reply_tokens: int = Field(default=1_536, ge=1)
    """Completion tokens of one round."""
    max_time_s: float = Field(default=1_800.0, gt=0)
    """Seconds of work; waiting for an approval does not count."""
    temperature: float = Field(default=0.0, ge=0, le=5)
    """Sampling temperature; 0 is greedy, which is repeatable and what small models compute best with."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus sampling."""
    seed: int | None = None
    """Makes sampling repeatable."""
    approve: ApprovalPolicy = "ask"
    """What happens to calls that are not read-only: `ask`, `auto` (inside the sandbox), or `never` run them."""


class SandboxSettings(Section):
    """Limits inside the sandbox."""

    timeout_s: float = Field(default=60.0, gt=0)
    """Wall-clock seconds of one call."""
    memory_mb: int = Field(default=2048, ge=64)
    """Address space of one process."""
    processes: int = Field(default=64, ge=1)
    """Processes and threads at once."""
    file_mb: int = Field(default=256, ge=1)
    """Size of one file."""
    workspace_mb: int = Field(default=1024, ge=1)
    """Size of a workspace copy."""
    workspace_files: int = Field(default=50_000, ge=1)
    """Files in a workspace copy."""
    output_kb: int = Field(default=256, ge=1)
    """Captured output of one call; what is beyond it is dropped and said so."""


class StorageSettings(Section):
    """Where state is kept."""

    url: str | None = None
    """An SQLAlchemy URL; unset means an SQLite file in the data folder."""
    keep_backups: int = Field(default=5, ge=0)
    """Backups kept from before migrations."""


class Settings(BaseSettings):
    """All settings. Build one with `load_settings`, which reads the files and explains mistakes."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=_DELIMITER,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    model: ModelSettings = ModelSettings()
    remote: RemoteSettings = RemoteSettings()
    agent: AgentSettings = AgentSettings()
    sandbox: SandboxSettings = SandboxSettings()
    storage: StorageSettings = StorageSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)

    @property
    def database_url(self) -> str:
        return self.storage.url or f"sqlite:///{paths.data_dir() / 'hearth.db'}"


def load_settings(flags: Mapping[str, Any] | None = None, *, folder: Path | None = None) -> Settings:
    """Read every source. `flags` is nested like the files (`{"model": {"device": "cpu"}}`); None values are dropped.

    Raises ConfigError naming the file or variable, the key, and the nearest known key.
    """
    merged: dict[str, Any] = {}
    for file in (paths.user_config_file(), find_project_file(folder or Path.cwd())):
        if file is not None and file.is_file():
            content = _read_toml(file)
            _check_keys(content, str(file))
            _validate(content, str(file))
            _merge(merged, content)
    _check_environment()
    given = _without_none(flags or {})
    _check_keys(given, "the command line")
    try:
        settings = Settings(**merged)
        if given:
            combined = settings.model_dump(exclude_unset=True)
            _merge(combined, given)
            settings = settings.model_copy(update=_sections(combined))
    except ValidationError as error:
        raise ConfigError(_explain(error, f"the settings or {ENV_PREFIX}* variables")) from error
    return settings


def find_project_file(folder: Path) -> Path | None:
    """The nearest `hearth.toml` at or above `folder`."""
    folder = folder.absolute()
    return next((p for parent in (folder, *folder.parents) if (p := parent / PROJECT_FILE).is_file()), None)


def _sections(combined: Mapping[str, Any]) -> dict[str, Section]:
    kinds = _section_types()
    return {name: kinds[name](**values) for name, values in combined.items()}


def _validate(content: Mapping[str, Any], where: str) -> None:
    try:
        _sections(content)
    except ValidationError as error:
        raise ConfigError(_explain(error, where)) from error


def _section_types() -> dict[str, type[Section]]:
    annotations = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {n: a for n, a in annotations.items() if isinstance(a, type) and issubclass(a, Section)}


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read {file}: {error}", hint="Mend the file, or move it away.") from error


def _check_keys(content: Mapping[str, Any], where: str) -> None:
    kinds = _section_types()
    for section, values in content.items():
        if section not in kinds:
            raise _unknown(section, kinds, where)
        if not isinstance(values, Mapping):
            raise ConfigError(f"{section} in {where} must be a section.", hint=f"Write [{section}] and its keys below.")
        for key in values:
            if key not in kinds[section].model_fields:
                known = [f"{section}.{name}" for name in kinds[section].model_fields]
                raise _unknown(f"{section}.{key}", known, where)


def _check_environment() -> None:
    known = {
        f"{ENV_PREFIX}{section}{_DELIMITER}{key}".upper()
        for section, kind in _section_types().items()
        for key in kind.model_fields
    }
    whole = {f"{ENV_PREFIX}{section}".upper() for section in _section_types()}
    for name in os.environ:
        upper = name.upper()
        if upper.startswith(ENV_PREFIX) and upper not in known | whole | {paths.HOME_VARIABLE}:
            raise _unknown(name, known, "the environment")


def _unknown(name: str, known: Iterable[str], where: str) -> ConfigError:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return ConfigError(f"Unknown setting {name} in {where}.", hint=f"Did you mean {near[0]}?" if near else "")


def _explain(error: ValidationError, where: str) -> str:
    lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return f"Bad value in {where}: " + "; ".join(lines)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in values.items() if v is not None}
    return {k: v for k, v in nested.items() if v != {}}


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
