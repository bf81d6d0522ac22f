"""Events of one answer as another API's stream or whole answer: what all such APIs have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import msgspec

from llamaforge.events.parts import Growing, Part, Reducer
from llamaforge.events.types import Done, Error, Event, Usage
from llamaforge.formats.completions import new_id
from llamaforge.formats.fields import Json

encode: Final = msgspec.json.Encoder().encode


class Renderer(ABC):
    """A stream is what `begin`, `add` for each event and `end` return, in order; `whole` is the same as one answer.

    In a stream, one part follows the other. Calls of tools that come together wait until the first is over: a part that
    has ended can't go on, and what still comes for one is left out.
    """

    def __init__(self, model: str) -> None:
        """model: the name under which it was asked for."""
        self._model = model
        self._reducer: Reducer[Part] = Reducer(lambda kind: Part(kind, Growing()))
        self._usage = Usage()
        self._done: Done | None = None
        self._open: Part | None = None
        # The place of the open part among all, and those that have ended.
        self._place = -1
        self._ended: set[int] = set()
        self._call_ids: dict[int, str] = {}

    @abstractmethod
    def begin(self) -> bytes:
        """The first events."""

    @abstractmethod
    def end(self) -> bytes:
        """The last events."""

    @abstractmethod
    def whole(self) -> Json:
        """What all events so far amount to."""

    @abstractmethod
    def error(self, status: int, message: str) -> bytes:
        """An error within a stream, after which nothing comes."""

    @abstractmethod
    def _begin_part(self, part: Part) -> bytes:
        """The beginning of the part at `_place`, without its text."""

    @abstractmethod
    def _go_on(self, part: Part, text: str) -> bytes:
        """More text of it."""

    @abstractmethod
    def _end_part(self, part: Part) -> bytes:
        """Its end."""

    def add(self, event: Event) -> bytes:
        """What this event changes."""
        if isinstance(event, Error):
            return self.error(event.status, event.detail or "The model failed.")
        if isinstance(event, Usage):
            self._usage = event
        elif isinstance(event, Done):
            self._done = event
        changed = self._reducer.add(event)
        if changed is None:
            return b""
        part, text = changed
        if part is self._open:
            return self._go_on(part, text) if text else b""
        is_waiting = self._open is not None and part.kind == self._open.kind == "call"
        if is_waiting or id(part) in self._ended:
            return b""
        return self._close() + self._start(part)

    def _call_id(self, part: Part) -> str:
        """What a client names a call by in its result: the model's id, or a new one where it gave none at first."""
        return self._call_ids.setdefault(id(part), part.call_id or new_id("call"))

    def _start(self, part: Part) -> bytes:
        """The beginning of a part and all that is known of it."""
        self._open = part
        self._place += 1
        return self._begin_part(part) + (self._go_on(part, part.text) if part.text else b"")

    def _close(self) -> bytes:
        """The end of the open part, and the calls that waited for it."""
        part, out = self._open, b""
        while part is not None:
            out += self._end_part(part)
            self._ended.add(id(part))
            following = self._reducer.parts[self._place + 1 : self._place + 2]
            part = following[0] if following and part.kind == following[0].kind == "call" else None
            if part is not None:
                out += self._start(part)
        self._open = None
        return out


def sse(kind: str, **fields: Any) -> bytes:
    """An event of a stream, which names its type twice."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
