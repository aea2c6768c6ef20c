"""The generated references are what the code says, and links in the documents lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)")


@pytest.mark.parametrize("page", ["cli.md", "settings.md", "models.md"])
def test_the_committed_reference_is_current(page: str) -> None:
    generated = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    committed = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert committed == generated[page], "run: python docs/generate.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"
