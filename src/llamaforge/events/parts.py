"""The one set of rules by which an answer's events are put together: what continues what, what is counted, how much is kept.

Renderers stand on it: those of the server (the page's items, OpenAI's and Ollama's formats) and synthora's messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import msgspec

from llamaforge.events.types import Done, Event, Image, Reasoning, Refusal, Source, Text, ToolCall, Usage

# "other": no words of the model's, such as a tool's result; kept in its place by who renders.
PartKind = Literal["text", "reasoning", "refusal", "call", "other"]
# A model that calls more tools at once than this is not calling tools.
MAX_CALLS: Final = 128
# An answer in more parts than this, which takes turns of text and reasoning word by word, is not an answer.
MAX_PARTS: Final = 10_000
MAX_SOURCES: Final = 1_000
_LONGEST_NAME: Final = 1_000
# In a provider's objects about its reasoning, the fields that come in pieces.
_JOINED: Final = frozenset({"text", "summary", "thinking", "signature", "data"})
# So many pieces are kept apart before they are joined.
_PIECES: Final = 512


class Growing:
    """A text that grows. Adding a piece costs the piece; memory is that of the text, however small the pieces are."""

    __slots__ = ("_blocks", "_pieces")

    def __init__(self, text: str = "") -> None:
        self._blocks: list[str] = [text] if text else []
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        if len(self._pieces) >= _PIECES:
            self._blocks.append("".join(self._pieces))
            self._pieces = []

    def tail(self, size: int) -> str:
        """The last so many characters, at a cost that does not grow with the text."""
        found = ""
        for piece in (*reversed(self._pieces), *reversed(self._blocks)):
            found = piece[-size:] + found
            if len(found) >= size:
                break
        return found[-size:]

    def __str__(self) -> str:
        if self._pieces or len(self._blocks) > 1:
            self._blocks = ["".join((*self._blocks, *self._pieces))]
            self._pieces = []
        return self._blocks[0] if self._blocks else ""

    def __bool__(self) -> bool:
        return bool(self._blocks or self._pieces)


class Details:
    """A provider's own objects about a part, under the provider's name for their list, put together from a stream.

    Objects of one type and index are one: their texts are joined, anything else is as it came last.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[tuple[str, Any, Any], dict[str, Any]] = {}

    def add(self, name: str, objects: list[Any]) -> None:
        for given in objects:
            key = (name, _key(given.get("type")), _key(given.get("index")))
            known = self._found.setdefault(key, {})
            for field, value in given.items():
                if field not in _JOINED or not isinstance(value, str):
                    known[field] = value
                elif isinstance(before := known.get(field), Growing):
                    before.add(value)
                else:
                    known[field] = Growing(value)

    def value(self) -> dict[str, list[dict[str, Any]]]:
        out: dict[str, list[dict[str, Any]]] = {}
        for (name, _, _), known in self._found.items():
            plain = {field: str(value) if isinstance(value, Growing) else value for field, value in known.items()}
            out.setdefault(name, []).append(plain)
        return out


class Part(msgspec.Struct):
    """One part of an answer while it grows: text, reasoning, a refusal, or a call (whose text is its arguments).

    index, call_id: as the provider numbers and names a call. signature, details: of a reasoning part, what the provider
    wants back with it.
    """

    kind: PartKind
    body: Growing
    index: int | None = None
    call_id: str = ""
    name: str = ""
    signature: Growing | None = None
    details: Details | None = None

    @property
    def text(self) -> str:
        return str(self.body)


class Call(Protocol):
    """What tells calls apart. An id or name that is not known is empty."""

    @property
    def index(self) -> int | None: ...
    @property
    def call_id(self) -> str: ...
    @property
    def name(self) -> str: ...


def place_of(calls: Sequence[Call], event: ToolCall) -> int | None:
    """The place of the call that a piece goes on with, None when it begins a new one.

    Its index says so, or without one its id, or without both it is the last call's. There are providers that number
    every call 0, so another id begins another call; and some send neither, so a further name does.
    """
    last = len(calls) - 1
    for place in range(last, -1, -1):
        call = calls[place]
        if event.index is not None and event.index != call.index:
            continue
        if event.id and call.call_id:
            if event.id == call.call_id:
                return place
            continue
        if event.index is not None or (place == last and not (event.name and call.name)):
            return place
        if not event.id:
            return None
    return None


class Limits(msgspec.Struct, frozen=True):
    """The most of one answer that is kept: characters of text (reasoning and arguments too), bytes of pictures."""

    chars: int = 4_000_000
    data: int = 64 * 1024 * 1024


DEFAULT_LIMITS: Final = Limits()
P = TypeVar("P", bound=Part)


