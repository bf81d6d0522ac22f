"""Knowledge bases, folders and groups: those that the one who asks may see."""

from typing import Any

import msgspec

from open_webui.errors import Forbidden, NotFound
from open_webui.models import folders as stored_folders
from open_webui.models.groups import Group
from open_webui.models.repository import MAX_PAGE_SIZE, Query
from open_webui.services import folders as folder_service
from open_webui.services import groups as group_service
from open_webui.services import knowledge
from open_webui.services.facades.use import Use


async def base(use: Use) -> dict[str, Any] | None:
    try:
        return await knowledge.get(use.deps, use.principal, use.text("id"))
    except (NotFound, Forbidden):
        return None


async def bases(use: Use) -> list[dict[str, Any]]:
    skip, limit = use.number("skip", 0, most=MAX_PAGE_SIZE), use.number("limit", MAX_PAGE_SIZE, most=MAX_PAGE_SIZE)
    found = await knowledge.listed(use.deps, use.principal, Query(size=MAX_PAGE_SIZE))
    items: list[dict[str, Any]] = found["items"]
    return items[skip : skip + limit]


async def bases_of(use: Use) -> list[dict[str, Any]]:
    if not use.is_own():
        return []
    writing = use.maybe_text("permission") == "write"
    return [one for one in await bases(use) if one["write_access"] or not writing]


async def folder(use: Use) -> dict[str, Any] | None:
    if not use.is_own():
        return None
    try:
        return await folder_service.get(use.deps, use.principal, use.text("id"))
    except NotFound:
        return None


async def folders(use: Use) -> list[dict[str, Any]]:
    if not use.is_own():
        return []
    async with use.deps.database.read() as connection:
        rows = await stored_folders.of_user(connection, use.principal.id)
    return [{"user_id": use.principal.id} | msgspec.structs.asdict(row) for row in rows]


def _wire(group: Group) -> dict[str, Any]:
    wire: dict[str, Any] = msgspec.structs.asdict(group)
    return wire


async def group(use: Use) -> dict[str, Any] | None:
    try:
        return _wire(await group_service.get_info(use.deps, use.principal, use.text("id")))
    except NotFound:
        return None


async def groups(use: Use) -> list[dict[str, Any]]:
    return [_wire(one) for one in await group_service.list_visible(use.deps, use.principal, None)]


async def groups_of(use: Use) -> list[dict[str, Any]]:
    """One's own groups."""
    if not use.is_own():
        return []
    found = await groups(use)
    return [one for one in found if one["id"] in use.principal.groups]
