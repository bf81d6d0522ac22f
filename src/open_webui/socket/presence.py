"""Who is connected: sockets by user, the token each came with, and which models are in use right now."""

import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from open_webui.principal import Principal
from open_webui.socket.remote import (
    MODEL_IN_USE_SECONDS,
    Change,
    ModelUsed,
    RemotePresence,
    Snapshot,
    UserConnected,
    UserDisconnected,
    ViewerJoined,
    ViewerLeft,
)


class SocketSession(msgspec.Struct):
    """One socket. token: the credential it connected with, looked at again on every event; jti: that token's id."""

    sid: str
    token: str
    principal: Principal
    jti: str = ""


class Presence:
    """The sockets of this process; and who is connected, and uses what, in all processes.

    remote: the other processes. announce: tells them what changes here; None where there is one process only.
    """

    def __init__(self) -> None:
        self.remote = RemotePresence()
        self.announce: Callable[[Change], None] | None = None
        self._sessions: dict[str, SocketSession] = {}
        self._by_user: dict[str, set[str]] = {}
        self._models: dict[str, tuple[str, float]] = {}
        # Who looks at a chat, what a socket looks at, and the sockets of a user that look at nothing.
        self._looking: dict[str, set[str]] = {}
        self._chats: dict[str, set[str]] = {}
        self._idle: dict[str, set[str]] = {}

    def add(self, session: SocketSession) -> None:
        """Adds a socket. One that was there already, for the same user, goes on looking at what it looked at."""
        before = self._sessions.get(session.sid)
        if before is not None and before.principal.id != session.principal.id:
            self.remove(session.sid)
        self._sessions[session.sid] = session
        user_id = session.principal.id
        if self.announce is not None and user_id not in self._by_user:
            self.announce(UserConnected(user_id))
        _put(self._by_user, user_id, session.sid)
        if session.sid not in self._chats:
            _put(self._idle, session.principal.id, session.sid)

    def remove(self, sid: str) -> SocketSession | None:
        """Forgets a socket and returns its session, if it had one."""
        for chat_id in self.chats_of(sid):
            self.leave(chat_id, sid)
        session = self._sessions.pop(sid, None)
        if session is not None:
            user_id = session.principal.id
            _drop(self._by_user, user_id, sid)
            _drop(self._idle, user_id, sid)
            if self.announce is not None and user_id not in self._by_user:
                self.announce(UserDisconnected(user_id))
        self._models.pop(sid, None)
        return session

    def get(self, sid: str) -> SocketSession | None:
        return self._sessions.get(sid)

    def sids_of(self, user_id: str) -> frozenset[str]:
        return frozenset(self._by_user.get(user_id, ()))

    def oldest_of(self, user_id: str) -> str:
        """The socket of a user that signed in first. Raises StopIteration where there is none."""
        return next(sid for sid, session in self._sessions.items() if session.principal.id == user_id)

    def sessions(self) -> list[SocketSession]:
        return list(self._sessions.values())

    def is_here(self, user_id: str) -> bool:
        """Whether a user has a socket in this process."""
        return user_id in self._by_user

    def is_connected(self, user_id: str) -> bool:
        """Whether a user has a socket in any process."""
        return user_id in self._by_user or self.remote.is_connected(user_id)

    def user_ids(self) -> Collection[str]:
        """Who is connected, to any process."""
        return self.remote.user_ids() | self._by_user.keys()

    def use_model(self, sid: str, model_id: str) -> None:
        self._models[sid] = (model_id, time.monotonic() + MODEL_IN_USE_SECONDS)
        if self.announce is not None:
            self.announce(ModelUsed(model_id))

    def models_in_use(self) -> list[str]:
        """In all processes."""
        return sorted(self._models_here() | self.remote.models_in_use())

    def _models_here(self) -> set[str]:
        at = time.monotonic()
        return {model for model, until in self._models.values() if until > at}

    def snapshot(self) -> Snapshot:
        """Everything about this process that others need."""
        viewers = {chat_id: self._people_here(chat_id) for chat_id in self._looking}
        return Snapshot(set(self._by_user), viewers, sorted(self._models_here()))

    def join(self, chat_id: str, sid: str) -> None:
        """Notes that a socket looks at a chat."""
        session = self._sessions.get(sid)
        if session is None:
            return
        _put(self._looking, chat_id, sid)
        _put(self._chats, sid, chat_id)
        _drop(self._idle, session.principal.id, sid)
        if self.announce is not None:
            self.announce(ViewerJoined(chat_id, session.principal.id, session.principal.public()))

    def leave(self, chat_id: str, sid: str) -> None:
        if not self.is_in(chat_id, sid):
            return
        _drop(self._looking, chat_id, sid)
        _drop(self._chats, sid, chat_id)
        user_id = self._sessions[sid].principal.id
        if sid not in self._chats:
            _put(self._idle, user_id, sid)
        if self.announce is not None and user_id not in self._people_here(chat_id):
            self.announce(ViewerLeft(chat_id, user_id))

    def chats_of(self, sid: str) -> list[str]:
        """The chats that a socket looks at."""
        return list(self._chats.get(sid, ()))

    def tabs_showing(self, user_id: str, chat_id: str, session_id: str) -> set[str]:
        """The sockets of a user that show a chat, or may: `session_id`, those that look at it and those that look at none."""
        found = {sid for sid in self.watchers_of(chat_id) if self._sessions[sid].principal.id == user_id}
        found |= self._idle.get(user_id, frozenset())
        asker = self._sessions.get(session_id)
        if asker is not None and asker.principal.id == user_id:
            found.add(session_id)
        return found

    def watchers_of(self, chat_id: str) -> frozenset[str]:
        """The sockets that look at a chat."""
        return frozenset(self._looking.get(chat_id, ()))

    def watching(self, chat_id: str, besides: Collection[str]) -> list[str]:
        """The sockets that look at a chat, but for those of the users in `besides`."""
        return [sid for sid in self.watchers_of(chat_id) if self._sessions[sid].principal.id not in besides]

    def watchers_by_chat(self) -> dict[str, list[SocketSession]]:
        """The sockets that look at each chat."""
        return {chat_id: [self._sessions[sid] for sid in sids] for chat_id, sids in self._looking.items()}

    def is_in(self, chat_id: str, sid: str) -> bool:
        return sid in self._looking.get(chat_id, ())

    def people_in(self, chat_id: str) -> list[dict[str, Any]]:
        """The public form of the people who look at a chat in any process, each once."""
        found = self.remote.people_in(chat_id) | self._people_here(chat_id)
        return [found[user_id] for user_id in sorted(found)]

    def _people_here(self, chat_id: str) -> dict[str, dict[str, Any]]:
        found = (self._sessions[sid].principal for sid in self._looking.get(chat_id, ()))
        return {person.id: person.public() for person in found}


def _put(index: dict[str, set[str]], key: str, value: str) -> None:
    index.setdefault(key, set()).add(value)


def _drop(index: dict[str, set[str]], key: str, value: str) -> None:
    values = index.get(key)
    if values is not None:
        values.discard(value)
        if not values:
            del index[key]
