"""What clients send about notifications, and about webhooks that are told of events."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from open_webui.schemas.documents import clean

MAX_NAME: int = 100
MAX_EVENTS: int = 300
MAX_URL: int = 2_000
MAX_TARGETS: int = 1_000
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=MAX_NAME, pattern=r"^[^/\x00-\x1f\x7f]*$"),
    BeforeValidator(clean),
]
EventName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), BeforeValidator(clean)]
Events = Annotated[list[EventName], Field(max_length=MAX_EVENTS)]
Url = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_URL)]
Whose = Annotated[list[dict[Annotated[str, Field(max_length=20)], EventName]], Field(max_length=MAX_TARGETS)]


class Form(BaseModel):
    model_config = ConfigDict(extra="ignore")


class NotificationTargetForm(Form):
    """A place where one wants to be told. What is left out stays, or is what it is at first.

    id: the person's name for it. config: `{"url": ...}` of a webhook; nothing of the others.
    """

    id: Name | None = None
    type: Annotated[str, Field(max_length=20)] | None = None
    enabled: bool | None = None
    events: Events | None = None
    delivery: Literal["away", "always"] | None = None
    config: Annotated[dict[Annotated[str, Field(max_length=50)], Any], Field(max_length=10)] | None = None


class EventWebhookForm(Form):
    """events: names, beginnings such as `chat.*`, or `*`. targets: whose events, as `{"type": "user", "id": ...}`."""

    name: Name | None = None
    url: Url
    enabled: bool = True
    events: Events | None = None
    targets: Whose | None = None


class EventWebhookUpdateForm(Form):
    """What is left out stays; `targets` that are null mean everybody. new_secret: events are signed with another one."""

    name: Name | None = None
    url: Url | None = None
    enabled: bool | None = None
    events: Events | None = None
    targets: Whose | None = None
    new_secret: bool = False
