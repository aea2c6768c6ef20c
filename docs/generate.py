"""Writes the references that come from the code: `docs/cli.md`, `docs/settings.md` and the table in `docs/models.md`.

python docs/generate.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from openhearth.cli.reference import reference
from openhearth.config import ENV_PREFIX, PROJECT_FILE, Section, Settings
from openhearth.models.loading.families import FAMILIES

FOLDER = Path(__file__).parent
FAMILIES_BEGIN = "<!-- families: written by docs/generate.py from models/loading/families.py -->"
FAMILIES_END = "<!-- end of families -->"


def pages() -> dict[str, str]:
    """The text of each generated page, by file name."""
    return {"cli.md": reference(), "settings.md": "\n".join(_settings()) + "\n", "models.md": _models()}


def _models() -> str:
    """The page as it is, with the table of families made anew."""
    before, mark, rest = (FOLDER / "models.md").read_text(encoding="utf-8").partition(FAMILIES_BEGIN)
    _, end, after = rest.partition(FAMILIES_END)
    rows = ["| models | in `config.json` | in GGUF | what is special |", "|---|---|---|---|"]
    for family in FAMILIES.values():
        classes, gguf = (", ".join(f"`{name}`" for name in names) for names in (family.classes, family.gguf))
        rows.append(f"| {family.models} | {classes} | {gguf or '-'} | {family.traits} |")
    return "".join((before, mark, "\n\n", "\n".join(rows), "\n\n", end, after))


def _settings() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "Later sources win: defaults, the user's `config.toml`,"
    yield f"the project's `{PROJECT_FILE}`, `{ENV_PREFIX}*` variables, flags."
    yield f"A variable joins section and key by two underscores: `{ENV_PREFIX}MODEL__PRECISION=float32`."
    yield "An unknown key is an error that names the nearest known one. `HEARTH_HOME` puts all files in one folder."
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _section(name, kind)


def _section(name: str, kind: type[Section]) -> Iterator[str]:
    yield ""
    yield f"## [{name}]"
    yield ""
    yield (kind.__doc__ or "").strip()
    yield ""
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for key, field in kind.model_fields.items():
        default = "unset" if field.default is None else _as_toml(field.default)
        yield f"| `{key}` | {default} | {' '.join((field.description or '').split())} |"


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{part}"' for part in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    for file, text in pages().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
