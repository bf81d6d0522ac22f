"""Bounds how often a person's pages are told to load their lists again: each page asks for the list then, so that many
chats in many tabs would make many times many requests.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from open_webui.events import ChatEvent
from open_webui.internal.load import Clock, Timer

# So many are passed on in a window as they come; of more, only the last of each folder, when the window is over.
AT_ONCE: Final = 10
WINDOW_SECONDS: Final = 0.5
# Windows that are over are let go when there are more than this.
_MANY: Final = 1_000


class _Window(msgspec.Struct):
    began: float
    passed: int = 0
    waiting: dict[str | None, ChatEvent] = {}
    timer: Timer | None = None


class Reloads:
    """The `chat:list` events of this process, by person."""

    def __init__(self, send: Callable[[str, ChatEvent], None], clock: Clock | None = None) -> None:
        """send: tells one person's tabs. clock: the running event loop unless a test hands in another."""
        self._send = send
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    @staticmethod
    def concerns(event: ChatEvent) -> bool:
        """Whether an event says no more than that lists changed."""
        return event.type == "chat:list" and isinstance(event.data, dict) and "last_read_at" not in event.data

    def tell(self, user_id: str, event: ChatEvent) -> None:
        """Tells a person's tabs, now or with others in half a second at most."""
        clock = self._clock or asyncio.get_running_loop()
        now = clock.time()
        window = self._windows.get(user_id)
        if window is None or (window.timer is None and now - window.began >= WINDOW_SECONDS):
            self._tidy(now)
            window = self._windows[user_id] = _Window(now)
        if window.passed < AT_ONCE:
            window.passed += 1
            self._send(user_id, event)
            return
        window.waiting[event.data.get("folder_id")] = event
        if window.timer is None:
            window.timer = clock.call_later(window.began + WINDOW_SECONDS - now, lambda: self._end(user_id))

    def _end(self, user_id: str) -> None:
        window = self._windows.pop(user_id)
        for event in window.waiting.values():
            self._send(user_id, event)

    def _tidy(self, now: float) -> None:
        if len(self._windows) > _MANY:
            over = [u for u, w in self._windows.items() if w.timer is None and now - w.began >= WINDOW_SECONDS]
            for user_id in over:
                del self._windows[user_id]
