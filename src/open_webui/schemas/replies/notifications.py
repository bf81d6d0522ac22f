"""Notifications and webhooks of events, as they go out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class Notifies(TypedDict):
    event: str
    label: str
    description: str


class NotifiesList(TypedDict):
    events: list[Notifies]


class Target(TypedDict):
    """config: what may be seen of its address."""

    id: str
    type: str
    enabled: bool
    is_default: bool
    events: list[str]
    delivery: str
    config: Object
    error: str | None
    created_at: int
    updated_at: int


class Targets(TypedDict):
    targets: list[Target]


class CatalogueEvent(TypedDict):
    event: str
    description: str
    message: str


class Catalogue(TypedDict):
    schema: str
    events: list[CatalogueEvent]


class EventWebhook(TypedDict):
    """secret: told once, when it is made. error: why the last event could not be told."""

    id: str
    name: str
    url: str
    enabled: bool
    events: list[str]
    targets: list[Object] | None
    failures: int
    error: str | None
    created_at: int
    updated_at: int
    secret: NotRequired[str]
