"""Files, bases and tools that a model or a folder names. Naming one is reading it: whoever saves the name must be allowed to.

Who uses the model or the folder later finds what they may read themselves; that is looked at when a question is asked.
"""

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest
from open_webui.models import files, knowledge, tools
from open_webui.principal import Principal

REFUSED: Final = "You can only attach what you may read: {}."
_BASE: Final = "collection"
_FILE: Final = "file"


def ids_in(entries: Any) -> dict[str, set[str]]:
    """The ids of files and bases in a list as pages send it, by kind. Other things and shapes are left out."""
    out: dict[str, set[str]] = {_BASE: set(), _FILE: set()}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            # Bases came first, and were named without a type then.
            kind = entry.get("type") or _BASE
            if kind in (_BASE, _FILE):
                out[kind].add(entry["id"])
    return out


async def check_tools(connection: AsyncConnection, principal: Principal, ids: Any, stood: Any = None) -> None:
    """Raises BadRequest for tools that the principal may not use. stood: those that were there before, which may stay.

    Ids of tools that are not here (of servers, or of another installation) name nobody's thing.
    """
    wanted = _texts(ids) - _texts(stood)
    missing = wanted and await tools.unreadable(connection, principal, wanted)
    if missing:
        raise BadRequest(REFUSED.format(", ".join(sorted(missing)[:5])))


def _texts(ids: Any) -> set[str]:
    return {one for one in ids if isinstance(one, str)} if isinstance(ids, list) else set()


async def check(connection: AsyncConnection, principal: Principal, entries: Any, stood: Any = None) -> None:
    """Raises BadRequest for what the principal may not read. stood: what was there before, which may stay."""
    new, old = ids_in(entries), ids_in(stood)
    bases, wanted = new[_BASE] - old[_BASE], new[_FILE] - old[_FILE]
    if not bases and not wanted:
        return
    missing = bases - await knowledge.readable(connection, principal, bases)
    missing |= wanted - (await files.readable(connection, principal, wanted)).keys()
    if missing:
        raise BadRequest(REFUSED.format(", ".join(sorted(missing)[:5])))
