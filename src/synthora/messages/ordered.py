"""The parts of a message in their order: text, thoughts, pictures, calls, results, refusals, sources.

A message's text, calls, images and metadata have what the parts say. Beside them it stores only where each part lies in
these (`Span`) and what has no other place, so that the two can't contradict each other, and a stream's next piece of text
costs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import Field

from llamaforge.events import Event, Image, Reasoning, Refusal, Source, Text
from synthora.exceptions import MessageError
from synthora.messages.images import parse_image
from synthora.messages.parts import ToolCall

Details = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextPart:
    """What somebody says. details: what a provider knows of it besides (`cache_control`, citations, a signature)."""

    text: str
    details: Details | None = None
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class ThinkingPart:
    """What a model thinks. signature: the provider's proof of it. details: its own objects about it, by their list's name.

    Both go back to the provider unchanged. A thought that the provider hides has a text that is empty.
    """

    text: str
    signature: str | None = None
    details: Details | None = None
    kind: Literal["thinking"] = "thinking"


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture. url: an http(s) address or a data: URI."""

    url: str
    details: Details | None = None
    kind: Literal["image"] = "image"


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A call that the model asks for."""

    call: ToolCall
    details: Details | None = None
    kind: Literal["tool_call"] = "tool_call"


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """What a tool returned. id: of the call that it answers."""

    id: str
    content: str
    is_error: bool = False
    kind: Literal["tool_result"] = "tool_result"


@dataclass(frozen=True, slots=True)
class RefusalPart:
    """The sentence with which a model declines."""

    text: str
    details: Details | None = None
    kind: Literal["refusal"] = "refusal"


@dataclass(frozen=True, slots=True)
class SourcePart:
    """Where something that was said comes from. text: what is quoted. start, end: of the place in the answer's text."""

    url: str
    title: str | None = None
    text: str | None = None
    start: int | None = None
    end: int | None = None
    kind: Literal["source"] = "source"


@dataclass(frozen=True, slots=True)
class ProviderPart:
    """A part in the provider's own form, with its `type`; it is sent as it is."""

    data: Details
    kind: Literal["provider"] = "provider"


Part = TextPart | ThinkingPart | ImagePart | ToolCallPart | ToolResultPart | RefusalPart | SourcePart | ProviderPart


@dataclass(frozen=True, slots=True)
class Span:
    """A part whose words lie elsewhere in the message. length: of its text in characters, None for the rest of it."""

    kind: Literal["text", "thinking", "refusal", "image", "tool_call"]
    length: int | None = None
    signature: str | None = None
    details: Details | None = None


Stored = Annotated[Span | SourcePart | ProviderPart, Field(discriminator="kind")]


class Message(Protocol):
    """The fields of a message that its parts lie in."""

    role: Any
    id: str | None
    content: str | None
    images: list[str] | None
    tool_calls: list[ToolCall] | None
    tool_response: Any
    metadata: dict[str, Any]
    ordered: list[Stored] | None


_TEXTS: Final[Mapping[str, Any]] = {"text": TextPart, "thinking": ThinkingPart, "refusal": RefusalPart}
# In a provider's objects about its reasoning, the fields that come in pieces.
_JOINED: Final = frozenset({"text", "summary", "data", "signature"})


def parts_of(message: Message) -> list[Part]:
    """All parts, in order. What has no place of its own follows: the rest of the text, images, calls."""
    if message.id and message.role == "tool_response":
        is_error = bool(getattr(message.tool_response, "is_err", False))
        return [ToolResultPart(message.id, message.content or "", is_error)]
    words = _words(message)
    at = dict.fromkeys(words, 0)
    images, calls = iter(message.images or ()), iter(message.tool_calls or ())
    out: list[Part] = []

    def say(kind: str, length: int | None, span: Span | None = None) -> None:
        text = words[kind][at[kind] : None if length is None else at[kind] + length]
        at[kind] += len(text)
        before = out[-1] if out else None
        if span is None and isinstance(before, TextPart) and not before.details and kind == "text":
            out[-1] = replace(before, text=before.text + text)
        elif kind == "thinking" and (text or (span is not None and (span.signature or span.details))):
            out.append(ThinkingPart(text, *(() if span is None else (span.signature, span.details))))
        elif text or (span is not None and span.details):
            out.append(_TEXTS[kind](text, None if span is None else span.details))

    for item in message.ordered or (Span("thinking"),):
        if not isinstance(item, Span):
            out.append(item)
        elif item.kind == "image":
            out += [ImagePart(url, item.details) for url in islice(images, 1)]
        elif item.kind == "tool_call":
            out += [ToolCallPart(call, item.details) for call in islice(calls, 1)]
        else:
            say(item.kind, item.length, item)
    for kind in words:
        say(kind, None)
    return [*out, *map(ImagePart, images), *map(ToolCallPart, calls)]


