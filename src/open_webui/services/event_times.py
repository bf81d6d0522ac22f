"""When an event of a calendar takes place, for the last time too, and when those whom it concerns are reminded.

Times are nanoseconds since 1970. What is done in a thread says so.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest
from open_webui.models.calendars import Event
from open_webui.utils import recurring
from open_webui.utils.recurring import LAST, NEVER, SECOND

# Times of one event that repeats, in one answer.
MAX_TIMES: Final = 1_000
# Steps for one event of a list (utils/recurring.py).
STEPS: Final = 20_000
MINUTE: Final = 60 * SECOND
DAY: Final = 86_400 * SECOND
ENDS_FIRST: Final = "An event should not end before it begins."
# Minutes between a reminder and the beginning where nobody has said it, as the page shows it; the most there may be.
USUAL_ALERT: Final = 10
MAX_ALERT: Final = 40_320
# A reminder that was missed is still told this long after the beginning.
LATE: Final = 10 * MINUTE


def left_out(data: Mapping[str, Any] | None) -> set[int]:
    """The times that an event which repeats leaves out."""
    told = (data or {}).get("exdates")
    return {at for at in told if isinstance(at, int)} if isinstance(told, list) else set()


def times_of(event: Event, start: int, end: int) -> list[int]:
    """When an event that repeats takes place in a span of time. Raises BadRequest. In a thread."""
    length = max((event.end_at or event.start_at) - event.start_at, 0)
    part = event.start_at % SECOND
    skipped = left_out(event.data)

    def work() -> list[int]:
        rule = msgspec.structs.replace(recurring.parse(event.rrule or ""), start=None, zone=None)
        return recurring.between(rule, event.start_at, event.zone, start - length, end, MAX_TIMES)

    times = [at + part for at in recurring.bounded(work, STEPS)]
    return [at for at in times if at not in skipped and (at + length > start or at >= start) and at < end]


async def until_of(rrule: str | None, start: int, end: int | None, zone: str | None) -> int:
    """After which time something takes place no more. Raises BadRequest for a rule that can't be used, and for an end before
    the beginning.
    """
    last = start if end is None else end
    if last < start:
        raise BadRequest(ENDS_FIRST)
    if not rrule:
        return last
    return await asyncio.to_thread(last_of, rrule, start, zone, last - start)


def last_of(rrule: str, start: int, zone: str | None, length: int) -> int:
    """The same of what repeats, in a thread."""
    return recurring.bounded(lambda: _last(rrule, start, zone, length))


def _last(rrule: str, start: int, zone: str | None, length: int) -> int:
    rule = msgspec.structs.replace(recurring.parse(rrule), start=None, zone=None)
    # Whether it is ever due is found out now rather than whenever somebody looks.
    recurring.between(rule, start, zone, start, LAST, 1)
    last = recurring.ends(rule, start, zone)
    return NEVER if last == NEVER else min(last + length + DAY, NEVER)


# Reminders


class Timing(msgspec.Struct, frozen=True):
    """What the reminders of an event follow from."""

    start_at: int
    rrule: str | None
    zone: str | None
    data: dict[str, Any] | None
    meta: dict[str, Any] | None
    is_cancelled: bool

    @property
    def lead(self) -> int | None:
        """How long before the beginning the reminder comes; None where there is none. One that is called off keeps it."""
        minutes = (self.meta or {}).get("alert_minutes", USUAL_ALERT)
        if isinstance(minutes, bool) or not isinstance(minutes, int | float):
            return None
        return int(minutes * MINUTE) if 0 <= minutes <= MAX_ALERT else None

    def alerts_as(self, other: "Timing") -> bool:
        """Whether the reminders of both come at the same times."""
        mine, theirs = ((one.start_at, one.rrule, one.zone, one.lead, left_out(one.data)) for one in (self, other))
        return mine == theirs


def timing_of(event: Event) -> Timing:
    return Timing(event.start_at, event.rrule, event.zone, event.data, event.meta, event.is_cancelled)


def first_from(timing: Timing, at: int) -> int | None:
    """The first time at which an event begins from a time on. In a thread.

    What has a rule that can't be used takes place once, as lists show it.
    """
    once = timing.start_at if timing.start_at >= at else None
    if not timing.rrule:
        return once
    part, skipped = timing.start_at % SECOND, left_out(timing.data)
    most = min(sum(time >= at for time in skipped), MAX_TIMES) + 1

    def work() -> list[int]:
        rule = msgspec.structs.replace(recurring.parse(timing.rrule or ""), start=None, zone=None)
        return recurring.between(rule, timing.start_at, timing.zone, at - part, LAST, most)

    try:
        times = recurring.bounded(work, STEPS)
    except BadRequest:
        return once
    return next((time + part for time in times if time + part not in skipped), None)


def first_alert(timing: Timing, now: int) -> int | None:
    """When the first reminder of an event comes that begins after now: it may lie in the past. In a thread."""
    lead = timing.lead
    start = None if lead is None else first_from(timing, now + 1)
    return None if start is None or lead is None else start - lead


class Alert(msgspec.Struct, frozen=True):
    """What is to be told now: the event that begins at this time, if any. following: when to look again."""

    start: int | None
    following: int | None


def _untold(timing: Timing, lead: int, now: int) -> int | None:
    """When to look again at what is called off, and told of no time that is to come: at its beginning where its reminder would
    have come by now, so that it is known, should it take place after all, that nobody was reminded.
    """
    start = first_from(timing, now + 1)
    if start is None:
        return None
    return start - lead if start - lead > now else start


def restored(timing: Timing, alert_at: int | None, now: int) -> int | None:
    """When the next reminder comes of what was called off and takes place after all: what was told before stays told. In a
    thread.

    alert_at: as it was while it was called off.
    """
    lead = timing.lead
    if lead is None or not alert_at:
        return alert_at
    start = first_from(timing, now + 1)
    return start - lead if start == alert_at else alert_at


def alert(timing: Timing, due_at: int, now: int) -> Alert:
    """What a reminder that was due is now. Of several that were missed one is told, the earliest that isn't too old. In a
    thread.

    due_at: the time that it was put in for, 0 where nobody has looked yet.
    """
    lead = timing.lead
    if lead is None:
        return Alert(None, None)
    if timing.is_cancelled:
        return Alert(None, _untold(timing, lead, now))
    start = first_from(timing, max(due_at + lead, now - LATE) if due_at else now + 1)
    if start is None:
        return Alert(None, None)
    if start - lead > now:
        return Alert(None, start - lead)
    later = first_from(timing, now + lead + 1) if timing.rrule else None
    return Alert(start, None if later is None else later - lead)
