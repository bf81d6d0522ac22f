"""CHANGELOG.md in the shape in which pages show what is new."""

import html
import re
from functools import cache
from typing import Any, Final

from open_webui.utils.manual import folder

_RELEASE: Final = re.compile(r"^## (?P<version>\d\S*)(?: \((?P<date>[^)]*)\))?$", re.MULTILINE)
_POINT: Final = re.compile(r"^- (.+(?:\n  \S.*)*)", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^]]*)\]\([^)]*\)")
_CODE: Final = re.compile(r"`([^`]*)`")


@cache
def releases() -> dict[str, Any]:
    """By version: its date, and what it changed, a point each, as text and as HTML. Empty without the file."""
    place = folder()
    if place is None or not (place / "CHANGELOG.md").is_file():
        return {}
    return parse((place / "CHANGELOG.md").read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Any]:
    """`releases` of the text of a changelog."""
    found = list(_RELEASE.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    return {
        match["version"]: {
            "date": match["date"] or "",
            "changed": [_point(point) for point in _POINT.findall(text[match.end() : end])],
        }
        for match, end in zip(found, ends, strict=True)
    }


def _point(markdown: str) -> dict[str, str]:
    plain = _LINK.sub(r"\1", " ".join(markdown.split()))
    return {"title": "", "content": plain.replace("`", ""), "raw": _CODE.sub(r"<code>\1</code>", html.escape(plain))}
