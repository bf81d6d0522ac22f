"""Calendars, and what stands in them."""

from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from open_webui import constants
from open_webui.access.policy import USER
from open_webui.deps import AppState, Caller
from open_webui.models.calendars import Attendee, Calendar
from open_webui.models.repository import MAX_OFFSET
from open_webui.routers.files import SAFE
from open_webui.routing import allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.calendars import (
    AccessForm,
    CalendarForm,
    CalendarUpdateForm,
    EventForm,
    EventUpdateForm,
    RSVPForm,
)
from open_webui.schemas.replies.shape import Media, Shape
from open_webui.services import calendar_export, calendar_import, calendars
from open_webui.utils.pieces import begun

router = new_router(prefix="/api/v1/calendars", tag="calendars")
LIST, READ, WRITE = (USER.on("calendar", action) for action in ("list", "read", "write"))
CalendarId = Annotated[str, Path(max_length=constants.MAX_ID)]
EventId = Annotated[str, Path(max_length=constants.MAX_ID)]
Date = Annotated[str, Query(max_length=100)]
Ids = Annotated[str | None, Query(max_length=20_000)]
Text = Annotated[str | None, Query(max_length=500)]
Skip = Annotated[int, Query(ge=0, le=MAX_OFFSET)]
Limit = Annotated[int, Query(ge=1, le=100)]


CALENDAR: Final = "text/calendar; charset=utf-8"
FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/calendar": {"schema": {"type": "string"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


def _file(name: str) -> dict[str, str]:
    """Headers of a file of this name."""
    return SAFE | {"content-disposition": f"attachment; filename*=UTF-8''{quote(name[:100], safe='')}.ics"}


@router.get("/")
@allow(LIST)
async def list_calendars(
    state: AppState, caller: Caller
) -> "Annotated[list[Calendar], Shape(list[replies.calendars.Calendar])]":
    """The calendars that one may read. Whoever has none of their own gets one."""
    return await calendars.listed(state, caller)


@router.post("/create")
@allow(USER.on("calendar", "create"))
async def create(
    state: AppState, caller: Caller, form: CalendarForm
) -> "Annotated[Calendar, Shape(replies.calendars.Calendar)]":
    """Makes a calendar."""
    return await calendars.create(state, caller, form)


@router.get("/events")
@allow(LIST)
async def events(
    state: AppState, caller: Caller, start: Date, end: Date, calendar_ids: Ids = None
) -> "Annotated[list[dict[str, Any]], Shape(list[replies.calendars.ListedEvent])]":
    """What takes place between two dates (ISO 8601), each time of what repeats; calendar_ids, with commas: only there."""
    first, last = calendars.span(start, end)
    ids = None if calendar_ids is None else [one for one in calendar_ids.split(",") if one][:500]
    return await calendars.between(state, caller, first, last, ids)


@router.post("/events/create")
@allow(USER.on("calendar", "create"))
async def create_event(
    state: AppState, caller: Caller, form: EventForm
) -> "Annotated[dict[str, Any], Shape(replies.calendars.CalendarEvent)]":
    """Makes an event in a calendar that one may change."""
    return await calendars.create_event(state, caller, form)


@router.get("/events/search")
@allow(LIST)
async def search(
    state: AppState, caller: Caller, query: Text = None, skip: Skip = 0, limit: Limit = 30
) -> "Annotated[dict[str, Any], Shape(replies.calendars.EventsFound)]":
    """Events that have a text in their title, description or place, the latest first."""
    return await calendars.search(state, caller, query, skip, limit)


@router.get("/events/{event_id}")
@allow(READ)
async def event(
    state: AppState, caller: Caller, event_id: EventId
) -> "Annotated[dict[str, Any], Shape(replies.calendars.CalendarEvent)]":
    """One event, of a calendar that one may read or to which one is invited."""
    return await calendars.event(state, caller, event_id)


