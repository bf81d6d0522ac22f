"""Time zones of calendar files: the ones that a file names or describes as IANA zones, and IANA zones described (VTIMEZONE).

A file names zones as it likes: "Europe/Berlin", "/citadel.org/20210210_1/Europe/Berlin", "W. Europe Standard Time". What it
describes is compared with what IANA zones do, so that no list of other systems' names is needed.
"""

import bisect
import calendar
import datetime as dt
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from open_webui.errors import BadRequest
from open_webui.utils import recurring
from open_webui.utils.ical import Component, line
from open_webui.utils.recurring import SECOND

# One zone for each way in which clocks are set somewhere in these years, the most used first.
COMMON: Final = tuple(
    "Europe/Berlin Europe/London America/New_York America/Los_Angeles America/Chicago America/Denver America/Phoenix Asia/Tokyo "
    "Asia/Shanghai Asia/Kolkata Europe/Helsinki Europe/Moscow Europe/Istanbul America/Sao_Paulo Australia/Sydney "
    "Australia/Brisbane Australia/Perth Australia/Adelaide Australia/Darwin Pacific/Auckland America/Halifax America/St_Johns "
    "America/Anchorage Pacific/Honolulu America/Mexico_City America/Bogota America/Caracas America/Santiago America/Asuncion "
    "America/Havana America/Nuuk Atlantic/Azores Africa/Lagos Africa/Johannesburg Africa/Nairobi Africa/Cairo Africa/Casablanca "
    "Asia/Jerusalem Asia/Beirut Asia/Dubai Asia/Tehran Asia/Kabul Asia/Karachi Asia/Colombo Asia/Kathmandu Asia/Dhaka "
    "Asia/Yangon Asia/Bangkok Asia/Vladivostok Asia/Magadan Pacific/Tongatapu Pacific/Apia Pacific/Chatham Australia/Lord_Howe "
    "Australia/Eucla Europe/Chisinau Asia/Kamchatka Atlantic/South_Georgia Pacific/Marquesas Pacific/Kiritimati "
    "Pacific/Pago_Pago Pacific/Easter Atlantic/Cape_Verde Pacific/Norfolk Etc/GMT+12 UTC".split()
)
# Of a definition: parts, and changes that each names one by one.
MAX_PARTS: Final = 100
MAX_ONSETS: Final = 400
_OFFSET: Final = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?")
_WEEK: Final = dt.timedelta(days=7)
_DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


class Described(msgspec.Struct, frozen=True):
    """A zone by its definition in a file, around some year: when its clocks change (UTC, naive), and the offset from then on.

    first: the offset before all changes. Offsets are seconds.
    """

    first: int
    changes: tuple[tuple[dt.datetime, int], ...]

    def offset(self, at: dt.datetime) -> int:
        """At a time of UTC, naive."""
        place = bisect.bisect_right(self.changes, at, key=lambda change: change[0])
        return self.changes[place - 1][1] if place else self.first

    def instant(self, local: dt.datetime) -> int:
        """When its clocks show this, in nanoseconds since 1970: the first time where they do so twice, and as much later where
        they never do.
        """
        day = dt.timedelta(days=1)
        before, after = self.offset(local - day), self.offset(local + day)
        is_after = self.offset(local - dt.timedelta(seconds=before)) != before
        is_after = is_after and self.offset(local - dt.timedelta(seconds=after)) == after
        seconds = after if is_after else before
        return int((local.replace(tzinfo=dt.UTC) - dt.timedelta(seconds=seconds)).timestamp()) * SECOND


# Reading


def known(name: str) -> str | None:
    """The IANA zone that a name is, or has at its end."""
    parts = name.strip().strip("/").split("/")
    for count in (3, 2, 1):
        tail = "/".join(parts[-count:])
        if len(parts) >= count and tail and recurring.is_zone(tail):
            return tail
    return None


