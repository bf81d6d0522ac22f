"""Sends typed events to rooms of sockets: events.Emitter and events.Caller over Socket.IO."""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

import msgspec
import socketio

from open_webui.events import Audience, ChatEvent
from open_webui.socket.frames import FrameWriter, end_socket
from open_webui.socket.presence import Presence
from open_webui.socket.reloads import Reloads


class SocketEmitter:
    """events.Emitter and events.Caller."""

    def __init__(self, server: socketio.AsyncServer, writer: FrameWriter, presence: Presence) -> None:
        self._server = server
        self._writer = writer
        self._presence = presence
        self._reloads = Reloads(self._to_user)

    def _to_user(self, user_id: str, event: ChatEvent) -> None:
        self._send(self._presence.sids_of(user_id), "events", event.wire)

    async def chat(self, user_id: str, event: ChatEvent) -> None:
        if not self._presence.is_connected(user_id):
            return
        if self._reloads.concerns(event):
            self._reloads.tell(user_id, event)
        else:
            self._to_user(user_id, event)

    async def watchers(self, event: ChatEvent, besides: Collection[str]) -> None:
        self._send(self._presence.watching(event.chat_id, besides), "events", partial(_shared, event))

    def answer(self, event: ChatEvent, audience: Audience) -> None:
        presence = self._presence
        if self._reloads.concerns(event):
            for user_id in audience.people:
                if presence.is_connected(user_id):
                    self._reloads.tell(user_id, event)
        else:
            tabs: set[str] = set()
            for user_id in audience.people:
                tabs |= (
                    presence.tabs_showing(user_id, event.chat_id, audience.session_id)
                    if event.is_progress
                    else presence.sids_of(user_id)
                )
            self._send(tabs, "events", event.wire)
        self._send(presence.watching(event.chat_id, audience.people), "events", partial(_shared, event))

    async def to_users(self, user_ids: Iterable[str], name: str, payload: dict[str, Any]) -> None:
        for user_id in user_ids:
            self._send(self._presence.sids_of(user_id), name, lambda: payload)

    async def to_chat(self, event: ChatEvent, *, skip: str | None = None, user: dict[str, Any] | None = None) -> None:
        """To everyone who looks at a chat, as the wire's shared copy; `skip` is a socket that caused it."""
        payload = _shared(event)
        if user is not None:
            payload["user"] = user
        self._send(self._presence.watchers_of(event.chat_id) - {skip}, "events", lambda: payload)

    def to_tab(self, sid: str, name: str, payload: dict[str, Any]) -> None:
        """A named event to one socket."""
        self._writer.send([sid], name, payload)

    def _send(self, sids: Collection[str], name: str, make: Callable[[], dict[str, Any]]) -> None:
        """The payload is made when somebody is there to get it."""
        if sids:
            self._writer.send(sids, name, make())

    async def disconnect_user(self, user_id: str) -> None:
        for sid in self._presence.sids_of(user_id):
            self.to_tab(sid, "access:updated", {})
            await end_socket(self._server, sid)

    def is_connected(self, user_id: str) -> bool:
        return self._presence.is_connected(user_id)

    async def call(self, session_id: str, user_id: str, payload: dict[str, Any], timeout: float) -> Any:
        session = self._presence.get(session_id)
        if session is None or session.principal.id != user_id:
            raise LookupError("The browser session is gone.")
        try:
            return await self._server.call("events", payload, to=session_id, timeout=timeout)
        except socketio.exceptions.TimeoutError:
            raise TimeoutError("The browser did not answer in time.") from None


def _shared(event: ChatEvent) -> dict[str, Any]:
    """The wire's copy for people whose chat it is not."""
    return event.wire() | {"shared": True}


class FastJson:
    """The JSON module that Socket.IO packets are written with; msgspec also passes through what is encoded already."""

    @staticmethod
    def dumps(value: Any, **_kwargs: Any) -> str:
        return msgspec.json.encode(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_kwargs: Any) -> Any:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None
