"""Channels and their messages, as they go out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant
from open_webui.schemas.replies.shape import Object


class Channel(TypedDict):
    id: str
    user_id: str
    type: str | None
    name: str
    description: str | None
    is_private: bool | None
    data: Object | None
    meta: Object | None
    access_grants: list[AccessGrant]
    created_at: int
    updated_at: int
    updated_by: str | None
    archived_at: int | None
    archived_by: str | None
    deleted_at: int | None
    deleted_by: str | None


class Somebody(TypedDict):
    status_emoji: str | None
    status_message: str | None
    status_expires_at: int | None
    id: str
    name: str
    is_active: bool | None


class ListedChannel(Channel):
    is_channel_muted: bool
    user_ids: list[str] | None
    users: list[Somebody] | None
    last_message_at: int | None
    unread_count: int


class WholeChannel(Channel):
    is_manager: bool
    write_access: bool
    user_count: int | None
    is_channel_muted: bool
    user_ids: list[str] | None
    users: list[Somebody] | None
    last_read_at: int | None
    unread_count: int


class Person(TypedDict):
    id: str
    email: str
    name: str
    role: str
    profile_image_url: str | None
    presence_state: str | None
    status_emoji: str | None
    status_message: str | None
    status_expires_at: int | None
    is_active: bool


class People(TypedDict):
    users: list[Person]
    total: int


class Member(TypedDict):
    id: str
    channel_id: str
    user_id: str
    role: str | None
    is_active: bool
    is_channel_muted: bool
    is_channel_pinned: bool
    invited_by: str | None
    joined_at: int
    last_read_at: int | None
    created_at: int
    updated_at: int


class Muted(TypedDict):
    is_channel_muted: bool


class Author(TypedDict):
    id: str
    name: str
    role: str


class _Head(TypedDict):
    id: str
    user_id: str | None
    app_id: str | None
    channel_id: str | None
    reply_to_id: str | None
    parent_id: str | None
    is_pinned: bool
    pinned_by: str | None
    pinned_at: int | None
    content: str
    meta: Object | None
    created_at: int
    updated_at: int
    etag: str


class Message(_Head):
    data: Object | None


class QuotedMessage(_Head):
    data: Object | bool | None
    user: Author | None


class Reacting(TypedDict):
    id: str
    name: str


class Reactions(TypedDict):
    name: str
    users: list[Reacting]
    count: int


class PinnedMessage(QuotedMessage):
    reactions: list[Reactions]


class _Answered(TypedDict):
    reply_to_message: QuotedMessage | None
    latest_reply_at: int | None
    reply_count: int


class ListedMessage(PinnedMessage, _Answered):
    """In a list: whether there is data, not which."""


class WholeMessage(Message, _Answered):
    user: Author | None
    reactions: list[Reactions]


class Webhook(TypedDict):
    id: str
    channel_id: str
    user_id: str
    name: str
    profile_image_url: str | None
    token: NotRequired[str]
    last_used_at: int | None
    created_at: int
    updated_at: int


class Posted(TypedDict):
    success: bool
    message_id: str
