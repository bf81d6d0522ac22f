"""Calendars: kept, shared, and what stands in them: made, moved, repeated, answered, with every rule on who may."""

import asyncio
import datetime as dt
import itertools
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models import automations as scheduled
from open_webui.models import calendars, users
from open_webui.models.base import new_id
from open_webui.models.calendars import PERMISSION, Attendee, Calendar, Event, repository
from open_webui.models.grants import Action
from open_webui.principal import Principal
from open_webui.schemas.calendars import AttendeeForm, CalendarForm, CalendarUpdateForm, EventForm, EventUpdateForm
from open_webui.services import automations, granted
from open_webui.services.deps import Deps as ServiceDeps
from open_webui.services.event_times import DAY, Timing, restored, times_of, timing_of, until_of
from open_webui.services.reminders import Reminders, alert_of
from open_webui.utils import recurring

Wire = dict[str, Any]
MAX_CALENDARS: Final = 100
MAX_EVENTS: Final = 20_000
# Of one answer: events, runs of automations, and days.
MAX_LISTED: Final = 1_000
MAX_DAYS: Final = 400
# Of one answer, as it is sent: an event that repeats is in it as a whole with each of its times.
MAX_BYTES: Final = 8 * 1024 * 1024
# Seconds for the times of all events of a list (utils/recurring.py).
SECONDS: Final = 2.0
NO_CALENDAR: Final = "Calendar not found"
NO_EVENT: Final = "Event not found"
NOT_INVITED: Final = "Not an attendee of this event"
IS_DEFAULT: Final = "Your default calendar can't be removed. Make another one the default first."
BAD_DATE: Final = "Dates should be written as in ISO 8601, such as 2026-04-01T00:00:00."
LONG: Final = f"At most {MAX_DAYS} days can be asked for at once."
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
# What an event must have: null says nothing of it.
_NEEDED: Final = frozenset({"calendar_id", "title", "start_at", "all_day", "is_cancelled"})
# What says when it takes place, and when it is reminded of.
_TIMED: Final = frozenset({"rrule", "start_at", "end_at", "data", "meta", "is_cancelled"})
# What the wire doesn't tell.
_INSIDE: Final = ("zone", "until_at", "uid", "alert_at", "maker_name", "maker_role", "maker_email")


class Deps(ServiceDeps, Protocol):
    """What it needs of the state."""

    @property
    def reminders(self) -> Reminders: ...


def check(deps: ServiceDeps, principal: Principal) -> None:
    """Raises Forbidden where calendars are off, for all or for this person."""
    if not deps.config["calendar.enable"] or not principal.may(PERMISSION):
        raise Forbidden(constants.UNAUTHORIZED, status=403)


# Calendars


def _shown(calendar: Calendar, principal: Principal) -> Calendar:
    """Another's default calendar is not one's own default."""
    if calendar.user_id == principal.id or not calendar.is_default:
        return calendar
    return msgspec.structs.replace(calendar, is_default=False)


async def listed(deps: Deps, principal: Principal) -> list[Calendar]:
    """All that somebody may read. Whoever has none of their own gets one."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await repository.seen(connection, principal)
    if not any(one.user_id == principal.id and one.is_default for one in found):
        async with deps.database.write() as unit:
            await _default(unit.connection, principal)
            found = await repository.seen(unit.connection, principal)
    system = [automations.calendar(principal, time.time_ns())] if automations.may(deps, principal) else []
    return [_shown(one, principal) for one in found] + system


async def _default(connection: AsyncConnection, principal: Principal) -> str:
    """The id of somebody's default calendar, which is made where there is none."""
    if (found := await calendars.default_of(connection, principal.id)) is not None:
        return found
    await users.lock(connection, [principal.id])
    # Another may have made it meanwhile.
    found = await calendars.default_of(connection, principal.id)
    if found is None:
        await calendars.make_default(connection, principal.id)
        found = calendars.default_id(principal.id)
        await calendars.set_default(connection, principal.id, found)
    return found


async def require(
    connection: AsyncConnection, principal: Principal, calendar_id: str, action: Action = "read", *, lock: bool = False
) -> Calendar:
    """A calendar that somebody may read or write. Raises NotFound, Forbidden."""
    try:
        return await repository.require(connection, principal, calendar_id, action, lock=lock)
    except NotFound:
        raise NotFound(NO_CALENDAR) from None


async def get(deps: Deps, principal: Principal, calendar_id: str) -> Calendar:
    """One calendar."""
    check(deps, principal)
    if calendar_id == automations.CALENDAR_ID and automations.may(deps, principal):
        return automations.calendar(principal, time.time_ns())
    async with deps.database.read() as connection:
        return _shown(await require(connection, principal, calendar_id), principal)


