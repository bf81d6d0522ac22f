"""Prompts, as they go out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant, UserName
from open_webui.schemas.replies.shape import Object


class Prompt(TypedDict):
    id: str
    command: str
    user_id: str
    name: str
    content: str
    data: Object
    meta: Object
    tags: list[str]
    is_active: bool
    version_id: str | None
    created_at: int
    updated_at: int
    access_grants: NotRequired[list[AccessGrant]]


class PromptWithAccess(Prompt):
    user: NotRequired[UserName | None]
    write_access: NotRequired[bool | None]


class PromptsPage(TypedDict):
    items: list[PromptWithAccess]
    total: int


class WholeVersion(TypedDict):
    id: str
    prompt_id: str
    parent_id: NotRequired[str | None]
    snapshot: Object
    user_id: str
    commit_message: NotRequired[str | None]
    created_at: int


class ListedVersion(WholeVersion):
    user: NotRequired[UserName | None]


class PromptDifference(TypedDict):
    from_id: str
    to_id: str
    from_snapshot: Object
    to_snapshot: Object
    content_diff: list[str]
    line_endings_only: bool
    name_changed: bool
