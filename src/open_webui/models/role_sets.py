"""Role sets: parts of what administrators may do, who holds them, and whose people they are about."""

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.internal.prepared import Prepared
from open_webui.models import accounts, tables
from open_webui.models.base import among, new_id, now
from open_webui.principal import Principal, Right, RoleSet

t, about, holder = tables.role_set, tables.role_set_group, tables.role_set_holder
user, group, member = tables.user, tables.group, tables.group_member
_TOLD: Final = ("name", "description", "rights", "groups", "users", "holding_groups")


class Written(msgspec.Struct, frozen=True):
    """groups: whose people it is about. users, holding_groups: who holds it. All of these are ids."""

    name: str
    description: str
    rights: list[str]
    groups: list[str]
    users: list[str]
    holding_groups: list[str]


class Stored(msgspec.Struct, frozen=True):
    """A role set whole."""

    id: str
    name: str
    description: str
    rights: list[str]
    groups: list[str]
    users: list[str]
    holding_groups: list[str]
    created_at: int
    updated_at: int


_held = (
    sa.select(t.c.id, sa.cast(t.c.rights, sa.Text), t.c.name, about.c.group_id)
    .select_from(t.outerjoin(about, about.c.role_set_id == t.c.id))
    .where(
        t.c.id.in_(
            sa.select(holder.c.role_set_id).where(
                sa.or_(
                    holder.c.user_id == sa.bindparam("user_id"),
                    holder.c.group_id.in_(accounts.own_groups),
                    holder.c.group_id.in_(accounts.parent_groups),
                )
            )
        )
    )
)
# In one statement, since it is asked for each who is not known yet.
_belongings = Prepared(
    sa.union_all(
        accounts.groups_of.add_columns(sa.cast(sa.null(), sa.Text), sa.literal_column("0").label("is_set")),
        _held.add_columns(sa.literal_column("1").label("is_set")),
    )
)


async def belongings(
    connection: AsyncConnection, user_id: str
) -> tuple[list[accounts.GroupMembership], tuple[RoleSet, ...]]:
    """The groups a person is in, with those that theirs inherit from, and the role sets that they hold, by themselves or by one
    of these groups.
    """
    groups: list[accounts.GroupMembership] = []
    found: dict[str, tuple[str, frozenset[str], set[str]]] = {}
    for row_id, json, text, group_id, is_set in await _belongings.all(connection, {"user_id": user_id}):
        if not is_set:
            permissions = None if json is None else msgspec.json.decode(json)
            groups.append(accounts.GroupMembership(row_id, permissions, text))
            continue
        _, _, people = found.setdefault(row_id, (text, frozenset(msgspec.json.decode(json)), set()))
        if group_id is not None:
            people.add(group_id)
    return groups, tuple(
        RoleSet(name=name, rights=rights, groups=frozenset(people)) for name, rights, people in found.values()
    )


def within(principal: Principal, right: Right) -> "sa.ColumnElement[bool]":
    """A condition on `user`: the people on whom the principal has a right.

    Those of the groups of its role sets, but no administrator, no service account, nobody who holds a role set, and not the
    principal. Administrators have it on all such people.
    """
    heirs = sa.select(group.c.id).where(group.c.parent_group_id == holder.c.group_id)
    by_group = sa.and_(
        member.c.user_id == user.c.id, sa.or_(member.c.group_id == holder.c.group_id, member.c.group_id.in_(heirs))
    )
    credential = tables.credential
    conditions = [
        user.c.role != "admin",
        user.c.id != principal.id,
        ~sa.exists().where(holder.c.user_id == user.c.id),
        ~sa.exists(sa.select(holder.c.id).select_from(holder).join(member, sa.true()).where(by_group).correlate(user)),
        ~sa.exists().where(credential.c.user_id == user.c.id, credential.c.service),
    ]
    if not principal.is_admin:
        groups = principal.held_for(right)
        conditions.append(sa.exists().where(member.c.user_id == user.c.id, among(member.c.group_id, groups)))
    return sa.and_(*conditions)


async def is_within(connection: AsyncConnection, principal: Principal, right: Right, user_id: str) -> bool:
    """Whether somebody is one of those on whom the principal has a right."""
    query = sa.select(user.c.id).where(user.c.id == user_id, within(principal, right))
    return await connection.scalar(query) is not None


async def everyone(connection: AsyncConnection, set_id: str | None = None) -> list[Stored]:
    """All role sets by name, or one."""
    query = sa.select(t).order_by(sa.func.lower(t.c.name), t.c.id)
    rows = (await connection.execute(query if set_id is None else query.where(t.c.id == set_id))).all()
    said = sa.select(about.c.role_set_id, about.c.group_id).order_by(about.c.group_id)
    groups = _by_set(await connection.execute(said))
    held = (await connection.execute(sa.select(holder.c.role_set_id, holder.c.user_id, holder.c.group_id))).all()
    users = _by_set(sorted((row.role_set_id, row.user_id) for row in held if row.user_id is not None))
    holding = _by_set(sorted((row.role_set_id, row.group_id) for row in held if row.group_id is not None))
    return [
        Stored(
            id=row.id,
            name=row.name,
            description=row.description,
            rights=row.rights,
            groups=groups.get(row.id, []),
            users=users.get(row.id, []),
            holding_groups=holding.get(row.id, []),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


def _by_set(rows: Iterable[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for set_id, other in rows:
        found.setdefault(set_id, []).append(other)
    return found


async def count(connection: AsyncConnection) -> int:
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(t)) or 0)


async def no_groups(connection: AsyncConnection, ids: Collection[str]) -> set[str]:
    """Those of some ids that no group has."""
    return set(ids) - set(await connection.scalars(sa.select(group.c.id).where(among(group.c.id, ids))))


async def nobodys(connection: AsyncConnection, ids: Collection[str]) -> set[str]:
    """Those of some ids that no account has."""
    return set(ids) - set(await connection.scalars(sa.select(user.c.id).where(among(user.c.id, ids))))


async def put(connection: AsyncConnection, set_id: str, written: Written, before: Stored | None) -> bool:
    """Makes a role set, or replaces it. False where another one has its name."""
    values = {"name": written.name, "description": written.description, "rights": written.rights, "updated_at": now()}
    try:
        if before is None:
            await connection.execute(t.insert().values(id=set_id, created_at=values["updated_at"], **values))
        else:
            await connection.execute(t.update().where(t.c.id == set_id).values(**values))
    except IntegrityError:
        return False
    for table in (about, holder):
        await connection.execute(table.delete().where(table.c.role_set_id == set_id))
    if written.groups:
        rows = [{"role_set_id": set_id, "group_id": one} for one in written.groups]
        await connection.execute(about.insert(), rows)
    holders: list[dict[str, Any]] = [{"user_id": one, "group_id": None} for one in written.users]
    holders += [{"user_id": None, "group_id": one} for one in written.holding_groups]
    if holders:
        await connection.execute(holder.insert(), [{"id": new_id(), "role_set_id": set_id, **one} for one in holders])
    acts.note("role_set", set_id, {name: (getattr(before, name, None), getattr(written, name)) for name in _TOLD})
    return True


async def remove(connection: AsyncConnection, before: Stored) -> None:
    """Removes a role set: nobody holds it any more."""
    await connection.execute(t.delete().where(t.c.id == before.id))
    acts.note("role_set", before.id, {name: (getattr(before, name), None) for name in _TOLD})
