"""Messages, and the constructors of each kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from typing import Any

from synthora.exceptions import MessageError
from synthora.messages.base import BaseMessage
from synthora.messages.images import parse_image
from synthora.messages.ordered import (
    ImagePart,
    Part,
    ProviderPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from synthora.messages.parts import FunctionCall, ToolCall, Usage
from synthora.types import Err, MessageRole, Node, NodeType, Ok

__all__ = [
    "BaseMessage",
    "FunctionCall",
    "ImagePart",
    "Part",
    "ProviderPart",
    "RefusalPart",
    "SourcePart",
    "TextPart",
    "ThinkingPart",
    "ToolCall",
    "ToolCallPart",
    "ToolResultPart",
    "Usage",
    "assistant",
    "parse_image",
    "system",
    "tool_response",
    "user",
]


def user(content: str | None = None, images: Sequence[str | PathLike[str]] | None = None) -> BaseMessage:
    """What a person says. images: http(s) addresses, data: URIs or paths of files. Raises MessageError, ImageError."""
    return BaseMessage.create_message(MessageRole.USER, content=content, images=images)


def system(content: str) -> BaseMessage:
    """What a model is told of its task."""
    return BaseMessage.create_message(MessageRole.SYSTEM, content=content)


def assistant(
    content: str | None = None, name: str = "assistant", tool_calls: Sequence[Any] | None = None
) -> BaseMessage:
    """What a model has said, and the tools it has called."""
    source = Node(name=name, type=NodeType.AGENT)
    return BaseMessage.create_message(MessageRole.ASSISTANT, content=content, tool_calls=tool_calls, source=source)


def tool_response(content: Any, id: str, name: str = "tool") -> BaseMessage:  # noqa: A002 -- the message's field
    """What a tool returned: text, a Result, or a value that is written as JSON where it can be.

    id: of the tool call (`message.tool_calls[0].id`). name: of the tool. Raises MessageError without an id.
    """
    if not isinstance(id, str):
        raise MessageError("A tool response needs the id of the tool call that it answers.")
    return BaseMessage.create_message(
        MessageRole.TOOL_RESPONSE,
        id=id,
        content=_written(content),
        tool_response=content,
        source=Node(name=name, type=NodeType.TOOL),
    )


def _written(value: Any) -> str:
    if isinstance(value, Ok):
        return _written(value.value)
    if isinstance(value, Err):
        return str(value.error if value.value is None else value.value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
