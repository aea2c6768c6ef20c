"""The generated reference of the command line."""

from __future__ import annotations

from openhearth.cli.reference import reference

COMMANDS = {
    "hearth": ["run", "chat", "resume", "approve", "deny", "doctor", "version", "models", "threads", "runs"],
    "hearth models": ["list", "pull", "show", "rm"],
    "hearth threads": ["list", "show", "rm"],
    "hearth runs": ["list", "show"],
}


def test_every_command_is_in_it_with_its_help() -> None:
    text = reference()
    for group, names in COMMANDS.items():
        for name in names:
            assert f"# {group} {name}\n\n```text\nUsage: {group} {name} " in text


def test_it_is_the_same_each_time() -> None:
    assert reference() == reference()
