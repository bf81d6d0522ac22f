"""A turn as a value, a connection that says what a test tells it to, and an emitter that notes what goes out."""

import asyncio
from collections.abc import Collection, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from open_webui.chat.request import Ask, PageRequest, Tasks
from open_webui.chat.store import Stored
from open_webui.chat.turn import Turn
from open_webui.connections.base import ModelEntry, Target
from open_webui.events import Audience, ChatEvent
from open_webui.models.messages import MessageRow
from open_webui.principal import Principal
from open_webui.services.affect import NOTHING

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
        async with asyncio.timeout(30):
            while len(self.sent) < count:
                self._more.clear()
                await self._more.wait()

    async def chat(self, user_id: str, event: ChatEvent) -> None:
        self._note(user_id, event)

    async def watchers(self, event: ChatEvent, besides: Collection[str], asker: str = "") -> None:  # noqa: ARG002
        if "watcher" not in besides:
            self._note("watcher", event)

    def answer(self, event: ChatEvent, audience: Audience) -> None:
        for user_id in sorted(audience.people):
            self._note(user_id, event)
        if "watcher" not in audience.people:
            self._note("watcher", event)

    async def to_users(self, user_ids: Iterable[str], name: str, payload: dict[str, Any]) -> None:
        for user_id in user_ids:
            self._note(user_id, ChatEvent("", None, name, payload))

    async def disconnect_user(self, user_id: str) -> None:
        self._note(user_id, ChatEvent("", None, "disconnect"))

    def is_connected(self, user_id: str) -> bool:
        return user_id != ""

    def told(self, user_id: str) -> list[tuple[str, Any]]:
        return [(event.type, event.data) for who, event in self.sent if who == user_id]


# stage.Services of a server that has no tools and no functions.
BARE = SimpleNamespace(
    config={"tools.builtin.enable": False, "subagents.enable": False},
    gate=SimpleNamespace(models=SimpleNamespace(functions=(), remote_filters=lambda _: ())),
)


class Noted:
    """context.StageContext: what a stage shows and stores is noted."""

    services = BARE
    filtering = None

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.statuses: list[dict[str, Any]] = []
        self.sources: list[dict[str, Any]] = []
        # What the page is asked, and what it says: an error is raised.
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.says: Any = None
        self.meta: dict[str, Any] = {}

    async def add_status(self, status: dict[str, Any]) -> None:
        self.statuses.append(status)

    async def add_source(self, source: dict[str, Any]) -> list[int]:
        self.sources.append(source)
        return [len(self.sources)]

    async def replace_statuses(self, action: str, statuses: list[dict[str, Any]]) -> None:
        self.statuses = [s for s in self.statuses if s.get("action") != action] + statuses

    async def emit(self, kind: str, data: dict[str, Any]) -> None:
        self.asked.append((kind, data))

    async def ask(self, kind: str, data: dict[str, Any], *, seconds: float) -> Any:
        del seconds
        self.asked.append((kind, data))
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def set_meta(self, name: str, value: Any) -> None:
        self.meta[name] = value


class Mute:
    """A connection that is never asked."""

    key = "mute"
    kind = "openai"


def make_turn(**changes: Any) -> Turn:
    """Ann's question to a model that is never asked; row and body say that its answer is stored."""
    entry = ModelEntry(id="m", name="M", remote_id="m", connection="mute", kind="openai")
    request: dict[str, Any] = {
        "session_id": "s", "chat_id": "c", "parent_id": None, "user_message": None, "continued": False, "messages": None,
        "params": {}, "fields": {}, "variables": {}, "chat_variables": {}, "files": [], "folder_id": None, "tasks": Tasks(),
        "stream": True,
    }  # fmt: skip
    stored: dict[str, Any] = {
        "chat_id": "c", "owner_id": "ann", "title": "", "folder_id": None, "is_new": True, "history": (),
        "truncated": False, "question": "Hi", "wire": {}, "params": {}, "folder_prompt": None, "affect": NOTHING,
    }  # fmt: skip
    task_id, message_id = changes.pop("task_id", "t"), changes.pop("message_id", "a")
    row, body = changes.pop("row", None), changes.pop("body", {})
    target = changes.pop("target", Target(model_id="m", entry=entry, connection=Mute()))  # type: ignore[arg-type]
    ask = Ask(target.model_id, message_id)
    request |= {k: changes.pop(k) for k in list(changes) if k in request and k not in {"chat_id", "folder_id"}}
    stored |= {k: changes.pop(k) for k in list(changes) if k in stored}
    assert not changes, f"unknown: {changes}"
    message = MessageRow(
        n=row or 0, chat_id=stored["chat_id"], id=message_id, parent_id=None, role="assistant", content="", done=False,
        model_id="m", body=body, created_at=0, updated_at=0,
    )  # fmt: skip
    return Turn(
        task_id=task_id,
        principal=ANN,
        request=PageRequest(asks=(ask,), **request),
        ask=ask,
        stored=Stored(answers={} if row is None else {message_id: message}, **stored),
        target=target,
    )


@pytest.fixture
def notes() -> Notes:
    return Notes()
