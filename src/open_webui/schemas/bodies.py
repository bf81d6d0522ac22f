"""Bodies that handlers read by hand, as types: named at the handlers in quotes, and loaded when somebody asks what the
interface looks like. What they leave out is passed on to the model's provider.
"""

from typing import Any, NotRequired, TypedDict

from open_webui.schemas.replies.shape import Object


class Message(TypedDict):
    """A message of a conversation. content: a text, or parts (texts, pictures as `image_url`)."""

    role: str
    content: NotRequired[str | list[Object] | None]
    name: NotRequired[str]
    tool_calls: NotRequired[list[Object]]
    tool_call_id: NotRequired[str]


class Answer(TypedDict):
    """One answer of several that a page asks for: by which model, into which message."""

    model_id: str
    message_id: str
    modelIdx: NotRequired[int]


class UserMessage(TypedDict):
    """A question, as it is stored."""

    id: str
    role: NotRequired[str]
    content: NotRequired[str | list[Object]]
    parentId: NotRequired[str | None]
    files: NotRequired[list[Object]]


class BackgroundTasks(TypedDict):
    """What is to follow an answer."""

    title_generation: NotRequired[bool]
    tags_generation: NotRequired[bool]
    follow_up_generation: NotRequired[bool]


class ChatCompletion(TypedDict):
    """OpenAI's request for a chat completion. Common parameters are named; the provider takes its own besides."""

    model: str
    messages: NotRequired[list[Message] | None]
    stream: NotRequired[bool | None]
    temperature: NotRequired[float | None]
    top_p: NotRequired[float | None]
    max_tokens: NotRequired[int | None]
    max_completion_tokens: NotRequired[int | None]
    stop: NotRequired[str | list[str] | None]
    seed: NotRequired[int | None]
    frequency_penalty: NotRequired[float | None]
    presence_penalty: NotRequired[float | None]
    tools: NotRequired[list[Object] | None]
    tool_choice: NotRequired[str | Object | None]
    response_format: NotRequired[Object | None]
    stream_options: NotRequired[Object | None]


class PageCompletion(ChatCompletion):
    """The same, and what a page adds to have the answer stored and sent over its socket: `session_id` and either `id`, the
    message to answer into, or `message_ids`. chat_id: none for a new chat.
    """

    session_id: NotRequired[str | None]
    chat_id: NotRequired[str | None]
    id: NotRequired[str | None]
    message_ids: NotRequired[list[Answer] | None]
    parent_id: NotRequired[str | None]
    user_message: NotRequired[UserMessage | None]
    assistant_message_id: NotRequired[str | None]
    background_tasks: NotRequired[BackgroundTasks | None]
    params: NotRequired[Object | None]
    variables: NotRequired[Object | None]
    chat_variables: NotRequired[Object | None]
    files: NotRequired[list[Object] | None]
    folder_id: NotRequired[str | None]


class AnthropicMessages(TypedDict):
    """Anthropic's request for a message. tool_ids, skill_ids: what this server has the model use besides."""

    model: str
    max_tokens: int
    messages: list[Object]
    system: NotRequired[str | list[Object] | None]
    stream: NotRequired[bool | None]
    tools: NotRequired[list[Object] | None]
    tool_choice: NotRequired[Object | None]
    thinking: NotRequired[Object | None]
    stop_sequences: NotRequired[list[str] | None]
    temperature: NotRequired[float | None]
    top_p: NotRequired[float | None]
    top_k: NotRequired[int | None]
    tool_ids: NotRequired[list[str] | None]
    skill_ids: NotRequired[list[str] | None]


class AnthropicCount(TypedDict):
    """Anthropic's request to count tokens: that for a message, without the length of the answer."""

    model: str
    messages: list[Object]
    system: NotRequired[str | list[Object] | None]
    tools: NotRequired[list[Object] | None]
    tool_choice: NotRequired[Object | None]
    thinking: NotRequired[Object | None]


class PressedAction(TypedDict):
    """An action that was pressed below a message. id: the message. session_id: the page's socket. More is handed on."""

    model: str
    messages: NotRequired[list[Object]]
    chat_id: NotRequired[str | None]
    id: NotRequired[str | None]
    session_id: NotRequired[str | None]


class OllamaAsk(TypedDict):
    """What both of Ollama's requests have. stream: true unless said otherwise."""

    model: str
    stream: NotRequired[bool]
    options: NotRequired[Object | None]
    format: NotRequired[str | Object | None]
    think: NotRequired[bool | str | None]
    keep_alive: NotRequired[str | float | None]


class OllamaMessage(TypedDict):
    """images: in base64."""

    role: str
    content: NotRequired[str]
    thinking: NotRequired[str]
    images: NotRequired[list[str] | None]
    tool_calls: NotRequired[list[Object] | None]
    tool_name: NotRequired[str]


class OllamaChat(OllamaAsk):
    tool_ids: NotRequired[list[str] | None]
    messages: NotRequired[list[OllamaMessage] | None]
    tools: NotRequired[list[Object] | None]


class OllamaGenerate(OllamaAsk):
    prompt: NotRequired[str | None]
    suffix: NotRequired[str | None]
    system: NotRequired[str | None]
    template: NotRequired[str | None]
    images: NotRequired[list[str] | None]
    context: NotRequired[list[int] | None]
    raw: NotRequired[bool | None]


class Embeddings(TypedDict):
    """OpenAI's request for embeddings."""

    model: str
    input: NotRequired[str | list[Any]]
    encoding_format: NotRequired[str | None]
    dimensions: NotRequired[int | None]


class SideQuestion(TypedDict):
    """prompt: for kinds that ask about a text of its own."""

    model: str
    messages: NotRequired[list[Message] | None]
    prompt: NotRequired[str | None]


class Merge(TypedDict):
    """prompt: the question. responses: several models' answers to it."""

    model: str
    prompt: str
    responses: list[str]


class Mood(TypedDict):
    """What is to be set; null forgets it. persona: a name or an object. state: how strong each emotion is, from 0 to 1."""

    enabled: NotRequired[bool | None]
    persona: NotRequired[str | Object | None]
    state: NotRequired[dict[str, float] | None]


class PassedOn(TypedDict):
    """A request that a provider's server answers in a form of its own; what else it holds goes there as it is."""

    model: str
    stream: NotRequired[bool]
