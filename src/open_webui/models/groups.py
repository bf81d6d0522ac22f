"""Groups of people, which carry permissions and may inherit from one parent."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import tables
from open_webui.models.base import among, now
from open_webui.models.grants import Action, in_parts
from open_webui.models.repository import Condition, Repository
from open_webui.principal import Principal, SharesWith

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


class _Groups(Repository[Group]):
    """Admins see and change all groups, others see those that they are in."""

    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        if principal is not None and principal.is_admin:
            return sa.true()
        return sa.false() if principal is None or action == "write" else _joined_by(principal.id)

    async def delete(self, connection: AsyncConnection, ids: Collection[str]) -> int:
        """Removes groups and what was granted to them."""
        grant = tables.access_grant
        for part in in_parts(ids):
            await connection.execute(
                grant.delete().where(grant.c.principal_type == "group", grant.c.principal_id.in_(part))
            )
        return await super().delete(connection, ids)


_count = sa.select(sa.func.count()).where(member.c.group_id == t.c.id).scalar_subquery()
repository: Final = _Groups(t, Group, computed={"member_count": _count}, order=(t.c.created_at, t.c.id))


def _joined_by(user_id: str) -> Condition:
    return t.c.id.in_(sa.select(member.c.group_id).where(member.c.user_id == user_id))


async def of_user(connection: AsyncConnection, user_id: str) -> list[Group]:
    """The groups that a person is in."""
    return await repository.all(connection, _joined_by(user_id))


async def has_children(connection: AsyncConnection, group_id: str) -> bool:
    """Whether groups inherit from this one."""
    return await connection.scalar(sa.select(t.c.id).where(t.c.parent_group_id == group_id).limit(1)) is not None


async def fellows(connection: AsyncConnection, group_ids: Collection[str], user_ids: Collection[str]) -> set[str]:
    """Those of some people who are in one of these groups, or in one that inherits from it."""
    heirs = sa.select(t.c.id).where(among(t.c.parent_group_id, group_ids))
    inside = sa.or_(among(member.c.group_id, group_ids), member.c.group_id.in_(heirs))
    return set(await connection.scalars(sa.select(member.c.user_id).where(inside, among(member.c.user_id, user_ids))))


class Limit(msgspec.Struct, frozen=True):
    """With whom the members of a group may share; None where it says nothing."""

    id: str
    name: str
    share_with: SharesWith | None


async def limits(connection: AsyncConnection, group_id: str | None = None) -> list[Limit]:
    """The limits of all groups, by name, or of one."""
    query = sa.select(t.c.id, t.c.name, t.c.share_with).order_by(sa.func.lower(t.c.name), t.c.id)
    rows = await connection.execute(query if group_id is None else query.where(t.c.id == group_id))
    return [Limit(*row) for row in rows]


async def set_limit(connection: AsyncConnection, before: Limit, share_with: SharesWith | None) -> None:
    """Says with whom the members of a group may share."""
    await connection.execute(t.update().where(t.c.id == before.id).values(share_with=share_with, updated_at=now()))
    acts.note("group", before.id, {"share_with": (before.share_with, share_with)})
