"""The route: a request's body becomes a frozen, checked value. The only file that knows the page's field names."""

from typing import Any, Final, Literal

import msgspec

from open_webui.constants import MAX_ID
from open_webui.errors import BadRequest
from open_webui.models.base import clean_json

# Fields that steer this server; a provider never sees them.
PAGE_FIELDS: Final = frozenset(
    (
        "chat_id session_id id parent_id message_ids user_message parent_message assistant_message_id background_tasks"
        " features variables chat_variables tool_ids tool_servers skill_ids filter_ids files model_item folder_id params"
        " terminal_id chat_metadata"
    ).split()
)
MAX_ANSWERS: Final = 16
# Tools, skills and filters that one request names.
MAX_IDS: Final = 1_000
# What an API client may ask to be done beside the answer. A page's wishes depend on its page.
API_FEATURES: Final = ("web_search",)
TEMPORARY: Final = ("temporary:", "local:")


class Ask(msgspec.Struct, frozen=True):
    """One answer that is asked for: by which model, into which message."""

    model_id: str
    message_id: str
    index: int = 0


class Tasks(msgspec.Struct, frozen=True):
    """What is to follow an answer."""

    title: bool = False
    tags: bool = False
    follow_ups: bool = False


class NewChat(msgspec.Struct, frozen=True):
    """What a new chat gets that a page does not choose. title: it stays, and no model is asked for another."""

    id: str
    title: str
    meta: dict[str, Any]


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A page's request for answers in a chat.

    chat_id: None for a new chat. continued: the answer named in `asks` exists and is to be extended. messages: given by
    temporary chats only. fields: provider fields that came beside the page's own.
    """

    session_id: str
    chat_id: str | None
    asks: tuple[Ask, ...]
    parent_id: str | None
    user_message: dict[str, Any] | None
    continued: bool
    messages: list[dict[str, Any]] | None
    params: dict[str, Any]
    fields: dict[str, Any]
    variables: dict[str, str]
    chat_variables: dict[str, Any]
    files: list[dict[str, Any]]
    # Names of what is to be done besides, such as "web_search".
    features: frozenset[str] = frozenset()
    # Ids of tools, and tool servers that the page itself calls.
    tool_ids: tuple[str, ...] = ()
    tool_servers: list[dict[str, Any]] = []
    # Of skills, which the model may read.
    skill_ids: tuple[str, ...] = ()
    # Of filters that are run only when they are asked for.
    filter_ids: tuple[str, ...] = ()
    # The terminal that the model may work on.
    terminal_id: str | None = None
    # A model that only the page's own browser can ask, as the page describes it.
    direct: dict[str, Any] | None = None
    folder_id: str | None
    tasks: Tasks
    stream: bool
    # Where the server itself asks: never of a page.
    new_chat: NewChat | None = None

    @property
    def is_temporary(self) -> bool:
        return self.chat_id is not None and self.chat_id.startswith(TEMPORARY)


def is_page_request(body: dict[str, Any]) -> bool:
    """Whether a body asks for an answer over the socket; anything else is an ordinary OpenAI call."""
    return bool(body.get("session_id")) and bool(body.get("id") or body.get("message_ids"))


def text_field(body: dict[str, Any], name: str, *, required: bool = False, limit: int = MAX_ID) -> str | None:
    """A short text field; None when absent or null. Raises BadRequest."""
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise BadRequest(f"'{name}' should be a text of 1 to {limit} characters.")
    if limit == MAX_ID and "\x00" in value:
        raise BadRequest(f"'{name}' should have no NUL character.")
    return value


def _dict(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"'{name}' should be an object.")
    return value


def _dicts(body: dict[str, Any], name: str) -> list[dict[str, Any]] | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise BadRequest(f"'{name}' should be a list of objects.")
    return value


def texts_field(body: dict[str, Any], name: str) -> tuple[str, ...]:
    """Ids and the like; empty when absent or null. Raises BadRequest."""
    value = body.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, str) and len(entry) <= MAX_ID for entry in value):
        raise BadRequest(f"'{name}' should be a list of short texts.")
    if len(value) > MAX_IDS:
        raise BadRequest(f"'{name}' should have at most {MAX_IDS:,} entries.")
    return tuple(value)


def parse_page_request(body: dict[str, Any]) -> PageRequest:
    """Raises BadRequest naming the field that can't be used."""
    session_id = text_field(body, "session_id", required=True)
    model = text_field(body, "model", required=True)
    continued = text_field(body, "assistant_message_id")
    asks = _asks(body, str(model))
    if continued is not None and (len(asks) != 1 or asks[0].message_id != continued):
        raise BadRequest("'assistant_message_id' should be the one message that is continued.")
    user_message = _user_message(body)
    if user_message is not None and user_message["id"] in {ask.message_id for ask in asks}:
        raise BadRequest("The question and its answer can't have the same id.")
    tasks = _dict(body, "background_tasks")
    return PageRequest(
        session_id=str(session_id),
        chat_id=text_field(body, "chat_id") if body.get("chat_id") else None,
        asks=asks,
        parent_id=text_field(body, "parent_id"),
        user_message=user_message,
        continued=continued is not None,
        messages=_dicts(body, "messages"),
        params=_dict(body, "params"),
        fields={k: v for k, v in body.items() if k not in PAGE_FIELDS and k not in {"model", "messages", "stream"}},
        variables={k: v for k, v in _dict(body, "variables").items() if isinstance(v, str)},
        chat_variables=_dict(body, "chat_variables"),
        files=_dicts(body, "files") or [],
        features=_features(body),
        tool_ids=texts_field(body, "tool_ids"),
        skill_ids=texts_field(body, "skill_ids"),
        filter_ids=texts_field(body, "filter_ids"),
        tool_servers=_dicts(body, "tool_servers") or [],
        terminal_id=text_field(body, "terminal_id") if body.get("terminal_id") else None,
        direct=_direct(body),
        folder_id=text_field(body, "folder_id"),
        tasks=Tasks(
            title=tasks.get("title_generation") is True,
            tags=tasks.get("tags_generation") is True,
            follow_ups=tasks.get("follow_up_generation") is True,
        ),
        stream=body.get("stream") is not False,
    )