class Reducer(Generic[P]):
    """Puts one answer's events together.

    parts: in the order in which they began. usage: of the round that runs and of the ended ones, summed. is_full: more
    came than the limits allow; what passed them was not taken.
    """

    def __init__(self, new: Callable[[PartKind], P], limits: Limits = DEFAULT_LIMITS) -> None:
        """new: makes an empty part of a kind."""
        self._new = new
        self._limits = limits
        self.parts: list[P] = []
        # The calls of the round that runs.
        self.calls: list[P] = []
        self.sources: list[Source] = []
        self.images: list[Image] = []
        self.finish_reason: str | None = None
        self.is_full = False
        self._chars = 0
        self._data = 0
        self._seen: set[str] = set()
        self._open: P | None = None
        self._usage: dict[str, Any] | None = None
        self._usage_before: dict[str, Any] | None = None

    @property
    def usage(self) -> dict[str, Any] | None:
        """All that providers told of usage, None where they told nothing."""
        if self._usage is None or self._usage_before is None:
            return self._usage or self._usage_before
        return summed(self._usage_before, self._usage)

    def begin_round(self) -> None:
        """What comes next is the answer to another request: its calls are numbered anew, its usage comes on top."""
        self.calls = []
        self._open = None
        self._usage_before, self._usage = self.usage, None
        self.finish_reason = None

    def keep(self, part: P, *, is_open: bool = False) -> None:
        """Takes a part of an earlier answer that goes on here. is_open: more of its kind that comes next belongs to it."""
        self.parts.append(part)
        self._chars += len(part.text)
        self._open = part if is_open else None
        self.is_full = self._chars >= self._limits.chars

    def add(self, event: Event) -> tuple[P, str] | None:
        """Takes an event. The part that it changed and the text that came to it; None where it belongs to none."""
        if isinstance(event, Text):
            return self._say("text", event.text)
        if isinstance(event, Reasoning):
            return self._think(event)
        if isinstance(event, ToolCall):
            return self._call(event)
        if isinstance(event, Refusal):
            return self._say("refusal", event.text)
        if isinstance(event, Usage):
            self._usage = event.raw
        elif isinstance(event, Done):
            self.finish_reason = event.finish_reason
        elif isinstance(event, Source):
            self._source(event)
        elif isinstance(event, Image):
            self._image(event)
        return None

    def _say(self, kind: PartKind, text: str) -> tuple[P, str] | None:
        self._chars += len(text)
        if self._chars > self._limits.chars:
            text = self._cut(text)
        if not text:
            return None
        part = self._open
        if part is None or part.kind != kind:
            part = self._begin(kind)
            if part is None:
                return None
        part.body.add(text)
        return part, text

    def _think(self, event: Reasoning) -> tuple[P, str] | None:
        text = self._fitting(event.text)
        part = self._open
        if part is None or part.kind != "reasoning":
            part = self._begin("reasoning")
            if part is None:
                return None
        if text:
            part.body.add(text)
        if event.signature:
            part.signature = part.signature or Growing()
            part.signature.add(self._fitting(event.signature))
        if event.details:
            self._detail(part, event.details)
        return part, text

    def _detail(self, part: P, details: dict[str, Any]) -> None:
        for name, objects in details.items():
            if self._holds(_size(objects)):
                part.details = part.details or Details()
                part.details.add(name, objects)

    def _call(self, event: ToolCall) -> tuple[P, str] | None:
        place = place_of(self.calls, event)
        if place is not None:
            part = self.calls[place]
        else:
            if len(self.calls) >= MAX_CALLS or (begun := self._begin("call")) is None:
                return None
            part = begun
            part.index = event.index
            self.calls.append(part)
        if event.id and not part.call_id:
            part.call_id = event.id[:_LONGEST_NAME]
        if event.name and not part.body:
            part.name = _grown(part.name, event.name)[:_LONGEST_NAME]
        text = self._fitting(event.arguments)
        if text:
            part.body.add(text)
        return part, text

    def _begin(self, kind: PartKind) -> P | None:
        if len(self.parts) >= MAX_PARTS:
            self.is_full = True
            return None
        part = self._new(kind)
        self.parts.append(part)
        self._open = part
        return part

    def _fitting(self, text: str) -> str:
        """As much of a text as the limit leaves room for."""
        self._chars += len(text)
        return self._cut(text) if self._chars > self._limits.chars else text

    def _cut(self, text: str) -> str:
        """The same of a text that was counted already and is too long."""
        self.is_full = True
        left = max(0, len(text) - (self._chars - self._limits.chars))
        self._chars = self._limits.chars
        return text[:left]

    def _holds(self, size: int) -> bool:
        """Whether the limit leaves room for so many bytes that are no text; they are counted if it does."""
        if self._data + size > self._limits.data:
            self.is_full = True
            return False
        self._data += size
        return True

    def _source(self, event: Source) -> None:
        size = len(event.url) + len(event.title or "") + len(event.text or "")
        if event.url not in self._seen and len(self.sources) < MAX_SOURCES and self._holds(size):
            self._seen.add(event.url)
            self.sources.append(event)

    def _image(self, event: Image) -> None:
        # Some providers send a picture again in their last chunk.
        if event.url not in self._seen and self._holds(len(event.url)):
            self._seen.add(event.url)
            self.images.append(event)


def _grown(name: str, more: str) -> str:
    """A name with another piece of it. There are providers that send the whole name, or all of it so far, each time."""
    return more if more.startswith(name) else name if name.startswith(more) else name + more


def _key(value: Any) -> Any:
    return value if isinstance(value, str | int) else None


def _size(objects: list[dict[str, Any]]) -> int:
    """About how many bytes they have."""
    return sum(64 + len(value) if isinstance(value, str) else 64 for given in objects for value in given.values())


def summed(first: dict[str, Any], second: dict[str, Any], depth: int = 3) -> dict[str, Any]:
    """Two usages as one: numbers are added, also those inside objects; of anything else the second one's stays."""
    out = dict(first)
    for name, value in second.items():
        before = out.get(name)
        if isinstance(value, dict) and isinstance(before, dict) and depth:
            out[name] = summed(before, value, depth - 1)
        elif _is_number(value) and _is_number(before):
            out[name] = before + value
        else:
            out[name] = value
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
