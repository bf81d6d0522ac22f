"""What providers answer, whole or in chunks, as the fields of a message. Pure; dictionaries and the SDK's objects alike.

Providers leave fields out, send null for them or add their own, so everything is read as if it might not be there.
"""

from __future__ import annotations

from typing import Any

from synthora.messages.parts import FunctionCall, ToolCall, Usage, as_tool_call, read

Fields = dict[str, Any]
_ABOUT = ("created", "model", "service_tier", "system_fingerprint")


def of_chat(response: Any) -> Fields:
    """The fields of a message from a chat completion. The first choice counts."""
    choice = _first_choice(response)
    message = read(choice, "message")
    metadata = _about(response, choice)
    _add_asides(metadata, message)
    return {
        "id": read(response, "id"),
        "content": _text(read(message, "content"))
        if read(message, "tool_calls")
        else _text(read(message, "content")) or "",
        "tool_calls": _whole_calls(message),
        "parsed": read(message, "parsed"),
        "metadata": metadata,
        "original_response": response,
    }


def of_completion(response: Any) -> Fields:
    """The fields of a message from a completion without roles."""
    choice = _first_choice(response)
    return {
        "id": read(response, "id"),
        "content": _text(read(choice, "text")) or "",
        "metadata": _about(response, choice),
        "original_response": response,
    }


def of_chat_chunk(chunk: Any, previous: Any | None) -> Fields:
    """The fields of the next message of a stream: `chunk` is what is new, `content` and `tool_calls` all so far.

    previous: the message before, None at the beginning. A chunk without choices (usage) adds to the metadata only.
    """
    choice = _first_choice(chunk)
    delta = read(choice, "delta")
    fields = _next(chunk, choice, previous, _text(read(delta, "content")))
    calls = read(delta, "tool_calls")
    before = previous.tool_calls if previous is not None and previous.tool_calls else []
    fields["tool_calls"] = _with_deltas(before, calls) if calls and isinstance(calls, list) else before
    if delta is not None:
        _add_asides(fields["metadata"], delta)
    return fields


def of_completion_chunk(chunk: Any, previous: Any | None) -> Fields:
    """The same of a completion without roles."""
    choice = _first_choice(chunk)
    return _next(chunk, choice, previous, _text(read(choice, "text")))


def _next(chunk: Any, choice: Any, previous: Any | None, piece: str | None) -> Fields:
    reason = read(choice, "finish_reason")
    if previous is None:
        metadata, content, id_ = _about(chunk, choice), "", read(chunk, "id")
    else:
        metadata, content, id_ = dict(previous.metadata), previous.content or "", previous.id
        if reason:
            metadata["finish_reason"] = reason
        if (usage := read(chunk, "usage")) is not None:
            metadata["usage"] = Usage.of(usage) or metadata["usage"]
    return {
        "id": id_,
        "chunk": None if reason and not piece else piece,
        "content": content + piece if piece else content,
        "metadata": metadata,
        "original_response": chunk,
    }


def _about(answer: Any, choice: Any) -> Fields:
    return {
        **{name: read(answer, name) for name in _ABOUT},
        "usage": Usage.of(read(answer, "usage")),
        "finish_reason": read(choice, "finish_reason"),
    }


def _first_choice(answer: Any) -> Any:
    """The choice of index 0: of several alternatives, the others would mix with it."""
    choices = read(answer, "choices")
    if not isinstance(choices, list):
        return None
    return next((choice for choice in choices if not read(choice, "index")), None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _add_asides(metadata: Fields, source: Any) -> None:
    """Thoughts and refusals, which providers send beside the answer."""
    thought = read(source, "reasoning_content")
    for name, said in (("reasoning", thought), ("refusal", read(source, "refusal"))):
        if said and isinstance(said, str):
            metadata[name] = metadata.get(name, "") + said


def _whole_calls(message: Any) -> list[ToolCall] | None:
    calls = read(message, "tool_calls")
    if calls:
        return [as_tool_call(call) for call in calls]
    legacy = read(message, "function_call")
    if legacy is None:
        return None
    function = FunctionCall(name=read(legacy, "name") or "", arguments=read(legacy, "arguments") or "")
    return [ToolCall(function=function)]


def _with_deltas(before: list[ToolCall], deltas: list[Any]) -> list[ToolCall]:
    """A new list of calls; those of earlier messages stay as they are."""
    calls = list(before)
    for delta in deltas:
        place = _place(calls, delta)
        if place is None:
            calls.append(_begun(delta, len(calls)))
        else:
            calls[place] = _continued(calls[place], delta)
    return calls


def _place(calls: list[ToolCall], delta: Any) -> int | None:
    """Which call a delta goes on with, None for a new one.

    By its index. There are providers that number every call 0, so a new id begins a new call, and some that send no
    index, so that without an id it is the last call.
    """
    index, id_ = read(delta, "index"), read(delta, "id")
    for place in range(len(calls) - 1, -1, -1):
        call = calls[place]
        if (index is None or call.index == index) and (not id_ or not call.id or call.id == id_):
            return place
        if index is None and not id_:
            return len(calls) - 1
    return None


def _begun(delta: Any, place: int) -> ToolCall:
    function, index = read(delta, "function"), read(delta, "index")
    return ToolCall(
        id=read(delta, "id") or "",
        type=read(delta, "type") or "function",
        function=FunctionCall(name=read(function, "name") or "", arguments=read(function, "arguments") or ""),
        index=place if index is None else index,
    )


def _continued(call: ToolCall, delta: Any) -> ToolCall:
    function = read(delta, "function")
    return ToolCall(
        id=call.id or read(delta, "id") or "",
        type=call.type,
        function=FunctionCall(
            name=call.function.name or read(function, "name") or "",
            arguments=call.function.arguments + (read(function, "arguments") or ""),
        ),
        index=call.index,
    )
