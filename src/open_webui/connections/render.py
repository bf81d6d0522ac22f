"""Events on OpenAI's wire: as the chunks of a stream, or put together to one completion."""

import time
import uuid
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import msgspec

from llamaforge.events import Done, Event, Image, Notice, Reasoning, Refusal, Source, Text, ToolCall, Usage
from llamaforge.events.openai import KNOWN_FIELDS, Decoder
from llamaforge.events.parts import Growing, Limits, Part, Reducer
from open_webui.constants import MAX_PROVIDER_LINE
from open_webui.errors import ProviderError

_encode: Final = msgspec.json.encode
# A whole answer may be as long as one that is read as one line.
WHOLE: Final = Limits(MAX_PROVIDER_LINE, MAX_PROVIDER_LINE)
TOO_LARGE: Final = "The provider's answer is larger than the server accepts."
_HEAD: Final = ("id", "created", "model", "usage", "system_fingerprint", "service_tier")


class Chunks:
    """The events of one answer as OpenAI's chunks, in JSON."""

    def __init__(self, model: str) -> None:
        self._base = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._begun: set[int] = set()

    def render(self, events: Iterable[Event]) -> list[bytes]:
        """The chunks for these events, one for each; an error has none, it is raised."""
        out: list[bytes] = []
        for event in events:
            if isinstance(event, Usage):
                out.append(_encode(self._base | {"choices": [], "usage": event.raw}))
            elif isinstance(event, Done):
                out.append(self._chunk(event.choice, {}, event.finish_reason))
            elif isinstance(event, Notice):
                out.append(self._chunk(0, {}, None, warning=event.text))
            elif (delta := _delta(event)) is not None:
                out.append(self._chunk(event.choice, delta, None))  # type: ignore[union-attr]
        return out

    def _chunk(self, choice: int, delta: dict[str, Any], reason: str | None, **more: str) -> bytes:
        if choice not in self._begun:
            self._begun.add(choice)
            delta = {"role": "assistant"} | delta
        return _encode(self._base | {"choices": [{"index": choice, "delta": delta, "finish_reason": reason}], **more})


def _delta(event: Event) -> dict[str, Any] | None:
    match event:
        case Text():
            return {"content": event.text}
        case Reasoning():
            return {"reasoning_content": event.text} | (event.details or {})
        case ToolCall():
            return {"tool_calls": [_call(event)]}
        case Refusal():
            return {"refusal": event.text}
        case Source():
            return {"annotations": [_annotation(event)]}
        case Image():
            return {"images": [_image(event)]}
    return None


def _call(event: ToolCall) -> dict[str, Any]:
    call: dict[str, Any] = {} if event.index is None else {"index": event.index}
    if event.id is not None:
        call |= {"id": event.id, "type": "function"}
    named = {} if event.name is None else {"name": event.name}
    return call | {"function": named | {"arguments": event.arguments}}


def _annotation(event: Source) -> dict[str, Any]:
    cited: dict[str, Any] = {"url": event.url, "title": event.title or "", **(event.details or {})}
    return {"type": "url_citation", "url_citation": cited | ({"content": event.text} if event.text else {})}


def _image(event: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": event.url}}


class Completion:
    """The events of one answer put together to an OpenAI completion. Raises ProviderError for one that has no end.

    head: what the completion says besides its choices.
    """

    def __init__(self, model: str = "") -> None:
        self.head: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}" if model else "",
            "object": "chat.completion",
            "created": int(time.time()) if model else 0,
            "model": model,
        }
        self._choices: dict[int, Reducer[Part]] = {}
        # Fields of a choice's message that no event has.
        self._others: dict[int, dict[str, Any]] = {}

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Usage):
                self.head["usage"] = event.raw
                continue
            if isinstance(event, Notice):
                self.head["warning"] = event.text
                continue
            reducer = self._choice(getattr(event, "choice", 0))
            reducer.add(event)
            if reducer.is_full:
                raise ProviderError(TOO_LARGE)

    def add_fields(self, choice: int, fields: dict[str, Any]) -> None:
        """What a provider says in fields of its own: texts go on, of anything else the last counts."""
        others = self._others.setdefault(choice, {})
        for name, value in fields.items():
            if isinstance(value, str):
                known = others.get(name)
                if not isinstance(known, Growing):
                    known = others[name] = Growing()
                known.add(value)
            elif value is not None:
                others[name] = value

    def encode(self) -> bytes:
        return _encode(self.head | {"choices": [self._whole(choice) for choice in sorted(self._choices)]})

    def _choice(self, choice: int) -> Reducer[Part]:
        if choice not in self._choices:
            self._choices[choice] = Reducer(lambda kind: Part(kind, Growing()), WHOLE)
        return self._choices[choice]

    def _whole(self, choice: int) -> dict[str, Any]:
        reducer = self._choices[choice]
        others = {
            name: str(value) if isinstance(value, Growing) else value
            for name, value in self._others.get(choice, {}).items()
        }
        message: dict[str, Any] = {"role": "assistant", "content": None, **others, **_message(reducer)}
        return {"index": choice, "message": message, "finish_reason": reducer.finish_reason or "stop"}


def _message(reducer: Reducer[Part]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    for kind, name in (("text", "content"), ("reasoning", "reasoning_content"), ("refusal", "refusal")):
        texts = [part.text for part in reducer.parts if part.kind == kind]
        if texts:
            message[name] = "".join(texts)
    for part in reducer.parts:
        if part.details is not None:
            for name, objects in part.details.value().items():
                message[name] = message.get(name, []) + objects
    if not message and not reducer.calls:
        message["content"] = ""
    if reducer.calls:
        message["tool_calls"] = [
            {
                "id": call.call_id or f"call_{uuid.uuid4().hex}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.text},
            }
            for call in reducer.calls
        ]
    if reducer.sources:
        message["annotations"] = [_annotation(source) for source in reducer.sources]
    if reducer.images:
        message["images"] = [_image(image) for image in reducer.images]
    return message


async def as_chunks(answer: AsyncIterator[list[Event]], model: str) -> AsyncIterator[list[bytes]]:
    """An answer's events as OpenAI's chunks, as they come."""
    chunks = Chunks(model)
    async for events in answer:
        if batch := chunks.render(events):
            yield batch


async def as_completion(answer: AsyncIterator[list[Event]], model: str) -> bytes:
    """An answer's events as one completion. Raises ProviderError."""
    completion = Completion(model)
    async for events in answer:
        completion.feed(events)
    return completion.encode()


def assemble(chunks: Iterable[bytes]) -> bytes:
    """One chat completion, as JSON, out of the JSON texts of its chunks. Raises ProviderError."""
    completion, decoder = Completion(), Decoder()
    for raw in chunks:
        chunk = msgspec.json.decode(raw)
        completion.head |= {name: chunk[name] for name in _HEAD if chunk.get(name)}
        completion.feed(decoder.decode(raw))
        for choice in chunk.get("choices") or ():
            delta, number = choice.get("delta"), choice.get("index")
            if isinstance(delta, dict):
                others = {k: v for k, v in delta.items() if k not in KNOWN_FIELDS and k != "role"}
                completion.add_fields(number if isinstance(number, int) else 0, others)
    return completion.encode()
