"""Where OpenHearth keeps its files. `HEARTH_HOME`, when set, holds everything in one folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

HOME_VARIABLE = "HEARTH_HOME"
_APP = "openhearth"


def _folder(kind: str, default: str) -> Path:
    home = os.environ.get(HOME_VARIABLE)
    return Path(home).expanduser().absolute() / kind if home else Path(default)


def config_dir() -> Path:
    """The user's `config.toml` lives here."""
    return _folder("config", platformdirs.user_config_dir(_APP, appauthor=False))


def data_dir() -> Path:
    """The database, its backups, and converted models."""
    return _folder("data", platformdirs.user_data_dir(_APP, appauthor=False))


def cache_dir() -> Path:
    """What can be fetched or computed again: partial downloads."""
    return _folder("cache", platformdirs.user_cache_dir(_APP, appauthor=False))


def state_dir() -> Path:
    """Logs."""
    return _folder("state", platformdirs.user_state_dir(_APP, appauthor=False))


def models_dir() -> Path:
    """One folder per converted model."""
    return data_dir() / "models"


def user_config_file() -> Path:
    return config_dir() / "config.toml"


def ensure_private(folder: Path) -> Path:
    """Make `folder`, readable by its owner only, and return it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