def described(definition: Component, year: int) -> Described | None:
    """A VTIMEZONE around a year. None for one that can't be used. To be called in `bounded`."""
    changes: list[tuple[dt.datetime, int, int]] = []
    for part in definition.parts[:MAX_PARTS]:
        before, after = _offset(part, "TZOFFSETFROM"), _offset(part, "TZOFFSETTO")
        if before is None or after is None:
            return None
        try:
            onsets = _onsets(part, year)
        except (BadRequest, ValueError):
            return None
        changes += [(onset - dt.timedelta(seconds=before), before, after) for onset in onsets]
    if not changes:
        return None
    changes.sort()
    return Described(changes[0][1], tuple((at, after) for at, _, after in changes))


def _onsets(part: Component, year: int) -> list[dt.datetime]:
    told = part.get("DTSTART")
    begin = _local(told.value if told is not None else "")
    rules = part.all("RRULE")
    dates = [_local(one) for told in part.all("RDATE")[:MAX_ONSETS] for one in told.value.split(",")[:MAX_ONSETS]]
    if not rules:
        return sorted([begin, *dates])[:MAX_ONSETS]
    rule = recurring.parse(rules[0].value)
    if len(rules) > 1 or rule.frequency != "YEARLY" or rule.interval != 1 or rule.count is not None:
        raise BadRequest("no rule of a zone")
    # A yearly rule is the same in each year; some begin in 1601.
    near = begin.replace(year=max(begin.year, year - 3), day=min(begin.day, 28))
    utc = dt.UTC
    after, before = (int(dt.datetime(one, 1, 1, tzinfo=utc).timestamp()) * SECOND for one in (year - 2, year + 3))
    anchor = int(near.replace(tzinfo=utc).timestamp()) * SECOND
    until = rule.until.replace(tzinfo=utc) if rule.until is not None else None
    rule = msgspec.structs.replace(rule, until=until, start=None, zone=None)
    found = [recurring.local(at, utc) for at in recurring.between(rule, anchor, "UTC", after, before, 50)]
    if until is not None and not found and begin.year < year - 2:
        # It ended before; what came after it counts.
        found = [begin]
    return sorted(found)


def _local(value: str) -> dt.datetime:
    """Raises ValueError."""
    return dt.datetime.strptime(value.strip().rstrip("Z")[:15], "%Y%m%dT%H%M%S")  # noqa: DTZ007 - of the zone


def _offset(part: Component, name: str) -> int | None:
    found = _OFFSET.fullmatch(part.text(name))
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        return None
    seconds = int(found[2]) * 3_600 + int(found[3]) * 60 + int(found[4] or 0)
    return -seconds if found[1] == "-" else seconds


def like(zone: Described, year: int) -> str | None:
    """The IANA zone whose clocks show the same in a year."""
    moments = [dt.datetime(year, 1, 1) + n * dt.timedelta(hours=36) for n in range(243)]  # noqa: DTZ001 - of UTC
    wanted = [zone.offset(at) for at in moments]
    for name in COMMON:
        where = recurring.zone(name)
        if all(_seconds(where, at) == offset for at, offset in zip(moments, wanted, strict=True)):
            return name
    hours, rest = divmod(wanted[0], 3_600)
    if len(set(wanted)) == 1 and not rest and -12 <= hours <= 14:
        # The signs of these names are the other way round.
        return f"Etc/GMT{-hours:+d}" if hours else "UTC"
    return None


def _seconds(where: dt.tzinfo, at: dt.datetime) -> int:
    """The offset of a zone at a time of UTC."""
    return round((at.replace(tzinfo=dt.UTC).astimezone(where).utcoffset() or dt.timedelta()).total_seconds())


# Writing


class _Change(msgspec.Struct, frozen=True):
    """A change of clocks. local: what they showed until then."""

    local: dt.datetime
    before: int
    after: int
    name: str
    is_summer: bool

    @property
    def kind(self) -> tuple[int, int, str, bool, int, int, dt.time]:
        """What changes of one rule have in common."""
        return (
            self.before,
            self.after,
            self.name,
            self.is_summer,
            self.local.month,
            self.local.weekday(),
            self.local.time(),
        )


