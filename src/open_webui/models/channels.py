"""Channels: what they are called, who may read and write in them, who is in them, and who has read how far."""

import hashlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import tables
from open_webui.models.base import among, decode_json, inserting, new_id
from open_webui.models.grants import Action, Grant, of_many
from open_webui.models.repository import Condition, contains
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal

Kind = Literal["group", "dm"]
PERMISSION: Final = "features.channels"
# Unread messages that are counted.
MOST_UNREAD: Final = 99
# Channels of one list.
MOST_LISTED: Final = 500
# People of a page of members.
PER_PAGE: Final = 30
# Somebody seen within this many seconds counts as active, as among people.
ACTIVE_SECONDS: Final = 180
t, member, user, message = tables.channel, tables.channel_member, tables.user, tables.channel_message
grant, group_member, group = tables.access_grant, tables.group_member, tables.group


def nanoseconds() -> int:
    """Since the epoch."""
    return time.time_ns()


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel, in the order of the wire. type: None for one that grants open."""

    id: str
    user_id: str
    type: str | None
    name: str
    description: str | None
    is_private: bool | None
    data: dict[str, Any] | None
    meta: dict[str, Any] | None
    access_grants: tuple[Grant, ...] = ()
    created_at: int
    updated_at: int
    updated_by: str | None
    archived_at: int | None
    archived_by: str | None
    deleted_at: int | None
    deleted_by: str | None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as somebody has it. last_read_at: when they looked at it last."""

    channel: Channel
    is_muted: bool
    last_read_at: int | None
    last_message_at: int | None
    unread: int


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in a channel, as others see them."""

    id: str
    name: str
    email: str
    role: str
    profile_image_url: str
    presence_state: str | None
    status_emoji: str | None
    status_message: str | None
    status_expires_at: int | None
    last_active_at: int

    @property
    def was_active(self) -> bool:
        return self.last_active_at >= time.time() - ACTIVE_SECONDS


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in a group or a conversation."""

    id: str
    channel_id: str
    user_id: str
    role: str | None
    is_active: bool
    is_channel_muted: bool
    is_channel_pinned: bool
    invited_by: str | None
    joined_at: int
    last_read_at: int | None
    created_at: int
    updated_at: int


class Channels(Resource[Channel]):
    """Open channels are their owner's, administrators' and those whom grants name; all others are their members'."""

    def now(self) -> int:
        return nanoseconds()

    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        if principal is None or not principal.is_active:
            return sa.false()
        is_open, there = t.c.type.is_(None), t.c.deleted_at.is_(None)
        among_them = sa.exists().where(member.c.channel_id == t.c.id, member.c.user_id == principal.id)
        granted = super().allowed(principal, action)
        return sa.and_(there, sa.or_(sa.and_(is_open, granted), sa.and_(sa.not_(is_open), among_them)))

    def may(self, row: Any, principal: Principal | None, action: Action) -> bool:
        """Of an open channel. Who is in another one, the database says."""
        return row.type is None and super().may(row, principal, action)

    async def as_had(self, connection: AsyncConnection, principal: Principal, *where: Condition) -> list[Listed]:
        """Some channels that somebody may read, as they have them, the oldest first: two statements.

        Where they are more than a list holds, the newest are in it.
        """
        mine = member.alias("mine")
        since = sa.func.coalesce(mine.c.last_read_at, mine.c.joined_at, 0)
        new = (
            sa.select(sa.literal(1).label("one"))
            .where(message.c.channel_id == t.c.id, message.c.parent_id.is_(None), message.c.created_at > since)
            .where(message.c.user_id.is_distinct_from(principal.id))
            .limit(MOST_UNREAD)
            .correlate(t, mine)
            .subquery()
        )
        unread = sa.select(sa.func.count()).select_from(new).scalar_subquery()
        muted = sa.func.coalesce(mine.c.is_channel_muted, sa.false())
        query = (
            sa.select(*self._columns, muted, mine.c.last_read_at, t.c.last_message_at, unread)
            .select_from(t.outerjoin(mine, sa.and_(mine.c.channel_id == t.c.id, mine.c.user_id == principal.id)))
            .where(self.readable_by(principal), *where)
            .order_by(t.c.created_at.desc(), t.c.id.desc())
            .limit(MOST_LISTED)
        )
        rows = (await connection.execute(query)).all()[::-1]
        given = await of_many(connection, self.name, [row[0] for row in rows])
        out = []
        for row in rows:
            values = dict(zip(self._fields, row, strict=False))
            for name, otherwise in self._json.items():
                values[name] = otherwise(decode_json(values[name]))
            channel = Channel(**values, access_grants=tuple(given.get(values["id"], ())))
            is_muted, read, last, count = row[len(self._fields) :]
            out.append(
                Listed(channel=channel, is_muted=bool(is_muted), last_read_at=read, last_message_at=last, unread=count)
            )
        return out