@router.post("/events/{event_id}/update")
@allow(WRITE)
async def update_event(
    state: AppState, caller: Caller, event_id: EventId, form: EventUpdateForm
) -> "Annotated[dict[str, Any], Shape(replies.calendars.CalendarEvent)]":
    """Changes an event; what is left out stays."""
    return await calendars.update_event(state, caller, event_id, form)


@router.delete("/events/{event_id}/delete")
@allow(WRITE)
async def delete_event(
    state: AppState, caller: Caller, event_id: EventId
) -> "Annotated[dict[str, bool], Shape(replies.calendars.Done)]":
    """Removes an event."""
    await calendars.delete_event(state, caller, event_id)
    return {"status": True}


@router.post("/events/{event_id}/rsvp")
@allow(READ)
async def rsvp(
    state: AppState, caller: Caller, event_id: EventId, form: RSVPForm
) -> "Annotated[Attendee, Shape(replies.calendars.Attendee)]":
    """Says whether one takes part in an event that one is invited to."""
    return await calendars.answer(state, caller, event_id, form.status)


@router.get("/events/{event_id}/export")
@allow(READ)
async def export_event(
    state: AppState, caller: Caller, event_id: EventId
) -> "Annotated[Response, Media('text/calendar')]":
    """One event as a file (iCalendar) that other calendars read."""
    name, data = await calendar_export.of_event(state, caller, event_id)
    return Response(data, headers=_file(name), media_type=CALENDAR)


@router.get("/{calendar_id}")
@allow(READ)
async def get(
    state: AppState, caller: Caller, calendar_id: CalendarId
) -> "Annotated[Calendar, Shape(replies.calendars.Calendar)]":
    """One calendar."""
    return await calendars.get(state, caller, calendar_id)


@router.get("/{calendar_id}/export")
@allow(READ)
async def export(
    state: AppState, caller: Caller, calendar_id: CalendarId
) -> "Annotated[Response, Media('text/calendar')]":
    """All that stands in a calendar, as a file (iCalendar) that other calendars read."""
    name, pieces = await calendar_export.of_calendar(state, caller, calendar_id)
    return StreamingResponse(await begun(pieces), headers=_file(name), media_type=CALENDAR)


@router.post("/{calendar_id}/import", openapi_extra=FILE)
@allow(WRITE)
async def import_file(
    request: Request, state: AppState, caller: Caller, calendar_id: CalendarId
) -> "Annotated[calendar_import.Report, Shape(replies.calendars.ImportReport)]":
    """Takes the events of a file (iCalendar): the body, or the field `file` of a form. Those that are there are changed."""
    kind = request.headers.get("content-type", "")
    return await calendar_import.take(state, caller, calendar_id, kind, request.stream())


@router.post("/{calendar_id}/update")
@allow(WRITE)
async def update(
    state: AppState, caller: Caller, calendar_id: CalendarId, form: CalendarUpdateForm
) -> "Annotated[Calendar, Shape(replies.calendars.Calendar)]":
    """Changes a calendar's name, colour and data; what is left out stays."""
    return await calendars.update(state, caller, calendar_id, form)


@router.post("/{calendar_id}/access/update")
@allow(USER.on("calendar", "share"))
async def set_access(
    state: AppState, caller: Caller, calendar_id: CalendarId, form: AccessForm
) -> "Annotated[Calendar, Shape(replies.calendars.Calendar)]":
    """Replaces the grants on a calendar."""
    return await calendars.set_access(state, caller, calendar_id, form.access_grants)


@router.post("/{calendar_id}/default")
@allow(WRITE)
async def set_default(
    state: AppState, caller: Caller, calendar_id: CalendarId
) -> "Annotated[Calendar, Shape(replies.calendars.Calendar)]":
    """Makes one of one's own calendars the default."""
    return await calendars.set_default(state, caller, calendar_id)


@router.delete("/{calendar_id}/delete")
@allow(USER.on("calendar", "delete"))
async def delete(state: AppState, caller: Caller, calendar_id: CalendarId) -> bool:
    """Removes a calendar with all that stands in it."""
    return await calendars.delete(state, caller, calendar_id)
