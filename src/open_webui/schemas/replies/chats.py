"""Chats, folders, tags and what search finds, as they go out."""

from typing import Any, Literal, NotRequired, TypedDict

from open_webui.schemas.replies.models import AccessGrant
from open_webui.schemas.replies.shape import Object


class ChatLine(TypedDict):
    id: str
    title: str
    updated_at: int
    created_at: int
    last_read_at: NotRequired[int | None]
    snippet: NotRequired[str | None]
    active: NotRequired[bool]
    archived: NotRequired[bool]


class Chat(TypedDict):
    id: str
    user_id: str
    title: str
    chat: Object
    updated_at: int
    created_at: int
    share_id: NotRequired[str | None]
    archived: bool
    pinned: NotRequired[bool | None]
    meta: NotRequired[Object]
    variables: NotRequired[Object]
    folder_id: NotRequired[str | None]
    tasks: NotRequired[list[Any] | None]
    summary: NotRequired[str | None]
    current_message_id: NotRequired[str | None]
    context_usage: NotRequired[Object | None]


class OpenedChat(Chat):
    """What a link shows. id: the link's. chat_id: the chat's, where it is shared as it goes on."""

    chat_id: NotRequired[str]


class Tag(TypedDict):
    id: str
    name: str
    user_id: str
    meta: NotRequired[Object | None]


class ChatUsage(TypedDict):
    id: str
    models: NotRequired[Object]
    message_count: int
    history_models: NotRequired[Object]
    history_message_count: int
    history_user_message_count: int
    history_assistant_message_count: int
    average_response_time: float
    average_user_message_content_length: float
    average_assistant_message_content_length: float
    tags: NotRequired[list[str]]
    last_message_at: int
    updated_at: int
    created_at: int


class ChatUsagePage(TypedDict):
    items: list[ChatUsage]
    total: int


class ChatFigures(TypedDict):
    average_response_time: float
    average_user_message_content_length: float
    average_assistant_message_content_length: float
    models: dict[str, int]
    message_count: int
    history_models: dict[str, int]
    history_message_count: int
    history_user_message_count: int
    history_assistant_message_count: int


class MessageStats(TypedDict):
    id: str
    role: str
    model: NotRequired[str | None]
    content_length: int
    token_count: NotRequired[int | None]
    timestamp: NotRequired[int | None]
    rating: NotRequired[int | None]
    tags: NotRequired[list[str] | None]


class ChatStatsHistory(TypedDict):
    messages: dict[str, MessageStats]
    currentId: NotRequired[str | None]


class ChatStatsBody(TypedDict):
    history: ChatStatsHistory


class ChatStats(TypedDict):
    id: str
    user_id: str
    created_at: int
    updated_at: int
    tags: NotRequired[list[str]]
    stats: ChatFigures
    chat: ChatStatsBody


class ChatStatsPage(TypedDict):
    type: NotRequired[str]
    items: list[ChatStats]
    total: int
    page: int


class SharedChat(TypedDict):
    id: str
    chat_id: str
    title: str
    share_id: NotRequired[str | None]
    updated_at: int
    created_at: int


class ChatConfig(TypedDict):
    CONTEXT_COMPACTION_MODEL: NotRequired[str | None]
    ENABLE_CONTEXT_COMPACTION: bool
    CONTEXT_COMPACTION_TOKEN_THRESHOLD: NotRequired[int | None]
    CONTEXT_COMPACTION_TOKEN_CAP: NotRequired[int | None]
    CONTEXT_COMPACTION_RETENTION_PERCENTAGE: NotRequired[int | None]
    CONTEXT_COMPACTION_PROMPT_TEMPLATE: str
    ENABLE_TOOL_PERMISSIONS: NotRequired[bool]
    ENABLE_TOOL_SEARCH: NotRequired[bool]
    TOOL_SEARCH_DEFER_THRESHOLD: NotRequired[int]
    TOOL_SEARCH_ALWAYS_LOADED: NotRequired[list[str]]
    TOOL_SEARCH_DEFER_BUILTIN_TOOLS: NotRequired[bool]


class FolderMeta(TypedDict):
    icon: NotRequired[str | None]


class FolderLine(TypedDict):
    id: str
    name: str
    meta: NotRequired[FolderMeta | None]
    parent_id: NotRequired[str | None]
    is_expanded: NotRequired[bool]
    unread_count: NotRequired[int]
    created_at: int
    updated_at: int


class Folder(TypedDict):
    id: str
    parent_id: NotRequired[str | None]
    user_id: str
    name: str
    items: NotRequired[Object | None]
    meta: NotRequired[Object | None]
    data: NotRequired[Object | None]
    is_expanded: NotRequired[bool]
    created_at: int
    updated_at: int
    access_grants: NotRequired[list[AccessGrant]]
    write_access: NotRequired[bool]


class SearchResult(TypedDict):
    id: str
    kind: Literal["chat", "message", "note"]
    title: str
    context: str
    snippet: str
    preview: str
    url: str
    updated_at: int
    shared: NotRequired[bool]
    pinned: NotRequired[bool]


class SearchScope(TypedDict):
    id: str
    name: str
    kind: Literal["folder", "channel"]


class SearchPage(TypedDict):
    items: list[SearchResult]
    has_more: bool
    scopes: list[SearchScope]
    kinds: list[str]


class AllRead(TypedDict):
    """How many chats were marked, and how many are left unread in each folder."""

    updated_count: int
    folder_unread_counts: dict[str, int]


class FolderRead(AllRead):
    folder_id: str
    folder_ids: list[str]


class Unread(TypedDict):
    chat_id: str
    last_read_at: int
    folder_id: str | None
    folder_unread_counts: dict[str, int]


class Compacted(TypedDict):
    ok: bool
    compacted: bool
    reason: str
    context_usage: None


class Participant(TypedDict):
    id: str
    name: str


class ChatOfFolder(TypedDict):
    id: str
    title: str
    user_id: str
    updated_at: int
    created_at: int
    last_read_at: int | None
    owner_name: str
    participants: list[Participant]
    active: bool
    readonly: bool


class ChatsOfFolder(TypedDict):
    """total, has_more: where a page was asked for."""

    chats: list[ChatOfFolder]
    folder_permission: Literal["read", "write"]
    total: NotRequired[int]
    has_more: NotRequired[bool]