repository: Final = Channels(
    "channel",
    t,
    Channel,
    sharing=Sharing(people=PERMISSION, public=PERMISSION),
    admins=("read", "write"),
    order=(t.c.created_at, t.c.id),
)


async def listed(connection: AsyncConnection, principal: Principal) -> list[Listed]:
    """Those that somebody may read, without conversations that they have put away."""
    away = sa.exists().where(
        member.c.channel_id == t.c.id, member.c.user_id == principal.id, sa.not_(member.c.is_active)
    )
    return await repository.as_had(connection, principal, sa.or_(t.c.type.is_distinct_from("dm"), sa.not_(away)))


async def one(connection: AsyncConnection, principal: Principal, channel_id: str) -> Listed | None:
    """One that somebody may read."""
    found = await repository.as_had(connection, principal, t.c.id == channel_id)
    return found[0] if found else None


async def readable(connection: AsyncConnection, principal: Principal, channel_id: str) -> bool:
    """Whether somebody may read it: one statement."""
    return (
        await connection.scalar(sa.select(t.c.id).where(t.c.id == channel_id, repository.readable_by(principal)))
        is not None
    )


async def muting(connection: AsyncConnection, channel_id: str, user_ids: Collection[str]) -> set[str]:
    """Those of some people who want to hear nothing of a channel."""
    muted = member.c.channel_id == channel_id, among(member.c.user_id, user_ids), member.c.is_channel_muted
    return set(await connection.scalars(sa.select(member.c.user_id).where(*muted)))


async def search(
    connection: AsyncConnection, principal: Principal, text: str, most: int
) -> list[tuple[str, str, str | None, str | None]]:
    """Id, name, description and type of channels that somebody may read, by a part of the name or the description."""
    query = sa.select(t.c.id, t.c.name, t.c.description, t.c.type).where(repository.readable_by(principal))
    if text:
        query = query.where(contains([t.c.name, t.c.description], text))
    rows = await connection.execute(query.order_by(t.c.last_message_at.desc().nulls_last(), t.c.id).limit(most))
    return [(row[0], row[1], row[2], row[3]) for row in rows]


# What happens in one, in order


async def happens(connection: AsyncConnection, channel_id: str) -> int:
    """The number of what happens now. Whoever else changes the channel waits until this unit of work ends."""
    change = t.update().where(t.c.id == channel_id).values(seq=t.c.seq + 1).returning(t.c.seq)
    return int(await connection.scalar(change) or 0)


async def writes(connection: AsyncConnection, channel_id: str) -> tuple[int, int]:
    """The same of a new message, and its time, which no other of the channel has or had before."""
    at = nanoseconds()
    later = sa.case((t.c.last_message_at >= at, t.c.last_message_at + 1), else_=at)
    change = t.update().where(t.c.id == channel_id).values(seq=t.c.seq + 1, last_message_at=later)
    row = (await connection.execute(change.returning(t.c.seq, t.c.last_message_at))).one()
    return int(row[0]), int(row[1])


# Who is in it


def people_of(channel: Channel) -> Condition:
    """A condition on accounts: who is in a channel, or may read it by its grants."""
    if channel.type is not None:
        return sa.exists().where(member.c.channel_id == channel.id, member.c.user_id == user.c.id)
    on = sa.and_(grant.c.resource_type == repository.name, grant.c.resource_id == channel.id)
    named = sa.exists().where(on, grant.c.principal_type == "user", grant.c.principal_id.in_([user.c.id, "*"]))
    open_to = sa.select(grant.c.principal_id).where(on, grant.c.principal_type == "group")
    heirs = sa.select(group.c.id).where(group.c.parent_group_id.in_(open_to))
    inside = sa.exists().where(
        group_member.c.user_id == user.c.id,
        sa.or_(group_member.c.group_id.in_(open_to), group_member.c.group_id.in_(heirs)),
    )
    return sa.and_(user.c.role.in_(("user", "admin")), sa.or_(user.c.id == channel.user_id, named, inside))


_person = tuple(user.c[name] for name in Person.__struct_fields__)
_ORDERS: Final = {"name": sa.func.lower(user.c.name), "role": user.c.role, "created_at": user.c.created_at}


