"""Who is connected: sockets by user, the token each came with, and which models are in use right now."""

import time

import msgspec

from open_webui.principal import Principal

MODEL_IN_USE_SECONDS = 3.0


class Session(msgspec.Struct):
    """One socket. token: the credential it connected with, looked at again on every event; jti: that token's id."""

    sid: str
    token: str
    principal: Principal
    jti: str = ""


class Presence:
    """The sockets of this process."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._by_user: dict[str, set[str]] = {}
        self._models: dict[str, tuple[str, float]] = {}
        self._rooms: dict[str, set[str]] = {}

    def add(self, session: Session) -> None:
        self.remove(session.sid)
        self._sessions[session.sid] = session
        self._by_user.setdefault(session.principal.id, set()).add(session.sid)

    def remove(self, sid: str) -> Session | None:
        """Forgets a socket and returns its session, if it had one."""
        session = self._sessions.pop(sid, None)
        if session is not None:
            sids = self._by_user[session.principal.id]
            sids.discard(sid)
            if not sids:
                del self._by_user[session.principal.id]
        self._models.pop(sid, None)
        return session

    def get(self, sid: str) -> Session | None:
        return self._sessions.get(sid)

    def sids_of(self, user_id: str) -> frozenset[str]:
        return frozenset(self._by_user.get(user_id, ()))

    def user_ids(self) -> list[str]:
        return list(self._by_user)

    def sessions(self) -> list[Session]:
        return list(self._sessions.values())

    def is_connected(self, user_id: str) -> bool:
        return user_id in self._by_user

    def use_model(self, sid: str, model_id: str) -> None:
        self._models[sid] = (model_id, time.monotonic() + MODEL_IN_USE_SECONDS)

    def models_in_use(self) -> list[str]:
        at = time.monotonic()
        return sorted({model for model, until in self._models.values() if until > at})

    def join(self, chat_id: str, sid: str) -> None:
        """Notes that a socket looks at a chat."""
        self._rooms.setdefault(chat_id, set()).add(sid)

    def leave(self, chat_id: str, sid: str) -> None:
        sids = self._rooms.get(chat_id)
        if sids is not None:
            sids.discard(sid)
            if not sids:
                del self._rooms[chat_id]

    def rooms_of(self, sid: str) -> list[str]:
        return [chat_id for chat_id, sids in self._rooms.items() if sid in sids]

    def looking(self) -> dict[str, list[Session]]:
        """The sockets that look at each chat."""
        return {c: [s for sid in sids if (s := self._sessions.get(sid))] for c, sids in self._rooms.items()}

    def is_in(self, chat_id: str, sid: str) -> bool:
        return sid in self._rooms.get(chat_id, ())

    def people_in(self, chat_id: str) -> list[Principal]:
        """The people who look at a chat, each once."""
        people = {}
        for sid in self._rooms.get(chat_id, ()):
            session = self._sessions.get(sid)
            if session is not None:
                people[session.principal.id] = session.principal
        return sorted(people.values(), key=lambda p: p.id)
