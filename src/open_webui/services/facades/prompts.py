"""Prompts: those that the person may use."""

from typing import Any, Final

import msgspec

from open_webui.models import prompts as stored
from open_webui.models.repository import Query
from open_webui.services import granted
from open_webui.services.facades.use import Use

# Prompts that one answer holds.
_MOST: Final = 200


async def by_command(use: Use) -> dict[str, Any] | None:
    """One prompt, by its command with or without the sign."""
    async with use.deps.database.read() as connection:
        row = await stored.by_command(connection, use.principal, use.text("command").removeprefix("/"))
    return None if row is None else msgspec.structs.asdict(row)


async def listed(use: Use) -> list[dict[str, Any]]:
    if use.has("user_id") and not use.is_own():
        return []
    writing = use.maybe_text("permission") == "write"
    async with use.deps.database.read() as connection:
        page = await stored.page(connection, use.principal, Query(size=_MOST))
    found = granted.shown_page(stored.repository, use.principal, page)["items"]
    return [one for one in found if one["write_access"] or not writing]
