"""Calendar files taken into a calendar: what is new is made, what is there by its UID is changed, all in one unit of work."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui.errors import BadRequest, Conflict, TooLarge
from open_webui.models import calendar_files, calendars
from open_webui.models.base import new_id
from open_webui.models.calendar_files import SET, Known
from open_webui.principal import Principal
from open_webui.services import event_times
from open_webui.services.calendar_reading import APART, MAX_REASONS, Draft, Found, LeftOut, read
from open_webui.services.calendars import MAX_EVENTS, Deps, check, require
from open_webui.utils import recurring
from open_webui.utils.multipart import Form

MAX_FILE: Final = 5 * 1024 * 1024
# For finding out when the rules of a file end.
SECONDS: Final = 15.0
# Events that are compared at once.
PART: Final = 200
TOO_LARGE: Final = f"A calendar file may have at most {MAX_FILE // 2**20} MB."
NO_FILE: Final = "Send the file as the body of the request, or as the field `file` of a form."
FULL: Final = f"the calendar would have more than {MAX_EVENTS:,} events"
NO_TIME: Final = "there was no time left to find out how it repeats. Import the file once more"
MEANWHILE: Final = "This calendar was changed by another import at the same time. Import the file once more."


class Report(msgspec.Struct):
    """What came of a file. unchanged: events that are there already as the file has them. removed: changed times of an event
    that the file has no more. reasons: why things were skipped, the first hundred of them.
    """

    taken: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    reasons: list[LeftOut] = []


async def received(content_type: str, body: AsyncIterator[bytes]) -> bytes:
    """The file in a request, whose body is it or is a form. Raises TooLarge, BadRequest."""
    if not content_type.lower().startswith("multipart/form-data"):
        return await _all_of(body)
    form = Form(content_type, body)
    async for part in form:
        if part.name == "file" and part.filename is not None:
            return await _all_of(form.content())
    raise BadRequest(NO_FILE)


async def _all_of(pieces: AsyncIterator[bytes]) -> bytes:
    data = bytearray()
    async for piece in pieces:
        data += piece
        if len(data) > MAX_FILE:
            raise TooLarge(TOO_LARGE)
    if not data:
        raise BadRequest(NO_FILE)
    return bytes(data)


async def take(
    deps: Deps, principal: Principal, calendar_id: str, content_type: str, body: AsyncIterator[bytes]
) -> Report:
    """Takes a file into a calendar that one may change. Nothing is stored of a file that can't be read to its end."""
    check(deps, principal)
    async with deps.database.read() as connection:
        # Before anything of it is read.
        await require(connection, principal, calendar_id, "write")
        zone = await calendars.zone_of(connection, principal.id)
    data = await received(content_type, body)
    found = await asyncio.to_thread(read, data, zone, time.time_ns())
    async with deps.database.read() as connection:
        names = await calendar_files.uids(connection, calendar_id)
        # As much of them as says when they repeat.
        there = await _places(connection, [names[one.uid] for one in found.drafts if one.uid in names])
    untils = await asyncio.to_thread(_untils, found, names, there)
    async with deps.database.write() as unit:
        await require(unit.connection, principal, calendar_id, "write", lock=True)
        names_now = await calendar_files.uids(unit.connection, calendar_id)
        if any(names_now.get(one.uid) != names.get(one.uid) for one in found.drafts):
            raise Conflict(MEANWHILE)
        report = await _store(unit.connection, principal, calendar_id, found, names_now, untils)
        if report.taken or report.updated:
            # Their reminders are found out by the job that tells them.
            await deps.reminders.wait_for(unit, await deps.reminders.now(unit.connection))
    return report


Rule = tuple[str, float | None] | None
Place = tuple[int, int | None, Rule, str | None]


def _rule(rrule: str | None, zone: str | None) -> Rule:
    """What a rule says, however it is written; and when it ends, in seconds since 1970."""
    if not rrule:
        return None
    try:
        rule = recurring.parse(rrule)
    except BadRequest:
        return rrule, None
    until = rule.until
    if until is not None and until.tzinfo is None:
        until = until.replace(tzinfo=recurring.zone(zone))
    return rule.text, None if until is None else until.timestamp()


def _place(start: int, end: int | None, rrule: str | None, zone: str | None) -> Place:
    """What says when something takes place."""
    return start, end, _rule(rrule, zone), zone


async def _places(connection: AsyncConnection, ids: list[str]) -> dict[str, tuple[Place, int]]:
    """Of events, what says when they repeat, and until when they do."""
    out = {}
    for part in _parts(ids):
        for row in await calendar_files.known(connection, part):
            out[row.id] = _place(row.start_at, row.end_at, row.rrule, row.zone), row.until_at
    return out


