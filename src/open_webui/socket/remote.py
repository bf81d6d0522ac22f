"""Who is connected to the other processes, as these announce it; and what this process announces to them.

An event is sent to the processes that may have a socket for it, and to no others. A process that has not announced
everything yet may have any.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Protocol

import msgspec

from open_webui.internal.bus.port import Bus, PeerLost

TOPIC: Final = "presence"
# Between a process's name and the rest of a socket's id.
_SEPARATOR: Final = "."
MODEL_IN_USE_SECONDS: Final = 3.0
# The use of a model is announced once in so many seconds, and holds so much longer in other processes.
MODEL_ANNOUNCED_SECONDS: Final = 1.0
# A process that does not say for so long that it has heard what was announced is waited for no longer.
FLUSH_SECONDS: Final = 0.5
# Models whose use is over are let go when there are more than this.
_MANY: Final = 1_000
# The public form of people who look at a chat (Principal.public), by their ids.
People = dict[str, dict[str, Any]]


class UserConnected(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A user has a socket, and had none."""

    user_id: str


class UserDisconnected(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A user has no socket any more."""

    user_id: str


class ViewerJoined(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A user looks at a chat."""

    chat_id: str
    user_id: str
    public: dict[str, Any]


class ViewerLeft(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A user looks at a chat no more."""

    chat_id: str
    user_id: str


class ModelUsed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A model is in use now."""

    model_id: str


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Everything at the moment: who is connected, who looks at each chat, which models are in use."""

    users: set[str]
    viewers: dict[str, People]
    models: list[str]


Change = UserConnected | UserDisconnected | ViewerJoined | ViewerLeft | ModelUsed
_Message = Change | Snapshot


class _Peer(msgspec.Struct):
    """What one process announced. is_complete: its snapshot came; until then it may have any user and any chat.

    models: until when each is in use, by the monotonic clock.
    """

    users: set[str] = set()
    viewers: dict[str, People] = {}
    models: dict[str, float] = {}
    is_complete: bool = False

    def use(self, model_id: str) -> None:
        at = time.monotonic()
        if len(self.models) > _MANY:
            self.models = {model: until for model, until in self.models.items() if until > at}
        self.models[model_id] = at + MODEL_IN_USE_SECONDS + MODEL_ANNOUNCED_SECONDS


class RemotePresence:
    """The other processes by their names, and what each announced. Empty where there is one process."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def add(self, peer: str) -> None:
        """A process is there and has announced nothing yet."""
        self._peers.setdefault(peer, _Peer())

    def remove(self, peer: str) -> Collection[str]:
        """What a process announced is void. Returns the chats that its users looked at."""
        known = self._peers.pop(peer, None)
        return () if known is None else known.viewers.keys()

    def apply(self, peer: str, message: _Message) -> Collection[str]:
        """Takes over what a process announces. Returns the chats that other people look at now than before."""
        known = self._peers.setdefault(peer, _Peer())
        match message:
            case UserConnected():
                known.users.add(message.user_id)
            case UserDisconnected():
                known.users.discard(message.user_id)
            case ModelUsed():
                known.use(message.model_id)
            case ViewerJoined():
                people = known.viewers.setdefault(message.chat_id, {})
                if people.get(message.user_id) != message.public:
                    people[message.user_id] = message.public
                    return [message.chat_id]
            case ViewerLeft():
                people = known.viewers.get(message.chat_id, {})
                if people.pop(message.user_id, None) is not None:
                    if not people:
                        del known.viewers[message.chat_id]
                    return [message.chat_id]
            case Snapshot():
                before = known.viewers
                known = self._peers[peer] = _Peer(message.users, message.viewers, is_complete=True)
                for model_id in message.models:
                    known.use(model_id)
                return [c for c in {*before, *known.viewers} if before.get(c) != known.viewers.get(c)]
        return ()

    def interested(self, people: Collection[str], chat_id: str | None = None, session_id: str = "") -> list[str]:
        """The processes that may have sockets of these people or that look at the chat, and the one with this socket."""
        if not self._peers:
            return []
        owner = instance_of(session_id)
        return [
            name
            for name, peer in self._peers.items()
            if not peer.is_complete or name == owner or chat_id in peer.viewers or not peer.users.isdisjoint(people)
        ]

    def is_connected(self, user_id: str) -> bool:
        return any(user_id in peer.users for peer in self._peers.values())

    def user_ids(self) -> set[str]:
        return {user_id for peer in self._peers.values() for user_id in peer.users}

    def people_in(self, chat_id: str) -> People:
        """Who looks at a chat in other processes."""
        found: People = {}
        for peer in self._peers.values():
            found |= peer.viewers.get(chat_id, {})
        return found

    def models_in_use(self) -> set[str]:
        at = time.monotonic()
        return {model for peer in self._peers.values() for model, until in peer.models.items() if until > at}


class LocalPresence(Protocol):
    """What is announced of this process (presence.Presence)."""

    remote: RemotePresence
    announce: Callable[[Change], None] | None

    def snapshot(self) -> Snapshot: ...


class PresenceSync:
    """Announces the presence of this process to the others and takes over theirs. To be made before the bus is opened.

    viewers_changed: called with the chats that other people look at than before. events_lost: called when a process is
    heard again after some of what it sent was lost on the way.
    """

    def __init__(
        self,
        bus: Bus,
        local: LocalPresence,
        *,
        viewers_changed: Callable[[Iterable[str]], None],
        events_lost: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._local = local
        self._viewers_changed = viewers_changed
        self._events_lost = events_lost
        self._gone: set[str] = set()
        # When the use of each model was announced last.
        self._models: dict[str, float] = {}
        # Whoever waits for the next round of `flush`, and the rounds one after the other.
        self._next_round: asyncio.Event | None = None
        self._flushing = asyncio.Lock()
        local.announce = self._announce
        bus.subscribe(TOPIC, self._on_message)
        bus.on_joined(self._on_joined)
        bus.on_left(self._on_left)
        bus.serve(TOPIC, self._on_question)

    def _announce(self, change: Change) -> None:
        if not self._bus.peers or (isinstance(change, ModelUsed) and not self._is_due(change.model_id)):
            return
        self._bus.publish(TOPIC, msgspec.to_builtins(change))

    async def flush(self) -> None:
        """Returns when the other processes have heard what was announced so far. All who wait meanwhile share one round."""
        if not self._bus.peers:
            return
        this_round = self._next_round = self._next_round or asyncio.Event()
        async with self._flushing:
            if not this_round.is_set():
                self._next_round = None
                await asyncio.gather(*map(self._wait_for, self._bus.peers))
                this_round.set()

    async def _wait_for(self, peer: str) -> None:
        # Its answer comes behind all that it was sent.
        with contextlib.suppress(PeerLost, TimeoutError):
            await self._bus.call(peer, TOPIC, None, timeout=FLUSH_SECONDS)

    async def _on_question(self, _peer: str, _payload: Any) -> None:
        """Answers with nothing: that it is answered says enough."""

    def _is_due(self, model_id: str) -> bool:
        at = time.monotonic()
        if at - self._models.get(model_id, -MODEL_ANNOUNCED_SECONDS) < MODEL_ANNOUNCED_SECONDS:
            return False
        if len(self._models) > _MANY:
            self._models.clear()
        self._models[model_id] = at
        return True

    def _on_joined(self, peer: str) -> None:
        self._local.remote.add(peer)
        self._bus.send(peer, TOPIC, msgspec.to_builtins(self._local.snapshot()))

    def _on_left(self, peer: str) -> None:
        self._gone.add(peer)
        self._viewers_changed(self._local.remote.remove(peer))
        if peer in self._bus.peers:
            self._local.remote.add(peer)

    def _on_message(self, peer: str, payload: Any) -> None:
        message = msgspec.convert(payload, _Message)
        self._viewers_changed(self._local.remote.apply(peer, message))
        if isinstance(message, Snapshot) and peer in self._gone:
            # A process that starts anew has another name: this one was there all the time.
            self._gone.discard(peer)
            self._events_lost()


def instance_of(session_id: str) -> str:
    """The name of the process that has a socket."""
    return session_id.partition(_SEPARATOR)[0]


def socket_id(instance: str, secret: str) -> str:
    """The id of a socket of a process."""
    return f"{instance}{_SEPARATOR}{secret}"
