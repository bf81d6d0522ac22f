"""Calendars and events, as they go out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant, UserName
from open_webui.schemas.replies.shape import Object


class Calendar(TypedDict):
    id: str
    user_id: str
    name: str
    color: str | None
    is_default: bool
    is_system: bool
    data: Object | None
    meta: Object | None
    access_grants: list[AccessGrant]
    created_at: int
    updated_at: int


class Attendee(TypedDict):
    id: str
    event_id: str
    user_id: str
    status: str
    meta: Object | None
    created_at: int
    updated_at: int


class CalendarEvent(TypedDict):
    id: str
    calendar_id: str
    user_id: str
    title: str
    description: str | None
    start_at: int
    end_at: int | None
    all_day: bool
    rrule: str | None
    color: str | None
    location: str | None
    data: Object | None
    meta: Object | None
    is_cancelled: bool
    attendees: list[Attendee]
    created_at: int
    updated_at: int


class ListedEvent(CalendarEvent):
    """instance_id: of one time of an event that repeats."""

    user: UserName | None
    instance_id: NotRequired[str]


class EventsFound(TypedDict):
    items: list[ListedEvent]
    total: int


class LeftOut(TypedDict):
    """What was not taken from a file, and why. line: of the file, where a line that was folded is one."""

    uid: str
    title: str
    line: int
    reason: str


class ImportReport(TypedDict):
    """What came of a file: events that are new, were changed, or are as the file has them; changed times that the file has no
    more; and what was left out, with the first hundred reasons.
    """

    taken: int
    updated: int
    unchanged: int
    removed: int
    skipped: int
    reasons: list[LeftOut]


class Done(TypedDict):
    status: bool