def _direct(body: dict[str, Any]) -> dict[str, Any] | None:
    item = body.get("model_item")
    if not isinstance(item, dict) or item.get("direct") is not True:
        return None
    text_field(item, "id", required=True)
    return item


def _features(body: dict[str, Any]) -> frozenset[str]:
    return frozenset(name for name, on in _dict(body, "features").items() if on is True)


def _asks(body: dict[str, Any], model: str) -> tuple[Ask, ...]:
    entries = _dicts(body, "message_ids")
    if not entries:
        return (Ask(model, str(text_field(body, "id", required=True))),)
    if len(entries) > MAX_ANSWERS:
        raise BadRequest(f"At most {MAX_ANSWERS} models can answer at once.")
    asks = []
    for entry in entries:
        index = entry.get("modelIdx", 0)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 1_000:
            raise BadRequest("'modelIdx' should be a small number.")
        model_id, message_id = (
            text_field(entry, "model_id", required=True),
            text_field(entry, "message_id", required=True),
        )
        asks.append(Ask(str(model_id), str(message_id), index))
    if len({ask.message_id for ask in asks}) != len(asks):
        raise BadRequest("Each answer needs a message id of its own.")
    return tuple(asks)


def _user_message(body: dict[str, Any]) -> dict[str, Any] | None:
    message = body.get("user_message")
    if message is None:
        return None
    if not isinstance(message, dict):
        raise BadRequest("'user_message' should be an object.")
    text_field(message, "id", required=True)
    if message.get("role", "user") != "user":
        raise BadRequest("'user_message' should have the role user.")
    if not isinstance(message.get("content", ""), str | list):
        raise BadRequest("'user_message' should have a text as its content.")
    try:
        cleaned: dict[str, Any] = clean_json(message)
    except ValueError as error:
        raise BadRequest(f"'user_message' {error}.") from None
    return cleaned | {"role": "user"}


class ApiRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An API client's request: the model, and the payload that goes to the provider but for its model name."""

    model: str
    stream: bool
    payload: dict[str, Any]
    wire: Literal["openai", "ollama", "anthropic"] = "openai"
    # What is attached, which this server reads.
    files: tuple[dict[str, Any], ...] = ()
    # Tools that this server runs, where it runs any for clients.
    tool_ids: tuple[str, ...] = ()
    # Skills that the model is told.
    skill_ids: tuple[str, ...] = ()
    # What is to be done besides, of API_FEATURES.
    features: frozenset[str] = frozenset()


def parse_api_request(body: dict[str, Any]) -> ApiRequest:
    """Raises BadRequest naming the field that can't be used. Provider fields are not judged here: the provider does."""
    model = text_field(body, "model", required=True)
    _dicts(body, "messages")
    if body.get("prompt") is not None:
        raise BadRequest("'prompt' is for /ollama/api/generate. Send 'messages'.")
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise BadRequest("'stream' should be true or false.")
    payload = {k: v for k, v in body.items() if k not in PAGE_FIELDS}
    payload["stream"] = stream is True
    files = tuple(_dicts(body, "files") or ()) if body.get("files") else ()
    features = _api_features(body)
    return ApiRequest(
        model=str(model),
        stream=stream is True,
        payload=payload,
        files=files,
        tool_ids=texts_field(body, "tool_ids"),
        skill_ids=texts_field(body, "skill_ids"),
        features=features,
    )


def _api_features(body: dict[str, Any]) -> frozenset[str]:
    """A client knows what it sends: what can't be done is refused, and not left out."""
    for name, on in _dict(body, "features").items():
        if not isinstance(on, bool | None):
            raise BadRequest(f"'features.{name[:50]}' should be true or false.")
        if on and name not in API_FEATURES:
            raise BadRequest(
                f"'features.{name[:50]}' is not done for API clients here. What is: {', '.join(API_FEATURES)}."
            )
    return _features(body)
