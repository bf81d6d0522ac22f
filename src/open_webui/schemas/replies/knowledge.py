"""Knowledge bases, as they go out."""

from typing import NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant, UserName
from open_webui.schemas.replies.shape import Object


class BriefFile(TypedDict):
    id: str
    hash: NotRequired[str | None]
    meta: NotRequired[Object | None]
    created_at: int
    updated_at: int


class Bare(TypedDict):
    id: str
    user_id: str
    name: str
    description: str
    meta: NotRequired[Object | None]
    access_grants: NotRequired[list[AccessGrant]]
    created_at: int
    updated_at: int


class Base(Bare):
    files: NotRequired[list[BriefFile] | None]


class BaseWithFiles(Base):
    """files: what came into it last, up to 200; None where nothing was changed."""

    write_access: NotRequired[bool | None]


class BaseLine(Bare):
    user: NotRequired[UserName | None]
    file_count: NotRequired[int | None]
    write_access: NotRequired[bool | None]


class Bases(TypedDict):
    items: list[BaseLine]
    total: int


class Directory(TypedDict):
    id: str
    knowledge_id: str
    parent_id: NotRequired[str | None]
    name: str
    user_id: str
    created_at: int
    updated_at: int


class HeldFile(TypedDict):
    """hash: of the text in it. directory_path: names with slashes between them. collection: the base, in a search."""

    id: str
    user_id: str
    hash: NotRequired[str | None]
    filename: str
    data: NotRequired[Object | None]
    meta: NotRequired[Object | None]
    created_at: int
    updated_at: NotRequired[int | None]
    directory_id: NotRequired[str | None]
    directory_path: NotRequired[str]
    has_original: NotRequired[bool]
    user: NotRequired[UserName | None]
    collection: NotRequired[Bare | None]


class WaitingFile(TypedDict):
    id: str
    user_id: str
    hash: str | None
    filename: str
    data: Object
    meta: Object
    created_at: int
    updated_at: int


class FilesPage(TypedDict):
    """total: of files, on all pages. breadcrumbs: the directory and those above it."""

    items: list[HeldFile]
    directories: NotRequired[list[Directory]]
    breadcrumbs: NotRequired[list[Directory]]
    total: int


class DirectoryGone(TypedDict):
    """file_ids: the files that left the base with it."""

    status: bool
    file_ids: list[str]


class Compared(TypedDict):
    filename: str
    path: str


class Stale(Compared):
    stale_file_id: str


class Surplus(Compared):
    file_id: str


class Difference(TypedDict):
    """mkdir: paths, parents first. rmdir: ids. directory_map: ids of the directories that both have, by path."""

    added: list[Compared]
    modified: list[Stale]
    deleted: list[Surplus]
    mkdir: list[str]
    rmdir: list[str]
    unmodified_count: int
    directory_map: dict[str, str]


class Connection(TypedDict):
    """A service that knowledge is found in. endpoint: with "***" for a password. Keys are never shown."""

    id: str
    name: str
    provider: str
    endpoint: str
    config: Object | None
    capabilities: Object | None
    enabled: bool
    created_at: int
    updated_at: int


class Connections(TypedDict):
    items: list[Connection]
    total: int


class Retrieved(TypedDict):
    """What a question found, the best first; the three lists go together."""

    documents: list[str]
    metadatas: list[Object]
    distances: list[float]


class Reindexed(TypedDict):
    total: int
    success: int
