"""What providers answer, whole or in chunks, as the fields of a message. Pure; dictionaries and the SDK's objects alike.

Providers leave fields out, send null for them or add their own, so everything is read as if it might not be there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from llamaforge.events import Done, Error, Event, Image, Reasoning, Refusal, Text
from llamaforge.events import ToolCall as CallPiece
from llamaforge.events import Usage as Counted
from llamaforge.events.lenient import fields
from llamaforge.events.openai import Decoder, error_of
from llamaforge.events.parts import place_of
from synthora.exceptions import MessageError, NoAnswerError
from synthora.messages.ordered import Growth, goes_on
from synthora.messages.parts import FunctionCall, ToolCall, Usage, as_tool_call

Fields = dict[str, Any]
Read = Mapping[str, Any]
_LONGEST = 300
_ABOUT = ("created", "model", "service_tier", "system_fingerprint")


def failure(response: Any) -> NoAnswerError | None:
    """Why what came with an HTTP status of 200 is no answer of OpenAI's shape; None where it is one."""
    answer = fields(response)
    if (error := error_of({**answer})) is not None:
        return NoAnswerError(f"The provider answered with an error: {error.detail}", status=error.status)
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if any(fields(choice).get(name) is not None for name in ("message", "text", "finish_reason")):
            return None
    if isinstance(response, str):
        told = response.strip()[:_LONGEST] or "nothing"
        return NoAnswerError(f"The provider sent something that is no answer: {told}")
    return NoAnswerError("The provider sent an answer without any choices.")


def of_chat(response: Any) -> Fields:
    """The fields of a message from a chat completion. The first choice counts."""
    answer = fields(response)
    choice = _first_choice(answer)
    message = fields(choice.get("message"))
    events = Decoder().read_delta(message, is_whole=True)
    grown = _next(answer, choice, None, _said(events, message))
    _add(grown, None, events)
    # Of a whole answer the calls are here as they came, with what a provider added.
    grown["tool_calls"] = calls = _whole_calls(message)
    return {
        **grown,
        "chunk": None,
        "content": None if calls and not grown["content"] and message.get("content") is None else grown["content"],
        "parsed": message.get("parsed"),
        "original_response": response,
    }


