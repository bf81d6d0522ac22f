"""Days of UTC as numbers since the epoch, and as the wire writes them."""

import datetime as dt
from typing import Final

from open_webui.models.base import now
from open_webui.models.usages import DAY

_EPOCH: Final = dt.date(1970, 1, 1).toordinal()


def today() -> int:
    return now() // DAY


def date_of(day: int) -> str:
    """2026-11-20."""
    return dt.date.fromordinal(day + _EPOCH).isoformat()


def time_of(at: int) -> str:
    """2026-11-20 14:40, of seconds since the epoch."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M")


def iso(at: int) -> str:
    """2026-11-20T14:40:00+00:00."""
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat()