def _untils(found: Found, names: Mapping[str, str], there: Mapping[str, tuple[Place, int]]) -> dict[str, int]:
    """Until when each draft takes place, by its UID. Those whose rule can't be used are left out, with the reason. In a
    thread.

    What stands in the calendar with the same rule isn't looked at again: so a file that took too long goes on where it was.
    """
    end = time.monotonic() + SECONDS
    out = {}
    for draft in found.drafts:
        last = draft.start_at if draft.end_at is None else draft.end_at
        stands = there.get(names.get(draft.uid, ""))
        if not draft.rrule:
            out[draft.uid] = last
        elif stands is not None and stands[0] == _place(draft.start_at, draft.end_at, draft.rrule, draft.zone):
            out[draft.uid] = stands[1]
        elif time.monotonic() > end:
            found.leave(draft, NO_TIME)
        else:
            try:
                out[draft.uid] = event_times.last_of(draft.rrule, draft.start_at, draft.zone, last - draft.start_at)
            except BadRequest as error:
                found.leave(draft, error.detail)
    return out


async def _store(
    connection: AsyncConnection,
    principal: Principal,
    calendar_id: str,
    found: Found,
    names: Mapping[str, str],
    untils: Mapping[str, int],
) -> Report:
    report, now = Report(), time.time_ns()
    drafts = [one for one in found.drafts if one.uid in untils]
    old = [one for one in drafts if one.uid in names]
    for part in _parts(old):
        rows = {row.id: row for row in await calendar_files.known(connection, [names[one.uid] for one in part])}
        changed = []
        for draft in part:
            row = rows.get(names[draft.uid])
            values = _columns(draft, row, untils[draft.uid], now)
            if row is not None and all(getattr(row, name) == values[name] for name in SET if name != "updated_at"):
                report.unchanged += 1
            elif row is not None:
                changed.append(values | {"id": row.id, "updated_at": now})
        await calendar_files.change(connection, changed)
        report.updated += len(changed)
    gone = _gone(found, names)
    report.removed = await calendars.events.delete(connection, gone)
    new = [one for one in drafts if one.uid not in names]
    room = max(MAX_EVENTS - (len(names) - report.removed), 0)
    for draft in new[room:]:
        found.leave(draft, FULL)
    for part in _parts(new[:room]):
        common = {"calendar_id": calendar_id, "user_id": principal.id, "created_at": now, "updated_at": now}
        rows_of = [
            _columns(one, None, untils[one.uid], now) | common | {"id": new_id(), "uid": one.uid} for one in part
        ]
        await calendars.insert_events(connection, rows_of)
        report.taken += len(part)
    report.skipped, report.reasons = found.skipped, found.reasons[:MAX_REASONS]
    return report


def _columns(draft: Draft, row: Known | None, until: int, now: int) -> dict[str, Any]:
    """What is stored of a draft. row: the event that it changes; what the file does not say stays there."""
    data = {name: value for name, value in ((row.data if row else None) or {}).items() if name != "exdates"}
    data |= {"exdates": list(draft.exdates)} if draft.exdates else {}
    meta = dict((row.meta if row else None) or {})
    if draft.alert_minutes is not None:
        meta["alert_minutes"] = draft.alert_minutes
    elif row is None:
        # As the page has it for none.
        meta["alert_minutes"] = -1
    names = ("title", "description", "location", "start_at", "end_at", "all_day", "rrule", "zone", "is_cancelled")
    values = {name: getattr(draft, name) for name in names}
    if row is not None and _rule(row.rrule, row.zone) == _rule(draft.rrule, draft.zone):
        values["rrule"] = row.rrule
    values |= {"until_at": until, "data": data or None, "meta": meta or None}
    return values | {"alert_at": _alert_at(values, row, until, now)}


def _alert_at(values: Mapping[str, Any], row: Known | None, until: int, now: int) -> int | None:
    """When its next reminder comes: as it stands where nothing of it has changed, else to be found out."""
    after = _timing(values)
    if row is not None and _timing(msgspec.structs.asdict(row)).alerts_as(after):
        return row.alert_at
    return None if after.lead is None or until < now else 0


def _timing(values: Mapping[str, Any]) -> event_times.Timing:
    return event_times.Timing(**{name: values[name] for name in event_times.Timing.__struct_fields__})


def _gone(found: Found, names: Mapping[str, str]) -> list[str]:
    """Changed times of events of the file that an earlier one had, and it has no more."""
    stands = {one.uid for one in found.drafts}
    out = []
    for uid, event_id in names.items():
        place = re.search(rf"{APART.pattern}$", uid)
        if place is not None and uid not in stands and uid[: place.start()] in stands:
            out.append(event_id)
    return out


def _parts(rows: list[Any]) -> Iterable[list[Any]]:
    return (rows[at : at + PART] for at in range(0, len(rows), PART))