def fields_of(parts: Iterable[Any]) -> dict[str, Any]:
    """The fields of a message that has these parts. Raises MessageError for what is no part, ImageError."""
    words: dict[str, list[str]] = {kind: [] for kind in _TEXTS}
    images: list[str] = []
    calls: list[ToolCall] = []
    found: dict[str, Any] = {}
    ordered: list[Any] = []
    for part in parts:
        if isinstance(part, TextPart | ThinkingPart | RefusalPart):
            words[part.kind].append(part.text)
            ordered.append(Span(part.kind, len(part.text), getattr(part, "signature", None), part.details))
        elif isinstance(part, ImagePart):
            images.append(parse_image(part.url))
            ordered.append(Span("image", details=part.details))
        elif isinstance(part, ToolCallPart):
            calls.append(part.call)
            ordered.append(Span("tool_call", details=part.details))
        elif isinstance(part, ToolResultPart):
            found["id"] = part.id
            words["text"].append(part.content)
        elif isinstance(part, SourcePart | ProviderPart):
            ordered.append(part)
        else:
            raise MessageError(f"{part!r} is no part of a message.")
    asides = {"reasoning": words["thinking"], "refusal": words["refusal"]}
    return {
        **found,
        "content": "".join(words["text"]) if words["text"] or not (images or calls) else None,
        "images": images or None,
        "tool_calls": calls or None,
        "ordered": ordered,
        "metadata": {name: "".join(texts) for name, texts in asides.items() if texts},
    }


class Growth:
    """The order of a message's parts, of which more come. before: the message so far, None at the beginning.

    `add` each event, in order, before the message has it; `ordered` is the new order, a list of its own.
    """

    def __init__(self, before: Message | None) -> None:
        self.ordered: list[Any] = list(before.ordered or ()) if before is not None else []
        self._lengths = {kind: len(said) for kind, said in (_words(before) if before is not None else {}).items()}
        self._images = set(before.images or ()) if before is not None else set()

    def add(self, event: Event, *, begins_call: bool = False) -> None:
        """begins_call: whether the event begins a call, rather than going on with one."""
        if isinstance(event, Text):
            self._grow("text", event.text)
            if details := event.details:
                cited = details.get("citation")
                self._annotate(details if cited is None else {"citations": [cited]})
        elif isinstance(event, Reasoning):
            details = _without_words(event.details)
            self._say("thinking", event.signature, details)
            self._grow("thinking", event.text)
        elif isinstance(event, Refusal):
            self._say("refusal", None, event.details)
            self._grow("refusal", event.text)
        elif begins_call:
            self._close()
            self.ordered.append(Span("tool_call", details=getattr(event, "details", None)))
        elif isinstance(event, Image) and event.url not in self._images:
            self._close()
            self._images.add(event.url)
            self.ordered.append(Span("image", details=event.details))
        elif isinstance(event, Source):
            place = event.details or {}
            source = SourcePart(event.url, event.title, event.text, place.get("start_index"), place.get("end_index"))
            if source not in self.ordered:
                self._close()
                self.ordered.append(source)

    def _grow(self, kind: str, text: str) -> None:
        self._lengths[kind] = self._lengths.get(kind, 0) + len(text)

    def _left(self, kind: str) -> int:
        """How many characters of a kind have no place yet."""
        placed = (item.length or 0 for item in self.ordered if isinstance(item, Span) and item.kind == kind)
        return self._lengths.get(kind, 0) - sum(placed)

    def _close(self) -> None:
        """What comes next does not belong to the last part: its length is known now."""
        last = self.ordered[-1] if self.ordered else None
        if isinstance(last, Span) and last.kind in {"thinking", "refusal"} and last.length is None:
            self.ordered[-1] = replace(last, length=self._left(last.kind))
        if said := self._left("text"):
            self.ordered.append(Span("text", said))

    def _annotate(self, details: Details) -> None:
        """Details of the text that came last, though its sources may have come since."""
        self._close()
        place = next((n for n, item in reversed(list(enumerate(self.ordered))) if not isinstance(item, SourcePart)), -1)
        last: Any = self.ordered[place] if place >= 0 else None
        if not (isinstance(last, Span) and last.kind == "text"):
            last, place = Span("text", 0), len(self.ordered)
        self.ordered[place : place + 1] = [replace(last, details=_merged(last.details, details))]

    def _say(self, kind: Any, signature: str | None, details: Details | None) -> None:
        """A thought or refusal, which is the part that is open or begins now."""
        last: Any = self.ordered[-1] if self.ordered else None
        is_open = isinstance(last, Span) and last.kind == kind and last.length is None and not self._left("text")
        if not is_open or _is_another(last, details):
            self._close()
            last = Span(kind)
            self.ordered.append(last)
        if signature or details:
            joined = (last.signature or "") + signature if signature else last.signature
            self.ordered[-1] = replace(last, signature=joined, details=_merged(last.details, details))


