"""The time: now, and some time ago."""

import datetime as dt
from typing import Any, Final

from open_webui.errors import BadRequest
from open_webui.services.builtin.row import Use

_UNITS: Final = ("days_ago", "weeks_ago", "months_ago", "years_ago")
_MOST: Final = 100_000


def _wire(when: dt.datetime) -> dict[str, Any]:
    return {"timestamp": int(when.timestamp()), "iso": when.isoformat(timespec="seconds"), "weekday": f"{when:%A}"}


async def now(_use: Use) -> dict[str, Any]:
    return _wire(dt.datetime.now(dt.UTC))


async def ago(use: Use) -> dict[str, Any]:
    days, weeks, months, years = (use.number(unit, 0, most=_MOST) for unit in _UNITS)
    now = dt.datetime.now(dt.UTC)
    try:
        return _wire(back(now, days=days + 7 * weeks, months=months + 12 * years))
    except (ValueError, OverflowError):
        raise BadRequest("There is no date so long ago.") from None


def back(when: dt.datetime, *, days: int, months: int) -> dt.datetime:
    """A time so much earlier; the 31st of a month that has none is its last day. Raises ValueError, OverflowError."""
    year, month = divmod(when.year * 12 + when.month - 1 - months, 12)
    first = when.replace(year=year, month=month + 1, day=1)
    following = (first.replace(day=28) + dt.timedelta(days=4)).replace(day=1)
    last = (following - dt.timedelta(days=1)).day
    return first.replace(day=min(when.day, last)) - dt.timedelta(days=days)
