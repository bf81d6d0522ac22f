"""What people set of tools and functions for themselves, which stands in their settings there, and is sealed here."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest
from open_webui.models import functions, tools, user_valves
from open_webui.moving_in.move import Move
from open_webui.moving_in.source import Key
from open_webui.schemas.plugins import MAX_VALVES
from open_webui.services import plugins

# The members of settings, and of which kind what is in them is.
_PLACES: Final = {"tools": "tool", "functions": "function"}
_LARGEST: Final = 40_000_000
TABLE: Final = "user_valves"
NOT_HERE: Final = "what they are of did not come along"
NOT_THEIRS: Final = "they are encrypted there, damaged, or do not fit the text"


def without_valves(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """Settings but for these. A member that holds nothing else goes, too."""
    if settings is None:
        return None
    out = dict(settings)
    for place in _PLACES:
        held = out.get(place)
        if isinstance(held, dict) and "valves" in held:
            rest = {name: value for name, value in held.items() if name != "valves"}
            out[place] = rest
            if not rest:
                del out[place]
    return out


def _found(settings: dict[str, Any] | None) -> Iterator[tuple[str, str, Any]]:
    for place, kind in _PLACES.items():
        held = (settings or {}).get(place)
        given = held.get("valves") if isinstance(held, dict) else None
        for plugin_id, values in given.items() if isinstance(given, dict) else ():
            if values not in (None, {}, ""):
                yield kind, plugin_id, values


async def take(move: Move) -> None:
    """Brings along what people set of the tools and functions that came."""
    if "settings" not in move.source.tables["user"]:
        return
    after: Key | None = None
    while keys := await move.source.keys("user", "id", (), after):
        after = keys[-1][0]
        for place, _ in keys:
            for row in await move.source.rows("user", "id", [place]):
                owner = move.people.get(row.id() or "")
                for kind, plugin_id, values in _found(row.object("settings", _LARGEST) if owner else None):
                    await _one(move, owner or "", kind, plugin_id, values)


async def _one(move: Move, owner: str, kind: str, plugin_id: str, values: Any) -> None:
    of = move.report.of(TABLE)
    of.rows += 1
    name = f"{kind} {plugin_id} of {owner}"
    if not move.is_here(kind, plugin_id):
        move.report.leave(TABLE, name, NOT_HERE)
        return
    if move.dry_run:
        of.taken += 1
        return
    repository: Any = tools.repository if kind == "tool" else functions.repository
    async with move.database.read() as connection:
        plugin = await repository.get(connection, plugin_id)
        is_set = await user_valves.get(connection, kind, plugin_id, owner) is not None
    if is_set:
        of.there += 1
        return
    try:
        if plugin is None or not isinstance(values, dict) or len(msgspec.json.encode(values)) > MAX_VALVES:
            raise BadRequest(NOT_THEIRS)
        checked = await move.sources.check(plugin.content, "UserValves", values)
    except BadRequest:
        move.report.leave(TABLE, name, NOT_THEIRS)
        return
    async with move.database.write() as unit:
        sealed = plugins.seal(move, kind, plugin_id, checked, owner)
        await user_valves.put(unit.connection, kind, plugin_id, owner, sealed)
    of.taken += 1
