"""What a plugin says of itself at its beginning, in the module's docstring: `title: ...`, `author: ...`, each on a line."""

import ast
import re
from typing import Final

_LINE: Final = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_-]*)\s*:\s*(.*?)\s*$")
# Of lines, and of characters of each.
_MOST: Final = 100
_LONGEST: Final = 200_000


def frontmatter(tree: ast.Module) -> dict[str, str]:
    """The lines of the docstring that have a name, by it in small letters. Of a name that comes again, the last."""
    found: dict[str, str] = {}
    for line in (ast.get_docstring(tree) or "").splitlines():
        named = _LINE.match(line)
        if named is not None and (len(found) < _MOST or named[1].lower() in found):
            found[named[1].lower()] = named[2][:_LONGEST]
    return found


def requirements(manifest: dict[str, str]) -> list[str]:
    """The packages that a plugin asks to be installed, as it writes them: between commas."""
    return [part.strip() for part in manifest.get("requirements", "").split(",") if part.strip()]