def written(name: str, first: int, last: int) -> str:
    """The VTIMEZONE of an IANA zone, for the years from `first` to `last`, and on if it goes by rules then. In a thread."""
    where = recurring.zone(name)
    changes = _changes(where, first, last)
    out = [line("BEGIN", "VTIMEZONE"), line("TZID", name)]
    begin = dt.datetime(first, 1, 1)  # noqa: DTZ001 - as clocks show it
    at = begin.replace(tzinfo=dt.UTC)
    offset = _seconds(where, begin)
    out.append(_part(_Change(begin, offset, offset, at.astimezone(where).tzname() or name, False), "", ()))
    groups: dict[tuple[object, ...], list[_Change]] = {}
    for change in changes:
        groups.setdefault(change.kind, []).append(change)
    for group in groups.values():
        run = _run(group, last)
        if run:
            out.append(_part(run[0], _rule(run), ()))
        if rest := group[: len(group) - len(run)]:
            out.append(_part(rest[0], "", [one.local for one in rest[1:]]))
    out.append(line("END", "VTIMEZONE"))
    return "".join(out)


def _changes(where: dt.tzinfo, first: int, last: int) -> list[_Change]:
    out = []
    at, end = dt.datetime(first, 1, 1), dt.datetime(last + 1, 1, 1)  # noqa: DTZ001 - of UTC
    before = _seconds(where, at)
    while at < end:
        after = _seconds(where, at + _WEEK)
        if after != before:
            low, high = 0, int(_WEEK.total_seconds())
            while high - low > 1:
                middle = (low + high) // 2
                same = _seconds(where, at + dt.timedelta(seconds=middle)) == before
                low, high = (middle, high) if same else (low, middle)
            moment = at + dt.timedelta(seconds=high)
            shown = moment.replace(tzinfo=dt.UTC).astimezone(where)
            local = moment + dt.timedelta(seconds=before)
            out.append(_Change(local, before, after, shown.tzname() or "", bool(shown.dst())))
        at, before = at + _WEEK, after
    return out


def _run(group: Sequence[_Change], last: int) -> list[_Change]:
    """Those at the end that come every year up to the last one, on the same weekday of the month; nothing of two."""
    out: list[_Change] = []
    for change in reversed(group):
        if change.local.year == last - len(out) and _rule([change, *out]):
            out.insert(0, change)
        else:
            break
    return out if len(out) > 2 else []


def _rule(run: Sequence[_Change]) -> str:
    """The rule of some changes; empty where they have none."""
    places = {(one.local.day - 1) // 7 + 1 for one in run}
    is_last = all(one.local.day + 7 > calendar.monthrange(one.local.year, one.local.month)[1] for one in run)
    if not is_last and len(places) > 1:
        return ""
    day = _DAYS[run[0].local.weekday()]
    return f"FREQ=YEARLY;BYMONTH={run[0].local.month};BYDAY={-1 if is_last else places.pop()}{day}"


def _part(change: _Change, rule: str, dates: Sequence[dt.datetime]) -> str:
    kind = "DAYLIGHT" if change.is_summer else "STANDARD"
    rows = [("BEGIN", kind), ("DTSTART", f"{change.local:%Y%m%dT%H%M%S}")]
    rows += [("RRULE", rule)] if rule else []
    rows += [("RDATE", ",".join(f"{one:%Y%m%dT%H%M%S}" for one in dates))] if dates else []
    rows += [("TZOFFSETFROM", _told(change.before)), ("TZOFFSETTO", _told(change.after)), ("TZNAME", change.name)]
    return "".join(line(*row) for row in [*rows, ("END", kind)])


def _told(offset: int) -> str:
    minutes, seconds = divmod(abs(offset), 60)
    return f"{'-' if offset < 0 else '+'}{minutes // 60:02}{minutes % 60:02}" + (f"{seconds:02}" if seconds else "")
