"""Who is in a group: those that were put into it, and those of groups that inherit from it."""

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.internal import acts
from open_webui.models import tables, users
from open_webui.models.base import among, inserting, now
from open_webui.models.repository import Condition
from open_webui.models.users import Person

t, member = tables.group, tables.group_member


async def ids(connection: AsyncConnection, group_id: str) -> list[str]:
    """The ids of a group's direct members, in the order in which they came."""
    rows = await connection.scalars(
        sa.select(member.c.user_id).where(member.c.group_id == group_id).order_by(member.c.created_at, member.c.user_id)
    )
    return list(rows)


async def everyone(connection: AsyncConnection, group_id: str) -> list[Person]:
    """A group's direct members, the oldest account first."""
    return await users.people(connection, _member_of(group_id))


class Counts(msgspec.Struct, frozen=True):
    """How many members a group has: in it, in groups that inherit from it only, and both."""

    direct: int
    effective: int
    inherited: int


class Membership(msgspec.Struct, frozen=True):
    """A member of a group. via: the groups that inherit from it and that this person is in."""

    person: Person
    is_direct: bool
    via: list[str]


def _member_of(group_id: str) -> Condition:
    return sa.exists().where(member.c.group_id == group_id, member.c.user_id == tables.user.c.id)


def _heir_of(group_id: str) -> Condition:
    heirs = sa.select(t.c.id).where(t.c.parent_group_id == group_id)
    return sa.exists().where(member.c.group_id.in_(heirs), member.c.user_id == tables.user.c.id)


async def count(connection: AsyncConnection, group_id: str) -> Counts:
    """Counts the people in a group, and in those that inherit from it."""
    direct, heir = _member_of(group_id), _heir_of(group_id)
    asked = (direct, sa.or_(direct, heir), sa.and_(heir, sa.not_(direct)))
    person = tables.user
    row = (
        await connection.execute(
            sa.select(
                *(sa.select(sa.func.count()).select_from(person).where(where).scalar_subquery() for where in asked)
            )
        )
    ).one()
    return Counts(*row)


async def page(
    connection: AsyncConnection, group_id: str, membership: str, text: str, number: int
) -> tuple[list[Membership], int]:
    """A page of members, and how many there are: direct ones, inherited ones, or (effective) both.

    text: a part of a name or an e-mail address.
    """
    direct, heir = _member_of(group_id), _heir_of(group_id)
    asked = {"direct": direct, "inherited": sa.and_(heir, sa.not_(direct))}.get(membership, sa.or_(direct, heir))
    people, total = await users.page(
        connection, Person, query=text, order_by="created_at", direction="asc", number=number, where=asked
    )
    shown = [person.id for person in people]
    inside = set(
        await connection.scalars(
            sa.select(member.c.user_id).where(member.c.group_id == group_id, member.c.user_id.in_(shown))
        )
    )
    via: dict[str, list[str]] = {}
    heirs = sa.select(member.c.user_id, member.c.group_id).join(t, t.c.id == member.c.group_id)
    for user_id, heir_id in await connection.execute(
        heirs.where(t.c.parent_group_id == group_id, member.c.user_id.in_(shown)).order_by(
            member.c.created_at, member.c.group_id
        )
    ):
        via.setdefault(user_id, []).append(heir_id)
    return [Membership(person, person.id in inside, via.get(person.id, [])) for person in people], total


async def add(connection: AsyncConnection, group_id: str, user_ids: Iterable[str]) -> None:
    """Puts people into a group; ids of nobody, and of those who are in it, are passed over."""
    people = sa.select(sa.literal(group_id), tables.user.c.id, sa.literal(now())).where(
        among(tables.user.c.id, user_ids)
    )
    statement = inserting(connection, member).from_select(
        [member.c.group_id, member.c.user_id, member.c.created_at], people
    )
    await connection.execute(statement.on_conflict_do_nothing(index_elements=[member.c.group_id, member.c.user_id]))
    acts.note("group", group_id, {"members_added": (None, list(user_ids))})


async def remove(connection: AsyncConnection, group_id: str, user_ids: Iterable[str]) -> None:
    await connection.execute(member.delete().where(member.c.group_id == group_id, among(member.c.user_id, user_ids)))
    acts.note("group", group_id, {"members_removed": (list(user_ids), None)})
