"""What all people did, as it goes out."""

from typing import Any, NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class ModelCount(TypedDict):
    model_id: str
    count: int
    unique_users: NotRequired[int]
    unique_chats: NotRequired[int]


class Models(TypedDict):
    models: list[ModelCount]


class Person(TypedDict):
    """name, email: null of somebody who is gone."""

    user_id: str
    name: NotRequired[str | None]
    email: NotRequired[str | None]
    count: int
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    total_tokens: NotRequired[int]


class People(TypedDict):
    users: list[Person]


class Summary(TypedDict):
    total_messages: int
    total_chats: int
    total_models: int
    total_users: int


class Previous(TypedDict):
    models: dict[str, int]
    start: str
    end: str


class Step(TypedDict):
    """start, end, previous: where a comparison was asked for."""

    date: str
    models: dict[str, int]
    start: NotRequired[str | None]
    end: NotRequired[str | None]
    previous: NotRequired[Previous | None]


class Daily(TypedDict):
    data: list[Step]


class ModelTokens(TypedDict):
    model_id: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    message_count: int


class Tokens(TypedDict):
    models: list[ModelTokens]
    total_input_tokens: int
    total_output_tokens: int
    total_tokens: int


class ModelChat(TypedDict):
    """first_message: what the chat is called; null where administrators may not see chats."""

    chat_id: str
    user_id: NotRequired[str | None]
    user_name: NotRequired[str | None]
    first_message: NotRequired[str | None]
    updated_at: int


class ModelChats(TypedDict):
    chats: list[ModelChat]
    total: int


class Day(TypedDict):
    date: str
    won: NotRequired[int]
    lost: NotRequired[int]


class Tag(TypedDict):
    tag: str
    count: int


class Overview(TypedDict):
    history: list[Day]
    tags: list[Tag]


class Message(TypedDict):
    id: str
    chat_id: str
    user_id: str
    role: str
    parent_id: NotRequired[str | None]
    content: NotRequired[Any]
    output: NotRequired[list[Any] | None]
    model_id: NotRequired[str | None]
    files: NotRequired[list[Any] | None]
    sources: NotRequired[list[Any] | None]
    embeds: NotRequired[list[Any] | None]
    meta: NotRequired[Object | None]
    done: NotRequired[bool]
    status_history: NotRequired[list[Any] | None]
    error: NotRequired[Object | str | None]
    usage: NotRequired[Object | None]
    context_summary: NotRequired[str | None]
    created_at: int
    updated_at: int
