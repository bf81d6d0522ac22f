"""Tools: Python that models may call, whose it is, and who may use and change it."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables, user_valves, versions
from open_webui.models.base import among
from open_webui.models.grants import Grant
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

KIND: Final = "tool"
t = tables.tool


class ToolRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tool without its text, in the order of the wire."""

    version_id: str | None
    id: str
    user_id: str
    name: str
    specs: list[Any]
    meta: dict[str, Any]
    access_grants: tuple[Grant, ...] = ()
    updated_at: int
    created_at: int


class Tool(ToolRow, frozen=True, kw_only=True):
    """The whole of it. valves: what is set of it, sealed."""

    content: str
    valves: str | None


def _resource(row: type[Any]) -> Resource[Any]:
    return Resource(
        KIND,
        t,
        row,
        sharing=Sharing(people="sharing.tools", public="sharing.public_tools"),
        admins=("read", "write"),
        searches=("name", "id"),
        belongings=(versions.clear_where, user_valves.clear_where),
    )


async def unreadable(connection: AsyncConnection, principal: Principal, ids: Collection[str]) -> set[str]:
    """Those of some tools that somebody may not use. What is no tool is none of them."""
    may_not = sa.and_(among(t.c.id, ids), sa.not_(brief.readable_by(principal)))
    return {row[0] for row in await connection.execute(sa.select(t.c.id).where(may_not))}


# For lists: texts are long, and nobody's who may not change them.
brief: Final[Resource[ToolRow]] = _resource(ToolRow)
repository: Final[Resource[Tool]] = _resource(Tool)