def goes_on(message: Message | None, event: Reasoning) -> bool:
    """Whether a thought is no more than the next piece of the one that is open, so that the order stays as it is."""
    if event.signature or message is None or message.content or not message.ordered:
        return False
    last = message.ordered[-1]
    if not isinstance(last, Span) or last.kind != "thinking" or last.length is not None:
        return False
    return "reasoning" in message.metadata and (not event.details or _without_words(event.details) == last.details)


def _words(message: Message) -> dict[str, str]:
    """The texts that parts lie in."""
    metadata = message.metadata
    return {
        "thinking": metadata.get("reasoning") or "",
        "text": message.content or "",
        "refusal": metadata.get("refusal") or "",
    }


def _without_words(details: Details | None) -> Details | None:
    """Anthropic's blocks without the words and the signature, which the part has itself."""
    blocks = (details or {}).get("thinking_blocks")
    if details is None or not isinstance(blocks, list):
        return details
    plain = [{k: v for k, v in block.items() if k not in {"thinking", "signature"}} for block in blocks]
    return {**details, "thinking_blocks": plain}


def _is_another(span: Any, details: Details | None) -> bool:
    """Whether these details are of another of Anthropic's blocks than the part's."""
    mine, theirs = (found.get("thinking_blocks") for found in (span.details or {}, details or {}))
    return bool(mine and theirs and mine[-1].get("index") != theirs[0].get("index"))


def _merged(before: Details | None, more: Details | None) -> Details | None:
    """Details put together from their pieces: objects of one type and index are one. A new dictionary."""
    if not before or not more:
        return before or more
    out = dict(before)
    for name, given in more.items():
        if not isinstance(given, list) or not isinstance(out.get(name, []), list):
            out[name] = given
            continue
        objects = list(out.get(name, ()))
        for piece in given:
            keys = ("type", "index")
            same = next(
                (n for n, o in enumerate(objects) if all(k in piece and o.get(k) == piece[k] for k in keys)), None
            )
            if same is None:
                objects.append(piece)
            else:
                joined = {
                    k: objects[same][k] + v
                    for k, v in piece.items()
                    if k in _JOINED and _are_text(objects[same].get(k), v)
                }
                objects[same] = {**objects[same], **piece, **joined}
        out[name] = objects
    return out


def _are_text(first: Any, second: Any) -> bool:
    return isinstance(first, str) and isinstance(second, str)
