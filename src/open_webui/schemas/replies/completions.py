"""Answers of models, as they go out. A provider may add fields of its own to each."""

from typing import Any, NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object

# What an action returned.
Acted = Object | list[Any] | str | float | bool | None


class Choice(TypedDict):
    index: NotRequired[int]
    message: Object
    finish_reason: NotRequired[str | None]


class Completion(TypedDict):
    """OpenAI's chat completion."""

    id: NotRequired[str]
    object: NotRequired[str]
    created: NotRequired[int]
    model: NotRequired[str]
    choices: list[Choice]
    usage: NotRequired[Object | None]


class AnthropicMessage(TypedDict):
    """Anthropic's message."""

    id: str
    type: str
    role: str
    model: str
    content: list[Object]
    stop_reason: str | None
    stop_sequence: str | None
    usage: Object


class CountedTokens(TypedDict):
    """estimated: the number is a guess from the text's length."""

    input_tokens: int
    estimated: bool


class Started(TypedDict):
    """A page's question is stored, and its answers come over the socket."""

    status: bool
    task_ids: list[str]
    chat_id: str


class SwitchedOff(TypedDict):
    """An administrator switched this off."""

    detail: str


class Embedding(TypedDict):
    object: NotRequired[str]
    index: NotRequired[int]
    embedding: list[float] | str


class Embeddings(TypedDict):
    """OpenAI's embeddings."""

    object: NotRequired[str]
    data: list[Embedding]
    model: NotRequired[str]
    usage: NotRequired[Object | None]


class OllamaEnd(TypedDict):
    """What both of Ollama's answers have. Durations are in nanoseconds, and only in the last line of a stream."""

    model: str
    created_at: str
    done: bool
    done_reason: NotRequired[str]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]
    prompt_eval_duration: NotRequired[int]
    eval_count: NotRequired[int]
    eval_duration: NotRequired[int]
    logprobs: NotRequired[list[Any]]


class OllamaMessage(TypedDict):
    role: str
    content: str
    thinking: NotRequired[str]
    tool_calls: NotRequired[list[Object]]


class OllamaChat(OllamaEnd):
    message: OllamaMessage


class OllamaGenerated(OllamaEnd):
    response: str
    thinking: NotRequired[str]
    context: NotRequired[list[int]]
    tool_calls: NotRequired[list[Object]]
