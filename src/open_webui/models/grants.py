"""Access grants: which principals may read or write somebody's thing, as conditions for a repository's base select."""

from collections.abc import Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import new_id, now
from open_webui.principal import Principal

Action = Literal["read", "write"]
t = tables.access_grant


def granted(
    resource_type: str, resource_id: "sa.ColumnElement[str]", principal: Principal | None, action: Action
) -> "sa.ColumnElement[bool]":
    """A condition: some grant gives the principal (None: somebody without an account) the action on the resource.

    A write grant includes reading.
    """
    audiences = [sa.and_(t.c.principal_type == "anyone", t.c.principal_id == "*")]
    if principal is not None and principal.is_active:
        audiences.append(sa.and_(t.c.principal_type == "user", t.c.principal_id.in_([principal.id, "*"])))
        if principal.groups:
            audiences.append(sa.and_(t.c.principal_type == "group", t.c.principal_id.in_(sorted(principal.groups))))
    allowed = ["write"] if action == "write" else ["read", "write"]
    return sa.exists().where(
        t.c.resource_type == resource_type,
        t.c.resource_id == resource_id,
        t.c.permission.in_(allowed),
        sa.or_(*audiences),
    )


class Grant(msgspec.Struct, frozen=True):
    """A stored grant, as the wire has it."""

    id: str
    resource_type: str
    resource_id: str
    principal_type: str
    principal_id: str
    permission: str
    created_at: int


_of = sa.select(*(t.c[name] for name in Grant.__struct_fields__)).where(
    t.c.resource_type == sa.bindparam("type"), t.c.resource_id == sa.bindparam("id")
)


async def of(connection: AsyncConnection, resource_type: str, resource_id: str) -> list[Grant]:
    """All grants on one thing, oldest first."""
    rows = await connection.execute(_of.order_by(t.c.created_at, t.c.id), {"type": resource_type, "id": resource_id})
    return [Grant(*row) for row in rows]


async def replace(
    connection: AsyncConnection, resource_type: str, resource_id: str, given: Sequence[tuple[str, str, str]]
) -> None:
    """Puts (principal type, principal id, permission) grants in the place of all there were on one thing."""
    await clear(connection, resource_type, [resource_id])
    if given:
        at = now()
        await connection.execute(
            t.insert(),
            [
                {
                    "id": new_id(),
                    "resource_type": resource_type,
                    "resource_id": resource_id,
                    "principal_type": kind,
                    "principal_id": principal,
                    "permission": permission,
                    "created_at": at,
                }
                for kind, principal, permission in dict.fromkeys(given)
            ],
        )


async def clear(connection: AsyncConnection, resource_type: str, resource_ids: Sequence[str]) -> None:
    """Removes all grants on some things; who deletes a thing calls it."""
    await connection.execute(t.delete().where(t.c.resource_type == resource_type, t.c.resource_id.in_(resource_ids)))
