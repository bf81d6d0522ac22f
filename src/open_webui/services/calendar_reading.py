"""What stands in a calendar file, as events that could be stored: drafts, and what is left out with the reason. In a thread.

Nothing is stored here, and nothing of a file is trusted: all has a bound, and times are looked at.
"""

import datetime as dt
import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from open_webui.errors import BadRequest
from open_webui.schemas.calendars import MAX_TEXT, MAX_TITLE
from open_webui.services.event_times import MAX_ALERT, MINUTE
from open_webui.utils import ical, ical_zones, recurring
from open_webui.utils.ical import Component, Property
from open_webui.utils.ical_zones import Described
from open_webui.utils.recurring import FIRST_YEAR, LAST, LAST_YEAR, SECOND

MAX_PLACE: Final = 1_000
# Of a UID, as a file has it; with what stands behind it for a time that is kept by itself.
MAX_NAME: Final = 400
MAX_UID: Final = MAX_NAME + 20
# Of one file: events, zones that it describes, and seconds for finding out what those are.
MAX_DRAFTS: Final = 20_000
MAX_ZONES: Final = 100
ZONE_SECONDS: Final = 5.0
# Of one event: times that it leaves out, and times that it adds.
MAX_EXDATES: Final = 800
MAX_RDATES: Final = 200
# Reasons that are told.
MAX_REASONS: Final = 100
UNTITLED: Final = "Untitled"
NO_START: Final = "it has no beginning (DTSTART)"
BAD_TIME: Final = "{} is no time that can be kept: '{}'"
NO_ZONE: Final = "nobody knows its time zone '{}', and the file does not say what that is"
ODD_ZONE: Final = "it repeats in the time zone '{}', whose clocks go like those of no zone that is known here"
NO_EVENT: Final = "it is no event ({})"
TWICE: Final = "another event of the file has the same UID, and is as new or newer"
TWO_RULES: Final = "it has several rules (RRULE), or times that rules leave out (EXRULE)"
FUTURE: Final = "it changes all times from one on (RANGE), which is not kept"
MANY_EXDATES: Final = f"it leaves out more than {MAX_EXDATES} times (EXDATE)"
MANY_RDATES: Final = f"of its additional times (RDATE) only {MAX_RDATES} are taken"
MANY: Final = f"a file may hold at most {MAX_DRAFTS:,} events"
BAD_END: Final = "it ends before it begins, or too late to be kept"
BAD_LENGTH: Final = "its DURATION is no length of time"
PERIODS: Final = "its additional times with lengths of their own (RDATE as PERIOD) are not kept"
# Behind the UID of an event: one time of it that is kept as an event of its own.
APART: Final = re.compile(r"#at-\d{8}T\d{6}Z")
_KEPT: Final = {
    "VEVENT": frozenset(
        "UID SUMMARY DESCRIPTION LOCATION DTSTART DTEND DURATION RRULE EXRULE EXDATE RDATE RECURRENCE-ID STATUS SEQUENCE".split()
    ),
    "VALARM": frozenset({"TRIGGER", "ACTION"}),
    "VTIMEZONE": frozenset({"TZID", "X-LIC-LOCATION"}),
    "STANDARD": frozenset("DTSTART RRULE RDATE TZOFFSETFROM TZOFFSETTO".split()),
}
_OTHERS: Final = frozenset({"UID", "SUMMARY"})
_LENGTH: Final = re.compile(
    r"([+-])?P(?:(\d{1,5})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})S)?)?"
)
_TIME: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})(Z)?)?")


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a file. zone: in which it repeats. alert_minutes: None where the file has no reminder."""

    uid: str
    line: int
    title: str
    description: str | None
    location: str | None
    start_at: int
    end_at: int | None
    all_day: bool
    rrule: str | None
    zone: str | None
    exdates: tuple[int, ...]
    is_cancelled: bool
    alert_minutes: int | None


class LeftOut(msgspec.Struct, frozen=True):
    """What was not taken. line: of the file, where long lines that were folded are one."""

    uid: str
    title: str
    line: int
    reason: str


class Found(msgspec.Struct):
    """What stands in a file. skipped: how many things are left out; reasons: the first of them."""

    drafts: list[Draft] = []
    skipped: int = 0
    reasons: list[LeftOut] = []

    def leave(self, what: Component | Draft, reason: str) -> None:
        self.skipped += 1
        if len(self.reasons) < MAX_REASONS:
            uid, title = (what.uid, what.title) if isinstance(what, Draft) else (what.text("UID"), what.text("SUMMARY"))
            self.reasons.append(LeftOut(uid[:MAX_UID], title[:MAX_TITLE], what.line, reason))


class Skip(Exception):
    """The event can't be taken. The text is the reason."""


