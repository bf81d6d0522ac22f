"""When something that repeats takes place: rules of iCalendar (RRULE), in IANA time zones, with a bound on the work.

A rule can be written that has no next time and takes minutes to say so. So every question goes as many steps as STEPS and no
further, from a beginning near the time that is asked about, and as CPU_SECONDS: within one step much may be done. Whoever asks
does so in a thread. Times are nanoseconds since 1970.
"""

import datetime as dt
import re
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from open_webui.errors import BadRequest

T = TypeVar("T")
SECOND: Final = 1_000_000_000
MAX_RULE: Final = 2_000
MAX_COUNT: Final = 5_000
MAX_INTERVAL: Final = 10_000
MAX_VALUES: Final = 400
# Calls of functions that one question may take, some tenths of a second; and how many a new year is worth, which takes longer.
STEPS: Final = 60_000
_YEAR: Final = 60
# Seconds of this thread's own work that one question may take, whatever else the machine does.
CPU_SECONDS: Final = 1.0
# Times of a day, and of an hour, that a rule may name: each of them is looked at again and again within one step.
MAX_OF_DAY: Final = 1_440
MAX_OF_HOUR: Final = 120
# Times that are kept: 64 bits of nanoseconds reach to 2262.
FIRST_YEAR, LAST_YEAR = 1900, 2250
FIRST: Final = int(dt.datetime(FIRST_YEAR, 1, 1, tzinfo=dt.UTC).timestamp()) * SECOND
LAST: Final = int(dt.datetime(LAST_YEAR, 1, 1, tzinfo=dt.UTC).timestamp()) * SECOND
# After every time: of what repeats without an end.
NEVER: Final = 2**63 - 1
_STEPS_OF: Final = {
    "MINUTELY": dt.timedelta(minutes=1),
    "HOURLY": dt.timedelta(hours=1),
    "DAILY": dt.timedelta(days=1),
    "WEEKLY": dt.timedelta(weeks=1),
}
_FREQUENCIES: Final = ("YEARLY", "MONTHLY", *_STEPS_OF)
_LISTS: Final = frozenset("BYMONTH BYMONTHDAY BYYEARDAY BYWEEKNO BYDAY BYHOUR BYMINUTE BYSECOND BYSETPOS".split())
_NUMBERS: Final = re.compile(r"[+-]?\d{1,3}(,[+-]?\d{1,3})*")
_DAYS: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)(,([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU))*")
_TIME: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})(Z)?)?")
# Around a time that summer time moves.
_SLACK: Final = dt.timedelta(hours=26)
BAD: Final = "This rule can't be used: {}."
TOO_MUCH: Final = "it takes too long to find out when it is due. Use a simpler one"


class Rule(msgspec.Struct, frozen=True):
    """A rule that was read. text: its parts but for UNTIL. start: where it says from when on, in its own zone if it has one."""

    text: str
    frequency: str
    interval: int
    count: int | None
    until: dt.datetime | None
    start: dt.datetime | None
    zone: str | None
    # Nothing but a frequency, so that hours are hours, whatever clocks do.
    is_plain: bool


class _TooMuch(Exception):
    """The steps are used up."""


def bounded(work: Callable[[], T], steps: int = STEPS) -> T:
    """The result of work in this thread, which may call so many functions and take CPU_SECONDS. Raises BadRequest.

    A thread can't be ended from outside; what it calls can be counted.
    """
    left, year, end = steps, 0, time.thread_time() + CPU_SECONDS

    def trace(frame: FrameType, _event: str, _argument: Any) -> None:
        nonlocal left, year
        left -= 1
        if frame.f_code.co_name == "rebuild" and frame.f_locals.get("year") != year:
            year = frame.f_locals.get("year", 0)
            left -= _YEAR
        if left < 0 or time.thread_time() > end:
            raise _TooMuch

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return work()
    except _TooMuch:
        raise BadRequest(BAD.format(TOO_MUCH)) from None
    finally:
        sys.settrace(before)


