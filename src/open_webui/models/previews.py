"""What somebody could use: the names of models, knowledge bases and tools, and how many of each there are."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import knowledge, models, tools
from open_webui.models.resource import Resource
from open_webui.principal import Principal

KINDS: Final[dict[str, Resource[Any]]] = {
    "models": models.repository,
    "knowledge": knowledge.repository,
    "tools": tools.brief,
}
# Names of each kind that are shown.
SHOWN: Final = 200


async def accessible(connection: AsyncConnection, principal: Principal) -> dict[str, dict[str, Any]]:
    """Of each kind the things that the principal may read, by name, and how many there are at all."""
    counts = [sa.select(sa.func.count()).select_from(r.table).scalar_subquery() for r in KINDS.values()]
    totals = (await connection.execute(sa.select(*counts))).one()
    found: dict[str, dict[str, Any]] = {
        kind: {"items": [], "total": total} for kind, total in zip(KINDS, totals, strict=True)
    }
    parts = [sa.select(_some(kind, resource, principal)) for kind, resource in KINDS.items()]
    for kind, row_id, name in await connection.execute(sa.union_all(*parts)):
        found[kind]["items"].append({"id": row_id, "name": name})
    for shown in found.values():
        shown["items"].sort(key=lambda item: (item["name"].lower(), item["id"]))
    return found


def _some(kind: str, resource: Resource[Any], principal: Principal) -> "sa.Subquery":
    t = resource.table
    named = sa.select(sa.literal(kind).label("kind"), t.c.id, t.c.name).where(resource.readable_by(principal))
    return named.order_by(sa.func.lower(t.c.name), t.c.id).limit(SHOWN).subquery()
