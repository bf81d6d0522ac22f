"""Functions: what the person may know of them, and what is set of them. A function may know its own settings."""

from typing import Any

from open_webui.errors import Forbidden, NotFound
from open_webui.models.functions import KIND
from open_webui.services import functions
from open_webui.services.facades.use import Use


def _is_itself(use: Use) -> bool:
    """Whether a function asks about itself: it has its settings anyway."""
    return use.call.kind == KIND and use.text("id") == use.call.plugin


async def by_id(use: Use) -> dict[str, Any] | None:
    """One function; its text is for admins."""
    function_id = use.text("id")
    if use.principal.is_admin:
        try:
            return await functions.get(use.deps, function_id)
        except NotFound:
            return None
    return next((one for one in await functions.listed(use.deps, use.principal) if one["id"] == function_id), None)


async def listed(use: Use) -> list[dict[str, Any]]:
    """All, for admins; for others those that are switched on. Without their texts and settings."""
    active = use.arguments.get("active_only") is True
    return [one for one in await functions.listed(use.deps, use.principal) if one["is_active"] or not active]


async def of_type(use: Use) -> list[dict[str, Any]]:
    kind = use.text("type")
    return [one for one in await listed(use) if one["type"] == kind]


async def valves(use: Use) -> dict[str, Any] | None:
    if not use.principal.is_admin and not _is_itself(use):
        return None
    try:
        return await functions.valves(use.deps, use.text("id"))
    except NotFound:
        return None


async def set_valves(use: Use) -> dict[str, Any]:
    """For admins, as the route."""
    if not use.principal.is_admin:
        raise Forbidden
    return await functions.set_valves(use.deps, use.text("id"), use.object("valves"))


async def own_valves(use: Use) -> dict[str, Any] | None:
    if not use.is_own():
        return None
    try:
        return await functions.own_valves(use.deps, use.principal, use.text("id"))
    except NotFound:
        return None


async def set_own_valves(use: Use) -> dict[str, Any]:
    if not use.is_own():
        raise Forbidden
    return await functions.set_own_valves(use.deps, use.principal, use.text("id"), use.object("valves"))
