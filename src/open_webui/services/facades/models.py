"""Models as the workspace has them, with the rights of the one who asks."""

from typing import Any

from open_webui.connections.profiles import row_wire
from open_webui.errors import Forbidden, NotFound
from open_webui.models.repository import MAX_PAGE_SIZE, Query
from open_webui.schemas.models import ModelForm
from open_webui.services import models
from open_webui.services.facades.use import Use


async def by_id(use: Use) -> dict[str, Any] | None:
    """A model's row; None also for one of a connection that nobody has described."""
    try:
        return await models.get(use.deps, use.principal, use.text("id", limit=500))
    except (NotFound, Forbidden):
        return None


async def listed(use: Use) -> list[dict[str, Any]]:
    found = await models.listed(use.deps, use.principal, Query(size=MAX_PAGE_SIZE), None)
    items: list[dict[str, Any]] = found["items"]
    return items


async def overrides(use: Use) -> list[dict[str, Any]]:
    """Rows about connections' own models: those that the person may read."""
    rows = await models.overrides(use.deps)
    shown = [row for row in rows if row.may(use.principal, "read")]
    return [row_wire(row, params=row.may(use.principal, "write")) for row in shown]


async def update(use: Use) -> dict[str, Any]:
    return await models.update(use.deps, use.principal, use.form("model", ModelForm, id=use.text("id", limit=500)))
