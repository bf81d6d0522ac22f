"""Apps, as they go out."""

from typing import Literal, NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant
from open_webui.schemas.replies.shape import Object


class App(TypedDict):
    """data: `manifest` and `granted_scopes`; for administrators `url` and `settings`, too."""

    connection_status: Literal["connecting", "connected", "disconnected"]
    id: str
    slug: str
    name: str
    is_active: bool
    configured: bool
    data: Object
    created_at: int
    updated_at: int


class AppWithAccess(App):
    access_grants: list[AccessGrant]


class Manifest(TypedDict):
    id: str
    name: str
    description: str
    profile_image_url: str | None
    public_key: str
    requested_scopes: list[str]


class Action(TypedDict):
    label: str
    action_id: NotRequired[str]
    url: NotRequired[str]


class AppReply(TypedDict):
    """What an app says to who pressed a button. visibility: `channel` where everybody there has been told."""

    type: Literal["message", "ack", "error", "download"]
    visibility: Literal["channel", "private"]
    title: str
    content: str
    filename: str | None
    actions: list[Action]
