"""Groups of people, which carry permissions and may inherit from one parent."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import inserting, new_id, now

t, member = tables.group, tables.group_member


class Group(msgspec.Struct, frozen=True):
    """A group's row with the number of its members, in the order of the wire."""

    parent_group_id: str | None
    id: str
    user_id: str
    name: str
    description: str
    data: dict[str, Any] | None
    meta: dict[str, Any] | None
    permissions: dict[str, Any] | None
    created_at: int
    updated_at: int
    member_count: int

    @property
    def share(self) -> Any:
        """Who may share things with the group: True (everybody), "members", or False."""
        config = (self.data or {}).get("config")
        return config.get("share", "members") if isinstance(config, dict) else "members"


_count = sa.select(sa.func.count()).where(member.c.group_id == t.c.id).scalar_subquery()
_select = sa.select(
    *(t.c[name] for name in Group.__struct_fields__ if name != "member_count"), _count.label("member_count")
)


async def all_groups(connection: AsyncConnection) -> list[Group]:
    rows = await connection.execute(_select.order_by(t.c.created_at, t.c.id))
    return [Group(*row) for row in rows]


async def of_user(connection: AsyncConnection, user_id: str) -> list[Group]:
    """The groups that a person is in."""
    own = sa.select(member.c.group_id).where(member.c.user_id == user_id)
    rows = await connection.execute(_select.where(t.c.id.in_(own)).order_by(t.c.created_at, t.c.id))
    return [Group(*row) for row in rows]


async def get(connection: AsyncConnection, group_id: str) -> Group | None:
    row = (await connection.execute(_select.where(t.c.id == group_id))).first()
    return None if row is None else Group(*row)


async def children(connection: AsyncConnection, group_id: str) -> list[str]:
    """Ids of the groups that inherit from this one."""
    return list(await connection.scalars(sa.select(t.c.id).where(t.c.parent_group_id == group_id)))


async def insert(connection: AsyncConnection, user_id: str, values: Mapping[str, Any]) -> str:
    """A new group. Returns its id."""
    group_id, at = new_id(), now()
    await connection.execute(t.insert().values(id=group_id, user_id=user_id, created_at=at, updated_at=at, **values))
    return group_id


async def update(connection: AsyncConnection, group_id: str, values: Mapping[str, Any]) -> None:
    await connection.execute(t.update().where(t.c.id == group_id).values(updated_at=now(), **values))


async def delete(connection: AsyncConnection, group_id: str) -> bool:
    """Removes a group and what was granted to it."""
    grant = tables.access_grant
    await connection.execute(grant.delete().where(grant.c.principal_type == "group", grant.c.principal_id == group_id))
    return (await connection.execute(t.delete().where(t.c.id == group_id))).rowcount == 1


async def member_ids(connection: AsyncConnection, group_ids: Iterable[str]) -> list[tuple[str, str]]:
    """(group id, user id) of the direct members of several groups."""
    rows = await connection.execute(
        sa.select(member.c.group_id, member.c.user_id)
        .where(member.c.group_id.in_(list(group_ids)))
        .order_by(member.c.created_at, member.c.user_id)
    )
    return [(group_id, user_id) for group_id, user_id in rows]


async def add_members(connection: AsyncConnection, group_id: str, user_ids: Iterable[str]) -> None:
    """Puts people into a group; ids of nobody, and of those who are in it, are passed over."""
    people = sa.select(sa.literal(group_id), tables.user.c.id, sa.literal(now())).where(
        tables.user.c.id.in_(list(user_ids))
    )
    statement = inserting(connection, member).from_select(
        [member.c.group_id, member.c.user_id, member.c.created_at], people
    )
    await connection.execute(statement.on_conflict_do_nothing(index_elements=[member.c.group_id, member.c.user_id]))


async def remove_members(connection: AsyncConnection, group_id: str, user_ids: Iterable[str]) -> None:
    await connection.execute(member.delete().where(member.c.group_id == group_id, member.c.user_id.in_(list(user_ids))))
