"""Calendars and events as files of iCalendar (RFC 5545), some events at a time.

What repeats has the times of its zone, which is described in the file; what takes place once has times of UTC. So every program
shows the right hour, whatever zones it knows and whenever clocks change.
"""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, NotFound
from open_webui.models import calendar_files, calendars
from open_webui.models.calendar_files import Person
from open_webui.models.calendars import Calendar, Event
from open_webui.principal import Principal
from open_webui.services.calendars import NO_EVENT, Deps, check, require
from open_webui.services.event_times import left_out
from open_webui.utils import ical, ical_zones, recurring
from open_webui.utils.recurring import SECOND, Rule

# Events that are read at once.
PART: Final = 100
# Years that a zone is described for, from the first event and from now.
YEARS: Final = 10
PRODUCT: Final = "-//oui-backend//Calendars//EN"
ANSWERS: Final = {"accepted": "ACCEPTED", "declined": "DECLINED", "tentative": "TENTATIVE"}
_DATE: Final = "%Y%m%d"
_LOCAL: Final = "%Y%m%dT%H%M%S"
_UTC: Final = "%Y%m%dT%H%M%SZ"


async def of_calendar(deps: Deps, principal: Principal, calendar_id: str) -> tuple[str, AsyncIterator[bytes]]:
    """A name for the file of a calendar that one may read, and the file piece by piece."""
    check(deps, principal)
    async with deps.database.read() as connection:
        calendar = await require(connection, principal, calendar_id)
    return calendar.name, _calendar(deps, principal, calendar)


async def of_event(deps: Deps, principal: Principal, event_id: str) -> tuple[str, bytes]:
    """The same of one event."""
    check(deps, principal)
    async with deps.database.read() as connection:
        event = await calendars.events.get_for(connection, principal, event_id)
        if event is None:
            raise NotFound(NO_EVENT)
        people = await _people(connection, [event])
    writer = Writer(principal)
    body = await asyncio.to_thread(writer.events, [event], people)
    return event.title, f"{head('')}{body}{TAIL}".encode()


async def _calendar(deps: Deps, principal: Principal, calendar: Calendar) -> AsyncIterator[bytes]:
    writer, after = Writer(principal), None
    yield head(calendar.name).encode()
    while True:
        async with deps.database.read() as connection:
            found = await calendars.events.of_calendar(connection, calendar.id, PART, after)
            people = await _people(connection, found)
        if found:
            yield (await asyncio.to_thread(writer.events, found, people)).encode()
            after = found[-1].start_at, found[-1].id
        if len(found) < PART:
            break
    yield TAIL.encode()


async def _people(connection: AsyncConnection, events: Sequence[Event]) -> dict[str, Person]:
    """Who made events to which people are invited, and those people."""
    ids = {one.user_id for one in events if one.attendees} | {who.user_id for one in events for who in one.attendees}
    return await calendar_files.people(connection, ids) if ids else {}


def head(name: str) -> str:
    rows = [("BEGIN", "VCALENDAR"), ("VERSION", "2.0"), ("PRODID", PRODUCT), ("CALSCALE", "GREGORIAN")]
    rows += [("X-WR-CALNAME", ical.escaped(name))] if name else []
    return "".join(ical.line(*row) for row in rows)


TAIL: Final = ical.line("END", "VCALENDAR")


