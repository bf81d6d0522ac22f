"""Events of calendars: found, made, moved and removed for the person, with their rights and in their time zone."""

import time
from collections.abc import Sequence
from typing import Any, Final

from open_webui.errors import BadRequest, Forbidden, NotFound
from open_webui.models.calendars import Calendar, repository
from open_webui.schemas.calendars import MAX_TEXT, EventForm, EventUpdateForm
from open_webui.services import automations, calendars
from open_webui.services.builtin.row import Use, formed
from open_webui.services.builtin.times import HOUR, MINUTE, Moment, Times
from open_webui.services.event_times import DAY, MAX_ALERT

UNKNOWN: Final = "There is no such event. search_calendar_events tells the ids."
READ_ONLY: Final = "The person may not change this event."
NO_CALENDAR: Final = (
    "There is no such calendar, or the person may not write in it. search_calendar_events tells which there are."
)
BACKWARDS: Final = "'end' should be after 'start'."
NO_TIME: Final = "Give 'start' with its time of day, or say that the event goes on all day."
NOTHING: Final = "Say what is to change."
# Calendars that are named, and characters of a description in a list.
_MOST_CALENDARS: Final = 50
_SHOWN: Final = 500


async def search(use: Use) -> dict[str, Any]:
    """What takes place in a span of time, or from now on, by its time. Words that are looked for at no time are looked for in the
    past, too: what is found there stands behind the rest, the latest first.
    """
    deps, principal = use.deps, use.asked.principal
    known = await calendars.listed(deps, principal)
    times, words = await Times.of(use), use.optional("query", limit=500)
    count = use.number("count", 10, least=1, most=50)
    first, last = times.given(use, "start"), times.given(use, "end")
    start, end = _span(times, first, last)
    found = await calendars.between(deps, principal, start, end, with_automations=False)
    rows = [row for row in found if words is None or _has(row, words)]
    if words is not None and first is None and last is None and len(rows) < count:
        there = {row["id"] for row in rows}
        more = await calendars.search(deps, principal, words, 0, count + len(there))
        rows += [row for row in more["items"] if row["id"] not in there]
    begins = await calendars.begins(deps, principal, [row["id"] for row in rows[:count] if row["rrule"]])
    names = {one.id: one.name for one in known}
    events = []
    for row in rows[:count]:
        shown = _shown(times, row, names, limit=_SHOWN)
        if row["id"] in begins:
            shown["first_start"] = _time(times, begins[row["id"]], row["all_day"])
        events.append(shown)
    return {
        "events": events,
        "more": len(rows) > count,
        "calendars": _writable(use, known),
        "time_zone": times.name,
        "now": times.shown(time.time_ns()),
    }


def _span(times: Times, first: Moment | None, last: Moment | None) -> tuple[int, int]:
    """From when to when is looked. An end that is a date has that day in it. Raises BadRequest."""
    most = calendars.MAX_DAYS * DAY
    end = None if last is None else times.last_minute(last.at) + MINUTE if last.is_day else last.at
    start = time.time_ns() if first is None else first.at
    if first is None and end is not None and end <= start:
        start = end - most
    end = start + most if end is None else end
    if end <= start:
        raise BadRequest(BACKWARDS)
    if end - start > most:
        raise BadRequest(calendars.LONG)
    return start, end


def _has(row: dict[str, Any], words: str) -> bool:
    return any(words.casefold() in (row[name] or "").casefold() for name in ("title", "description", "location"))


def _writable(use: Use, known: Sequence[Calendar]) -> list[dict[str, Any]]:
    """The calendars in which the person may make events."""
    principal = use.asked.principal
    found = [one for one in known if one.id != automations.CALENDAR_ID and repository.may(one, principal, "write")]
    return [{"id": one.id, "name": one.name, "is_default": one.is_default} for one in found[:_MOST_CALENDARS]]


def _time(times: Times, at: int, is_day: bool) -> str:
    return times.day(at) if is_day else times.shown(at)


def _shown(times: Times, row: dict[str, Any], names: dict[str, str], *, limit: int = MAX_TEXT) -> dict[str, Any]:
    """An event as a model reads it. Of one that goes on all day there are the first and the last day."""
    all_day, description = row["all_day"], row["description"]
    shown = {
        "id": row["id"],
        "title": row["title"],
        "start": _time(times, row["start_at"], all_day),
        "end": None if row["end_at"] is None else _time(times, row["end_at"], all_day),
        "all_day": all_day,
        "calendar_id": row["calendar_id"],
        "calendar": names.get(row["calendar_id"]),
        "description": description[:limit] if description else None,
        "location": row["location"],
        "repeats": row["rrule"],
        "reminder_minutes": (row["meta"] or {}).get("alert_minutes"),
        "is_cancelled": row["is_cancelled"] or None,
        "attendees": len(row["attendees"]) or None,
    }
    return {name: value for name, value in shown.items() if value not in (None, "")}


