"""Notes, as they go out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant, UserName
from open_webui.schemas.replies.shape import Object


class Note(TypedDict):
    id: str
    user_id: str
    title: str
    data: NotRequired[Object | None]
    meta: NotRequired[Object | None]
    is_pinned: NotRequired[bool | None]
    access_grants: NotRequired[list[AccessGrant]]
    created_at: int
    updated_at: int


class NoteWithAccess(Note):
    write_access: NotRequired[bool]


class NoteWithOwner(Note):
    user: NotRequired[UserName | None]


class NotesPage(TypedDict):
    items: list[NoteWithOwner]
    total: int


class ListedNote(TypedDict):
    id: str
    title: str
    data: Object | None
    is_pinned: NotRequired[bool | None]
    updated_at: int
    created_at: int
    user: NotRequired[UserName | None]


class NoteVersion(TypedDict):
    """A version of a note. snapshot: title and text as they were."""

    id: str
    note_id: str
    parent_id: NotRequired[str | None]
    user_id: str
    commit_message: str | None
    created_at: int
    user: NotRequired[Object | None]


class WholeVersion(NoteVersion):
    snapshot: Object