async def people(
    connection: AsyncConnection,
    channel: Channel,
    text: str | None,
    order_by: str | None,
    direction: str | None,
    number: int,
) -> tuple[list[Person], int]:
    """A page of who is in a channel, and how many there are."""
    where = people_of(channel)
    if text:
        where = sa.and_(where, contains([user.c.name], text))
    by: Any = _ORDERS.get(order_by or "created_at", user.c.created_at)
    query = sa.select(*_person, sa.func.count().over()).where(where)
    query = query.order_by(by.desc() if direction == "desc" else by.asc(), user.c.id)
    rows = (await connection.execute(query.limit(PER_PAGE).offset((number - 1) * PER_PAGE))).all()
    if not rows:
        return [], int(await connection.scalar(sa.select(sa.func.count()).select_from(user).where(where)) or 0)
    return [_a_person(row) for row in rows], int(rows[0][-1])


async def count_people(connection: AsyncConnection, channel: Channel) -> int:
    """How many people are in it, or may read it by its grants."""
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(user).where(people_of(channel))) or 0)


def _a_person(row: Any) -> Person:
    return Person(**dict(zip(Person.__struct_fields__, row, strict=False)))


async def people_by_channel(
    connection: AsyncConnection, channel_ids: Collection[str], most: int = 10_000
) -> dict[str, list[Person]]:
    """Who is in each of some groups and conversations, in the order in which they came."""
    if not channel_ids:
        return {}
    query = (
        sa.select(*_person, member.c.channel_id)
        .join(member, member.c.user_id == user.c.id)
        .where(among(member.c.channel_id, channel_ids))
        .order_by(member.c.joined_at, user.c.id)
        .limit(most)
    )
    out: dict[str, list[Person]] = {}
    for row in await connection.execute(query):
        out.setdefault(row[-1], []).append(_a_person(row))
    return out


async def member_ids(connection: AsyncConnection, channel_id: str) -> list[str]:
    """Who is in a group or a conversation."""
    rows = await connection.scalars(
        sa.select(member.c.user_id)
        .where(member.c.channel_id == channel_id)
        .order_by(member.c.joined_at, member.c.user_id)
    )
    return list(rows)


async def accounts(
    connection: AsyncConnection, user_ids: Collection[str], group_ids: Collection[str] = ()
) -> list[str]:
    """Those of these people, and of these groups, who have an account that was let in."""
    inside = sa.exists().where(group_member.c.user_id == user.c.id, among(group_member.c.group_id, group_ids))
    named = among(user.c.id, user_ids)
    query = sa.select(user.c.id).where(
        user.c.role.in_(("user", "admin")), sa.or_(named, inside) if group_ids else named
    )
    return list(await connection.scalars(query.order_by(user.c.id).limit(MOST_PEOPLE + 1)))


# People that a group has at most.
MOST_PEOPLE: Final = 1_000
# Rows that one statement inserts: PostgreSQL has 32,767 parameters for it.
ROWS_AT_ONCE: Final = 500


async def add_members(
    connection: AsyncConnection, channel_id: str, user_ids: Iterable[str], *, by: str, role: str | None = None
) -> list[str]:
    """Puts people into it. Says who was not in it before."""
    at = nanoseconds()
    rows = [
        {
            "id": new_id(), "channel_id": channel_id, "user_id": who, "role": role, "invited_by": by, "is_active": True,
            "is_channel_muted": False, "is_channel_pinned": False, "joined_at": at, "created_at": at, "updated_at": at,
        }
        for who in user_ids
    ]  # fmt: skip
    added: list[str] = []
    keys = [member.c.channel_id, member.c.user_id]
    for k in range(0, len(rows), ROWS_AT_ONCE):
        some = inserting(connection, member).values(rows[k : k + ROWS_AT_ONCE])
        added += await connection.scalars(some.on_conflict_do_nothing(index_elements=keys).returning(member.c.user_id))
    return added


async def members(connection: AsyncConnection, channel_id: str, user_ids: Collection[str]) -> list[Member]:
    """The rows of some people in a channel."""
    columns = [member.c[name] for name in Member.__struct_fields__]
    query = sa.select(*columns).where(member.c.channel_id == channel_id, among(member.c.user_id, user_ids))
    rows = await connection.execute(query.order_by(member.c.joined_at, member.c.user_id))
    return [Member(**dict(zip(Member.__struct_fields__, row, strict=True))) for row in rows]


async def remove_members(connection: AsyncConnection, channel_id: str, user_ids: Collection[str]) -> int:
    """Takes people out of it, and says how many were in it."""
    gone = await connection.execute(
        member.delete().where(member.c.channel_id == channel_id, among(member.c.user_id, user_ids))
    )
    return gone.rowcount


