"""Chats of other programs' exports as trees of messages: of ChatGPT, of LibreChat, and lines of OpenAI's messages.

Pure functions over bytes. What is in a file is looked at piece by piece: one chat that can't be read loses that chat.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from open_webui.utils import tree

# Messages of one chat, and characters of a title.
_MAX_MESSAGES: Final = 100_000
_MAX_TITLE: Final = 2_000
_ROLES: Final = frozenset({"user", "assistant", "system"})
# Levels of answers below answers that LibreChat nests.
_MAX_DEPTH: Final = 10_000
_lines = msgspec.json.Decoder(list[msgspec.Raw])


class NotKnown(ValueError):
    """The file is none of these exports; the text says so."""


class Conversation(msgspec.Struct):
    """A chat. key: what tells it apart in its export. messages: as pages know them, by id. problem: why it can't be read."""

    key: str
    title: str = ""
    messages: dict[str, dict[str, Any]] = {}
    current_id: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    problem: str | None = None


Convert = Callable[[Any, int], Conversation]


def read(data: bytes) -> Iterator[Conversation]:
    """The chats of an export, whichever it is. Raises NotKnown."""
    listed, convert = _recognised(data)
    for number, raw in enumerate(listed):
        try:
            yield convert(msgspec.json.decode(raw), number)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            yield Conversation(f"#{number + 1}", problem="it is no JSON")
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            yield Conversation(f"#{number + 1}", problem="it has another form than the others")


def _recognised(data: bytes) -> tuple[list[Any], Convert]:
    text = data.strip()
    if text.startswith(b"["):
        try:
            listed: list[Any] = list(_lines.decode(text))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise NotKnown("The file is a list that ends in the middle, or no JSON.") from None
    else:
        listed = [line for line in text.splitlines() if line.strip()]
        if len(listed) > 1 and _form_of(listed[0]) is None and _form_of(text) is not None:
            # One object over several lines.
            listed = [text]
    for raw in listed:
        convert = _form_of(raw)
        if convert is not None:
            return listed, convert
    raise NotKnown(
        "This is none of the exports that can be read: ChatGPT's conversations.json, LibreChat's JSON, or a line of"
        ' {"messages": [...]} for each chat.'
    )


def _form_of(raw: Any) -> Convert | None:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("mapping"), dict):
        return chatgpt
    messages = value.get("messages")
    if not isinstance(messages, list):
        return None
    if "conversationId" in value or any(isinstance(m, dict) and "messageId" in m for m in messages[:5]):
        return librechat
    return plain if any(isinstance(m, dict) and "role" in m for m in messages[:5]) else None


# ChatGPT


def chatgpt(value: dict[str, Any], number: int) -> Conversation:
    """A chat of conversations.json: a mapping of nodes, of which some have no message, or one that nobody was shown."""
    nodes = {i: node for i, node in list(value["mapping"].items())[:_MAX_MESSAGES] if isinstance(node, dict)}
    said = {i: message for i, node in nodes.items() if (message := _chatgpt_message(node)) is not None}
    parents = tree.repair(
        {i: node.get("parent") if isinstance(node.get("parent"), str) else None for i, node in nodes.items()}
    )
    kept = {i: _nearest(i, parents, said) for i in said}
    made = _seconds(value.get("create_time"))
    return Conversation(
        key=_text(value.get("conversation_id") or value.get("id")) or f"#{number + 1}",
        title=_text(value.get("title"))[:_MAX_TITLE],
        messages=_linked(said, kept),
        current_id=_shown(_text(value.get("current_node")), parents, said),
        created_at=made,
        updated_at=_seconds(value.get("update_time")) or made,
    )


def _chatgpt_message(node: Mapping[str, Any]) -> dict[str, Any] | None:
    message = node.get("message")
    if not isinstance(message, dict):
        return None
    author, content = message.get("author"), message.get("content")
    role = author.get("role") if isinstance(author, dict) else None
    more = message.get("metadata")
    more = more if isinstance(more, dict) else {}
    if role not in _ROLES or not isinstance(content, dict) or more.get("is_visually_hidden_from_conversation") is True:
        return None
    parts = content.get("parts")
    texts = [_part(part) for part in parts] if isinstance(parts, list) else [_text(content.get("text"))]
    text = "\n\n".join(part for part in texts if part)
    if not text:
        return None
    model = _text(more.get("model_slug"))
    return _message(role, text, _seconds(message.get("create_time")), model)


