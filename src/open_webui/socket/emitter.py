"""Sends typed events to rooms of sockets: events.Emitter and events.Caller over Socket.IO."""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
import socketio

from open_webui.events import ChatEvent
from open_webui.socket.presence import Presence


def user_room(user_id: str) -> str:
    return f"user:{user_id}"


def chat_room(chat_id: str) -> str:
    return f"chat:{chat_id}"


class SocketEmitter:
    """events.Emitter and events.Caller."""

    def __init__(self, server: socketio.AsyncServer, presence: Presence) -> None:
        self._server = server
        self._presence = presence

    async def chat(self, user_id: str, event: ChatEvent) -> None:
        if self._presence.is_connected(user_id):
            await self._server.emit("events", event.wire(), room=user_room(user_id))

    async def watchers(self, event: ChatEvent, besides: Collection[str]) -> None:
        payload: dict[str, Any] | None = None
        for person in self._presence.people_in(event.chat_id):
            if person.id not in besides:
                payload = payload or event.wire() | {"shared": True}
                await self._server.emit("events", payload, room=user_room(person.id))

    async def to_users(self, user_ids: Iterable[str], name: str, payload: dict[str, Any]) -> None:
        for user_id in user_ids:
            if self._presence.is_connected(user_id):
                await self._server.emit(name, payload, room=user_room(user_id))

    async def to_chat(self, event: ChatEvent, *, skip: str | None = None, user: dict[str, Any] | None = None) -> None:
        """To everyone who looks at a chat, as the wire's shared copy; `skip` is a socket that caused it."""
        payload = event.wire() | {"shared": True}
        if user is not None:
            payload["user"] = user
        await self._server.emit("events", payload, room=chat_room(event.chat_id), skip_sid=skip)

    async def disconnect_user(self, user_id: str) -> None:
        for sid in self._presence.sids_of(user_id):
            await self._server.emit("access:updated", {}, to=sid)
            await self._server.disconnect(sid)

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
