"""What clients send about chats. Documents are decoded in two steps, so that a large one never holds the loop for long."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from open_webui import constants
from open_webui.schemas.documents import clean
from open_webui.utils import tree
from open_webui.utils.threads import in_thread_if_large, let_others
from open_webui.utils.values import MAX_VALUES, too_many

# So many bytes of JSON take as long as one small message.
SLICE: Final = 10_000
MAX_IMPORT: Final = 10_000
# Values of a plain list of messages, a dozen each.
MAX_LISTED: Final = 500_000
MAX_GRANTS: Final = 1_000
_AT = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `(.*?)`")
B = TypeVar("B", bound=msgspec.Struct)


class ChatBody(msgspec.Struct):
    """A chat to create or to change."""

    chat: dict[str, msgspec.Raw]
    variables: dict[str, Any] | None = None
    folder_id: str | None = None


class ImportedChat(ChatBody):
    """A chat of an export."""

    meta: dict[str, Any] | None = None
    pinned: bool | None = None
    archived: bool | None = None
    current_message_id: str | None = None
    created_at: int | None = None
    updated_at: int | None = None


class ImportBody(msgspec.Struct):
    chats: list[msgspec.Raw]


class History(msgspec.Struct):
    messages: dict[str, msgspec.Raw] | None = None
    currentId: str | None = None  # noqa: N815 - the wire's name


class Document(msgspec.Struct):
    """A chat document, checked. fields: its messages, None when it has no history. body: all else but the title.

    mended: how many of its messages were changed or left out, where they are mended.
    """

    title: str | None
    body: dict[str, Any]
    fields: list[tree.Fields] | None
    current_id: str | None
    mended: int = 0


def placed(error: RequestValidationError, place: int, title: str) -> RequestValidationError:
    """The 422 for a part of one chat of an import, with the chat's place, and its title in the sentence."""
    found = []
    for one in error.errors():
        loc = tuple(one["loc"])
        if loc[1:3] != ("chats", str(place)):
            loc = ("body", "chats", str(place), *loc[1:])
        found.append({**one, "loc": loc, "msg": f"{one['msg']} (in the chat '{title}')"})
    return RequestValidationError(found)


def invalid(loc: tuple[str, ...], problem: str, kind: str = "value_error") -> RequestValidationError:
    """The 422 for a part of the body."""
    return RequestValidationError([{"type": kind, "loc": ("body", *loc), "msg": problem, "input": None}])


