"""What providers answer, whole or in chunks, as the fields of a message. Pure; dictionaries and the SDK's objects alike.

Providers leave fields out, send null for them or add their own, so everything is read as if it might not be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthora.messages.parts import FunctionCall, ToolCall, Usage, as_tool_call, fields

Fields = dict[str, Any]
Read = Mapping[str, Any]
_ABOUT = ("created", "model", "service_tier", "system_fingerprint")


def of_chat(response: Any) -> Fields:
    """The fields of a message from a chat completion. The first choice counts."""
    answer = fields(response)
    choice = _first_choice(answer)
    message = fields(choice.get("message"))
    calls = _whole_calls(message)
    content = _text(message.get("content"))
    metadata = _about(answer, choice)
    _add_asides(metadata, message)
    return {
        "id": answer.get("id"),
        "content": "" if content is None and not calls else content,
        "tool_calls": calls,
        "parsed": message.get("parsed"),
        "metadata": metadata,
        "original_response": response,
    }


def of_completion(response: Any) -> Fields:
    """The fields of a message from a completion without roles."""
    answer = fields(response)
    choice = _first_choice(answer)
    return {
        "id": answer.get("id"),
        "content": _text(choice.get("text")) or "",
        "metadata": _about(answer, choice),
        "original_response": response,
    }


def of_chat_chunk(chunk: Any, previous: Any | None) -> Fields:
    """The fields of the next message of a stream: `chunk` is what is new, `content` and `tool_calls` all so far.

    previous: the message before, None at the beginning. A chunk without choices (usage) adds to the metadata only.
    """
    answer = fields(chunk)
    choice = _first_choice(answer)
    delta = fields(choice.get("delta"))
    grown = _next(answer, choice, previous, _text(delta.get("content")))
    calls = delta.get("tool_calls")
    before = previous.tool_calls if previous is not None and previous.tool_calls else []
    grown["tool_calls"] = _with_deltas(before, calls) if calls and isinstance(calls, list) else before
    grown["original_response"] = chunk
    _add_asides(grown["metadata"], delta)
    return grown


def of_completion_chunk(chunk: Any, previous: Any | None) -> Fields:
    """The same of a completion without roles."""
    answer = fields(chunk)
    choice = _first_choice(answer)
    return {**_next(answer, choice, previous, _text(choice.get("text"))), "original_response": chunk}


def _next(answer: Read, choice: Read, previous: Any | None, piece: str | None) -> Fields:
    reason = choice.get("finish_reason")
    if previous is None:
        metadata, content, id_ = _about(answer, choice), "", answer.get("id")
    else:
        metadata, content, id_ = previous.metadata.copy(), previous.content or "", previous.id
        if reason:
            metadata["finish_reason"] = reason
        if (usage := answer.get("usage")) is not None:
            metadata["usage"] = Usage.of(usage) or metadata["usage"]
    return {
        "id": id_,
        "chunk": None if reason and not piece else piece,
        "content": content + piece if piece else content,
        "metadata": metadata,
    }


def _about(answer: Read, choice: Read) -> Fields:
    return {
        **{name: answer.get(name) for name in _ABOUT},
        "usage": Usage.of(answer.get("usage")),
        "finish_reason": choice.get("finish_reason"),
    }


def _first_choice(answer: Read) -> Read:
    """The choice of index 0: of several alternatives, the others would mix with it."""
    choices = answer.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            found = fields(choice)
            if not found.get("index"):
                return found
    return {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _add_asides(metadata: Fields, source: Read) -> None:
    """Thoughts and refusals, which providers send beside the answer."""
    for name, key in (("reasoning", "reasoning_content"), ("refusal", "refusal")):
        said = source.get(key)
        if said and isinstance(said, str):
            metadata[name] = metadata.get(name, "") + said


def _whole_calls(message: Read) -> list[ToolCall] | None:
    calls = message.get("tool_calls")
    if calls:
        return [as_tool_call(call) for call in calls]
    legacy = fields(message.get("function_call"))
    return [ToolCall(function=_function(legacy))] if legacy else None


def _with_deltas(before: list[ToolCall], deltas: list[Any]) -> list[ToolCall]:
    """A new list of calls; those of earlier messages stay as they are."""
    calls = list(before)
    for delta in map(fields, deltas):
        place = _place(calls, delta)
        if place is None:
            calls.append(_begun(delta, len(calls)))
        else:
            calls[place] = _continued(calls[place], delta)
    return calls


def _place(calls: list[ToolCall], delta: Read) -> int | None:
    """Which call a delta goes on with, None for a new one.

    By its index. There are providers that number every call 0, so a new id begins a new call, and some that send no
    index, so that without an id it is the last call.
    """
    index, id_ = delta.get("index"), delta.get("id")
    for place in range(len(calls) - 1, -1, -1):
        call = calls[place]
        if (index is None or call.index == index) and (not id_ or not call.id or call.id == id_):
            return place
    return None


def _begun(delta: Read, place: int) -> ToolCall:
    index = delta.get("index")
    return ToolCall(
        id=delta.get("id") or "",
        type=delta.get("type") or "function",
        function=_function(fields(delta.get("function"))),
        index=place if index is None else index,
    )


def _continued(call: ToolCall, delta: Read) -> ToolCall:
    more = _function(fields(delta.get("function")))
    function = FunctionCall(name=call.function.name or more.name, arguments=call.function.arguments + more.arguments)
    return ToolCall(id=call.id or delta.get("id") or "", type=call.type, function=function, index=call.index)


def _function(said: Read) -> FunctionCall:
    return FunctionCall.model_validate({"name": said.get("name"), "arguments": said.get("arguments")})
