"""What the decoders of APIs with a JSON of their own have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from llamaforge.events.openai import UNREADABLE
from llamaforge.events.types import Error, Event


class JsonDecoder(ABC):
    """The events of one answer, streamed or whole.

    finished: its end was seen. error: an error that the provider sent; nothing after it counts. lost: how many values had
    a form in which they can't be used.
    """

    __slots__ = ("error", "finished", "lost")

    def __init__(self) -> None:
        self.finished = False
        self.error: Error | None = None
        self.lost = 0

    def decode(self, payload: bytes) -> list[Event]:
        """The events of one JSON text: a piece of a stream, a whole answer, or an error."""
        try:
            value = msgspec.json.decode(payload)
        except UNREADABLE:
            self.lost += 1
            return []
        return self.read(value)

    def read(self, value: Any) -> list[Event]:
        """The same of a decoded one."""
        if isinstance(value, dict):
            return self._events(value)
        self.lost += 1
        return []

    @abstractmethod
    def _events(self, value: dict[str, Any]) -> list[Event]:
        """The events of one object."""