class Writer:
    """Writes events of one file, for somebody. In a thread."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal
        # Zones that the file has described.
        self._zones: set[str] = set()
        self._year = dt.datetime.now(dt.UTC).year

    def events(self, events: Sequence[Event], people: Mapping[str, Person]) -> str:
        """Some events, each behind the zone that it needs. Later ones begin no earlier."""
        return "".join(self._zone(event) + self._event(event, people) for event in events)

    def _zone(self, event: Event) -> str:
        name = _zone_of(event)
        if name is None or name in self._zones:
            return ""
        self._zones.add(name)
        first = dt.datetime.fromtimestamp(event.start_at // SECOND, dt.UTC).year - 1
        return ical_zones.written(name, first, max(first, self._year) + YEARS)

    def _event(self, event: Event, people: Mapping[str, Person]) -> str:
        rows = [
            ("BEGIN", "VEVENT"),
            ("UID", ical.escaped(event.uid or event.id)),
            ("DTSTAMP", _utc(event.updated_at)),
            ("CREATED", _utc(event.created_at)),
            ("LAST-MODIFIED", _utc(event.updated_at)),
            ("SUMMARY", ical.escaped(event.title)),
        ]
        rows += [("DESCRIPTION", ical.escaped(event.description))] if event.description else []
        rows += [("LOCATION", ical.escaped(event.location))] if event.location else []
        rows += _times(event)
        rows.append(("STATUS", "CANCELLED" if event.is_cancelled else "CONFIRMED"))
        rows += self._people(event, people)
        rows += _alarm(event)
        return "".join(ical.line(*row) for row in [*rows, ("END", "VEVENT")])

    def _people(self, event: Event, people: Mapping[str, Person]) -> list[tuple[str, str]]:
        """Who is invited, and by whom. The address is for administrators and for themselves, as everywhere."""
        rows = []
        if event.attendees and (maker := people.get(event.user_id)) is not None:
            rows.append((f"ORGANIZER;CN={ical.quoted(maker.name)}", self._address(maker)))
        for one in event.attendees:
            if (who := people.get(one.user_id)) is not None:
                status = ANSWERS.get(one.status, "NEEDS-ACTION")
                rows.append((f"ATTENDEE;CN={ical.quoted(who.name)};PARTSTAT={status}", self._address(who)))
        return rows

    def _address(self, who: Person) -> str:
        if self._principal.is_admin or self._principal.id == who.id:
            return f"mailto:{quote(who.email, safe='@+')}"
        try:
            return f"urn:uuid:{uuid.UUID(who.id)}"
        except ValueError:
            return f"urn:x-user:{quote(who.id, safe='')}"


def _rule_of(event: Event) -> Rule | None:
    """None for what takes place once; also for a rule that can't be used, as lists show it."""
    if not event.rrule:
        return None
    try:
        return recurring.parse(event.rrule)
    except BadRequest:
        return None


def _zone_of(event: Event) -> str | None:
    """The zone in which it has to be written; None for UTC and for days."""
    if event.all_day or _rule_of(event) is None or recurring.zone(event.zone) is dt.UTC:
        return None
    return event.zone


def _times(event: Event) -> list[tuple[str, str]]:
    """When it takes place."""
    rule, where = _rule_of(event), recurring.zone(event.zone)
    zone = _zone_of(event)

    def told(name: str, at: int) -> tuple[str, str]:
        if event.all_day:
            return f"{name};VALUE=DATE", _local(at, where).strftime(_DATE)
        if zone is None:
            return name, _utc(at)
        return f"{name};TZID={zone}", _local(at, where).strftime(_LOCAL)

    rows = [told("DTSTART", event.start_at)]
    if event.all_day:
        rows.append(("DTEND;VALUE=DATE", _day_after(event, where).strftime(_DATE)))
    elif event.end_at is not None and event.end_at > event.start_at:
        rows.append(told("DTEND", event.end_at))
    if rule is not None:
        until = "" if rule.until is None else f";UNTIL={_until(rule.until, where, days=event.all_day)}"
        rows.append(("RRULE", rule.text + until))
        rows += [told("EXDATE", at) for at in sorted(left_out(event.data)) if recurring.FIRST <= at <= recurring.LAST]
    return rows


def _until(until: dt.datetime, where: dt.tzinfo, *, days: bool) -> str:
    at = until if until.tzinfo is not None else until.replace(tzinfo=where)
    return at.astimezone(where).strftime(_DATE) if days else at.astimezone(dt.UTC).strftime(_UTC)


def _day_after(event: Event, where: dt.tzinfo) -> dt.datetime:
    """The day behind the last one, as files have it: pages end in the last minute of a day."""
    start = _local(event.start_at, where)
    end = start if event.end_at is None else _local(event.end_at, where)
    is_midnight = end.time() == dt.time() and end > start
    return max(end if is_midnight else end + dt.timedelta(days=1), start + dt.timedelta(days=1))


def _local(at: int, where: dt.tzinfo) -> dt.datetime:
    return recurring.local(at, where)


def _utc(at: int) -> str:
    return recurring.local(at, dt.UTC).strftime(_UTC)


def _alarm(event: Event) -> list[tuple[str, str]]:
    """The reminder that somebody has set."""
    minutes = (event.meta or {}).get("alert_minutes")
    if isinstance(minutes, bool) or not isinstance(minutes, int) or minutes < 0:
        return []
    rows = [("BEGIN", "VALARM"), ("ACTION", "DISPLAY"), ("DESCRIPTION", ical.escaped(event.title))]
    return [*rows, ("TRIGGER", f"-PT{minutes}M"), ("END", "VALARM")]
