"""What clients send about calendars and what stands in them. Times are nanoseconds since 1970."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.constants import MAX_ID
from open_webui.schemas.documents import bounded, clean
from open_webui.schemas.models import Grants, Name
from open_webui.utils.recurring import FIRST, LAST, MAX_RULE

MAX_TITLE: int = 500
MAX_TEXT: int = 20_000
MAX_DOCUMENT: int = 20_000
MAX_ATTENDEES: int = 100
# Of each attendee: an event has a hundred, and a list shows all of them with each time.
MAX_NOTE: int = 500
Status = Literal["pending", "accepted", "declined", "tentative"]
Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TITLE), BeforeValidator(clean)
]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), BeforeValidator(clean)]
Place = Annotated[str, StringConstraints(max_length=1_000), BeforeValidator(clean)]
Color = Annotated[str, StringConstraints(max_length=50), BeforeValidator(clean)]
RuleText = Annotated[str, StringConstraints(max_length=MAX_RULE), BeforeValidator(clean)]
Document = Annotated[dict[str, Any], AfterValidator(bounded(MAX_DOCUMENT))]
Note = Annotated[dict[str, Any], AfterValidator(bounded(MAX_NOTE))]
Time = Annotated[int, Field(ge=FIRST, le=LAST)]
AnId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), BeforeValidator(clean)]


class Form(BaseModel):
    model_config = ConfigDict(extra="ignore")


class CalendarForm(Form):
    name: Name
    color: Color | None = None
    data: Document | None = None
    meta: Document | None = None
    access_grants: Grants | None = None


class CalendarUpdateForm(Form):
    """What is left out, or null, stays."""

    name: Name | None = None
    color: Color | None = None
    data: Document | None = None
    meta: Document | None = None


class AccessForm(Form):
    access_grants: Grants


class AttendeeForm(Form):
    user_id: AnId
    status: Status = "pending"
    meta: Note | None = None


Attendees = Annotated[list[AttendeeForm], Field(max_length=MAX_ATTENDEES)]


class EventForm(Form):
    calendar_id: AnId
    title: Title
    description: Text | None = None
    start_at: Time
    end_at: Time | None = None
    all_day: bool = False
    rrule: RuleText | None = None
    color: Color | None = None
    location: Place | None = None
    data: Document | None = None
    meta: Document | None = None
    attendees: Attendees | None = None


class EventUpdateForm(Form):
    """What is left out stays. Null takes away what an event need not have, and is nothing said of what it must."""

    calendar_id: AnId | None = None
    title: Title | None = None
    description: Text | None = None
    start_at: Time | None = None
    end_at: Time | None = None
    all_day: bool | None = None
    rrule: RuleText | None = None
    color: Color | None = None
    location: Place | None = None
    data: Document | None = None
    meta: Document | None = None
    is_cancelled: bool | None = None
    attendees: Attendees | None = None


class RSVPForm(Form):
    status: Status
