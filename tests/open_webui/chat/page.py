"""A page as the tests need it: a real Socket.IO client that notes every event, and the bodies that a frontend sends."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import socketio

Event = dict[str, Any]


class Page:
    """One open tab. `events` holds the envelopes in the order in which they came."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self.http = http
        self.token = token
        self.socket = socketio.AsyncClient(reconnection=False)
        self.events: list[Event] = []
        self.others: list[tuple[str, Any]] = []
        self._more = asyncio.Event()
        self._last = time.monotonic()
        self.socket.on("events", self._note)
        self.socket.on("*", self._other)
        self.gone = asyncio.Event()
        self.why_gone = ""
        self.socket.on("disconnect", self._gone)

    async def _note(self, event: Event) -> None:
        self.events.append(event)
        self._last = time.monotonic()
        self._more.set()

    async def _other(self, name: str, data: Any = None) -> None:
        self.others.append((name, data))

    async def _gone(self, *reason: Any) -> None:
        self.why_gone = str(reason)
        self.gone.set()

    async def connect(self) -> None:
        await self.socket.connect(
            str(self.http.base_url), auth={"token": self.token}, socketio_path="/ws/socket.io", transports=["websocket"],
            wait_timeout=20,
        )  # fmt: skip
        # Its answer proves that the socket is in its user's room.
        await self.socket.call("user-join", {"auth": {"token": self.token}}, timeout=30)

    @property
    def sid(self) -> str:
        return str(self.socket.get_sid("/"))

    async def until(self, condition: Callable[["Page"], bool], timeout: float = 30) -> None:
        """Waits until the condition holds; looked at with each event."""
        try:
            async with asyncio.timeout(timeout):
                while not condition(self):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            state = f"is gone {self.why_gone}" if self.gone.is_set() else "is open"
            told = f"{len(self.events)} events, the last one {time.monotonic() - self._last:.1f} s ago"
            raise AssertionError(f"waited in vain; the socket {state}; {told}; there was {self.kinds()}") from None

    def of(self, message_id: str) -> list[Event]:
        return [event for event in self.events if event.get("message_id") == message_id]

    def data(self, kind: str, message_id: str | None = None) -> list[Any]:
        """What events of a type said."""
        chosen = self.events if message_id is None else self.of(message_id)
        return [event["data"].get("data") for event in chosen if event["data"]["type"] == kind]

    def kinds(self, besides: str = "") -> list[str]:
        """The events' types but for one, deltas by their own; neighbours that are the same once."""
        out: list[str] = []
        for event in self.events:
            kind, data = event["data"]["type"], event["data"].get("data")
            if kind == "response:completion":
                kind = data.get("type", "chunk")
            if kind == "chat:completion":
                kind += " " + ("done" if data.get("done") else "usage" if "usage" in data else "chunk")
            if kind == "chat:active":
                kind += f" {data['active']}".lower()
            if kind != besides and (not out or out[-1] != kind):
                out.append(kind)
        return out

    async def idle(self, chat_id: str, timeout: float = 30) -> None:
        """Waits until the server says that all is over in a chat."""

        def over(page: Page) -> bool:
            told = [e["data"]["data"]["active"] for e in page.events
                    if e["data"]["type"] == "chat:active" and e["chat_id"] == chat_id]  # fmt: skip
            return bool(told) and not told[-1]

        await self.until(over, timeout)

    async def post(self, body: dict[str, Any]) -> dict[str, Any]:
        reply = await self.http.post("/api/chat/completions", json=body)
        assert reply.status_code == 200, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    async def stored(self, chat_id: str) -> dict[str, Any]:
        """A chat as the server gives it."""
        reply = await self.http.get(f"/api/v1/chats/{chat_id}")
        assert reply.status_code == 200, reply.text
        chat: dict[str, Any] = reply.json()
        return chat

    async def message(self, chat_id: str, message_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.stored(chat_id))["chat"]["history"]["messages"][message_id]
        return found

    def ask(self, model: str, text: str, **fields: Any) -> dict[str, Any]:
        """The body of a question with fresh ids; `fields` replace what it has."""
        question, answer = str(uuid.uuid4()), str(uuid.uuid4())
        parent = fields.get("parent_id")
        body: dict[str, Any] = {
            "stream": True, "model": model, "params": {}, "tool_ids": [], "tool_servers": [], "features": {},
            "variables": {"{{USER_NAME}}": "Ann"}, "session_id": self.sid, "id": answer,
            "message_ids": [{"model_id": model, "message_id": answer, "modelIdx": 0}], "parent_id": parent,
            "user_message": {"id": question, "parentId": parent, "childrenIds": [answer], "role": "user",
                             "content": text, "timestamp": 1_700_000_000, "models": [model]},
            "background_tasks": {},
        }  # fmt: skip
        return {k: v for k, v in (body | fields).items() if v is not ...}


ALL_TASKS = {"title_generation": True, "tags_generation": True, "follow_up_generation": True}


@asynccontextmanager
async def open_page(http: httpx.AsyncClient, token: str) -> AsyncIterator[Page]:
    page = Page(http, token)
    await page.connect()
    try:
        yield page
    finally:
        await page.socket.disconnect()


def rebuilt(output: list[dict[str, Any]], events: list[Event], after: int = 0) -> str:
    """The text of an answer as a page has it: what it fetched, and the deltas that came after that."""
    texts = {n: "".join(p["text"] for p in item.get("content") or ()) for n, item in enumerate(output)}
    kinds = {n: item["type"] for n, item in enumerate(output)}
    for event in events:
        data = event["data"].get("data")
        if event["data"]["type"] != "response:completion" or "type" not in data or data["sequence_number"] <= after:
            continue
        at = data["output_index"]
        if data["type"] == "response.output_item.added":
            texts[at], kinds[at] = "", data["item"]["type"]
        elif data["type"].endswith("_text.delta"):
            kinds.setdefault(at, "message")
            texts[at] = texts.get(at, "") + data["delta"]
    return "".join(texts[n] for n in sorted(texts) if kinds[n] == "message")