async def create(deps: Deps, principal: Principal, form: CalendarForm) -> Calendar:
    """A new calendar. Grants that the caller may not give are left out."""
    check(deps, principal)
    values = form.model_dump(exclude={"access_grants"})
    async with deps.database.write() as unit:
        connection = unit.connection
        await users.lock(connection, [principal.id])
        if await calendars.count(connection, principal.id) >= MAX_CALENDARS:
            raise BadRequest(f"You have {MAX_CALENDARS} calendars already. Remove one first.")
        made = await repository.create(connection, principal.id, values)
        assert made is not None  # a new id
        await repository.set_grants(connection, principal, made.id, form.access_grants or (), strict=False)
        return await require(connection, principal, made.id)


async def update(deps: Deps, principal: Principal, calendar_id: str, form: CalendarUpdateForm) -> Calendar:
    """Changes a calendar; what is left out, or null, stays."""
    check(deps, principal)
    values = form.model_dump(exclude_none=True)
    async with deps.database.write() as unit:
        await require(unit.connection, principal, calendar_id, "write", lock=True)
        await repository.change(unit.connection, calendar_id, values)
        return _shown(await require(unit.connection, principal, calendar_id), principal)


async def set_access(deps: Deps, principal: Principal, calendar_id: str, given: granted.Given) -> Calendar:
    """Replaces the grants on a calendar."""
    check(deps, principal)
    async with deps.database.write() as unit:
        await require(unit.connection, principal, calendar_id, "write", lock=True)
        await repository.set_grants(unit.connection, principal, calendar_id, given, strict=True)
        found = await repository.get(unit.connection, calendar_id)
        assert found is not None  # its row is held
        return _shown(found, principal)


async def set_default(deps: Deps, principal: Principal, calendar_id: str) -> Calendar:
    """Makes one of one's own calendars the default."""
    check(deps, principal)
    async with deps.database.write() as unit:
        await users.lock(unit.connection, [principal.id])
        if await repository.get_own(unit.connection, principal.id, calendar_id) is None:
            raise NotFound(NO_CALENDAR)
        await calendars.set_default(unit.connection, principal.id, calendar_id)
        return await require(unit.connection, principal, calendar_id)


async def delete(deps: Deps, principal: Principal, calendar_id: str) -> bool:
    """Removes a calendar with all that stands in it."""
    check(deps, principal)
    async with deps.database.write() as unit:
        row = await require(unit.connection, principal, calendar_id, "write", lock=True)
        if row.is_default:
            raise BadRequest(IS_DEFAULT)
        await repository.delete(unit.connection, [calendar_id])
    return True


# Events


def wire(event: Event) -> Wire:
    """An event as the wire has it."""
    told = msgspec.structs.asdict(event)
    for name in _INSIDE:
        del told[name]
    return told


def listed_as(event: Event, principal: Principal) -> Wire:
    """An event of a list, with who made it."""
    return wire(event) | {"user": event.maker.shown_to(principal)}


def moment(text: str, zone: dt.tzinfo = dt.UTC) -> int:
    """The time of a date that a client wrote. zone: of one that names none. Raises BadRequest."""
    try:
        if len(text) > 60 or not _DATE.match(text):
            raise ValueError
        at = dt.datetime.fromisoformat(text)
        at = at.replace(tzinfo=zone) if at.tzinfo is None else at
        if not recurring.FIRST_YEAR <= at.year < recurring.LAST_YEAR:
            raise ValueError
        return round(at.timestamp() * 1_000_000) * 1_000
    except (ValueError, OverflowError):
        raise BadRequest(BAD_DATE) from None


def span(start: str, end: str) -> tuple[int, int]:
    """From when to when is asked. Raises BadRequest."""
    first, last = moment(start), moment(end)
    if last - first > MAX_DAYS * DAY:
        raise BadRequest(LONG)
    return first, last


async def between(
    deps: Deps,
    principal: Principal,
    start: int,
    end: int,
    ids: Sequence[str] | None = None,
    *,
    with_automations: bool = True,
) -> list[Wire]:
    """What takes place in a span of time, each time of what repeats by itself. ids: only of these calendars.

    Of what is too much for one answer, one's own is there first.
    """
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await calendars.events.between(connection, principal, start, end, ids, MAX_LISTED)
        due = []
        wants_due = with_automations and (ids is None or automations.CALENDAR_ID in ids)
        if wants_due and automations.may(deps, principal):
            due = await scheduled.in_span(connection, principal, start, end, MAX_LISTED)
    return await asyncio.to_thread(_between, found, due, principal, start, end)


