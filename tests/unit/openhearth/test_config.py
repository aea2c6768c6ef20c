"""Settings: precedence, and mistakes that explain themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from openhearth import paths
from openhearth.config import load_settings
from openhearth.errors import ConfigError


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_later_sources_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(paths.user_config_file(), '[model]\ndefault = "user"\ndevice = "user"\nthreads = 1\n[agent]\nmax_steps = 5\n')
    write(tmp_path / "hearth.toml", '[model]\ndefault = "project"\ndevice = "project"\n')
    monkeypatch.setenv("HEARTH_MODEL__DEVICE", "environment")
    monkeypatch.setenv("HEARTH_AGENT__TEMPERATURE", "0.5")

    settings = load_settings({"agent": {"temperature": 0.7}, "model": {"precision": None}}, folder=tmp_path)

    assert settings.model.default == "project"
    assert settings.model.device == "environment"
    assert settings.model.threads == 1
    assert settings.model.precision == "auto"
    assert settings.agent.max_steps == 5
    assert settings.agent.temperature == 0.7


def test_the_project_file_is_found_from_a_folder_below(tmp_path: Path) -> None:
    write(tmp_path / "hearth.toml", '[model]\ndefault = "project"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert load_settings(folder=below).model.default == "project"


@pytest.mark.parametrize(
    ("text", "unknown", "nearest"),
    [
        ("[modle]\n", "modle", "model"),
        ('[model]\ndevise = "cpu"\n', "model.devise", "model.device"),
        ("[sandbox]\ntimeout = 3\n", "sandbox.timeout", "sandbox.timeout_s"),
    ],
)
def test_an_unknown_key_names_the_file_and_the_nearest_known_one(
    tmp_path: Path, text: str, unknown: str, nearest: str
) -> None:
    file = write(tmp_path / "hearth.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_settings(folder=tmp_path)
    assert unknown in caught.value.message
    assert str(file) in caught.value.message
    assert caught.value.hint == f"Did you mean {nearest}?"


def test_an_unknown_variable_names_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MODEL__PRECISON", "int8")
    with pytest.raises(ConfigError, match="HEARTH_MODEL__PRECISON") as caught:
        load_settings()
    assert "HEARTH_MODEL__PRECISION" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["[model]\nthreads = 0\n", '[model]\nprecision = "int3"\n', "[agent]\nmax_steps = true\n[x", "model = 3\n"]
)
def test_a_bad_value_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "hearth.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_settings(folder=tmp_path)
    assert str(file) in str(caught.value)


def test_a_bad_variable_and_a_bad_flag_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="max_steps"):
        load_settings({"agent": {"max_steps": 0}})
    monkeypatch.setenv("HEARTH_AGENT__MAX_STEPS", "many")
    with pytest.raises(ConfigError, match="max_steps"):
        load_settings()


def test_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_REMOTE__API_KEY", "sk-secret")
    settings = load_settings({"model": {"device": "cpu"}})
    assert "sk-secret" not in repr(settings)
    assert "sk-secret" not in settings.model_dump_json()
    assert settings.remote.api_key is not None
    assert settings.remote.api_key.get_secret_value() == "sk-secret"


def test_the_database_lies_in_the_home_unless_a_url_is_given(hearth_home: Path) -> None:
    assert load_settings().database_url == f"sqlite:///{hearth_home / 'data' / 'hearth.db'}"
    assert load_settings({"storage": {"url": "sqlite:///x.db"}}).database_url == "sqlite:///x.db"


def test_every_setting_says_what_it_is_for() -> None:
    settings = load_settings()
    for section in type(settings).model_fields:
        kind = type(getattr(settings, section))
        silent = [name for name, field in kind.model_fields.items() if not field.description]
        assert not silent, f"{section}: {silent}"
