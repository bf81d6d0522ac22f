"""Sends typed events to sockets: events.Emitter and events.Caller over Socket.IO, in this process and in others."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Final, Literal

import msgspec
import socketio

from open_webui.events import Audience, ChannelEvent, ChatEvent, PageStream
from open_webui.internal.bus.port import Bus, PeerLost
from open_webui.socket.channel_news import ChannelNews
from open_webui.socket.channels import Channel, Channels
from open_webui.socket.engine import FrameWriter, end_socket
from open_webui.socket.frames import event_body, shared_copy
from open_webui.socket.note_rooms import NoteRooms
from open_webui.socket.presence import Presence
from open_webui.socket.reloads import Reloads
from open_webui.socket.remote import instance_of

# Topics of the bus: an event for sockets, "lists changed" for one user, a user whose sockets end, a question to one socket.
EVENT, LISTS, DISCONNECT, CALL = "socket:event", "socket:lists", "socket:disconnect", "socket:call"
# The process with the socket has so much longer than the browser, so as to say that this did not answer.
_CALL_GRACE: Final = 5.0
# Which tabs of an event's people get it: all, those that show its chat or may, or none.
Tabs = Literal["all", "showing", "none"]
_NOBODY: Final[frozenset[str]] = frozenset()


class _Remote(msgspec.Struct, frozen=True, array_like=True):
    """An event as it crosses the bus: `_recipients` takes the first four. body: as sockets get it (`event_body`).

    asker: see `events.Audience`.
    """

    people: frozenset[str]
    tabs: Tabs
    chat_id: str | None
    session_id: str
    body: bytes
    asker: str = ""


class SocketEmitter:
    """events.Emitter and events.Caller.

    Sockets of this process are written to at once. Each other process that may have sockets for an event is sent it,
    encoded, and writes it to them as this one does.
    """

    def __init__(
        self,
        server: socketio.AsyncServer,
        writer: FrameWriter,
        presence: Presence,
        channels: Channels | None = None,
    ) -> None:
        self._server = server
        self._writer = writer
        self._presence = presence
        self._channel_news = ChannelNews(writer, presence)
        self._reloads = Reloads(self._send_lists_here)
        self._remote_reloads = Reloads(self._send_lists_to_peers)
        self._bus: Bus | None = None
        self.rooms = NoteRooms(writer)
        # Questions that sockets of this process have not answered yet.
        self._questions: dict[str, set[asyncio.Future[Any]]] = {}
        self.channels = channels or Channels()

    def open(self, bus: Bus) -> None:
        """Reaches the sockets of other processes, too. To be called before the bus is opened."""
        self._bus = bus
        self.channels.open_bus(bus)
        self._channel_news.open(bus)
        bus.subscribe(EVENT, self._on_event)
        bus.subscribe(LISTS, self._on_lists)
        bus.subscribe(DISCONNECT, self._on_disconnect)
        bus.serve(CALL, self._on_call)
        self.rooms.open(bus)

    # Events

    async def chat(self, user_id: str, event: ChatEvent) -> None:
        if self._reloads.concerns(event):
            self._reload_lists(user_id, event)
        else:
            self._send(event, frozenset((user_id,)))

    async def watchers(self, event: ChatEvent, besides: Collection[str], asker: str = "") -> None:
        self._send(event, frozenset(besides), "none", event.chat_id, asker=asker)

    def answer(self, event: ChatEvent, audience: Audience) -> None:
        people = audience.people
        if self._reloads.concerns(event):
            for user_id in people:
                self._reload_lists(user_id, event)
            self._send(event, people, "none", event.chat_id, asker=audience.asker)
        else:
            tabs: Tabs = "showing" if event.is_progress else "all"
            self._send(event, people, tabs, event.chat_id, audience.session_id, asker=audience.asker)

    async def to_users(self, user_ids: Iterable[str], name: str, payload: dict[str, Any]) -> None:
        self._send(payload, frozenset(user_ids), name=name)

    def channel(self, event: ChannelEvent) -> None:
        self._channel_news.send(event)

    async def to_chat(self, event: ChatEvent, *, skip: str, user: dict[str, Any]) -> None:
        """To everyone who looks at a chat, as the wire's shared copy; `skip` is the socket of the user who caused it."""
        told = event.wire() | {"user": user}
        self._send(told, _NOBODY, "none", event.chat_id, skip=skip, asker=str(user["id"]))

    def to_sockets(self, sids: Collection[str], name: str, payload: dict[str, Any]) -> None:
        """A named event to some sockets of this process."""
        if sids:
            self._writer.send(sids, event_body(name, payload))

    def _send(
        self,
        event: ChatEvent | dict[str, Any],
        people: frozenset[str],
        tabs: Tabs = "all",
        chat_id: str | None = None,
        session_id: str = "",
        *,
        name: str = "events",
        skip: str | None = None,
        asker: str = "",
    ) -> None:
        """Encodes an event once for all who get it, if somebody does.

        people: of their sockets those that `tabs` names, with the one that asked (`session_id`). chat_id: others who look
        at this chat get the shared copy, which names the asker, but for the socket `skip`.
        """
        own, others = self._recipients(people, tabs, chat_id, session_id)
        peers = self._presence.remote.interested(_NOBODY if tabs == "none" else people, chat_id, session_id)
        if not own and not others and not peers:
            return
        body = event_body(name, event.wire() if isinstance(event, ChatEvent) else event)
        self._write(own, others if skip is None else [sid for sid in others if sid != skip], body, asker)
        if peers and self._bus is not None:
            message = msgspec.to_builtins(
                _Remote(people, tabs, chat_id, session_id, body, asker), builtin_types=(bytes,)
            )
            for peer in peers:
                self._bus.send(peer, EVENT, message)

    def _recipients(
        self, people: frozenset[str], tabs: Tabs, chat_id: str | None, session_id: str
    ) -> tuple[Collection[str], Collection[str]]:
        """The sockets here that get an event, and those that get its shared copy."""
        presence = self._presence
        own: set[str] = set()
        if tabs == "all":
            for user_id in people:
                own |= presence.sids_of(user_id)
        elif tabs == "showing" and chat_id is not None:
            for user_id in people:
                own |= presence.tabs_showing(user_id, chat_id, session_id)
        return own, () if chat_id is None else presence.watching(chat_id, people)

    def _write(self, own: Collection[str], others: Collection[str], body: bytes, asker: str) -> None:
        if own:
            self._writer.send(own, body)
        if others:
            self._writer.send(others, shared_copy(body, asker))

    def _on_event(self, _peer: str, payload: Any) -> None:
        event = msgspec.convert(payload, _Remote, builtin_types=(bytes,))
        own, others = self._recipients(event.people, event.tabs, event.chat_id, event.session_id)
        self._write(own, others, event.body, event.asker)

    # Lists that changed

    def _reload_lists(self, user_id: str, event: ChatEvent) -> None:
        if self._presence.is_here(user_id):
            self._reloads.tell(user_id, event)
        if self._presence.remote.interested((user_id,)):
            self._remote_reloads.tell(user_id, event)

    def _send_lists_here(self, user_id: str, event: ChatEvent) -> None:
        self.to_sockets(self._presence.sids_of(user_id), "events", event.wire())

    def _send_lists_to_peers(self, user_id: str, event: ChatEvent) -> None:
        if self._bus is not None:
            for peer in self._presence.remote.interested((user_id,)):
                self._bus.send(peer, LISTS, [user_id, msgspec.to_builtins(event)])

    def _on_lists(self, _peer: str, payload: Any) -> None:
        user_id, event = msgspec.convert(payload, tuple[str, ChatEvent])
        # From all processes together a tab hears no more than from one.
        if self._reloads.concerns(event) and self._presence.is_here(user_id):
            self._reloads.tell(user_id, event)

    # Ends

    async def disconnect_user(self, user_id: str) -> None:
        if self._bus is not None:
            self._bus.publish(DISCONNECT, user_id)
        await self._disconnect_here(user_id)

    async def _disconnect_here(self, user_id: str) -> None:
        for sid in self._presence.sids_of(user_id):
            self.to_sockets([sid], "access:updated", {})
            await end_socket(self._server, sid)

    def _on_disconnect(self, _peer: str, payload: Any) -> None:
        self._server.start_background_task(self._disconnect_here, msgspec.convert(payload, str))

    def note(self, note_id: str, name: str, payload: dict[str, Any], *, editors: bool = False) -> None:
        self.rooms.send(note_id, name, payload, editors=editors)

    async def is_editing(self, user_id: str, note_id: str) -> bool:
        return await self.rooms.is_editing(user_id, note_id)

    def is_connected(self, user_id: str) -> bool:
        return self._presence.is_connected(user_id)

        # Questions

    async def call(
        self, session_id: str, user_id: str, payload: dict[str, Any], timeout: float, *, channel: str | None = None
    ) -> Any:
        peer = instance_of(session_id)
        if self._bus is None or peer not in self._bus.peers:
            return await self._call_here(session_id, user_id, payload, timeout, channel)
        # JSON on both ways: it may hold what the bus does not carry, such as numbers of any size.
        question = [session_id, user_id, msgspec.json.encode(payload), timeout]
        if channel is not None:
            question.append(channel)
        try:
            reply = await self._bus.call(peer, CALL, question, timeout=timeout + _CALL_GRACE)
        except PeerLost:
            raise LookupError(_GONE) from None
        except TimeoutError:
            raise TimeoutError(_LATE) from None
        if reply == "gone":
            raise LookupError(_GONE)
        if reply == "late":
            raise TimeoutError(_LATE)
        return msgspec.json.decode(reply)

    def open_stream(self, session_id: str, user_id: str) -> PageStream:
        """See `events.Streamer`."""
        return self.channels.open(user_id, session_id)

    def close_stream(self, stream: PageStream) -> None:
        """See `events.Streamer`."""
        assert isinstance(stream, Channel), "it was opened here"
        self.channels.close(stream)

    async def _call_here(
        self,
        session_id: str,
        user_id: str,
        payload: Any,
        timeout: float,
        channel: str | None = None,
        reader: str | None = None,
    ) -> Any:
        """reader: the process that reads the channel; None: this one."""
        self._check_session(session_id, user_id)
        if channel is not None:
            self.channels.expect(channel, session_id, reader)
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def take(*values: Any) -> None:
            if not answered.done():
                answered.set_result(values[0] if values else None)

        waiting = self._questions.setdefault(session_id, set())
        waiting.add(answered)
        try:
            # The library's own `call` refuses where events of a client are handled one after the other.
            await self._server.emit("events", payload, to=session_id, callback=take)
            async with asyncio.timeout(timeout):
                answer = await answered
        except TimeoutError:
            raise TimeoutError(_LATE) from None
        finally:
            waiting.discard(answered)
            if not waiting:
                self._questions.pop(session_id, None)
        # Somebody else may have signed in over it.
        self._check_session(session_id, user_id)
        return answer

    def _check_session(self, session_id: str, user_id: str) -> None:
        session = self._presence.get(session_id)
        if session is None or session.principal.id != user_id:
            raise LookupError(_GONE)

    def forget(self, sid: str) -> None:
        """A socket is gone, or somebody else's: nobody waits for its answers any more."""
        self.channels.forget(sid)
        for answered in self._questions.get(sid, ()):
            if not answered.done():
                answered.set_exception(LookupError(_GONE))

    async def _on_call(self, peer: str, payload: Any) -> bytes | str:
        channel = msgspec.convert(payload[4], str) if isinstance(payload, list) and len(payload) > 4 else None
        session_id, user_id, body, timeout = msgspec.convert(payload[:4], tuple[str, str, bytes, float])
        try:
            answer = await self._call_here(session_id, user_id, msgspec.Raw(body), timeout, channel, peer)
            return msgspec.json.encode(answer)
        except LookupError:
            return "gone"
        except TimeoutError:
            return "late"


_GONE: Final = "The browser session is gone."
_LATE: Final = "The browser did not answer in time."


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
