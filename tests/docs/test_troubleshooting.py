"""docs/troubleshooting.md quotes sentences that the program really says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SOURCES = "".join(
    path.read_text(encoding="utf-8")
    for path in (*(ROOT / "src" / "open_webui").rglob("*.py"), ROOT / "tools" / "venv.sh")
)
_SECTION = PAGE.partition("## It does not start")[2].partition("\n## ")[0]
QUOTED = [
    said for row in re.findall(r"^\| (`.*?) \|", _SECTION, re.MULTILINE) for said in re.findall(r"`([^`]+)`", row)
]


@pytest.mark.parametrize("said", QUOTED)
def test_what_a_failed_start_says(said: str) -> None:
    """Sentences are written in pieces over lines: the pieces are joined before they are compared."""
    joined = re.sub(r"\"\s*\n\s*f?\"", "", SOURCES)
    assert said.lower() in joined.lower()


def test_there_are_some() -> None:
    assert len(QUOTED) > 6
