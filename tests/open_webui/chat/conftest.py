"""A turn as a value, a connection that says what a test tells it to, and an emitter that notes what goes out."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

import pytest

from open_webui.chat.request import Tasks
from open_webui.chat.turn import Turn
from open_webui.connections.base import Entry, Target
from open_webui.events import Audience, ChatEvent
from open_webui.principal import Principal

ANN = Principal(id="ann", role="user", name="Ann", email="ann@example.com")


class Notes:
    """events.Emitter: everybody is there, and what they are told is noted."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, ChatEvent]] = []
        self._more = asyncio.Event()

    def _note(self, user_id: str, event: ChatEvent) -> None:
        self.sent.append((user_id, event))
        self._more.set()

    async def until(self, count: int) -> None:
        """Waits until so many events went out."""
        async with asyncio.timeout(5):
            while len(self.sent) < count:
                self._more.clear()
                await self._more.wait()

    async def chat(self, user_id: str, event: ChatEvent) -> None:
        self._note(user_id, event)

    async def watchers(self, event: ChatEvent, besides: Collection[str]) -> None:
        if "watcher" not in besides:
            self._note("watcher", event)

    async def answer(self, event: ChatEvent, audience: Audience) -> None:
        for user_id in sorted(audience.people):
            self._note(user_id, event)
        await self.watchers(event, audience.people)

    async def to_users(self, user_ids: Iterable[str], name: str, payload: dict[str, Any]) -> None:
        for user_id in user_ids:
            self._note(user_id, ChatEvent("", None, name, payload))

    async def disconnect_user(self, user_id: str) -> None:
        self._note(user_id, ChatEvent("", None, "disconnect"))

    def is_connected(self, user_id: str) -> bool:
        return user_id != ""

    def told(self, user_id: str) -> list[tuple[str, Any]]:
        return [(event.type, event.data) for who, event in self.sent if who == user_id]


class Mute:
    """A connection that is never asked."""

    key = "mute"
    kind = "openai"


def make_turn(**changes: Any) -> Turn:
    entry = Entry(id="m", name="M", remote_id="m", connection="mute", kind="openai")
    fields: dict[str, Any] = {
        "task_id": "t", "principal": ANN, "owner_id": "ann", "session_id": "s", "chat_id": "c", "message_id": "a",
        "row": None, "body": {}, "target": Target(model_id="m", entry=entry, connection=Mute()),  # type: ignore[arg-type]
        "question": "Hi", "folder_id": None, "history": (), "truncated": False, "params": {}, "fields": {},
        "variables": {}, "system": (), "continues": None, "tasks": Tasks(), "is_new_chat": True, "stream": True,
    }  # fmt: skip
    return Turn(**(fields | changes))


@pytest.fixture
def notes() -> Notes:
    return Notes()
