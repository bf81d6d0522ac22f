"""The Socket.IO server at the path of the contract, and its events, each with a declared policy."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final

import socketio

from open_webui.access.policy import PUBLIC, USER, Policy, declare, policy_of
from open_webui.env import Settings
from open_webui.errors import NotFound
from open_webui.events import ChatEvent
from open_webui.internal.forwarded import is_own_origin
from open_webui.internal.log import get_logger
from open_webui.internal.supervise import supervise
from open_webui.models import chats
from open_webui.models import presence as seen
from open_webui.principal import Principal
from open_webui.services.audit.requests import recorded_event
from open_webui.services.changes import change_chat
from open_webui.socket.channel_events import ChannelEvents
from open_webui.socket.channels import Channels
from open_webui.socket.checked import CheckedPolling
from open_webui.socket.emitter import FastJson, SocketEmitter
from open_webui.socket.engine import FrameSocket, FrameWriter, SocketServer, end_socket
from open_webui.socket.incoming import (
    A_SECOND,
    MAX_ANONYMOUS,
    MAX_NOTE_PACKET,
    STREAM_A_SECOND,
    STREAM_BURST,
    Incoming,
    Rate,
)
from open_webui.socket.notes import NoteEvents
from open_webui.socket.presence import Presence, SocketSession
from open_webui.socket.remote import PresenceSync, socket_id
from open_webui.state import State

log = get_logger(__name__)
PATH: Final = "/ws/socket.io"
# R7: how often every connected account is looked at again.
SWEEP_SECONDS: Final = 3.0
# How long a sweep that is wanted now waits for others that want one, too.
SETTLE_SECONDS: Final = 0.1
# How long a socket outlives its token: with the sweep within the five seconds in which everything ends.
PARTING: Final = 1.0
# A heartbeat writes last_active_at at most this often for one user.
ACTIVE_SECONDS: Final = 60
MAX_TOKEN: Final = 4096
# Sockets of one person at once: each open page has one.
MAX_SOCKETS: Final = 300
# Origins of refused sockets that the log names.
_MAX_TOLD: Final = 8
Handler = Callable[[SocketSession, Any], Awaitable[Any]]


def _text(value: Any, limit: int = 255) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= limit and "\x00" not in value else None


class Sockets:
    """The server, its handlers and the sweep that ends sessions whose access ended."""

    def __init__(self, settings: Settings, presence: Presence) -> None:
        self.presence = presence
        self._max_bytes = settings.websocket_max_message_kb * 1024
        self._in_channels = ChannelEvents(lambda: self.state)
        self.handlers: dict[str, Handler] = {
            "user-join": self.on_user_join,
            "heartbeat": self.on_heartbeat,
            "usage": self.on_usage,
            "events:chat": self.on_chat,
            "join-channels": self._in_channels.on_join,
            "events:channel": self._in_channels.on_channel,
        }
        channels = Channels()
        self.server = SocketServer(
            Incoming(self.handlers, channels.is_expected),
            self._bound,
            async_mode="asgi",
            # Checked by ourselves: the page comes from our own origin, configured others are listed.
            cors_allowed_origins=_origins(settings),
            cors_credentials="*" not in settings.cors_origins,
            transports=["websocket"] if settings.enable_websocket_support else ["polling"],
            allow_upgrades=False,
            ping_interval=settings.websocket_server_ping_interval,
            ping_timeout=settings.websocket_server_ping_timeout,
            json=FastJson,
            logger=False,
            engineio_logger=False,
            # Handlers run in the order of a client's events; they are short.
            async_handlers=False,
        )
        self.emitter = SocketEmitter(self.server, FrameWriter(self.server), presence, channels)
        channels.on_sending = self._pace
        self.notes = NoteEvents(self, self.emitter.rooms)
        self.handlers |= self.notes.handlers
        self._state: State | None = None
        # With the presence of other processes; None where there is one process only.
        self._sync: PresenceSync | None = None
        self._tasks: list[asyncio.Task[None]] = []
        # Set when a sweep is wanted now.
        self._wanted = asyncio.Event()
        self._active_at: dict[str, float] = {}
        # Whose rights may have changed since the last sweep; None: everybody's.
        self._rights_of: frozenset[str] | None = frozenset()
        self.app = CheckedPolling(socketio.ASGIApp(self.server, socketio_path=PATH.lstrip("/")), self.server)
        self.server.on("connect", self._connect)
        self.server.on("disconnect", self._disconnect)
        self.server.on("*", self._event)

    def open(self, state: State) -> None:
        """Starts to serve with this state."""
        self._state = state
        # From its id every process knows which one has a socket.
        self.server.eio.generate_id = lambda: socket_id(state.bus.instance, secrets.token_urlsafe(15))
        if not state.database.is_sqlite:
            self.emitter.open(state.bus)
            self._sync = PresenceSync(
                state.bus, self.presence, viewers_changed=self._tell_presence, events_lost=self._reload
            )
        state.identifier.on_forget(self._forgotten)
        state.identifier.on_renew(self._wanted.set)
        state.identifier.on_rights(self._rights_changed)
        self._tasks = [supervise("socket sweep", self._sweep), supervise("socket pings", self.server.eio.watch)]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for session in self.presence.sessions():
            await end_socket(self.server, session.sid)

    def _bound(self, sid: str) -> int:
        """How many bytes a packet of a socket may have. One that has a note open may send as much as a note holds."""
        if self.presence.get(sid) is None:
            return MAX_ANONYMOUS
        return max(self._max_bytes, MAX_NOTE_PACKET) if self.emitter.rooms.has_open(sid) else self._max_bytes

    @property
    def state(self) -> State:
        if self._state is None:
            raise RuntimeError("the socket server is not open yet")
        return self._state

    def policies(self) -> dict[str, Policy | None]:
        """Every event with its declared policy, for the policy table."""
        return {name: policy_of(handler) for name, handler in self.handlers.items()}

    async def _connect(self, sid: str, _environ: dict[str, Any], auth: Any = None) -> None:
        """Always accepts: the sign-in page opens a socket too. With a good token the socket is its user's."""
        await self._sign_in(sid, auth.get("token") if isinstance(auth, dict) else None)
        connection = self.server.eio.sockets.get(self.server.manager.eio_sid_from_sid(sid, "/"))
        if connection is None or connection.closed:
            # The library tells the end of a socket only after this.
            await self._disconnect(sid)
            raise socketio.exceptions.ConnectionRefusedError

    async def _sign_in(self, sid: str, token: Any) -> SocketSession | None:
        if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN:
            return None
        principal = await self.state.identify(token)
        if principal is None or not principal.is_active or principal.via != "session":
            return None
        before = self.presence.get(sid)
        if before is not None and before.principal.id != principal.id:
            # Somebody else signs in at this page: what the first one may see ends here.
            await self._leave_all(sid)
            self.emitter.channels.forget(sid)
        claims = self.state.tokens.verify(token)
        session = SocketSession(sid, token, principal, "" if claims is None else claims.jti)
        self.presence.add(session)
        if len(self.presence.sids_of(principal.id)) > MAX_SOCKETS:
            # What one person hears costs a write for each.
            log.info("the oldest of too many sockets of one person was ended", user_id=principal.id)
            await end_socket(self.server, self.presence.oldest_of(principal.id))
        if before is None or before.principal.id != principal.id:
            await self._flush_announcements()
        return session

    async def _flush_announcements(self) -> None:
        """Returns when the other processes know what changed here: who fetches a chat from one of them misses no frame."""
        if self._sync is not None:
            await self._sync.flush()

    async def _disconnect(self, sid: str, *_reason: Any) -> None:
        await self._leave_all(sid)
        self.presence.remove(sid)
        self.emitter.forget(sid)
        self._in_channels.forget(sid)

    async def _leave_all(self, sid: str) -> None:
        self.notes.forget(sid)
        for chat_id in self.presence.chats_of(sid):
            await self._leave(sid, chat_id)

    async def _leave(self, sid: str, chat_id: str) -> None:
        self.presence.leave(chat_id, sid)
        self._tell_presence([chat_id])

    async def _event(self, name: str, sid: str, *args: Any) -> Any:
        """Every event: identified, checked against its policy, then handled. Unknown events are ignored."""
        data = args[0] if args else None
        handler = self.handlers.get(name)
        if handler is None:
            is_stream = self.emitter.channels.is_expected(name)
            return await self._stream(sid, name, data) if is_stream else None
        policy = policy_of(handler)
        if policy is None or policy.level != "public":
            session = await self._current(sid)
            if session is None or policy is None or session.principal.role not in {"user", "admin"}:
                await end_socket(self.server, sid)
                return None
            told, work = {"data": data, "environ": self.server.get_environ(sid)}, handler(session, data)
            return await recorded_event(self.state.audit, name, policy, session.principal, work, **told)
        return await handler(SocketSession(sid, "", _NOBODY), data)

    def _pace(self, sid: str, sends: bool) -> None:
        """A socket that passes a stream on may send more than a page does by itself."""
        eio_sid = self.server.manager.eio_sid_from_sid(sid, "/")
        socket = self.server.eio.sockets.get(eio_sid)
        # Of a stream that nobody reads any more there is much on its way, which is passed over: its page does not know.
        rate = Rate(STREAM_BURST, STREAM_A_SECOND if sends else A_SECOND)
        if isinstance(socket, FrameSocket):
            socket.connection.accept_frames(rate)
        elif socket is not None:
            self.app.pace(eio_sid, rate)

    async def _stream(self, sid: str, name: str, data: Any) -> None:
        """A piece of a stream that a socket was asked for (channels.py): taken while its person may be here."""
        session = await self._current(sid)
        if session is None or session.principal.role not in {"user", "admin"}:
            await end_socket(self.server, sid)
        else:
            self.emitter.channels.received(sid, session.principal.id, name, data)

    async def _current(self, sid: str) -> SocketSession | None:
        """The session of a socket if its token is still good."""
        session = self.presence.get(sid)
        if session is None:
            return None
        principal = await self.state.identify(session.token)
        if principal is None:
            return None
        session.principal = principal
        return session

    @declare(PUBLIC)
    async def on_user_join(self, session: SocketSession, data: Any) -> dict[str, str] | None:
        """Signs the socket in, if its connect did not; answers who it is."""
        auth = data.get("auth") if isinstance(data, dict) else None
        token = auth.get("token") if isinstance(auth, dict) else None
        joined = await self._sign_in(session.sid, token)
        return None if joined is None else {"id": joined.principal.id, "name": joined.principal.name}

    @declare(USER)
    async def on_heartbeat(self, session: SocketSession, _data: Any) -> None:
        at = time.time()
        user_id = session.principal.id
        if at - self._active_at.get(user_id, 0) >= ACTIVE_SECONDS:
            self._active_at[user_id] = at
            async with self.state.database.write() as unit:
                await seen.touch(unit.connection, user_id, int(at))

    @declare(USER)
    async def on_usage(self, session: SocketSession, data: Any) -> None:
        model_id = _text(data.get("model") if isinstance(data, dict) else None)
        if model_id is not None:
            self.presence.use_model(session.sid, model_id)

    @declare(USER.on("chat", "read"))
    async def on_chat(self, session: SocketSession, data: Any) -> bool | None:
        """join, leave, typing, last_read_at of one chat."""
        if not isinstance(data, dict) or not isinstance(data.get("data"), dict):
            return False
        chat_id, kind = _text(data.get("chat_id")), data["data"].get("type")
        if chat_id is None:
            return False
        if kind == "join":
            return await self._join(session, chat_id)
        if kind == "leave":
            await self._leave(session.sid, chat_id)
            return True
        if kind == "typing":
            return await self._typing(session, chat_id, data["data"].get("data"))
        if kind == "last_read_at":
            await self._mark_read(session, chat_id)
        return None

    async def _may(self, principal: Principal, chat_id: str, action: chats.Action) -> bool:
        async with self.state.database.look() as connection:
            row = await chats.get(
                connection, principal, chat_id, action, admin_access=self.state.settings.enable_admin_chat_access
            )
        return row is not None

    async def _join(self, session: SocketSession, chat_id: str) -> bool:
        if not await self._may(session.principal, chat_id, "read"):
            return False
        now = self.presence.get(session.sid)
        if now is None or now.principal.id != session.principal.id:
            # Meanwhile the socket has left, or somebody else has signed in over it.
            return False
        self.presence.join(chat_id, session.sid)
        self._tell_presence([chat_id])
        await self._flush_announcements()
        return True

    def _tell_presence(self, chat_ids: Iterable[str]) -> None:
        """Tells the sockets here that look at these chats who looks at them in any process."""
        for chat_id in chat_ids:
            if sids := self.presence.watchers_of(chat_id):
                event = ChatEvent(chat_id, None, "chat:presence", {"users": self.presence.people_in(chat_id)})
                self.emitter.to_sockets(sids, "events", event.wire() | {"shared": True})

    def _reload(self) -> None:
        self._reload_chats()
        self.server.start_background_task(self.notes.resend)

    def _reload_chats(self) -> None:
        """Has the sockets here fetch what they show: events about it may have been lost."""
        for chat_id in self.presence.watchers_by_chat():
            self.emitter.to_sockets(
                self.presence.watchers_of(chat_id), "events", ChatEvent(chat_id, None, "chat:reload").wire()
            )

    async def _typing(self, session: SocketSession, chat_id: str, data: Any) -> bool:
        if not self.presence.is_in(chat_id, session.sid) or not await self._may(session.principal, chat_id, "write"):
            return False
        typing = bool(data.get("typing")) if isinstance(data, dict) else False
        event = ChatEvent(chat_id, None, "typing", {"typing": typing})
        await self.emitter.to_chat(event, skip=session.sid, user=session.principal.public())
        return True

    async def _mark_read(self, session: SocketSession, chat_id: str) -> None:
        at = int(time.time())
        try:
            async with change_chat(self.state.database, session.principal, chat_id, "own") as (unit, chat):
                await chats.change(unit.connection, chat, last_read_at=at)
        except NotFound:
            return
        data = {"chat_id": chat_id, "last_read_at": at, "folder_unread_counts": {}}
        await self.emitter.chat(session.principal.id, ChatEvent(chat_id, None, "chat:list", data))

    async def _forgotten(self, user_id: str) -> None:
        """Called when a user's access changed, here or in another process: what has no right to be open any more ends at once."""
        for sid in self.presence.sids_of(user_id):
            if (session := self.presence.get(sid)) is not None:
                await self._recheck_access(session)
        await self._end_streams(user_id)
        if user_id in self.state.running.askers():
            async with self.state.database.read() as connection:
                current = await seen.standing(connection, {user_id})
            await self._stop_barred({user_id}, current)

    def _rights_changed(self, user_ids: Collection[str] | None) -> None:
        """Has the sweep look at what some people, or all, may do now: whom an event of a channel reaches depends on it."""
        if user_ids is None:
            self._rights_of = None
        elif self._rights_of is not None:
            self._rights_of = self._rights_of | set(user_ids)
        self._wanted.set()

    async def _renew_rights(self) -> None:
        """Takes over what changed of the groups and permissions of people who have sockets here."""
        changed, self._rights_of = self._rights_of, frozenset()
        if changed is not None and not changed:
            return
        try:
            for session in self.presence.sessions():
                if changed is None or session.principal.id in changed:
                    await self._take_over(session)
        except BaseException:
            self._rights_of = None
            raise

    async def _take_over(self, session: SocketSession) -> None:
        before, current = session.principal, await self._current(session.sid)
        if current is None:
            # Its owner must have a second factor now.
            self.server.start_background_task(self._end, session.sid)
        elif (current.principal.role, current.principal.stamp) != (before.role, before.stamp):
            # What is more than groups and permissions ends the socket: the sweep sees it by what the socket had.
            session.principal = before

    async def _recheck_access(self, session: SocketSession) -> None:
        """Ends a socket whose token no longer holds, or whose user's role changed: the page loads anew then."""
        before = session.principal
        self.state.identifier.drop((before.id,))
        current = await self._current(session.sid)
        if current is None:
            self.server.start_background_task(self._end, session.sid)
        elif current.principal.role != before.role:
            self.emitter.to_sockets([session.sid], "access:updated", {})
            await end_socket(self.server, session.sid)

    async def _end(self, sid: str) -> None:
        """Ends a socket whose token has ended, a little later: a page that signs out leaves by itself meanwhile, while one
        that loses its socket first loads its lists anew, with that token. Whatever it still asks for is refused.
        """
        await asyncio.sleep(PARTING)
        await end_socket(self.server, sid)

    async def _end_streams(self, user_id: str | None = None) -> None:
        """Ends the API streams, of all users or of one, whose credential no longer holds."""
        streams = self.state.streams
        for token, principal in streams.callers():
            if user_id is None or principal.id == user_id:
                self.state.identifier.drop((principal.id,))
                current = await self.state.identify(token)
                if current is None or current.role != principal.role:
                    streams.end(token)

    async def _sweep(self) -> None:
        """Sees what changed of grants, what nobody told and the end of tokens; one query for all connected accounts."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._wanted.wait()
                await asyncio.sleep(SETTLE_SECONDS)
            self._wanted.clear()
            try:
                await self._sweep_once()
            except Exception:
                # A lost database must not end the sweep; the next round tries again.
                log.warning("the socket sweep failed", exc_info=True)

    async def _sweep_once(self) -> None:
        await self._renew_rights()
        sessions, askers = self.presence.sessions(), self.state.running.askers()
        await self._end_streams()
        if not sessions and not askers:
            return
        looking = self.presence.watchers_by_chat()
        async with self.state.database.read() as connection:
            current = await seen.standing(connection, {s.principal.id for s in sessions} | askers)
            signed_out = await seen.revoked_among(connection, {s.jti for s in sessions})
            owners = await seen.owners(connection, looking.keys())
        for session in sessions:
            standing = current.get(session.principal.id)
            expired = session.principal.expires_at is not None and session.principal.expires_at <= time.time()
            same = standing == (session.principal.role, session.principal.stamp)
            if not same or expired or session.jti in signed_out:
                await self._recheck_access(session)
        for chat_id, watching in looking.items():
            for session in watching:
                if owners.get(chat_id) != session.principal.id:
                    await self._recheck_watcher(session, chat_id)
        await self._stop_barred(askers, current)
        await self.notes.recheck()

    async def _stop_barred(self, askers: Collection[str], current: Mapping[str, tuple[str, str]]) -> None:
        """Stops the answers of those who may not ask any more. current: role and session stamp of the active ones."""
        for user_id in askers:
            if current.get(user_id, ("pending", ""))[0] == "pending":
                await self.state.running.stop_user_here(user_id)

    async def _recheck_watcher(self, session: SocketSession, chat_id: str) -> None:
        """Shows out who looks at somebody else's chat that is no longer shared with them."""
        # With the groups of now, which may be others than when it was last heard.
        current = await self._current(session.sid)
        if current is None or not self.presence.is_in(chat_id, session.sid):
            return
        if not await self._may(current.principal, chat_id, "read"):
            await self._leave(session.sid, chat_id)
            event = ChatEvent(chat_id, None, "chat:access", {})
            self.emitter.to_sockets([session.sid], "events", event.wire() | {"shared": True})


def _origins(settings: Settings) -> Any:
    """Whose pages may open sockets, as python-socketio takes it: all, or what a function says of an origin."""
    if "*" in settings.cors_origins:
        return "*"
    told: set[str] = set()

    def may_open(origin: str | None, environ: Mapping[str, Any]) -> bool:
        if origin is None or origin in settings.cors_origins:
            return True
        host, forwarded = environ.get("HTTP_HOST"), environ.get("HTTP_X_FORWARDED_HOST")
        if is_own_origin(origin, environ["asgi.scope"]["scheme"], host, forwarded):
            return True
        if (origin := origin[:200]) not in told and len(told) < _MAX_TOLD:
            told.add(origin)
            log.warning(
                "sockets of a page of another address are refused: let the proxy pass on Host, or name the page's origin in "
                "CORS_ALLOW_ORIGIN",
                origin=origin,
                host=host,
            )
        return False

    return may_open


_NOBODY: Final = Principal(id="", role="pending", name="", email="")
