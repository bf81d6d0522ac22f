"""Memories, as they go out."""

from typing import Literal, NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class ChangedMemory(TypedDict):
    id: str
    user_id: str
    type: Literal["user", "context"]
    path: str | None
    content: str
    updated_at: int
    created_at: int


class Memory(ChangedMemory):
    meta: Object | None


class Change(TypedDict):
    action: Literal["add", "replace", "remove", "move"]
    status: Literal["created", "unchanged", "updated", "deleted", "moved"]
    memory: ChangedMemory


class MemoryDates(TypedDict):
    updated_at: int
    created_at: int
    type: Literal["user", "context"]
    path: NotRequired[str]


class Found(TypedDict):
    """Lists in a list: of one question."""

    ids: list[list[str]]
    documents: list[list[str]]
    metadatas: list[list[MemoryDates]]
    distances: list[list[float]]


class MemoryPlace(TypedDict):
    path: str | None
    type: Literal["user", "context"]
    count: int
    updated_at: int
    children: list[str]


class MemoryPlaces(TypedDict):
    paths: list[MemoryPlace]
    count: int


class AtPath(TypedDict):
    path: str
    memories: list[Memory]
    children: list[str]
    count: int


class Reindexed(TypedDict):
    status: bool
    total_users: int
    total_memories: int
