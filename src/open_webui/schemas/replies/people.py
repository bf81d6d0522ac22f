"""Accounts, groups and sessions, as they go out."""

from typing import Any, Literal, NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class SessionInfo(TypedDict):
    status_emoji: NotRequired[str | None]
    status_message: NotRequired[str | None]
    status_expires_at: NotRequired[int | None]
    id: str
    name: str
    role: str
    email: str
    profile_image_url: str
    token: str
    token_type: str
    expires_at: NotRequired[int | None]
    permissions: NotRequired[Object | None]
    bio: NotRequired[str | None]
    gender: NotRequired[str | None]
    date_of_birth: NotRequired[str | None]


class SessionUser(TypedDict):
    id: str
    name: str
    role: str
    email: str
    profile_image_url: str
    token: str
    token_type: str
    expires_at: NotRequired[int | None]
    permissions: NotRequired[Object | None]


class AddedUser(TypedDict):
    id: str
    name: str
    role: str
    email: str
    profile_image_url: str
    token: NotRequired[str | None]
    token_type: NotRequired[str | None]


class UserProfile(TypedDict):
    id: str
    name: str
    role: str
    email: str
    profile_image_url: str


class ApiKey(TypedDict):
    api_key: NotRequired[str | None]


class MfaStatus(TypedDict):
    enabled: bool
    required: bool
    recovery_codes_remaining: int


class UserSettings(TypedDict):
    ui: NotRequired[Object | None]


class UserWithGroups(TypedDict):
    id: str
    email: str
    username: NotRequired[str | None]
    role: NotRequired[str]
    name: str
    profile_image_url: NotRequired[str | None]
    profile_banner_image_url: NotRequired[str | None]
    bio: NotRequired[str | None]
    gender: NotRequired[str | None]
    date_of_birth: NotRequired[str | None]
    timezone: NotRequired[str | None]
    presence_state: NotRequired[str | None]
    status_emoji: NotRequired[str | None]
    status_message: NotRequired[str | None]
    status_expires_at: NotRequired[int | None]
    info: NotRequired[Object | None]
    settings: NotRequired[UserSettings | None]
    oauth: NotRequired[Object | None]
    scim: NotRequired[Object | None]
    last_active_at: int
    updated_at: int
    created_at: int
    group_ids: NotRequired[list[str]]


class UsersPage(TypedDict):
    users: list[UserWithGroups]
    total: int


class Person(TypedDict):
    status_emoji: NotRequired[str | None]
    status_message: NotRequired[str | None]
    status_expires_at: NotRequired[int | None]
    id: str
    name: str
    email: str
    role: str
    bio: NotRequired[str | None]
    last_active_at: NotRequired[int | None]
    timezone: NotRequired[str | None]
    groups: NotRequired[list[Any] | None]
    is_active: NotRequired[bool]


class PeoplePage(TypedDict):
    users: list[Person]
    total: int


class UserVariables(TypedDict):
    variables: NotRequired[dict[str, str]]


class ActivePerson(TypedDict):
    status_emoji: NotRequired[str | None]
    status_message: NotRequired[str | None]
    status_expires_at: NotRequired[int | None]
    name: str
    profile_image_url: NotRequired[str | None]
    groups: NotRequired[list[Any] | None]
    is_active: bool


class User(TypedDict):
    id: str
    email: str
    username: NotRequired[str | None]
    role: NotRequired[str]
    name: str
    profile_image_url: NotRequired[str | None]
    profile_banner_image_url: NotRequired[str | None]
    bio: NotRequired[str | None]
    gender: NotRequired[str | None]
    date_of_birth: NotRequired[str | None]
    timezone: NotRequired[str | None]
    presence_state: NotRequired[str | None]
    status_emoji: NotRequired[str | None]
    status_message: NotRequired[str | None]
    status_expires_at: NotRequired[int | None]
    info: NotRequired[Object | None]
    settings: NotRequired[UserSettings | None]
    oauth: NotRequired[Object | None]
    scim: NotRequired[Object | None]
    last_active_at: int
    updated_at: int
    created_at: int


class Group(TypedDict):
    parent_group_id: NotRequired[str | None]
    id: str
    user_id: str
    name: str
    description: str
    data: NotRequired[Object | None]
    meta: NotRequired[Object | None]
    permissions: NotRequired[Object | None]
    created_at: int
    updated_at: int
    member_count: NotRequired[int | None]


class GroupInfo(TypedDict):
    parent_group_id: NotRequired[str | None]
    id: str
    user_id: str
    name: str
    description: str
    member_count: NotRequired[int | None]
    created_at: int
    updated_at: int


class GroupExport(TypedDict):
    parent_group_id: NotRequired[str | None]
    id: str
    user_id: str
    name: str
    description: str
    data: NotRequired[Object | None]
    meta: NotRequired[Object | None]
    permissions: NotRequired[Object | None]
    created_at: int
    updated_at: int
    member_count: NotRequired[int | None]
    user_ids: NotRequired[list[str]]


class GroupMember(TypedDict):
    status_emoji: NotRequired[str | None]
    status_message: NotRequired[str | None]
    status_expires_at: NotRequired[int | None]
    id: str
    name: str
    email: str
    role: str
    bio: NotRequired[str | None]
    last_active_at: NotRequired[int | None]
    timezone: NotRequired[str | None]
    groups: NotRequired[list[Any] | None]
    is_active: NotRequired[bool]
    membership_type: Literal["direct", "inherited"]
    via_group_ids: NotRequired[list[str]]


class GroupMembersPage(TypedDict):
    items: list[GroupMember]
    total: int
    counts: dict[str, int]