def _part(part: Any) -> str:
    """A part of a content: a text, or what stands for a picture that the export has in a file of its own."""
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        return _text(part.get("text")) or ("[picture]" if "asset_pointer" in part else "")
    return ""


# LibreChat


def librechat(value: dict[str, Any], number: int) -> Conversation:
    """A chat of LibreChat's export: a list of messages, or answers nested below what they answer."""
    said: dict[str, dict[str, Any]] = {}
    parents: dict[str, str | None] = {}
    waiting: list[tuple[Any, str | None, int]] = [(message, None, 0) for message in reversed(value["messages"])]
    last = None
    while waiting and len(said) < _MAX_MESSAGES:
        message, above, depth = waiting.pop()
        message_id = _text(message.get("messageId")) if isinstance(message, dict) else ""
        if not message_id or message_id in said or depth > _MAX_DEPTH:
            continue
        is_user = message.get("isCreatedByUser") is True
        text = _text(message.get("text")) or _librechat_text(message.get("content"))
        said[message_id] = _message(
            "user" if is_user else "assistant", text, _iso(message.get("createdAt")), _text(message.get("model"))
        )
        parents[message_id] = above or _text(message.get("parentMessageId")) or None
        last = message_id
        children = message.get("children")
        waiting += [(c, message_id, depth + 1) for c in reversed(children)] if isinstance(children, list) else []
    times = [one["timestamp"] for one in said.values() if one["timestamp"] is not None]
    return Conversation(
        key=_text(value.get("conversationId")) or f"#{number + 1}",
        title=_text(value.get("title"))[:_MAX_TITLE],
        messages=_linked(said, tree.repair(parents)),
        current_id=last,
        created_at=min(times, default=None),
        updated_at=max(times, default=None),
    )


def _librechat_text(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text")
    return "\n\n".join(_text(one.get("value")) if isinstance(one, dict) else _text(one) for one in texts)


# OpenAI's messages


def plain(value: dict[str, Any], number: int) -> Conversation:
    """A line of {"messages": [{"role": "...", "content": "..."}]}: one branch."""
    said: dict[str, dict[str, Any]] = {}
    parents: dict[str, str | None] = {}
    before = None
    for k, message in enumerate(value["messages"][:_MAX_MESSAGES]):
        role, text = message.get("role"), tree.text_of(message.get("content"))
        if role not in _ROLES or not text:
            continue
        message_id = f"m{k}"
        said[message_id] = _message(role, text, None, _text(value.get("model")))
        parents[message_id], before = before, message_id
    title = _text(value.get("title")) or next((m["content"] for m in said.values() if m["role"] == "user"), "")
    key = _text(value.get("id")) or f"#{number + 1}"
    return Conversation(key=key, title=title.split("\n")[0][:100], messages=_linked(said, parents), current_id=before)


# What they have in common


def _message(role: str, content: str, at: int | None, model: str) -> dict[str, Any]:
    out: dict[str, Any] = {"role": role, "content": content, "timestamp": at}
    return out | ({"model": model, "done": True} if role == "assistant" and model else {})


def _linked(said: dict[str, dict[str, Any]], parents: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
    children = tree.children_of({i: parents.get(i) for i in said})
    linked = {
        i: message | {"id": i, "parentId": parents.get(i), "childrenIds": children[i]} for i, message in said.items()
    }
    return {i: {name: v for name, v in m.items() if name != "timestamp" or v is not None} for i, m in linked.items()}


def _nearest(one: str, parents: Mapping[str, str | None], said: Mapping[str, Any]) -> str | None:
    """The next message above that is kept."""
    above = parents.get(one)
    while above is not None and above not in said:
        above = parents.get(above)
    return above


def _shown(one: str, parents: Mapping[str, str | None], said: Mapping[str, Any]) -> str | None:
    return one if one in said else _nearest(one, parents, said) if one in parents else None


def _text(value: Any) -> str:
    return value.replace("\x00", "") if isinstance(value, str) else ""


def _seconds(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < tree.MAX_TIME:
        return None
    return int(value)


def _iso(value: Any) -> int | None:
    if not isinstance(value, str):
        return _seconds(value)
    try:
        return _seconds(datetime.fromisoformat(value).timestamp())
    except (ValueError, OverflowError, OSError):
        return None
