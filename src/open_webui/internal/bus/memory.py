"""The bus of a process that is alone; in a test, of several applications in one process that share a database."""

import asyncio
import secrets
from collections.abc import Collection
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import msgspec

from open_webui.internal.bus.port import Answerer, Handler, PeerHandler, PeerLost
from open_webui.internal.log import get_logger

log = get_logger(__name__)
_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.decode


class Hub:
    """The buses that hear each other. `Hub.of(name)` is the same one for as long as somebody keeps it."""

    _hubs: ClassVar["WeakValueDictionary[str, Hub]"] = WeakValueDictionary()

    def __init__(self) -> None:
        self.members: dict[str, MemoryBus] = {}

    @classmethod
    def of(cls, name: str) -> "Hub":
        found = cls._hubs.get(name)
        if found is None:
            found = cls._hubs[name] = cls()
        return found


class MemoryBus:
    """port.Bus."""

    def __init__(self, hub: Hub | None = None) -> None:
        self.instance = secrets.token_hex(6)
        self._hub = hub or Hub()
        self.handlers: dict[str, list[Handler]] = {}
        self.answerers: dict[str, Answerer] = {}
        self.joined: list[PeerHandler] = []
        self.left: list[PeerHandler] = []

    @property
    def peers(self) -> Collection[str]:
        return [name for name in self._hub.members if name != self.instance]

    @property
    def is_up(self) -> bool:
        return True

    def subscribe(self, topic: str, handler: Handler) -> None:
        self.handlers.setdefault(topic, []).append(handler)

    def serve(self, topic: str, answerer: Answerer) -> None:
        self.answerers[topic] = answerer

    def on_joined(self, handler: PeerHandler) -> None:
        self.joined.append(handler)

    def on_left(self, handler: PeerHandler) -> None:
        self.left.append(handler)

    async def open(self) -> None:
        others = list(self._hub.members.values())
        self._hub.members[self.instance] = self
        for other in others:
            other.tell(other.joined, self.instance)
            self.tell(self.joined, other.instance)

    async def close(self) -> None:
        if self._hub.members.pop(self.instance, None) is not None:
            for other in self._hub.members.values():
                other.tell(other.left, self.instance)

    def send(self, peer: str, topic: str, payload: Any) -> None:
        other = self._hub.members.get(peer)
        if other is not None and topic in other.handlers:
            asyncio.get_running_loop().call_soon(other.hear, self.instance, topic, _decode(_encode(payload)))

    def publish(self, topic: str, payload: Any) -> None:
        for peer in self.peers:
            self.send(peer, topic, payload)

    async def flush(self) -> None:
        await asyncio.sleep(0)

    async def call(self, peer: str, topic: str, payload: Any, *, timeout: float) -> Any:
        other = self._hub.members.get(peer)
        if other is None or topic not in other.answerers:
            raise PeerLost(peer)
        await self.flush()
        async with asyncio.timeout(timeout):
            return _decode(_encode(await other.answerers[topic](self.instance, _decode(_encode(payload)))))

    def hear(self, peer: str, topic: str, payload: Any) -> None:
        """Hands news of a peer to those who want them."""
        for handler in self.handlers.get(topic, ()):
            try:
                handler(peer, payload)
            except Exception:
                # The event fan-out's place: news that can't be taken must not take others with them.
                log.exception("news of another process can't be taken", topic=topic)

    def tell(self, handlers: list[PeerHandler], peer: str) -> None:
        """Says soon that a peer has come or gone."""
        for handler in handlers:
            asyncio.get_running_loop().call_soon(handler, peer)
