"""A message as a request has it: OpenAI's dictionary, with what the profile of a model asks for besides."""

from __future__ import annotations

import re
from typing import Any, Protocol

from llamaforge.formats.fields import arguments_object
from synthora.messages.ordered import (
    ImagePart,
    Message,
    Part,
    ProviderPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from synthora.types import Node

Json = dict[str, Any]
# What OpenAI's API refuses in the name of an author, and how long it may be.
_NOT_IN_A_NAME = re.compile(r"[\s<|\\/>]")
_LONGEST_NAME = 64


class Sent(Message, Protocol):
    """A message with its author."""

    source: Node

    @property
    def parts(self) -> list[Part]: ...


class Wants(Protocol):
    """What a profile says of messages (see synthora.models.Profile)."""

    @property
    def api(self) -> str: ...
    @property
    def sends_names(self) -> bool: ...
    @property
    def returns_reasoning(self) -> str | None: ...


def encoded(message: Sent, profile: Wants | None) -> Json:
    """See BaseMessage.to_openai_message."""
    api = "openai" if profile is None else profile.api
    name = _NOT_IN_A_NAME.sub("_", message.source.name)[:_LONGEST_NAME]
    if message.role == "tool_response":
        told: Json = {"role": "tool", "content": message.content or "", "tool_call_id": message.id}
        if api != "openai":
            told |= {"name": name, "is_error": bool(getattr(message.tool_response, "is_err", False))}
        return told
    is_answer = message.role == "assistant"
    out: Json = {"role": message.role.value, "content": message.content}
    if is_answer and api == "anthropic":
        out["content"] = [block for part in message.parts if (block := _block(part)) is not None]
        return out
    if is_answer and api == "gemini" and _has_details(message):
        out["content"] = [_signed(part) for part in message.parts if isinstance(part, TextPart)]
    # Models are not shown their own pictures: no API takes them back.
    if not is_answer and (message.images or _has_details(message)):
        out["content"] = [part for given in message.parts if (part := _content(given, api)) is not None]
    if profile is None or profile.sends_names:
        out["name"] = name
    if is_answer and message.tool_calls:
        out["tool_calls"] = [call.to_openai() for call in message.tool_calls]
    if is_answer and profile is not None and profile.returns_reasoning is not None:
        out |= _reasoning(message, profile.returns_reasoning)
    return out


def _has_details(message: Sent) -> bool:
    return any(getattr(item, "details", None) or isinstance(item, ProviderPart) for item in message.ordered or ())


def _content(part: Any, api: str) -> Json | None:
    """A part of what a user or system says. Its details are what its author wants the provider to have with it."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text, **(part.details or {})}
    if isinstance(part, ImagePart):
        detail = {} if api == "anthropic" else {"detail": "auto"}
        return {"type": "image_url", "image_url": {"url": part.url, **detail}, **(part.details or {})}
    return part.data if isinstance(part, ProviderPart) else None


def _signed(part: TextPart) -> Json:
    """A text of an answer with the signature that Google wants back."""
    found = (part.details or {}).get("google")
    return {"type": "text", "text": part.text, **({"extra_content": {"google": found[0]}} if found else {})}


def _block(part: Any) -> Json | None:
    """A part of an answer in Anthropic's form, as it goes back. Thoughts that other providers signed are left out."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text} if part.text else None
    if isinstance(part, ToolCallPart):
        call = part.call
        arguments = arguments_object(call.function.arguments)
        return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments}
    if isinstance(part, ProviderPart):
        return part.data
    if isinstance(part, ThinkingPart) and (blocks := (part.details or {}).get("thinking_blocks")):
        if blocks[0].get("type") != "thinking":
            return {name: value for name, value in blocks[0].items() if name != "index"}
        if part.signature:
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return None


def _reasoning(message: Sent, name: str) -> Json:
    """What the model thought, as its provider wants it back; as a text only with calls, whose results it goes on with."""
    if name == "reasoning_details":
        thoughts = [part.details or {} for part in message.parts if isinstance(part, ThinkingPart)]
        found = [given for details in thoughts for given in details.get(name, ())]
        return {name: found} if found else {}
    thought = message.metadata.get("reasoning")
    return {name: thought} if thought and message.tool_calls else {}
