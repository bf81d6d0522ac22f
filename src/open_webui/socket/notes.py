"""The events of notes: who opens one, what is written into its document, where the others' cursors are.

Whatever is written is stored before it is passed on. What a page says of the text as a whole is never looked at.
"""

import base64
import binascii
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from open_webui.access.policy import USER, declare
from open_webui.errors import BadRequest, NotFound, OuiError, TooLarge
from open_webui.models import notes as stored
from open_webui.models.grants import Action
from open_webui.services import note_documents, notes
from open_webui.socket.emitter import SocketEmitter
from open_webui.socket.incoming import MAX_NOTE_UPDATE, Rate
from open_webui.socket.note_rooms import NoteRooms
from open_webui.socket.presence import Presence, SocketSession
from open_webui.state import State
from open_webui.utils.threads import in_thread_if_large

# So long a right to write that was looked up is believed.
BELIEVED_SECONDS: Final = 1.0
# Bytes from which on it is looked whether an update says anything new: editors that come back send all they have.
LARGE: Final = 512
# Whole documents that a socket may ask for at once, and each second after those. A page asks for one as it opens a note.
STATES, STATES_A_SECOND = 5, 1.0
MAX_AWARENESS: Final = 16 * 1024
_MAX_STATES: Final = 20
# What is done with so many bytes is done in a thread, in the units of `in_thread_if_large`.
_BYTES_A_UNIT: Final = 100
_READ = USER.on("note", "read").needs(notes.PERMISSION)
_WRITE = USER.on("note", "write").needs(notes.PERMISSION)
# A state that is none: an editor that has something answers it with all that it has.
_NOTHING: Final = [0, 0]
Handler = Callable[[SocketSession, Any], Awaitable[Any]]


def note_of(data: Any) -> str | None:
    """The id of the note that an event is about, which some write with another sign."""
    given = data.get("document_id") if isinstance(data, dict) else None
    if not isinstance(given, str) or not 5 < len(given) <= 260 or "\x00" in given:
        return None
    return given[5:] if given.startswith(("note:", "note_")) else None


def bytes_of(given: Any, limit: int) -> bytes | None:
    """Bytes as editors send them, a list of numbers; or as they were packed on the way in. None for anything else."""
    if isinstance(given, str) and len(given) <= 2 * limit:
        try:
            return base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return None
    if isinstance(given, list) and len(given) <= limit and all(type(one) is int and 0 <= one < 256 for one in given):
        return bytes(given)
    return None


class Sockets(Protocol):
    """What it needs of `server.Sockets`."""

    presence: Presence
    emitter: SocketEmitter

    @property
    def state(self) -> State: ...