def of_completion(response: Any) -> Fields:
    """The fields of a message from a completion without roles."""
    answer = fields(response)
    choice = _first_choice(answer)
    return {
        "id": _text(answer.get("id")),
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
    if not choice and (error := error_of({**answer})) is not None:
        raise NoAnswerError(f"The provider broke off its answer: {error.detail}", status=error.status)
    delta = fields(choice.get("delta"))
    events = Decoder().read_delta(delta)
    grown = _next(answer, choice, previous, _said(events, delta))
    grown["tool_calls"] = previous.tool_calls if previous is not None and previous.tool_calls else []
    grown["original_response"] = chunk
    if len(events) > 1 or (events and not isinstance(events[0], Text)):
        _add(grown, previous, events, delta.get("tool_calls"))
    return grown


def of_completion_chunk(chunk: Any, previous: Any | None) -> Fields:
    """The same of a completion without roles."""
    answer = fields(chunk)
    choice = _first_choice(answer)
    return {**_next(answer, choice, previous, _text(choice.get("text"))), "original_response": chunk}


def of_events(
    events: Sequence[Event],
    previous: Any | None,
    *,
    original: Any = None,
    model: str | None = None,
    id: str | None = None,  # noqa: A002 -- the message's field
) -> Fields:
    """The fields of the next message of an answer that has come so far; of a whole answer, from all of its events.

    original: what the provider sent for them. model, id: as the provider names them. Raises NoAnswerError for an Error.
    """
    about: Fields = {"id": id, "model": model}
    choice: Fields = {}
    said: list[str] = []
    is_plain = True
    for event in events:
        if isinstance(event, Text):
            said.append(event.text)
            is_plain = is_plain and not event.details
        elif isinstance(event, Done):
            choice = {"finish_reason": event.finish_reason, "details": event.details or {}}
        elif isinstance(event, Counted):
            about["usage"] = event.raw
        elif isinstance(event, Error):
            raise NoAnswerError(f"The provider broke off its answer: {event.detail}", status=event.status)
        else:
            is_plain = False
    grown = _next(about, choice, previous, "".join(said) if said else None)
    grown["tool_calls"] = previous.tool_calls if previous is not None and previous.tool_calls else []
    if not is_plain:
        _add(grown, previous, events)
    grown["metadata"].update(choice.get("details", {}))
    return {**grown, "original_response": original}


def _next(answer: Read, choice: Read, previous: Any | None, piece: str | None) -> Fields:
    reason = choice.get("finish_reason")
    if previous is None:
        metadata, content, id_ = _about(answer, choice), "", _text(answer.get("id"))
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


def _said(events: Sequence[Event], source: Read) -> str | None:
    """The text of these events; None where the source has no content at all."""
    if len(events) == 1 and isinstance(events[0], Text):
        return events[0].text
    said = [event.text for event in events if isinstance(event, Text)]
    return "".join(said) if said else ("" if source.get("content") == "" else None)


def _add(grown: Fields, previous: Any | None, events: Sequence[Event], calls: Any = None) -> None:
    """What events are besides text: thoughts and refusals, calls, images, and the order of all.

    calls: those of a chunk, which have besides what Google wants back with them.
    """
    metadata = grown["metadata"]
    first = events[0] if len(events) == 1 else None
    if isinstance(first, Reasoning) and goes_on(previous, first):
        metadata["reasoning"] += first.text
        return
    order: Growth | None = None
    for event in events:
        begins = False
        if isinstance(event, Reasoning | Refusal):
            name = "reasoning" if isinstance(event, Reasoning) else "refusal"
            if event.text:
                metadata[name] = metadata.get(name, "") + event.text
        elif isinstance(event, CallPiece):
            before = grown.get("tool_calls") or []
            grown["tool_calls"] = after = _with_piece(before, event)
            begins = len(after) > len(before)
            if not begins:
                continue
            for raw in calls or ():
                if (extra := fields(raw).get("extra_content")) and fields(raw).get("id") == event.id:
                    after[-1].extra_content = extra  # type: ignore[attr-defined]
        elif isinstance(event, Image):
            images = grown.get("images", previous.images if previous is not None else None) or []
            grown["images"] = images if event.url in images else [*images, event.url]
        order = order or Growth(previous)
        order.add(event, begins_call=begins)
    if order is not None and order.ordered:
        grown["ordered"] = order.ordered


def _whole_calls(message: Read) -> list[ToolCall] | None:
    """The calls that can be read as such, None for none."""
    found = []
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        with contextlib.suppress(MessageError):
            found.append(as_tool_call(call))
    if found:
        return found
    legacy = fields(message.get("function_call"))
    return [ToolCall(function=_function(legacy))] if legacy else None


class _Known(msgspec.Struct, frozen=True):
    """A call as place_of looks at it."""

    index: int | None
    call_id: str
    name: str


def _with_piece(before: list[ToolCall], event: CallPiece) -> list[ToolCall]:
    """The calls with what an event adds. A new list, since earlier messages stay as they are."""
    calls = list(before)
    place = place_of([_Known(call.index, call.id, call.function.name) for call in calls], event)
    details = event.details or {}
    more: Fields = {"extra_content": {name: found[0] for name, found in details.items() if found}} if details else {}
    if place is None:
        function = FunctionCall(name=event.name or "", arguments=event.arguments)
        calls.append(ToolCall(id=event.id or "", function=function, index=event.index, **more))
        return calls
    call, said = calls[place], calls[place].function
    function = FunctionCall(name=said.name or event.name or "", arguments=said.arguments + event.arguments)
    more = {**(call.model_extra or {}), **more}
    calls[place] = ToolCall(id=call.id or event.id or "", type=call.type, function=function, index=call.index, **more)
    return calls


def _function(said: Read) -> FunctionCall:
    return FunctionCall.model_validate({"name": said.get("name"), "arguments": said.get("arguments")})