def _between(
    found: Sequence[Event], due: list[scheduled.Due], principal: Principal, start: int, end: int
) -> list[Wire]:
    """What takes place, by its time. found: the more important first. In a thread."""
    times = _times(found, start, end)
    runs = automations.shown_events(due, principal, start, end, time.time_ns()) if due else []
    runs.sort(key=lambda told: (told["start_at"], told["id"]))
    places: list[tuple[bool, int, str, Wire]] = []
    for event in found:
        told, others = listed_as(event, principal), event.user_id != principal.id
        places += [(others, at, event.id, told) for at in times[event.id]]
    places.sort(key=lambda place: place[:3])
    # Apart: however often automations run, they push nothing out of the list that people have put in.
    events = (_at(told, at) for _, at, _, told in places[: 2 * MAX_LISTED])
    out = within(itertools.chain(events, runs[:MAX_LISTED]), MAX_BYTES)
    return sorted(out, key=lambda told: (told["start_at"], told["id"]))


def _at(told: Wire, at: int) -> Wire:
    """One time of an event; of one that repeats, told as its own."""
    if not told["rrule"]:
        return told
    end = None if told["end_at"] is None else at + told["end_at"] - told["start_at"]
    return told | {"start_at": at, "end_at": end, "instance_id": f"{told['id']}_{at}"}


def within(rows: Iterable[Wire], most: int) -> list[Wire]:
    """The first of some events that have so many bytes in all, at least one. In a thread.

    Each event is measured once, however often it is there.
    """
    out: list[Wire] = []
    sizes: dict[str, int] = {}
    for told in rows:
        size = sizes.get(told["id"])
        if size is None:
            size = sizes[told["id"]] = len(msgspec.json.encode(told))
        most -= size
        if most < 0 and out:
            break
        out.append(told)
    return out


def _times(found: Iterable[Event], start: int, end: int) -> dict[str, list[int]]:
    """When events take place, by their ids. What repeats by a rule that can't be used, as an import may bring it, does so once;
    what there is no time left to find out, never. In a thread.
    """
    until = time.monotonic() + SECONDS
    out: dict[str, list[int]] = {}
    for event in found:
        out[event.id] = [] if event.rrule else [event.start_at]
        if event.rrule and time.monotonic() < until:
            try:
                out[event.id] = times_of(event, start, end)
            except BadRequest:
                is_then = event.start_at < end and max(event.end_at or 0, event.start_at) >= start
                out[event.id] = [event.start_at] if is_then else []
    return out


async def search(
    deps: Deps,
    principal: Principal,
    text: str | None,
    skip: int,
    limit: int,
    *,
    start: int | None = None,
    end: int | None = None,
) -> Wire:
    """Events that have a text in them, and how many there are."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await calendars.events.search(connection, principal, text, skip, limit, start=start, end=end)
    rows = (listed_as(event, principal) for event in found.items)
    return {"items": await asyncio.to_thread(within, rows, MAX_BYTES), "total": found.total}


async def event(deps: Deps, principal: Principal, event_id: str) -> Wire:
    """One event."""
    check(deps, principal)
    async with deps.database.read() as connection:
        found = await calendars.events.get_for(connection, principal, event_id)
    if found is None:
        raise NotFound(NO_EVENT)
    return wire(found)


async def begins(deps: Deps, principal: Principal, ids: Sequence[str]) -> dict[str, int]:
    """When some events begin that somebody may read, those that repeat for the first time."""
    check(deps, principal)
    async with deps.database.read() as connection:
        return await calendars.events.begins(connection, principal, ids)


async def zone_of(deps: Deps, principal: Principal) -> str | None:
    """The time zone that somebody's page told last."""
    async with deps.database.read() as connection:
        return await calendars.zone_of(connection, principal.id)


async def _named(connection: AsyncConnection, principal: Principal, given: Sequence[AttendeeForm]) -> dict[str, Wire]:
    """Who is invited, by their ids. Raises BadRequest for nobody, Forbidden where one may invite no people."""
    wanted = {one.user_id: {"status": one.status, "meta": one.meta} for one in given}
    others = wanted.keys() - {principal.id}
    if others and not principal.may("access_grants.allow_users"):
        raise Forbidden("You may not invite people on this server.", status=403)
    if others - await calendars.people(connection, others):
        raise BadRequest("One of the attendees has no account here.")
    # What others say to it is theirs to say.
    return {who: values if who == principal.id else values | {"status": "pending"} for who, values in wanted.items()}


