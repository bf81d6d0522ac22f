"""Who has which note open in this process, and what is sent to them, from here and from other processes."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

import msgspec

from open_webui.internal.bus.port import Bus, PeerLost
from open_webui.socket.engine import FrameWriter
from open_webui.socket.frames import event_body

# Topics of the bus: an event for who has a note open; whether somebody edits one.
EVENT, EDITING = "note:event", "note:editing"
ASK_SECONDS: Final = 1.0
# Notes that one socket has open: a page shows one.
MAX_NOTES: Final = 20


class Member(msgspec.Struct):
    """A socket that has a note open. told: as others are told of it, once it has the document open. asked: it was asked for
    all that it has, and has not answered.
    """

    user_id: str
    told: dict[str, Any] | None = None
    asked: bool = False


class _Event(msgspec.Struct, frozen=True, array_like=True):
    """An event as it crosses the bus."""

    note_id: str
    body: bytes
    editors: bool


class NoteRooms:
    """The sockets of this process by the notes that they have open."""

    def __init__(self, writer: FrameWriter) -> None:
        self._writer = writer
        self._bus: Bus | None = None
        self._rooms: dict[str, dict[str, Member]] = {}
        self._notes: dict[str, set[str]] = {}

    def open(self, bus: Bus) -> None:
        """Reaches the sockets of other processes, too. To be called before the bus is opened."""
        self._bus = bus
        bus.subscribe(EVENT, self._on_event)
        bus.serve(EDITING, self._on_question)

    # Members

    def join(self, note_id: str, sid: str, user_id: str) -> Member | None:
        """Notes that a socket has a note open. None: it has too many open."""
        mine = self._notes.setdefault(sid, set())
        if note_id not in mine and len(mine) >= MAX_NOTES:
            return None
        mine.add(note_id)
        member = self._rooms.setdefault(note_id, {}).setdefault(sid, Member(user_id))
        member.user_id = user_id
        return member

    def leave(self, note_id: str, sid: str) -> Member | None:
        """Notes that it has not any more. Gives the member that it was."""
        room = self._rooms.get(note_id, {})
        member = room.pop(sid, None)
        if not room:
            self._rooms.pop(note_id, None)
        mine = self._notes.get(sid, set())
        mine.discard(note_id)
        if not mine:
            self._notes.pop(sid, None)
        return member

    def notes_of(self, sid: str) -> list[str]:
        return list(self._notes.get(sid, ()))

    def has_open(self, sid: str) -> bool:
        """Whether a socket has any note open."""
        return sid in self._notes

    def member(self, note_id: str, sid: str) -> Member | None:
        return self._rooms.get(note_id, {}).get(sid)

    def sockets(self, note_id: str, *, editors: bool) -> list[str]:
        """Those that have a note open, or its document."""
        room = self._rooms.get(note_id, {})
        return [sid for sid, member in room.items() if member.told is not None or not editors]

    def rooms(self) -> dict[str, list[str]]:
        """The sockets by the notes that they have open."""
        return {note_id: list(room) for note_id, room in self._rooms.items()}

    # Events

    def send(
        self, note_id: str, name: str, payload: dict[str, Any], *, editors: bool = False, skip: str | None = None
    ) -> None:
        """To all who have a note open, in all processes. skip: the socket that it comes from."""
        peers: Collection[str] = () if self._bus is None else self._bus.peers
        here = [sid for sid in self.sockets(note_id, editors=editors) if sid != skip]
        if not here and not peers:
            return
        body = event_body(name, payload)
        if here:
            self._writer.send(here, body)
        if peers and self._bus is not None:
            event = _Event(note_id, body, editors)
            self._bus.publish(EVENT, msgspec.to_builtins(event, builtin_types=(bytes,)))

    def _on_event(self, _peer: str, payload: Any) -> None:
        event = msgspec.convert(payload, _Event, builtin_types=(bytes,))
        if here := self.sockets(event.note_id, editors=event.editors):
            self._writer.send(here, event.body)

    # Who edits

    def _edits_here(self, user_id: str, note_id: str) -> bool:
        room = self._rooms.get(note_id, {})
        return any(member.user_id == user_id and member.told is not None for member in room.values())

    async def is_editing(self, user_id: str, note_id: str) -> bool:
        """Whether somebody has a note's document open, in any process."""
        if self._edits_here(user_id, note_id) or self._bus is None:
            return self._edits_here(user_id, note_id)
        asked = (self._ask(self._bus, peer, [user_id, note_id]) for peer in self._bus.peers)
        return any(await asyncio.gather(*asked))

    async def _ask(self, bus: Bus, peer: str, question: list[str]) -> bool:
        try:
            return bool(await bus.call(peer, EDITING, question, timeout=ASK_SECONDS))
        except (PeerLost, TimeoutError):
            return False

    async def _on_question(self, _peer: str, payload: Any) -> bool:
        user_id, note_id = msgspec.convert(payload, tuple[str, str])
        return self._edits_here(user_id, note_id)
