"""open_webui.utils.misc: small helpers about messages."""

import hashlib
import re
import time
import uuid
from typing import Any

_Message = dict[str, Any]


def get_content_from_message(message: _Message) -> str | None:
    """The text of a message, of its text parts the first."""
    content = message.get("content")
    if isinstance(content, list):
        return next((str(part.get("text")) for part in content if part.get("type") == "text"), None)
    return content


def get_message_list(messages_map: dict[str, _Message], message_id: str | None) -> list[_Message]:
    """A message and those before it, the oldest first."""
    found: list[_Message] = []
    seen: set[str] = set()
    while message_id and message_id not in seen and (message := messages_map.get(message_id)) is not None:
        seen.add(message_id)
        found.append(message)
        message_id = message.get("parentId")
    return found[::-1]


def get_messages_content(messages: list[_Message]) -> str:
    """All messages as one text."""
    return "\n".join(f"{str(m.get('role', '')).upper()}: {get_content_from_message(m)}" for m in messages)


def get_last_user_message_item(messages: list[_Message]) -> _Message | None:
    """The last message of the person."""
    return _last(messages, "user")


def get_last_user_message(messages: list[_Message]) -> str | None:
    """Its text."""
    message = _last(messages, "user")
    return None if message is None else get_content_from_message(message)


def set_last_user_message_content(content: str, messages: list[_Message]) -> list[_Message]:
    """The messages, the last one of the person with another text."""
    if (message := _last(messages, "user")) is not None:
        _write(message, content)
    return messages


def get_last_assistant_message_item(messages: list[_Message]) -> _Message | None:
    """The last message of the model."""
    return _last(messages, "assistant")


def get_last_assistant_message(messages: list[_Message]) -> str | None:
    """Its text."""
    message = _last(messages, "assistant")
    return None if message is None else get_content_from_message(message)


def get_system_message(messages: list[_Message]) -> _Message | None:
    """The system's message."""
    return next((message for message in messages if message.get("role") == "system"), None)


def remove_system_message(messages: list[_Message]) -> list[_Message]:
    """All messages but the system's."""
    return [message for message in messages if message.get("role") != "system"]


def pop_system_message(messages: list[_Message]) -> tuple[_Message | None, list[_Message]]:
    """The system's message, and all others."""
    return get_system_message(messages), remove_system_message(messages)


def add_or_update_system_message(content: str, messages: list[_Message], append: bool = False) -> list[_Message]:
    """The messages, with a text before that of the system's message, or after it."""
    if messages and messages[0].get("role") == "system":
        old = get_content_from_message(messages[0]) or ""
        _write(messages[0], f"{old}\n{content}" if append else f"{content}\n{old}")
    else:
        messages.insert(0, {"role": "system", "content": content})
    return messages


def replace_system_message_content(content: str, messages: list[_Message]) -> None:
    """Gives the system's message another text."""
    if (message := get_system_message(messages)) is not None:
        message["content"] = content


def add_or_update_user_message(content: str, messages: list[_Message], append: bool = True) -> list[_Message]:
    """The messages, with a text after that of the last one, where that is the person's, or in a new one."""
    if messages and messages[-1].get("role") == "user":
        old = get_content_from_message(messages[-1]) or ""
        _write(messages[-1], f"{old}\n{content}" if append else f"{content}\n{old}")
    else:
        messages.append({"role": "user", "content": content})
    return messages


def prepend_to_first_user_message_content(content: str, messages: list[_Message]) -> list[_Message]:
    """The messages, with a text before that of the person's first one."""
    if (message := next((m for m in messages if m.get("role") == "user"), None)) is not None:
        _write(message, f"{content}\n{get_content_from_message(message) or ''}")
    return messages


def append_or_update_assistant_message(content: str, messages: list[_Message]) -> list[_Message]:
    """The messages, with a text after that of the last one, where that is the model's, or in a new one."""
    if messages and messages[-1].get("role") == "assistant":
        messages[-1]["content"] = f"{messages[-1].get('content') or ''}\n{content}"
    else:
        messages.append({"role": "assistant", "content": content})
    return messages


def openai_chat_message_template(model: str) -> dict[str, Any]:
    """What a whole answer and a part of one have in common."""
    return {
        "id": f"{model}-{uuid.uuid4()}",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "logprobs": None, "finish_reason": None}],
    }


def openai_chat_chunk_message_template(
    model: str,
    content: str | None = None,
    reasoning_content: str | None = None,
    tool_calls: list[dict[str, Any]] | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A part of an answer; its last one where it has nothing in it."""
    given = {"content": content, "reasoning_content": reasoning_content, "tool_calls": tool_calls}
    delta = {name: value for name, value in given.items() if value}
    chunk = openai_chat_message_template(model) | {"object": "chat.completion.chunk"}
    chunk["choices"][0]["delta"] = delta
    if not delta:
        chunk["choices"][0]["finish_reason"] = "stop"
    return chunk | ({"usage": usage} if usage else {})


def openai_chat_completion_message_template(
    model: str,
    message: str | None = None,
    reasoning_content: str | None = None,
    tool_calls: list[dict[str, Any]] | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A whole answer."""
    answer = openai_chat_message_template(model) | {"object": "chat.completion"}
    said: dict[str, Any] = {"role": "assistant", "content": message or ""}
    said |= {"reasoning_content": reasoning_content} if reasoning_content else {}
    said |= {"tool_calls": tool_calls} if tool_calls else {}
    answer["choices"][0] |= {"message": said, "finish_reason": "stop"}
    return answer | ({"usage": usage} if usage else {})


def deep_update(target: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The target, with what is changed at any depth."""
    for key, value in changes.items():
        if isinstance(value, dict):
            target[key] = deep_update(dict(target.get(key) or {}), value)
        else:
            target[key] = value
    return target


def sanitize_filename(file_name: str) -> str:
    """A name of a file with nothing but letters, digits, points, lines and underscores in it."""
    return re.sub(r"[^\w.-]", "", re.sub(r"\s+", "-", file_name.lower().strip()))


def calculate_sha256_string(string: str) -> str:
    """The hash of a text."""
    return hashlib.sha256(string.encode()).hexdigest()


def validate_email_format(email: str) -> bool:
    """Whether it looks like one."""
    return re.fullmatch(r"[^@\s]+@[^@\s]+", email) is not None


def is_string_allowed(string: str, filter_list: list[str] | None = None) -> bool:
    """Whether a text ends with one of the entries, and with none of those that begin with "!"."""
    entries = filter_list or []
    allowed = [entry for entry in entries if not entry.startswith("!")]
    if allowed and not any(string.endswith(entry) for entry in allowed):
        return False
    return not any(string.endswith(entry[1:]) for entry in entries if entry.startswith("!"))


def _last(messages: list[_Message], role: str) -> _Message | None:
    return next((message for message in reversed(messages) if message.get("role") == role), None)


def _write(message: _Message, content: str) -> None:
    parts = message.get("content")
    if isinstance(parts, list) and (text := next((part for part in parts if part.get("type") == "text"), None)):
        text["text"] = content
    else:
        message["content"] = content