async def set_member(connection: AsyncConnection, channel_id: str, user_id: str, values: Mapping[str, Any]) -> None:
    """Stores what somebody has set of a channel, or how far they have read.

    A row of theirs is made only in an open channel: in others it would make them a member again who was just put out.
    """
    at = nanoseconds()
    change = dict(values) | {"updated_at": at}
    keys = [member.c.channel_id, member.c.user_id]
    mine = member.update().where(member.c.channel_id == channel_id, member.c.user_id == user_id)
    if (await connection.execute(mine.values(change))).rowcount:
        return
    row = {"id": new_id(), "channel_id": channel_id, "user_id": user_id, "joined_at": at, "created_at": at} | change
    told = [sa.literal(value, member.c[name].type) for name, value in row.items()]
    is_open = sa.select(*told).where(t.c.id == channel_id, t.c.type.is_(None))
    statement = inserting(connection, member).from_select(list(row), is_open)
    await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=change))


async def show_again(connection: AsyncConnection, channel_id: str, user_id: str | None = None) -> None:
    """Brings a conversation back to who has put it away; to one of them, or to all."""
    away = sa.and_(member.c.channel_id == channel_id, sa.not_(member.c.is_active))
    if user_id is not None:
        away = sa.and_(away, member.c.user_id == user_id)
    await connection.execute(member.update().where(away).values(is_active=True))


async def read_marks(connection: AsyncConnection, channel_id: str, user_id: str) -> tuple[int | None, int | None]:
    """When somebody looked at a channel last, and when its last message was written."""
    mine = sa.select(member.c.last_read_at).where(member.c.channel_id == channel_id, member.c.user_id == user_id)
    row = (
        await connection.execute(sa.select(mine.scalar_subquery(), t.c.last_message_at).where(t.c.id == channel_id))
    ).first()
    return (None, None) if row is None else (row[0], row[1])


# Conversations


def key_of(user_ids: Iterable[str]) -> str:
    """What people's conversation is found by."""
    return hashlib.sha256("\n".join(sorted(set(user_ids))).encode()).hexdigest()


async def conversation(connection: AsyncConnection, user_ids: Iterable[str]) -> str | None:
    """The id of the conversation of exactly these people."""
    found: str | None = await connection.scalar(
        sa.select(t.c.id).where(t.c.people == key_of(user_ids), t.c.deleted_at.is_(None))
    )
    return found


async def count_own(connection: AsyncConnection, user_id: str) -> int:
    """How many living channels are somebody's. Whoever counts the same person's waits until this unit of work ends."""
    await connection.execute(sa.select(user.c.id).where(user.c.id == user_id).with_for_update(key_share=True))
    theirs = sa.select(sa.func.count()).select_from(t).where(t.c.user_id == user_id, t.c.deleted_at.is_(None))
    return int(await connection.scalar(theirs) or 0)


async def hand_over(connection: AsyncConnection, user_id: str, heir: str) -> None:
    """Before an account goes: its open channels are the heir's, its groups and conversations somebody's who is in them."""
    theirs = t.c.user_id == user_id
    await connection.execute(t.update().where(theirs, t.c.type.is_(None)).values(user_id=heir))
    next_one = (
        sa.select(member.c.user_id)
        .where(member.c.channel_id == t.c.id, member.c.user_id != user_id)
        .order_by(member.c.joined_at, member.c.user_id)
        .limit(1)
        .scalar_subquery()
    )
    left = sa.exists().where(member.c.channel_id == t.c.id, member.c.user_id != user_id)
    await connection.execute(t.update().where(theirs, t.c.type.is_not(None), left).values(user_id=next_one))
    # A conversation with somebody who is gone is no conversation that others could begin anew.
    talked = sa.exists().where(member.c.channel_id == t.c.id, member.c.user_id == user_id)
    await connection.execute(t.update().where(t.c.people.is_not(None), talked).values(people=None))


async def remove_some(connection: AsyncConnection, channel_id: str, most: int) -> bool:
    """Removes some messages of a channel that is being removed, and with the last ones the channel. Says if more are left."""
    some = (
        sa.select(message.c.id)
        .where(message.c.channel_id == channel_id)
        .order_by(message.c.created_at.desc())
        .limit(most)
    )
    gone = (await connection.execute(message.delete().where(message.c.id.in_(some)))).rowcount
    if gone:
        return True
    await repository.delete(connection, [channel_id])
    return False


def ids(rows: Sequence[Listed]) -> list[str]:
    """The ids of conversations among some channels."""
    return [row.channel.id for row in rows if row.channel.type == "dm"]