def _decode(raw: Any, kind: type[B], prefix: tuple[str, ...] = ()) -> B:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        at = _AT.search(text)
        loc = (*prefix, *(at[1].split(".") if at and at[1] else ()))
        missing = _MISSING.search(text)
        if missing:
            raise RequestValidationError(
                [{"type": "missing", "loc": ("body", *loc, missing[1]), "msg": "Field required", "input": {}}]
            ) from None
        raise invalid(loc, _AT.sub("", text)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(prefix, f"The request is not valid JSON: {error}", "json_invalid") from None


async def read_body(request: Request, kind: type[B]) -> B:
    """The request's body as a struct. Raises RequestValidationError."""
    body = await request.body() or b"null"
    await let_others(len(body))
    decoded = _decode(body, kind)
    await let_others(len(body))
    return decoded


def read_imported(raw: msgspec.Raw, place: int) -> ImportedChat:
    return _decode(raw, ImportedChat, ("chats", str(place)))


async def read_document(chat: dict[str, msgspec.Raw], *, creating: bool, mends: bool = False) -> Document:
    """Checks a document. Raises RequestValidationError. creating: a plain list of messages will do for a history.

    mends: messages that can't be taken as they are, are taken as far as they can be, or left out.
    """
    for key, raw in chat.items():
        if key not in {"history", "messages"}:
            await _check_values(key, raw)
    body = {}
    for key, raw in chat.items():
        if key not in {"history", "messages", "title"}:
            body[key] = _value(key, raw)
            await let_others(len(memoryview(raw)))
    title = _value("title", chat["title"]) if "title" in chat else None
    if title is not None and (not isinstance(title, str) or len(title) > constants.MAX_TITLE):
        raise invalid(("chat", "title"), f"The title should be a text of at most {constants.MAX_TITLE} characters")
    try:
        tree.check_depth(body, ("chat",))
        fields, current, mended = await _history(chat, creating, mends)
    except tree.BadTree as error:
        raise invalid(error.loc, error.problem) from None
    return Document(title, body, fields, current, mended)


async def _check_values(key: str, raw: msgspec.Raw, limit: int = MAX_VALUES) -> None:
    if _is_too_large(raw):
        raise invalid(("chat", key), "holds more than the 24 MB that one message, or one value of a chat, may have")
    # What is so short can't hold as many.
    if len(memoryview(raw)) > limit and await too_many(bytes(raw), limit):
        raise invalid(("chat", key), f"holds more than {limit:,} values")


def _is_too_large(raw: msgspec.Raw) -> bool:
    return len(memoryview(raw)) > constants.MAX_PART


def _value(key: str, raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise invalid(("chat", key), "is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # A number that no computer holds, or half of a character.
        raise invalid(("chat", key), f"can't be read: {error}") from None


_Read = tuple[list[tree.Fields] | None, str | None, int]


async def _history(chat: dict[str, msgspec.Raw], creating: bool, mends: bool) -> _Read:
    history = History()
    if "history" in chat and bytes(memoryview(chat["history"])[:5]) != b"null":
        history = _decode(chat["history"], History, ("chat", "history"))
        await let_others(len(memoryview(chat["history"])))
    given = history.messages
    if given is None:
        if not creating or "messages" not in chat:
            return None, history.currentId, 0
        await _check_values("messages", chat["messages"], MAX_LISTED)
        listed = _value("messages", chat["messages"])
        listed = listed if isinstance(listed, list) else []
        sound = [m for m in listed if isinstance(m, dict)] if mends else listed
        wire = tree.linear(sound)
        _check_count(len(wire))
        fields, mended = _taken_apart(wire, mends)
        return fields, None, mended + len(listed) - len(sound)
    _check_count(len(given))
    kept = {key: raw for key, raw in given.items() if not _is_too_large(raw)} if mends else given
    for raw in [raw for raw in kept.values() if len(memoryview(raw)) > MAX_VALUES]:
        await _check_values("history", raw)
    size = max(len(kept), sum(len(memoryview(raw)) for raw in kept.values()) // SLICE)
    fields, mended = await in_thread_if_large(size, _taken_apart, kept, mends)
    return fields, history.currentId, mended + len(given) - len(kept)


def _taken_apart(given: Mapping[str, Any], mends: bool) -> tuple[list[tree.Fields], int]:
    """The messages, and how many of them were changed or left out."""
    out: list[tree.Fields] = []
    mended = 0
    for message_id, raw in given.items():
        message: Any = None
        try:
            message = _value("history", raw) if isinstance(raw, msgspec.Raw) else raw
            out.append(tree.take_apart(message_id, message, max_id=constants.MAX_ID))
        except (tree.BadTree, RequestValidationError):
            if not mends:
                raise
            mended += 1
            whole = _mended(message_id, message)
            if whole is not None:
                out.append(whole)
    return out, mended


def _mended(message_id: str, message: Any) -> tree.Fields | None:
    sound = tree.mended(message)
    try:
        return None if sound is None else tree.take_apart(message_id, sound, max_id=constants.MAX_ID)
    except tree.BadTree:
        return None


def _check_count(count: int) -> None:
    if count > constants.MAX_MESSAGES:
        raise invalid(("chat", "history", "messages"), f"A chat can hold {constants.MAX_MESSAGES} messages")


class MessageForm(BaseModel):
    content: str | None = Field(default=None, max_length=constants.MAX_PART)
    voice: dict[str, Any] | None = None


class EventForm(BaseModel):
    type: str = Field(max_length=100)
    data: dict[str, Any]


class ResolveForm(BaseModel):
    call_id: str = Field(max_length=constants.MAX_ID)
    action: str = Field(pattern="^(approve|reject|answer)$")
    answers: Any = None
    timed_out: bool = False


class TagForm(BaseModel):
    name: str = Field(max_length=constants.MAX_NAME)


class TagFilterForm(TagForm):
    skip: int | None = Field(default=0, ge=0, le=10_000_000)
    limit: int | None = Field(default=50, ge=1, le=1_000)


class CloneForm(BaseModel):
    title: str | None = Field(default=None, max_length=constants.MAX_TITLE)


class ForkForm(BaseModel):
    message_id: str | None = Field(default=None, max_length=constants.MAX_ID)


class CompactForm(BaseModel):
    model: str | None = Field(default=None, max_length=constants.MAX_ID)


class FolderIdForm(BaseModel):
    folder_id: str | None = Field(default=None, max_length=constants.MAX_ID)


class ShareForm(BaseModel):
    share_mode: str | None = Field(default=None, pattern="^continue$")


class GrantsForm(ShareForm):
    access_grants: list[dict[str, Any]] = Field(max_length=MAX_GRANTS)


# The settings page about chats: names of the wire, and the settings behind them.
CHAT_SETTINGS: Final = {
    "CONTEXT_COMPACTION_MODEL": "chat.context_compaction.model",
    "ENABLE_CONTEXT_COMPACTION": "chat.context_compaction.enable",
    "CONTEXT_COMPACTION_TOKEN_THRESHOLD": "chat.context_compaction.token_threshold",
    "CONTEXT_COMPACTION_TOKEN_CAP": "chat.context_compaction.token_cap",
    "CONTEXT_COMPACTION_RETENTION_PERCENTAGE": "chat.context_compaction.retention_percentage",
    "CONTEXT_COMPACTION_PROMPT_TEMPLATE": "chat.context_compaction.prompt_template",
    "ENABLE_TOOL_PERMISSIONS": "chat.tool_permissions.enable",
    "ENABLE_TOOL_SEARCH": "chat.tool_search.enable",
    "TOOL_SEARCH_DEFER_THRESHOLD": "chat.tool_search.defer_threshold",
    "TOOL_SEARCH_ALWAYS_LOADED": "chat.tool_search.always_loaded",
    "TOOL_SEARCH_DEFER_BUILTIN_TOOLS": "chat.tool_search.defer_builtin_tools",
}
_Tokens = Annotated[int, Field(ge=1, le=100_000_000)]


class ConfigForm(BaseModel):
    """What an admin's page sends. What is left out, and a number that is null, stays as it is."""

    CONTEXT_COMPACTION_MODEL: Annotated[str | None, Field(max_length=constants.MAX_ID)] = None
    ENABLE_CONTEXT_COMPACTION: bool
    CONTEXT_COMPACTION_TOKEN_THRESHOLD: _Tokens | None = None
    CONTEXT_COMPACTION_TOKEN_CAP: _Tokens | None = None
    CONTEXT_COMPACTION_RETENTION_PERCENTAGE: Annotated[int | None, Field(ge=0, le=100)] = None
    CONTEXT_COMPACTION_PROMPT_TEMPLATE: str = Field(max_length=100_000)
    ENABLE_TOOL_PERMISSIONS: bool = False
    ENABLE_TOOL_SEARCH: bool = False
    TOOL_SEARCH_DEFER_THRESHOLD: Annotated[int, Field(ge=0, le=1_000_000)] = 400
    TOOL_SEARCH_ALWAYS_LOADED: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=1_000)] = []
    TOOL_SEARCH_DEFER_BUILTIN_TOOLS: bool = True

    def changes(self) -> dict[str, object]:
        """The settings that it sets."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if given.get("CONTEXT_COMPACTION_MODEL", "") is None:
            given["CONTEXT_COMPACTION_MODEL"] = ""
        return {CHAT_SETTINGS[name]: clean(value) for name, value in given.items() if value is not None}
