"""Calendars with what stands in them, and who is invited. Times are nanoseconds."""

from dataclasses import dataclass
from typing import Any, Final

from open_webui.constants import MAX_NAME
from open_webui.errors import BadRequest
from open_webui.models import calendars, grants, moved, users
from open_webui.models.base import new_id
from open_webui.models.grants import GrantTriple
from open_webui.moving_in.move import Move, Part
from open_webui.moving_in.rows import Left, Row
from open_webui.schemas.calendars import MAX_ATTENDEES, MAX_DOCUMENT, MAX_NOTE, MAX_TEXT, MAX_TITLE
from open_webui.services.calendar_reading import MAX_UID
from open_webui.services.calendars import MAX_CALENDARS, MAX_EVENTS
from open_webui.services.event_times import until_of
from open_webui.utils.recurring import FIRST, LAST, MAX_RULE, is_zone

_MAX_COLOR: Final = 50
_MAX_PLACE: Final = 1_000
_ANSWERS: Final = frozenset({"pending", "accepted", "declined", "tentative"})
NO_TITLE: Final = "Untitled"
BAD_RULE: Final = "its rule can't be used here, so it takes place once; the rule stands in it as it was"
BAD_END: Final = "its end was before its beginning, or no time, and is left out"


async def calendar(move: Move, row: Row) -> tuple[dict[str, Any], list[GrantTriple]]:
    calendar_id = row.need_id()
    values: dict[str, Any] = {
        "id": calendar_id,
        "user_id": move.owner(row),
        "name": row.need("name", MAX_NAME),
        "color": row.cut("color", _MAX_COLOR),
        "is_default": row.flag("is_default"),
        "data": row.object("data", MAX_DOCUMENT),
        "meta": row.object("meta", MAX_DOCUMENT),
    }
    return values | row.moments(move.at), await move.grants("calendar", row, calendar_id)


async def store_calendar(move: Move, made: tuple[dict[str, Any], list[GrantTriple]]) -> bool:
    values, given = made
    owner = values["user_id"]
    async with move.database.write() as unit:
        connection = unit.connection
        await users.lock(connection, [owner])
        if await calendars.count(connection, owner) >= MAX_CALENDARS:
            raise Left(f"one can have at most {MAX_CALENDARS} calendars")
        # The one that somebody has here as theirs stays so.
        is_default = values["is_default"] and await calendars.default_of(connection, owner) is None
        if not await moved.insert(connection, "calendar", values | {"is_default": is_default}):
            return False
        await grants.replace(connection, "calendar", values["id"], given)
    return True


# What stands in them


@dataclass
class Event:
    """An event that is going to be stored, and the rows of those who are invited."""

    values: dict[str, Any]
    attendees: list[dict[str, Any]]


async def event(move: Move, row: Row) -> Event:
    event_id, calendar_id = row.need_id(), row.id("calendar_id")
    if calendar_id is None or not move.is_here("calendar", calendar_id):
        raise Left("its calendar did not come along")
    owner = move.people.get(row.id("user_id") or "")
    if owner is None:
        owner = move.came["calendar"][calendar_id]
        row.mended.append("whoever made it did not come along: it is the calendar's owner's now")
    start = row.number("start_at")
    if start is None or not FIRST <= start <= LAST:
        raise Left("its beginning is no time")
    title = (row.cut("title", MAX_TITLE) or "").strip()
    values: dict[str, Any] = {
        "id": event_id,
        "calendar_id": calendar_id,
        "user_id": owner,
        "title": title or NO_TITLE,
        "description": row.cut("description", MAX_TEXT),
        "start_at": start,
        "end_at": _end(row, start),
        "all_day": row.flag("all_day"),
        "color": row.cut("color", _MAX_COLOR),
        "location": row.cut("location", _MAX_PLACE),
        "data": row.object("data", MAX_DOCUMENT),
        "meta": row.object("meta", MAX_DOCUMENT),
        "is_cancelled": row.flag("is_cancelled"),
        # Of an archive; the other server keeps none.
        "uid": row.text("uid", MAX_UID) or None,
        # To be found out by a server that runs (services/reminders.py).
        "alert_at": 0,
    }
    values |= row.moments(move.at) | await _repeating(move, row, start, values["end_at"], owner)
    return Event(values, await _attendees(move, row, event_id))


def _end(row: Row, start: int) -> int | None:
    end = row.number("end_at")
    if end is None and row.raw("end_at") is None:
        return None
    if end is None or not start <= end <= LAST:
        row.mended.append(BAD_END)
        return None
    return end


async def _repeating(move: Move, row: Row, start: int, end: int | None, owner: str | None) -> dict[str, Any]:
    """When it takes place again. The other server has no zone with an event: it is the one of whoever made it."""
    rule = row.text("rrule", MAX_RULE + 1) or None
    if rule is not None and len(rule) > MAX_RULE:
        row.mended.append(f"its rule was longer than {MAX_RULE:,} characters and is left out")
        rule = None
    zone = row.text("zone", 64)
    if move.archive is None and owner is not None:
        async with move.database.read() as connection:
            zone = await calendars.zone_of(connection, owner)
    zone = zone if zone and is_zone(zone) else None
    try:
        until = await until_of(rule, start, end, zone)
    except BadRequest:
        row.mended.append(BAD_RULE)
        until = start if end is None else end
    return {"rrule": rule, "zone": zone, "until_at": until}


async def _attendees(move: Move, row: Row, event_id: str) -> list[dict[str, Any]]:
    found = await move.source.select("calendar_event_attendee", "event_id", [event_id], limit=10 * MAX_ATTENDEES)
    out: dict[str, dict[str, Any]] = {}
    for one in found:
        who = move.people.get(one.id("user_id") or "")
        if who is None:
            row.mended.append("somebody who is invited did not come along")
        elif who not in out and len(out) >= MAX_ATTENDEES:
            row.mended.append(f"more than {MAX_ATTENDEES} people are invited; the others are left out")
        elif who not in out:
            status = one.text("status", 20)
            out[who] = {
                "id": one.id() or new_id(),
                "event_id": event_id,
                "user_id": who,
                "status": status if status in _ANSWERS else "pending",
                "meta": one.object("meta", MAX_NOTE),
            } | one.moments(move.at)
            row.mended += one.mended
    return list(out.values())


async def store_event(move: Move, made: Event) -> bool:
    values = made.values
    async with move.database.write() as unit:
        connection = unit.connection
        if await calendars.repository.get(connection, values["calendar_id"], lock=True) is None:
            raise Left("its calendar is gone")
        if await calendars.count_events(connection, values["calendar_id"]) >= MAX_EVENTS:
            raise Left(f"a calendar can have at most {MAX_EVENTS:,} events")
        if not await moved.insert(connection, "calendar_event", values):
            return False
        taken = await moved.taken(connection, "calendar_event_attendee", [one["id"] for one in made.attendees])
        rows = [one | {"id": new_id()} if one["id"] in taken else one for one in made.attendees]
        await moved.insert_all(connection, "calendar_event_attendee", rows)
    return True


CALENDARS: Final = Part("calendar", "calendar", ("id", "user_id", "name"), calendar, store_calendar)
EVENTS: Final = Part("calendar_event", "calendar_event", ("id", "calendar_id", "start_at"), event, store_event)