class When(msgspec.Struct, frozen=True):
    """A time of a file. zone: an IANA zone's name, or what the file says of one."""

    local: dt.datetime
    is_date: bool
    zone: str | Described
    told: str

    def plus(self, days: int, seconds: int) -> int:
        """So many days, by the clocks of its zone, and so many seconds later, in nanoseconds since 1970."""
        moment = msgspec.structs.replace(self, local=self.local + dt.timedelta(days=days))
        return moment.at + seconds * SECOND

    @property
    def at(self) -> int:
        """In nanoseconds since 1970."""
        if isinstance(self.zone, Described):
            return self.zone.instant(self.local)
        return recurring.instant(self.local, recurring.zone(self.zone))


def wanted(component: str, name: str) -> bool:
    return name in _KEPT.get("STANDARD" if component == "DAYLIGHT" else component, _OTHERS)


def read(data: bytes, own_zone: str | None, now: int) -> Found:
    """The events of a file. own_zone: of times that name none, and of whole days. Raises BadRequest for what is no file of a
    calendar.
    """
    parts = [part for one in ical.read(data, wanted) for part in one.parts]
    year = dt.datetime.fromtimestamp(now // SECOND, dt.UTC).year
    zones = Zones([part for part in parts if part.name == "VTIMEZONE"], own_zone or "UTC", year)
    found, reader = Found(), _Reader(zones)
    for part in parts:
        if part.name not in {"VEVENT", "VTIMEZONE"}:
            found.leave(part, NO_EVENT.format(part.name[:40]))
    drafts: list[Draft] = []
    for uid, events in _by_uid([part for part in parts if part.name == "VEVENT"], found).items():
        drafts += reader.drafts(uid, events, found)
    for draft in drafts[MAX_DRAFTS:]:
        found.leave(draft, MANY)
    found.drafts = drafts[:MAX_DRAFTS]
    return found


def _by_uid(events: list[Component], found: Found) -> dict[str, list[Component]]:
    """Events by their UID: the one that repeats first, once, and then changed times of it."""
    whole: dict[str, Component] = {}
    changed: dict[str, dict[str, Component]] = {}
    for one in events:
        uid, at = uid_of(one), one.get("RECURRENCE-ID")
        among, key = (whole, uid) if at is None else (changed.setdefault(uid, {}), at.value)
        other = among.get(key)
        if other is not None:
            older = other if _sequence(one) >= _sequence(other) else one
            found.leave(older, TWICE)
            one = other if older is one else one  # noqa: PLW2901 - the newer of the two
        among[key] = one
    keys = dict.fromkeys([*whole, *changed])
    return {uid: [*([whole[uid]] if uid in whole else []), *changed.get(uid, {}).values()] for uid in keys}


def uid_of(event: Component) -> str:
    """What it is called. One without a name gets the same one whenever it is read."""
    uid = event.text("UID")
    if not uid:
        start = event.get("DTSTART")
        uid = f"{event.text('SUMMARY')}\n{start.value if start is not None else ''}\n{event.text('DESCRIPTION')}"
        return f"unnamed-{hashlib.sha256(uid.encode()).hexdigest()[:32]}"
    return uid if len(uid) <= MAX_NAME else f"long-{hashlib.sha256(uid.encode()).hexdigest()}"


def _sequence(event: Component) -> int:
    told = event.text("SEQUENCE")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else 0


class Zones:
    """The zones that a file names."""

    def __init__(self, definitions: list[Component], own: str, year: int) -> None:
        self.own = own
        self._year = year
        self._definitions = {one.text("TZID"): one for one in definitions[:MAX_ZONES]}
        self._found: dict[str, str | None] = {}
        self._described: dict[tuple[str, int], Described | None] = {}
        self._until = time.monotonic() + ZONE_SECONDS

    def iana(self, name: str) -> str | None:
        """The IANA zone that is meant, if there is one."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> str | None:
        definition = self._definitions.get(name)
        place = definition.text("X-LIC-LOCATION") if definition is not None else ""
        found = ical_zones.known(name) or ical_zones.known(place)
        if found is not None or definition is None:
            return found
        described = self.described(name, self._year)
        return None if described is None else self._bounded(lambda: ical_zones.like(described, self._year))

    def described(self, name: str, year: int) -> Described | None:
        """What the file says of a zone around a year."""
        definition = self._definitions.get(name)
        key = name, year
        if definition is not None and key not in self._described:
            self._described[key] = self._bounded(lambda: ical_zones.described(definition, year))
        return self._described.get(key)

    def _bounded(self, work: Callable[[], Any]) -> Any:
        if time.monotonic() > self._until:
            return None
        try:
            return recurring.bounded(work)
        except BadRequest:
            return None


class _Reader:
    """Makes drafts of events."""

    def __init__(self, zones: Zones) -> None:
        self._zones = zones

    def drafts(self, uid: str, events: list[Component], found: Found) -> list[Draft]:
        """The drafts of one event: itself, and its changed and additional times by themselves."""
        out: list[Draft] = []
        exdates: list[int] = []
        main = next((one for one in events if one.get("RECURRENCE-ID") is None), None)
        for one in events:
            if one is main:
                continue
            try:
                at, draft = self._changed(uid, one)
            except Skip as reason:
                found.leave(one, str(reason))
                continue
            exdates.append(at)
            # One that does not take place is left out of the rule, and is nothing besides.
            out += [] if draft.is_cancelled and main is not None else [draft]
        if main is None:
            return out
        try:
            whole = self._draft(uid, main, exdates)
            return [whole, *self._additional(main, whole, found), *out]
        except Skip as reason:
            found.leave(main, str(reason))
            # Its changed times would be there without it.
            for draft in out:
                found.leave(draft, str(reason))
            return []

    def _changed(self, uid: str, event: Component) -> tuple[int, Draft]:
        """A time of an event that was moved or changed: which one, and what it is now."""
        told = event.get("RECURRENCE-ID")
        assert told is not None  # looked at before
        if "RANGE" in told.parameters:
            raise Skip(FUTURE)
        at = self.when(told).at
        return at, msgspec.structs.replace(self._draft(apart(uid, at), event, []), rrule=None, exdates=())

    def _additional(self, event: Component, whole: Draft, found: Found) -> list[Draft]:
        out: dict[int, Draft] = {}
        length = None if whole.end_at is None else whole.end_at - whole.start_at
        for told in event.all("RDATE"):
            if told.parameters.get("VALUE", "").upper() == "PERIOD":
                found.leave(event, PERIODS)
                continue
            for one in told.value.split(","):
                at = self.when(Property("RDATE", one, told.parameters)).at
                if at == whole.start_at or at in whole.exdates:
                    continue
                if len(out) >= MAX_RDATES:
                    found.leave(event, MANY_RDATES)
                    return list(out.values())
                end = None if length is None else at + length
                out[at] = msgspec.structs.replace(
                    whole, uid=apart(whole.uid, at), start_at=at, end_at=end, rrule=None, exdates=()
                )
        return list(out.values())

    def _draft(self, uid: str, event: Component, exdates: list[int]) -> Draft:
        told = event.get("DTSTART")
        if told is None:
            raise Skip(NO_START)
        start = self.when(told)
        end = self._end(event, start)
        if end is not None and not start.at <= end <= LAST:
            raise Skip(BAD_END)
        rrule = self._rule(event)
        zone = self._zone(start, repeats=rrule is not None)
        skipped = sorted({*exdates, *self._exdates(event)}) if rrule is not None else []
        if len(skipped) > MAX_EXDATES:
            raise Skip(MANY_EXDATES)
        return Draft(
            uid=uid,
            line=event.line,
            title=event.text("SUMMARY")[:MAX_TITLE].strip() or UNTITLED,
            description=event.text("DESCRIPTION")[:MAX_TEXT] or None,
            location=event.text("LOCATION")[:MAX_PLACE] or None,
            start_at=start.at,
            end_at=end,
            all_day=start.is_date,
            rrule=rrule,
            zone=zone,
            exdates=tuple(skipped),
            is_cancelled=event.text("STATUS").upper() == "CANCELLED",
            alert_minutes=self._alert(event, start),
        )

    def _rule(self, event: Component) -> str | None:
        rules = event.all("RRULE")
        if len(rules) > 1 or event.get("EXRULE") is not None:
            raise Skip(TWO_RULES)
        return rules[0].value.strip() or None if rules else None

    def _zone(self, start: When, *, repeats: bool) -> str | None:
        """In which zone it repeats, or would."""
        if isinstance(start.zone, Described):
            if repeats:
                raise Skip(ODD_ZONE.format(start.told[:64]))
            return self._zones.own
        is_utc = start.zone == "UTC" and not start.told
        return self._zones.own if is_utc and not repeats else start.zone

    def _end(self, event: Component, start: When) -> int | None:
        told, length = event.get("DTEND"), event.get("DURATION")
        if told is not None:
            end = self.when(told)
            if not start.is_date:
                return end.at
            # The day after the last one, as files have it; here it ends within the last one.
            return max(end.at - MINUTE, start.plus(1, -60)) if end.is_date else end.at
        if length is not None:
            days, seconds = _length(length.value)
            if days < 0 or seconds < 0:
                raise Skip(BAD_LENGTH)
            if start.is_date:
                return max(start.plus(days, seconds) - MINUTE, start.plus(1, -60))
            return start.plus(days, seconds)
        return start.plus(1, -60) if start.is_date else None

    def _exdates(self, event: Component) -> list[int]:
        return [
            self.when(Property("EXDATE", one, told.parameters)).at
            for told in event.all("EXDATE")
            for one in told.value.split(",")[: MAX_EXDATES + 1]
        ]

    @staticmethod
    def _alert(event: Component, start: When) -> int | None:
        """How many minutes before it begins the file has a reminder: the first one that comes before it."""
        for part in event.parts:
            told = part.get("TRIGGER") if part.name == "VALARM" else None
            if told is None or told.parameters.get("RELATED", "").upper() == "END":
                continue
            found = _TIME.fullmatch(told.value.strip())
            if found is not None and found[7]:
                seconds = (start.at - _moment(found, "TRIGGER") * SECOND) // SECOND
            else:
                try:
                    days, rest = _length(told.value)
                except Skip:
                    continue
                seconds = -(days * 86_400 + rest)
            if 0 <= seconds <= MAX_ALERT * 60:
                return int(seconds // 60)
        return None

    def when(self, told: Property) -> When:
        """A time as it is written. Raises Skip."""
        value = told.value.strip()
        found = _TIME.fullmatch(value)
        if found is None:
            raise Skip(BAD_TIME.format(told.name, value[:40]))
        _moment(found, told.name)
        parts = [int(part) for part in found.groups()[:6] if part]
        local = dt.datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - in its zone
        if found[4] is None:
            return When(local, True, self._zones.own, "")
        if found[7]:
            return When(local, False, "UTC", "")
        name = told.parameters.get("TZID", "").strip()
        if not name:
            return When(local, False, self._zones.own, "")
        zone = self._zones.iana(name) or self._zones.described(name, local.year)
        if zone is None:
            raise Skip(NO_ZONE.format(name[:64]))
        return When(local, False, zone, name)


def apart(uid: str, at: int) -> str:
    """What one time of an event is called that is kept by itself."""
    moment = dt.datetime.fromtimestamp(at // SECOND, dt.UTC)
    return f"{uid}#at-{moment:%Y%m%dT%H%M%SZ}"


def _moment(found: re.Match[str], name: str) -> int:
    """Seconds since 1970 of a time as if it were of UTC. Raises Skip for what is none, or lies too far away."""
    try:
        moment = dt.datetime(*(int(part) for part in found.groups()[:6] if part), tzinfo=dt.UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        raise Skip(BAD_TIME.format(name, found[0][:40])) from None
    # A day away from the last ones that can be kept, whatever its zone.
    if not FIRST_YEAR < moment.year < LAST_YEAR - 1:
        raise Skip(BAD_TIME.format(name, found[0][:40]))
    return int(moment.timestamp())


def _length(value: str) -> tuple[int, int]:
    """Days and seconds of a length of time. Raises Skip."""
    found = _LENGTH.fullmatch(value.strip().upper())
    if found is None or not any(found.groups()[1:]):
        raise Skip(BAD_LENGTH)
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
    sign = -1 if found[1] == "-" else 1
    return sign * (weeks * 7 + days), sign * (hours * 3_600 + minutes * 60 + seconds)