async def create_event(deps: Deps, principal: Principal, form: EventForm, zone: str | None = None) -> Wire:
    """A new event. zone: in which it repeats, else the one of the person's page."""
    check(deps, principal)
    values = form.model_dump(exclude={"attendees"})
    async with deps.database.read() as connection:
        zone = zone or await calendars.zone_of(connection, principal.id)
        now = await deps.reminders.now(connection)
    until = await until_of(form.rrule, form.start_at, form.end_at, zone)
    timing = Timing(form.start_at, form.rrule or None, zone, form.data, form.meta, is_cancelled=False)
    alert_at = await alert_of(timing, now)
    values |= {"rrule": timing.rrule, "zone": zone, "until_at": until, "alert_at": alert_at}
    async with deps.database.write() as unit:
        connection = unit.connection
        await require(connection, principal, form.calendar_id, "write", lock=True)
        if await calendars.count_events(connection, form.calendar_id) >= MAX_EVENTS:
            raise BadRequest(f"This calendar has {MAX_EVENTS:,} events already. Remove some first.")
        made = await calendars.events.create(connection, principal.id, values, row_id=new_id())
        assert made is not None  # a new id
        if form.attendees:
            await calendars.invite(connection, made.id, await _named(connection, principal, form.attendees))
        await deps.reminders.wait_for(unit, alert_at)
        return wire(await _stored(connection, made.id))


async def _stored(connection: AsyncConnection, event_id: str) -> Event:
    found = await calendars.events.get(connection, event_id)
    if found is None:
        raise NotFound(NO_EVENT)
    return found


async def _writable(connection: AsyncConnection, principal: Principal, event_id: str) -> Event:
    row = await calendars.events.get_for(connection, principal, event_id, "write", lock=True)
    if row is None and await calendars.events.get_for(connection, principal, event_id) is not None:
        raise Forbidden
    if row is None:
        raise NotFound(NO_EVENT)
    return row


def _given(form: BaseModel) -> Wire:
    """The columns that a form has something for."""
    given = form.model_dump(exclude_unset=True, exclude={"attendees"})
    return {name: value for name, value in given.items() if value is not None or name not in _NEEDED}


async def update_event(deps: Deps, principal: Principal, event_id: str, form: EventUpdateForm) -> Wire:
    """Changes an event; what is left out stays."""
    check(deps, principal)
    values = _given(form)
    async with deps.database.read() as connection:
        seen = await calendars.events.get_for(connection, principal, event_id)
        now = await deps.reminders.now(connection)
    if seen is None:
        raise NotFound(NO_EVENT)
    moved = msgspec.structs.replace(seen, **{name: values[name] for name in _TIMED & values.keys()})
    moved = msgspec.structs.replace(moved, rrule=moved.rrule or None)
    until = await until_of(moved.rrule, moved.start_at, moved.end_at, seen.zone)
    same = timing_of(moved).alerts_as(timing_of(seen))
    alert_at = None if same else await alert_of(timing_of(moved), now)
    if same and seen.is_cancelled and not moved.is_cancelled:
        back = await asyncio.to_thread(restored, timing_of(moved), seen.alert_at, now)
    else:
        back = seen.alert_at
    async with deps.database.write() as unit:
        connection = unit.connection
        row = await _writable(connection, principal, event_id)
        if any(getattr(row, name) != getattr(seen, name) for name in _TIMED):
            raise BadRequest("Somebody else moved this event at the same time. Reload and try again.", status=409)
        target = values.get("calendar_id", row.calendar_id)
        if target != row.calendar_id:
            await require(connection, principal, target, "write", lock=True)
            if await calendars.count_events(connection, target) >= MAX_EVENTS:
                raise BadRequest(f"That calendar has {MAX_EVENTS:,} events already.")
        # A reminder that was told meanwhile stays told.
        values |= {"until_at": until, "rrule": moved.rrule, "alert_at": alert_at}
        if same:
            values["alert_at"] = back if row.alert_at == seen.alert_at else row.alert_at
        await calendars.events.change(connection, event_id, values)
        if form.attendees is not None:
            await calendars.invite(connection, event_id, await _named(connection, principal, form.attendees))
        await deps.reminders.wait_for(unit, values["alert_at"])
        return wire(await _stored(connection, event_id))


async def delete_event(deps: Deps, principal: Principal, event_id: str) -> None:
    """Removes an event with its invitations."""
    check(deps, principal)
    async with deps.database.write() as unit:
        await _writable(unit.connection, principal, event_id)
        await calendars.events.delete(unit.connection, [event_id])


async def answer(deps: Deps, principal: Principal, event_id: str, status: str) -> Attendee:
    """What somebody says to an invitation of theirs."""
    check(deps, principal)
    async with deps.database.write() as unit:
        if await calendars.events.get_for(unit.connection, principal, event_id) is None:
            raise NotFound(NO_EVENT)
        found = await calendars.answer(unit.connection, event_id, principal.id, status)
    if found is None:
        raise NotFound(NOT_INVITED)
    return found
