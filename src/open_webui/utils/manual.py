"""The documentation where this program finds it: README.md, CHANGELOG.md and docs/, beside src/ or inside the wheel."""

from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent.parent
# The address below which a page of it is shown to people, and the one of the file itself.
READER: Final = "/static/manual.html?"
FILES: Final = "manual/"
_AT_TOP: Final = frozenset({"README.md", "CHANGELOG.md"})


def folder() -> Path | None:
    """The folder that holds README.md and docs/; None where an installation left them out."""
    for place in (PACKAGE / "manual", PACKAGE.parents[1]):
        if (place / "README.md").is_file() and (place / "docs").is_dir():
            return place
    return None


def is_part(name: str) -> bool:
    """Whether a path from that folder on is a part of the documentation: a clone's folder holds other files, too."""
    parts = name.split("/")
    return name in _AT_TOP or (parts[0] == "docs" and ".." not in parts and name.endswith((".md", ".png", ".svg")))
