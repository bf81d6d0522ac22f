"""The bus of a process that is alone; in a test, of several applications in one process that share a database.

Nothing can be lost on the way, so there is no link, no beat and no task: a process that is alone pays nothing.
"""

import asyncio
import secrets
from collections.abc import Collection
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import msgspec

from open_webui.internal.bus.listeners import Listeners, result_of
from open_webui.internal.bus.port import PeerLost

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


class MemoryBus(Listeners):
    """port.Bus."""

    def __init__(self, hub: Hub | None = None) -> None:
        super().__init__()
        self.instance = secrets.token_hex(6)
        self._hub = hub or Hub()

    @property
    def peers(self) -> Collection[str]:
        return [name for name in self._hub.members if name != self.instance]

    @property
    def is_up(self) -> bool:
        return True

    async def open(self) -> None:
        soon = asyncio.get_running_loop().call_soon
        others = list(self._hub.members.values())
        self._hub.members[self.instance] = self
        for other in others:
            soon(other.say_joined, self.instance)
            soon(self.say_joined, other.instance)

    async def close(self) -> None:
        if self._hub.members.pop(self.instance, None) is not None:
            for other in self._hub.members.values():
                asyncio.get_running_loop().call_soon(other.say_left, self.instance)

    def send(self, peer: str, topic: str, payload: Any) -> None:
        other = self._hub.members.get(peer)
        if other is not None:
            asyncio.get_running_loop().call_soon(other.hear, self.instance, topic, _decode(_encode(payload)))

    def publish(self, topic: str, payload: Any) -> None:
        for peer in self.peers:
            self.send(peer, topic, payload)

    async def flush(self) -> None:
        await asyncio.sleep(0)

    async def call(self, peer: str, topic: str, payload: Any, *, timeout: float) -> Any:
        other = self._hub.members.get(peer)
        if other is None:
            raise PeerLost
        await self.flush()
        async with asyncio.timeout(timeout):
            return result_of(await other.answer(self.instance, topic, _decode(_encode(payload))))
