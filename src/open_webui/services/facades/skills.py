"""Skills: those that the person may use."""

from typing import Any, Final

from open_webui.errors import Forbidden, NotFound
from open_webui.models import skills as stored
from open_webui.models.repository import Query
from open_webui.models.skills import Skill
from open_webui.services import skills
from open_webui.services.facades.use import Use

# Skills with their texts that one answer holds.
_MOST: Final = 200


def _wire(row: Skill, *, writes: bool) -> dict[str, Any]:
    return skills.shown(row, content=row.content, write_access=writes)


async def by_id(use: Use) -> dict[str, Any] | None:
    """One skill with its files."""
    async with use.deps.database.read() as connection:
        try:
            row = await skills.one(connection, use.principal, use.text("id"))
        except (NotFound, Forbidden):
            return None
        return await skills.whole(connection, row)


async def by_name(use: Use) -> dict[str, Any] | None:
    """The oldest of that name."""
    name = use.text("name")
    async with use.deps.database.read() as connection:
        found = await stored.with_names(connection, use.principal, [name])
        return await skills.whole(connection, await skills.stored(connection, found[0].id)) if found else None


async def listed(use: Use) -> list[dict[str, Any]]:
    if use.has("user_id") and not use.is_own():
        return []
    writing = use.maybe_text("permission") == "write"
    async with use.deps.database.read() as connection:
        page = await stored.repository.page(connection, use.principal, Query(size=_MOST))
    found = [_wire(row, writes=stored.repository.may(row, use.principal, "write")) for row in page.items]
    return [one for one in found if one["write_access"] or not writing]
