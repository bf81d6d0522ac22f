"""Times as a model writes and reads them: in the person's time zone, where it names none."""

import datetime as dt
import re
from typing import Final

import msgspec

from open_webui.errors import BadRequest
from open_webui.services import calendars
from open_webui.services.builtin.row import Use
from open_webui.utils import recurring
from open_webui.utils.recurring import SECOND

MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class Moment(msgspec.Struct, frozen=True):
    """A time in nanoseconds. is_day: it was given as a date alone, and is the beginning of that day."""

    at: int
    is_day: bool


class Times(msgspec.Struct, frozen=True):
    """What a person's clock shows. name: of the zone."""

    name: str
    zone: dt.tzinfo

    @classmethod
    async def of(cls, use: Use) -> "Times":
        """Of whoever asks, in the zone that their page told last."""
        name = await calendars.zone_of(use.deps, use.asked.principal)
        if name is None or not recurring.is_zone(name):
            return cls("UTC", dt.UTC)
        return cls(name, recurring.zone(name))

    def _local(self, at: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(at // SECOND, self.zone)

    def shown(self, at: int) -> str:
        """2026-11-20T14:40:00+01:00."""
        return self._local(at).isoformat()

    def day(self, at: int) -> str:
        """2026-11-20."""
        return self._local(at).date().isoformat()

    def begin(self, at: int) -> int:
        """When the day of a time begins."""
        return calendars.moment(self.day(at), self.zone)

    def last_minute(self, at: int) -> int:
        """The last minute of the day of a time, at which what goes on all day ends."""
        return calendars.moment(f"{self.day(at)}T23:59", self.zone)

    def read(self, use: Use, name: str) -> Moment:
        """A time that has to be there. Raises BadRequest."""
        text = use.text(name, limit=100)
        try:
            return Moment(calendars.moment(text, self.zone), _DAY.fullmatch(text) is not None)
        except BadRequest as error:
            raise BadRequest(f"'{name}': {error.detail}") from None

    def given(self, use: Use, name: str) -> Moment | None:
        """The same of one that may be left out."""
        return self.read(use, name) if use.optional(name) is not None else None