def zone(name: str | None) -> dt.tzinfo:
    """The zone of a name, UTC for none and for one that nobody knows."""
    if not name or len(name) > 64:
        return dt.UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return dt.UTC


def is_zone(name: str) -> bool:
    """Whether a name is one of a time zone."""
    return name in {"UTC", "Etc/UTC"} or zone(name) is not dt.UTC


# Reading


def parse(text: str) -> Rule:
    """Raises BadRequest that says what is wrong with it."""
    if len(text) > MAX_RULE:
        raise BadRequest(BAD.format(f"it is longer than {MAX_RULE:,} characters"))
    rule, start, name = "", None, None
    for line in filter(None, (line.strip() for line in text.splitlines())):
        head, colon, value = line.partition(":")
        kind = head.partition(";")[0].upper()
        if not colon and "=" in line:
            kind, value = "RRULE", line
        if kind == "DTSTART" and colon and start is None:
            start, name = _start(head, value)
        elif kind == "RRULE" and not rule:
            rule = value.strip().upper()
        else:
            raise BadRequest(BAD.format("it should be one line DTSTART, which may be missing, and one line RRULE"))
    return _rule(rule, start, name)


def _start(head: str, value: str) -> tuple[dt.datetime, str | None]:
    name = next((part[5:].strip('"') for part in head.split(";")[1:] if part.upper().startswith("TZID=")), None)
    if name is not None and not is_zone(name):
        raise BadRequest(BAD.format(f"nobody knows the time zone '{name[:64]}'"))
    at, is_utc = _time(value.strip(), "DTSTART")
    if not FIRST_YEAR <= at.year < LAST_YEAR:
        raise BadRequest(BAD.format(f"it should begin in a year from {FIRST_YEAR} to {LAST_YEAR - 1}"))
    return at, "UTC" if is_utc else name


def _time(value: str, name: str, *, end_of_day: bool = False) -> tuple[dt.datetime, bool]:
    """A time as it is written, and whether it is one of UTC."""
    found = _TIME.fullmatch(value)
    try:
        if found is None:
            raise ValueError
        date = [int(part) for part in found.groups()[:3]]
        clock = [int(part) for part in found.groups()[3:6] if part] or ([23, 59, 59] if end_of_day else [0, 0, 0])
        return dt.datetime(*date, *clock), found[7] is not None  # type: ignore[arg-type]  # noqa: DTZ001 - in its zone
    except ValueError:
        raise BadRequest(BAD.format(f"{name} should be a time such as 20261120T090000")) from None


def _rule(text: str, start: dt.datetime | None, name: str | None) -> Rule:
    parts: dict[str, str] = {}
    for part in filter(None, text.split(";")):
        key, equals, value = part.partition("=")
        if not equals or key in parts:
            raise BadRequest(BAD.format(f"'{part[:40]}' should be a name and a value, once"))
        parts[key] = value
    if parts.get("FREQ") not in _FREQUENCIES:
        raise BadRequest(BAD.format(f"FREQ should be one of {', '.join(_FREQUENCIES)}"))
    for key, value in parts.items():
        _check(key, value)
    hours, minutes, seconds = (parts.get(key, "").count(",") + 1 for key in ("BYHOUR", "BYMINUTE", "BYSECOND"))
    if minutes * seconds > MAX_OF_HOUR or hours * minutes * seconds > MAX_OF_DAY:
        raise BadRequest(BAD.format("it names too many times of a day"))
    count, interval = (int(parts[key]) if key in parts else None for key in ("COUNT", "INTERVAL"))
    if count is not None and "UNTIL" in parts:
        raise BadRequest(BAD.format("it should end by COUNT or by UNTIL, not by both"))
    until = None
    if "UNTIL" in parts:
        at, is_utc = _time(parts.pop("UNTIL"), "UNTIL", end_of_day=True)
        until = at.replace(tzinfo=dt.UTC) if is_utc else at
    kept = ";".join(f"{key}={value}" for key, value in parts.items())
    is_plain = not any(key in _LISTS for key in parts)
    return Rule(kept, parts["FREQ"], interval or 1, count, until, start, name, is_plain)