async def create(use: Use) -> dict[str, Any]:
    deps, principal = use.deps, use.asked.principal
    known = await calendars.listed(deps, principal)
    own = next(one.id for one in known if one.is_default and one.user_id == principal.id)
    times = await Times.of(use)
    start, end = times.read(use, "start"), times.given(use, "end")
    all_day = use.flag("all_day", default=start.is_day)
    if start.is_day and not all_day:
        raise BadRequest(NO_TIME)
    if end is None and not all_day:
        end = Moment(start.at + HOUR, is_day=False)
    values = _timing(times, start.at, end, all_day) | _texts(use)
    values["calendar_id"] = use.optional("calendar_id", limit=300) or own
    if "reminder_minutes" in use.arguments:
        values["meta"] = _reminder(use)
    form = formed(EventForm, values)
    try:
        made = await calendars.create_event(deps, principal, form)
    except (NotFound, Forbidden):
        raise BadRequest(NO_CALENDAR) from None
    return _shown(times, made, {one.id: one.name for one in known}) | {"time_zone": times.name}


def _timing(times: Times, start: int, end: Moment | None, all_day: bool) -> dict[str, Any]:
    """The columns that say when an event takes place. What goes on all day begins with its first day and ends with its last;
    midnight is the end of a day. Raises BadRequest.
    """
    start = times.begin(start) if all_day else start
    if end is not None and end.at < start:
        raise BadRequest(BACKWARDS)
    last = None if end is None else end.at
    if all_day:
        last = start if end is None else end.at if end.is_day else max(end.at - MINUTE, start)
        last = times.last_minute(last)
    return {"start_at": start, "end_at": last, "all_day": all_day}


def _texts(use: Use) -> dict[str, Any]:
    """What was given of an event in words; what is empty is taken away. Of wrong kinds the form says so."""
    return {name: use.arguments[name] for name in ("title", "description", "location") if name in use.arguments}


def _reminder(use: Use) -> dict[str, Any]:
    return {"alert_minutes": use.number("reminder_minutes", 10, most=MAX_ALERT)}


async def _get(use: Use) -> dict[str, Any]:
    try:
        return await calendars.event(use.deps, use.asked.principal, use.text("event_id", limit=300))
    except NotFound:
        raise NotFound(UNKNOWN) from None


async def update(use: Use) -> dict[str, Any]:
    """What is left out stays. One that begins at another time takes as long as before."""
    deps, principal = use.deps, use.asked.principal
    before = await _get(use)
    times = await Times.of(use)
    values = _texts(use) | _moved(use, times, before)
    if "is_cancelled" in use.arguments:
        values["is_cancelled"] = use.arguments["is_cancelled"]
    if "reminder_minutes" in use.arguments:
        values["meta"] = (before["meta"] or {}) | _reminder(use)
    if not values:
        raise BadRequest(NOTHING)
    form = formed(EventUpdateForm, values)
    try:
        changed = await calendars.update_event(deps, principal, before["id"], form)
    except Forbidden:
        raise BadRequest(READ_ONLY) from None
    return _shown(times, changed, {}) | {"time_zone": times.name}


def _moved(use: Use, times: Times, before: dict[str, Any]) -> dict[str, Any]:
    """The columns of another time. Raises BadRequest."""
    start, end = times.given(use, "start"), times.given(use, "end")
    all_day = use.flag("all_day", default=before["all_day"])
    if start is None and end is None and all_day == before["all_day"]:
        return {}
    if not all_day and (start.is_day if start is not None else before["all_day"]):
        raise BadRequest(NO_TIME)
    first = before["start_at"] if start is None else start.at
    if end is None and before["end_at"] is not None:
        end = Moment(first + _length(before, all_day), is_day=True)
    return _timing(times, first, end, all_day)


def _length(before: dict[str, Any], all_day: bool) -> int:
    """How long an event takes that begins at another time."""
    if before["all_day"] and not all_day:
        return HOUR
    length: int = before["end_at"] - before["start_at"]
    # To the midday of its last day, which may be an hour shorter elsewhere in the year.
    return max(length - 12 * HOUR, 0) if all_day and before["all_day"] else length


async def delete(use: Use) -> dict[str, Any]:
    before = await _get(use)
    try:
        await calendars.delete_event(use.deps, use.asked.principal, before["id"])
    except Forbidden:
        raise BadRequest(READ_ONLY) from None
    return {"deleted": before["id"], "title": before["title"]}
