"""Tools: those that the person may use, and what is set of them. A tool may know its own settings."""

from typing import Any

from open_webui.errors import Forbidden, NotFound
from open_webui.models import tools as stored
from open_webui.models.tools import KIND
from open_webui.services import plugins, tools
from open_webui.services.facades.use import Use


async def by_id(use: Use) -> dict[str, Any] | None:
    """One tool; its text is for those who may change it."""
    try:
        return await tools.get(use.deps, use.principal, use.text("id"))
    except (NotFound, Forbidden):
        return None


async def listed(use: Use) -> list[dict[str, Any]]:
    if use.has("user_id") and not use.is_own():
        return []
    found = await tools.workspace(use.deps, use.principal)
    writing = use.maybe_text("permission") == "write"
    return [one for one in found if one["write_access"] or not writing]


async def valves(use: Use) -> dict[str, Any] | None:
    tool_id = use.text("id")
    if use.call.kind == KIND and tool_id == use.call.plugin:
        return await _its_own(use, tool_id)
    try:
        return await tools.valves(use.deps, use.principal, tool_id)
    except (NotFound, Forbidden):
        return None


async def _its_own(use: Use, tool_id: str) -> dict[str, Any] | None:
    """What the tool that asks has as its own settings anyway, for whoever may use it."""
    async with use.deps.database.read() as connection:
        row = await stored.repository.get_for(connection, use.principal, tool_id)
    return None if row is None else plugins.unseal(use.deps, KIND, tool_id, row.valves)


async def set_valves(use: Use) -> dict[str, Any]:
    return await tools.set_valves(use.deps, use.principal, use.text("id"), use.object("valves"))


async def own_valves(use: Use) -> dict[str, Any] | None:
    if not use.is_own():
        return None
    try:
        return await tools.own_valves(use.deps, use.principal, use.text("id"))
    except (NotFound, Forbidden):
        return None


async def set_own_valves(use: Use) -> dict[str, Any]:
    if not use.is_own():
        raise Forbidden
    return await tools.set_own_valves(use.deps, use.principal, use.text("id"), use.object("valves"))