def _check(key: str, value: str) -> None:
    """A part of a rule. Raises BadRequest."""
    if key in {"FREQ", "UNTIL"}:
        return
    if key in {"COUNT", "INTERVAL"}:
        most = MAX_COUNT if key == "COUNT" else MAX_INTERVAL
        if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= most or len(value) > 9:
            raise BadRequest(BAD.format(f"{key} should be a number from 1 to {most:,}"))
        return
    if key == "WKST" and _DAYS.fullmatch(value) and len(value) == 2:
        return
    pattern = _DAYS if key == "BYDAY" else _NUMBERS
    if key not in _LISTS or not pattern.fullmatch(value) or value.count(",") >= MAX_VALUES:
        raise BadRequest(BAD.format(f"'{key[:40]}={value[:40]}' is nothing that it may have"))


# Asking


def local(at: int, where: dt.tzinfo) -> dt.datetime:
    """What clocks of a zone show at a time, to the second."""
    return dt.datetime.fromtimestamp(at // SECOND, where).replace(tzinfo=None)


def instant(at: dt.datetime, where: dt.tzinfo) -> int:
    """The time at which clocks of a zone show this: the first one where they show it twice; where they never do, since they are
    put forward, as much later.
    """
    return int(at.replace(tzinfo=where).timestamp()) * SECOND


def between(rule: Rule, anchor: int, name: str | None, after: int, before: int, most: int) -> list[int]:
    """The first times of a rule from `after` on and before `before`, in order. Raises BadRequest.

    anchor, name: from when on it counts and in which zone, where it doesn't say so itself. To be called in `bounded`.
    """
    where = zone(rule.zone or name)
    begin = local(anchor, where) if rule.start is None else rule.start
    until = None if rule.until is None else rule.until
    if until is not None and until.tzinfo is not None:
        until = until.astimezone(where).replace(tzinfo=None)
    if rule.is_plain and rule.frequency in {"HOURLY", "MINUTELY"} and where is not dt.UTC:
        begin = local(instant(begin, where), dt.UTC)
        until = None if until is None else local(instant(until, where), dt.UTC)
        where = dt.UTC
    found: set[int] = set()
    first, last = local(max(after, FIRST), where) - _SLACK, local(min(before, LAST), where) + _SLACK
    for at in _times(rule, begin, until, first):
        if at > last or at.year >= LAST_YEAR:
            break
        moment = instant(at, where)
        if after <= moment < before:
            found.add(moment)
        # Some more: where clocks are put forward, two may be the wrong way round.
        if len(found) >= most + 8:
            break
    return sorted(found)[:most]


def _times(rule: Rule, begin: dt.datetime, until: dt.datetime | None, first: dt.datetime) -> Iterator[dt.datetime]:
    from dateutil.rrule import rrulestr  # noqa: PLC0415 - not needed to start

    step = _STEPS_OF.get(rule.frequency)
    if step is not None and rule.count is None and first > begin:
        # Whole intervals on, less one: so near nothing of the rule has changed.
        step *= rule.interval
        begin += max((first - begin) // step - 1, 0) * step
    try:
        made = rrulestr(rule.text, dtstart=begin)
        if until is not None:
            made = made.replace(until=until)
        times: Iterator[dt.datetime] = made.xafter(first, inc=True)
        yield from times
    except (ValueError, TypeError, OverflowError, IndexError):
        raise BadRequest(BAD.format("its parts don't go together, or it is never due")) from None


def ends(rule: Rule, anchor: int, name: str | None) -> int:
    """A time after which a rule is never due; NEVER for one without an end. To be called in `bounded`."""
    if rule.until is not None:
        where = zone(rule.zone or name)
        moment = instant(rule.until, where) if rule.until.tzinfo is None else int(rule.until.timestamp()) * SECOND
        return min(moment, LAST)
    if rule.count is not None:
        found = between(rule, anchor, name, FIRST, LAST, MAX_COUNT)
        return found[-1] if found else FIRST
    return NEVER
