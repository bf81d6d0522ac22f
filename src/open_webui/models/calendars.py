"""Calendars and what stands in them: whose they are, who may read and change them, and who is invited. Times are nanoseconds."""

import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.models import grants, tables
from open_webui.models.base import among, inserting, new_id
from open_webui.models.grants import Action, Grant
from open_webui.models.repository import Condition, Owner, Repository, contains
from open_webui.models.resource import Resource, Sharing
from open_webui.principal import Principal, Role

KIND: Final = "calendar"
PERMISSION: Final = "features.calendar"
DEFAULT_NAME: Final = "Personal"
DEFAULT_COLOR: Final = "#3b82f6"
# Calendars that somebody sees, their own first.
MAX_SEEN: Final = 500
t, event, attendee, user, grant = (
    tables.calendar,
    tables.calendar_event,
    tables.calendar_event_attendee,
    tables.user,
    tables.access_grant,
)


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar, in the order of the wire. is_system: it isn't stored, but made up of something else."""

    id: str
    user_id: str
    name: str
    color: str | None
    is_default: bool
    is_system: bool
    data: dict[str, Any] | None
    meta: dict[str, Any] | None
    access_grants: tuple[Grant, ...] = ()
    created_at: int
    updated_at: int


class Attendee(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is invited. status: what they said to it."""

    id: str
    event_id: str
    user_id: str
    status: str
    meta: dict[str, Any] | None
    created_at: int
    updated_at: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a calendar. zone: in which it repeats. until_at: after that it takes place no more. uid: its name in the
    file that it came from. alert_at: when its next reminder comes, 0 where that is to be found out.
    """

    id: str
    calendar_id: str
    user_id: str
    title: str
    description: str | None
    start_at: int
    end_at: int | None
    all_day: bool
    rrule: str | None
    color: str | None
    location: str | None
    data: dict[str, Any] | None
    meta: dict[str, Any] | None
    is_cancelled: bool
    attendees: tuple[Attendee, ...] = ()
    created_at: int
    updated_at: int
    zone: str | None
    until_at: int
    uid: str | None
    alert_at: int | None
    # Who made it, for lists that show it.
    maker_name: str
    maker_role: Role
    maker_email: str

    @property
    def maker(self) -> Owner:
        return Owner(self.user_id, self.maker_name, self.maker_role, self.maker_email)


class Found(msgspec.Struct, frozen=True):
    """Some events, and how many there are of them."""

    items: list[Event]
    total: int


class _Calendars(Resource[Calendar]):
    def now(self) -> int:
        """Nanoseconds."""
        return time.time_ns()

    async def seen(self, connection: AsyncConnection, principal: Principal) -> list[Calendar]:
        """Those that somebody may read, their own first, the oldest first."""
        mine = t.c.user_id == principal.id
        query = self._select(t.c.id.in_(_ids(principal, "read")))
        return await self._rows(connection, query.order_by(mine.desc(), t.c.created_at, t.c.id).limit(MAX_SEEN))


repository: Final = _Calendars(
    KIND,
    t,
    Calendar,
    # Whoever may have calendars may show them to people; to everybody with another permission.
    sharing=Sharing(people=PERMISSION, public="sharing.public_calendars"),
    computed={"is_system": sa.literal(False)},
)


def _ids(principal: Principal, action: Action) -> Any:
    """The ids of the calendars that somebody may read or write, as a query. `Resource.allowed` says the same of each row."""
    kinds: dict[str, list[str]] = {}
    for kind, who in sorted(grants.audiences(principal)):
        kinds.setdefault(kind, []).append(who)
    allowing = ("read", "write") if action == "read" else ("write",)
    named = sa.or_(
        *(sa.and_(grant.c.principal_type == kind, grant.c.principal_id.in_(who)) for kind, who in kinds.items())
    )
    given = sa.select(grant.c.resource_id).where(named, grant.c.resource_type == KIND, grant.c.permission.in_(allowing))
    return sa.select(t.c.id).where(t.c.user_id == principal.id).union(given)


# Calendars


def default_id(user_id: str) -> str:
    """The id of the calendar that everybody has from the beginning: the same whoever makes it, so that there is one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"oui-backend:calendar:{user_id}"))


async def make_default(connection: AsyncConnection, user_id: str) -> None:
    """Gives somebody their first calendar, unless they have one by now."""
    at = time.time_ns()
    values = {
        "id": default_id(user_id),
        "user_id": user_id,
        "name": DEFAULT_NAME,
        "color": DEFAULT_COLOR,
        "is_default": True,
        "created_at": at,
        "updated_at": at,
    }
    await connection.execute(inserting(connection, t).values(values).on_conflict_do_nothing())


async def default_of(connection: AsyncConnection, user_id: str) -> str | None:
    """The id of somebody's calendar for what names none."""
    found: str | None = await connection.scalar(
        sa.select(t.c.id).where(t.c.user_id == user_id, t.c.is_default).limit(1)
    )
    return found


async def count(connection: AsyncConnection, user_id: str) -> int:
    """How many somebody has."""
    return int(await connection.scalar(sa.select(sa.func.count()).where(t.c.user_id == user_id)) or 0)


async def set_default(connection: AsyncConnection, user_id: str, calendar_id: str) -> None:
    """Makes one of somebody's calendars the default, and the others not. The caller holds the person's row."""
    others = t.update().where(t.c.user_id == user_id, t.c.is_default, t.c.id != calendar_id)
    await connection.execute(others.values(is_default=False))
    await repository.change(connection, calendar_id, {"is_default": True})


# Events


class _Events(Repository[Event]):
    def allowed(self, principal: Principal | None, action: Action) -> Condition:
        """What stands in a calendar that one may read or write; and for reading what one is invited to."""
        if principal is None:
            return sa.false()
        inside = event.c.calendar_id.in_(_ids(principal, action))
        if action == "write":
            return inside
        invited = sa.exists().where(attendee.c.event_id == event.c.id, attendee.c.user_id == principal.id)
        return sa.or_(inside, invited)

    def now(self) -> int:
        """Nanoseconds."""
        return time.time_ns()

    async def between(
        self,
        connection: AsyncConnection,
        principal: Principal,
        start: int,
        end: int,
        among_: Collection[str] | None,
        most: int,
    ) -> list[Event]:
        """What may take place from `start` on and before `end`: one's own first, then what stands in calendars of others, then
        invitations that one has not declined; of each, by its beginning. among_: only of these calendars.
        """
        when = [event.c.until_at >= start, event.c.start_at < end, sa.not_(event.c.is_cancelled)]
        if among_ is not None:
            when.append(among(event.c.calendar_id, among_))
        readable = event.c.calendar_id.in_(_ids(principal, "read"))
        inside = sa.select(event.c.id).where(readable, *when)
        invited = (
            sa.select(event.c.id)
            .join(attendee, attendee.c.event_id == event.c.id)
            .where(attendee.c.user_id == principal.id, attendee.c.status != "declined", *when)
        )
        query = self._select(event.c.id.in_(inside.union(invited)))
        # Whoever invites somebody to a thousand events must not push out what is theirs.
        calendar = sa.select(t.c.id).where(t.c.user_id == principal.id)
        mine = sa.or_(event.c.user_id == principal.id, event.c.calendar_id.in_(calendar))
        rank = sa.case((mine, 0), (readable, 1), else_=2)
        return await self._rows(connection, query.order_by(rank, event.c.start_at, event.c.id).limit(most))

    async def search(
        self,
        connection: AsyncConnection,
        principal: Principal,
        text: str | None,
        skip: int,
        limit: int,
        **when: int | None,
    ) -> Found:
        """Those that have a text in them, by their beginning. when: `start` and `end`, within which they may take place."""
        where = [self.allowed(principal, "read"), sa.not_(event.c.is_cancelled)]
        if text:
            where.append(contains([event.c.title, event.c.description, event.c.location], text))
        if (start := when.get("start")) is not None:
            where.append(event.c.until_at >= start)
        if (end := when.get("end")) is not None:
            where.append(event.c.start_at < end)
        order = event.c.start_at.desc(), event.c.id
        items = await self._rows(connection, self._select(*where).order_by(*order).limit(limit).offset(skip))
        total = await connection.scalar(sa.select(sa.func.count()).select_from(event).where(*where))
        return Found(items, int(total or 0))

    async def of_calendar(
        self, connection: AsyncConnection, calendar_id: str, most: int, after: tuple[int, str] | None = None
    ) -> list[Event]:
        """What stands in a calendar, by its beginning, for who has looked whether it may be read.

        after: only what comes behind the event with this beginning and id.
        """
        where = [event.c.calendar_id == calendar_id]
        if after is not None:
            where.append(sa.tuple_(event.c.start_at, event.c.id) > sa.tuple_(*after))
        query = self._select(*where).order_by(event.c.start_at, event.c.id)
        return await self._rows(connection, query.limit(most))

    async def begins(self, connection: AsyncConnection, principal: Principal, ids: Collection[str]) -> dict[str, int]:
        """When some events begin that somebody may read, by their ids."""
        if not ids:
            return {}
        query = sa.select(event.c.id, event.c.start_at).where(among(event.c.id, ids), self.allowed(principal, "read"))
        return {row.id: row.start_at for row in await connection.execute(query)}

    async def _rows(self, connection: AsyncConnection, query: "sa.Select[Any]") -> list[Event]:
        values = await self._values(connection, query)
        invited = await _attendees(connection, [row["id"] for row in values])
        return [self.row(**row, attendees=tuple(invited.get(row["id"], ()))) for row in values]


def _of_maker(name: str) -> Any:
    return sa.select(user.c[name]).where(user.c.id == event.c.user_id).correlate(event).scalar_subquery()


events: Final = _Events(
    event,
    Event,
    elsewhere=["attendees"],
    computed={f"maker_{name}": _of_maker(name) for name in ("name", "role", "email")},
    searches=("title", "description", "location"),
    sorts=("start_at",),
)
_invited: Final = tuple(attendee.c[name] for name in Attendee.__struct_fields__)


async def _attendees(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, list[Attendee]]:
    if not ids:
        return {}
    query = sa.select(*_invited).where(among(attendee.c.event_id, ids)).order_by(attendee.c.created_at, attendee.c.id)
    found: dict[str, list[Attendee]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.event_id, []).append(Attendee(**row._asdict()))
    return found


async def count_events(connection: AsyncConnection, calendar_id: str) -> int:
    """How many stand in a calendar."""
    return int(await connection.scalar(sa.select(sa.func.count()).where(event.c.calendar_id == calendar_id)) or 0)


async def insert_events(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Stores new events, each with an id. Those that are there by their ids stay as they are."""
    if rows:
        await connection.execute(inserting(connection, event).on_conflict_do_nothing(), [dict(row) for row in rows])


async def people(connection: AsyncConnection, ids: Collection[str]) -> set[str]:
    """Those of some ids that are accounts which were let in."""
    query = sa.select(user.c.id).where(among(user.c.id, ids), user.c.role != "pending")
    return set(await connection.scalars(query))


async def invite(connection: AsyncConnection, event_id: str, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts attendees in the place of all there were; those who stay keep what they said. wanted: columns, by the person's id.

    The caller holds the event's row.
    """
    stand = {one.user_id: one for one in (await _attendees(connection, [event_id])).get(event_id, [])}
    gone = [one.id for who, one in stand.items() if who not in wanted]
    if gone:
        await connection.execute(attendee.delete().where(among(attendee.c.id, gone)))
    at = time.time_ns()
    new = [
        {"id": new_id(), "event_id": event_id, "user_id": who, "status": "pending", "meta": None}
        | dict(values)
        | {"created_at": at, "updated_at": at}
        for who, values in wanted.items()
        if who not in stand
    ]
    if new:
        await connection.execute(inserting(connection, attendee).on_conflict_do_nothing(), new)


async def answer(connection: AsyncConnection, event_id: str, user_id: str, status: str) -> Attendee | None:
    """Stores what somebody says to an invitation. None where they have none."""
    one = sa.and_(attendee.c.event_id == event_id, attendee.c.user_id == user_id)
    values = {"status": status, "updated_at": time.time_ns()}
    row = (await connection.execute(attendee.update().where(one).values(values).returning(*_invited))).first()
    return None if row is None else Attendee(**row._asdict())


async def zone_of(connection: AsyncConnection, user_id: str) -> str | None:
    """The time zone that somebody's page told last."""
    found: str | None = await connection.scalar(sa.select(user.c.timezone).where(user.c.id == user_id))
    return found