class NoteEvents:
    """Handles them for the sockets of this process."""

    def __init__(self, sockets: Sockets, rooms: NoteRooms) -> None:
        self._sockets = sockets
        self.rooms = rooms
        # Until when somebody may write, by socket and note.
        self._believed: dict[tuple[str, str], float] = {}
        # Of the whole documents that each socket may still ask for.
        self._states: dict[str, Rate] = {}
        self.handlers: dict[str, Handler] = {
            "join-note": self.on_open,
            "ydoc:document:join": self.on_join,
            "ydoc:document:state": self.on_state,
            "ydoc:document:update": self.on_update,
            "ydoc:document:leave": self.on_leave,
            "ydoc:awareness:update": self.on_awareness,
        }

    @property
    def _state(self) -> State:
        return self._sockets.state

    # Rights

    async def _may(self, session: SocketSession, note_id: str, action: Action) -> bool:
        principal = session.principal
        if not self._state.config["notes.enable"] or not principal.may(notes.PERMISSION):
            return False
        async with self._state.database.look() as connection:
            return await stored.may(connection, principal, note_id, action)

    async def _may_write(self, session: SocketSession, note_id: str) -> bool:
        key, at = (session.sid, note_id), time.monotonic()
        if self._believed.get(key, 0.0) > at:
            return True
        if not await self._may(session, note_id, "write"):
            self._believed.pop(key, None)
            return False
        if len(self._believed) > 5_000:
            self._believed = {one: until for one, until in self._believed.items() if until > at}
        self._believed[key] = at + BELIEVED_SECONDS
        return True

    def _spends(self, sid: str) -> bool:
        """Whether a socket may have a whole document once more."""
        if sid not in self._states:
            known = self._sockets.presence
            self._states = {one: rate for one, rate in self._states.items() if known.get(one) is not None}
        return self._states.setdefault(sid, Rate(STATES, STATES_A_SECOND)).spend()

    async def recheck(self) -> None:
        """Shows out who has a note open that they may not read any more, or that is gone."""
        rooms = self.rooms.rooms()
        if not rooms:
            return
        async with self._state.database.look() as connection:
            owners = await stored.owners(connection, rooms)
        for note_id, sids in rooms.items():
            for sid in sids:
                session = self._sockets.presence.get(sid)
                if session is None or not await self._may_still(session, note_id, owners.get(note_id)):
                    self._leave(note_id, sid)

    async def _may_still(self, session: SocketSession, note_id: str, owner_id: str | None) -> bool:
        # Most notes are open at their owners', who need no look at grants.
        if session.principal.id == owner_id and self._state.config["notes.enable"]:
            return session.principal.may(notes.PERMISSION)
        return owner_id is not None and await self._may(session, note_id, "read")

    # Opening and leaving

    @declare(_READ)
    async def on_open(self, session: SocketSession, data: Any) -> None:
        """A page shows a note: it hears of changes of its title and what else is kept with it."""
        note_id = data.get("note_id") if isinstance(data, dict) else None
        if isinstance(note_id, str) and 0 < len(note_id) <= 255 and "\x00" not in note_id:
            await self._enter(session, note_id)

    async def _enter(self, session: SocketSession, note_id: str) -> bool:
        if not await self._may(session, note_id, "read"):
            return False
        now = self._sockets.presence.get(session.sid)
        if now is None or now.principal.id != session.principal.id:
            # Meanwhile the socket has left, or somebody else has signed in over it.
            return False
        return self.rooms.join(note_id, session.sid, session.principal.id) is not None

    @declare(_READ)
    async def on_join(self, session: SocketSession, data: Any) -> None:
        """An editor opens a note's document. It hears what others write from now on, and gets all that was written before.

        Then it is asked for what it has that is not here: what was typed while it had no connection, or got lost on the way.
        """
        note_id = note_of(data)
        if note_id is None or not self._spends(session.sid) or not await self._enter(session, note_id):
            return
        member = self.rooms.member(note_id, session.sid)
        if member is None:
            return
        color = data.get("user_color")
        member.told = {
            "document_id": note_documents.document_id(note_id),
            "user_id": session.principal.id,
            "user_name": session.principal.name,
            "user_color": color if isinstance(color, str) and len(color) <= 50 else None,
        }
        self.rooms.send(note_id, "ydoc:user:joined", member.told, editors=True, skip=session.sid)
        await self._send_state(note_id, [session.sid], with_content=True)
        if await self._may_write(session, note_id):
            member.asked = True
            self._tell(session.sid, "ydoc:document:state", {"document_id": _document(note_id), "state": _NOTHING})

    @declare(_READ)
    async def on_state(self, session: SocketSession, data: Any) -> None:
        """An editor wants all of the document again."""
        note_id = note_of(data)
        if note_id is None or self.rooms.member(note_id, session.sid) is None or not self._spends(session.sid):
            return
        if await self._may(session, note_id, "read"):
            await self._send_state(note_id, [session.sid], sessions=self.rooms.sockets(note_id, editors=True))

    async def _send_state(
        self, note_id: str, sids: list[str], *, with_content: bool = False, sessions: list[str] | None = None
    ) -> None:
        try:
            state = await note_documents.state_of(self._state, note_id)
        except NotFound:
            return
        told: dict[str, Any] = {"document_id": _document(note_id), "state": await _listed(state)}
        if with_content:
            async with self._state.database.look() as connection:
                row = await stored.repository.get(connection, note_id)
            if row is not None:
                told["content"] = notes.wire(row)["data"]["content"]
        if sessions is not None:
            told["sessions"] = sessions
        self._sockets.emitter.to_sockets(sids, "ydoc:document:state", told)

    async def resend(self) -> None:
        """Gives all editors here the whole documents again: what others wrote may have been lost on the way."""
        for note_id in self.rooms.rooms():
            if sids := self.rooms.sockets(note_id, editors=True):
                await self._send_state(note_id, sids)

    @declare(_READ)
    async def on_leave(self, session: SocketSession, data: Any) -> None:
        """An editor closes the document. Its page may show the note still."""
        note_id = note_of(data)
        member = None if note_id is None else self.rooms.member(note_id, session.sid)
        if note_id is None or member is None or member.told is None:
            return
        member.told = None
        self._tell_left(note_id, session.sid, member.user_id)

    def forget(self, sid: str) -> None:
        """A socket is gone, or somebody else signs in over it."""
        for note_id in self.rooms.notes_of(sid):
            self._leave(note_id, sid)

    def _leave(self, note_id: str, sid: str) -> None:
        self._believed.pop((sid, note_id), None)
        member = self.rooms.leave(note_id, sid)
        if member is not None and member.told is not None:
            self._tell_left(note_id, sid, member.user_id)

    def _tell_left(self, note_id: str, sid: str, user_id: str) -> None:
        told = {"document_id": _document(note_id), "user_id": user_id}
        self.rooms.send(note_id, "ydoc:user:left", told, editors=True, skip=sid)

    # Writing

    @declare(_WRITE)
    async def on_update(self, session: SocketSession, data: Any) -> Any:
        """What somebody wrote. Acknowledged once it is stored; with `initialize` by the document as it is."""
        note_id = note_of(data)
        if note_id is None:
            return None
        if data.get("initialize"):
            # The server has made it of the note's text: a page's own beginning would stand there a second time.
            is_member = self.rooms.member(note_id, session.sid) is not None
            if not is_member or not self._spends(session.sid) or not await self._may(session, note_id, "read"):
                return None
            return list(await note_documents.state_of(self._state, note_id))
        if data.get("update") is None:
            return None
        update = bytes_of(data["update"], MAX_NOTE_UPDATE)
        if not await self._may_write(session, note_id):
            return {"error": "You may not change this note."}
        try:
            if update is None:
                raise BadRequest(note_documents.NO_UPDATE)
            await self._write(session, note_id, update)
        except OuiError as error:
            if not isinstance(error, BadRequest | TooLarge | NotFound):
                raise
            self._tell(session.sid, "error", {"message": error.detail})
            return {"error": error.detail}
        return True

    async def _write(self, session: SocketSession, note_id: str, update: bytes) -> None:
        member = self.rooms.member(note_id, session.sid)
        if member is None or member.told is None:
            # An editor that has come back sends what waited before it opens the document again.
            await note_documents.begin(self._state, note_id)
        new: bytes | None = update
        if len(update) >= LARGE or member is None or member.asked:
            new = await note_documents.new_in(self._state, note_id, update)
            if member is not None:
                member.asked = False
        if new is None:
            return
        user_id = session.principal.id
        await note_documents.write(self._state, note_id, user_id, new)
        told = {
            "document_id": _document(note_id), "user_id": user_id, "update": await _listed(new), "socket_id": session.sid,
        }  # fmt: skip
        self.rooms.send(note_id, "ydoc:document:update", told, editors=True, skip=session.sid)

    @declare(_READ)
    async def on_awareness(self, session: SocketSession, data: Any) -> None:
        """Where somebody's cursor is. It is passed on under the name that they have here."""
        note_id = note_of(data)
        member = None if note_id is None else self.rooms.member(note_id, session.sid)
        update = bytes_of(data.get("update"), MAX_AWARENESS) if isinstance(data, dict) else None
        if note_id is None or member is None or member.told is None or update is None:
            return
        principal = session.principal
        told = {
            "document_id": _document(note_id), "user_id": principal.id, "update": list(_signed(update, principal.name)),
        }  # fmt: skip
        self.rooms.send(note_id, "ydoc:awareness:update", told, editors=True, skip=session.sid)

    def _tell(self, sid: str, name: str, payload: dict[str, Any]) -> None:
        self._sockets.emitter.to_sockets([sid], name, payload)


async def _listed(state: bytes) -> Any:
    """Bytes as pages get them, a list of numbers."""
    return await in_thread_if_large(len(state) // _BYTES_A_UNIT, _encoded, state)


def _encoded(state: bytes) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(list(state)))


def _document(note_id: str) -> str:
    return note_documents.document_id(note_id)


def _signed(update: bytes, name: str) -> bytes:
    """States of cursors with the true name of whose they are. What is in another form names nobody that pages would show."""
    try:
        states = msgspec.json.decode(update)
    except (msgspec.DecodeError, RecursionError):
        return update
    if not isinstance(states, dict) or len(states) > _MAX_STATES:
        return b"{}"
    for state in states.values():
        if isinstance(state, dict) and isinstance(state.get("user"), dict):
            state["user"]["name"] = name
    return msgspec.json.encode(states)
