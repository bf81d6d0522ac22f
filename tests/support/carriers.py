"""What carries a bus in the tests: each kind makes buses that hear each other, and goes away and comes back on demand."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import asyncpg

from open_webui.internal.bus.link import LinkBus
from open_webui.internal.bus.memory import Hub, MemoryBus
from open_webui.internal.bus.port import Bus
from open_webui.internal.bus.postgres import PostgresCarrier
from open_webui.internal.bus.redis import RedisCarrier
from open_webui.internal.bus.transport import ALL, Receive, Transport
from tests.support.redis import Redis


class Carriage(ABC):
    """One kind of carrier."""

    @abstractmethod
    def bus(self, prefix: str = "one", **options: Any) -> Bus:
        """A bus that hears those with its prefix."""

    async def stop(self) -> None:
        """It is away until `start`."""
        raise NotImplementedError

    async def start(self) -> None:
        raise NotImplementedError


class LinkCarriage(Carriage):
    """One whose buses are LinkBus."""

    @abstractmethod
    def transport(self, prefix: str = "one") -> Transport: ...

    def bus(self, prefix: str = "one", **options: Any) -> LinkBus:
        return LinkBus(self.transport(prefix), **options)


class MemoryCarriage(Carriage):
    def __init__(self) -> None:
        self._hubs: dict[str, Hub] = {}

    def bus(self, prefix: str = "one", **_options: Any) -> Bus:
        return MemoryBus(self._hubs.setdefault(prefix, Hub()))


class Wire(LinkCarriage):
    """A carrier in memory. `loses(data)` decides for each frame and receiver whether it gets lost."""

    def __init__(self) -> None:
        self.is_up = True
        self.loses: Callable[[bytes], bool] = lambda _data: False
        self.ends: list[WireEnd] = []

    def transport(self, prefix: str = "one") -> "WireEnd":
        return WireEnd(self, prefix)

    async def stop(self) -> None:
        self.is_up = False
        for end in list(self.ends):
            end.changed(False)

    async def start(self) -> None:
        self.is_up = True
        for end in list(self.ends):
            end.changed(True)


class WireEnd:
    """A Transport. `sent` counts what it was given; `renewed` how often it was asked for a new connection."""

    def __init__(self, wire: Wire, prefix: str) -> None:
        self._wire, self._prefix = wire, prefix
        self.sent = self.renewed = 0
        # Hears nothing while it is.
        self.is_deaf = False

    @property
    def is_up(self) -> bool:
        return self._wire.is_up

    async def open(self, channel: str, receive: Receive, changed: Callable[[bool], None]) -> None:
        self.names, self.changed, self._receive = {f"{self._prefix}{channel}", f"{self._prefix}{ALL}"}, changed, receive
        self._wire.ends.append(self)
        changed(self.is_up)

    async def close(self) -> None:
        self._wire.ends.remove(self)

    def send(self, channel: str, data: bytes) -> None:
        self.sent += 1
        for end in self._wire.ends:
            if f"{self._prefix}{channel}" in end.names and self.is_up and not self._wire.loses(data):
                asyncio.get_running_loop().call_soon(end.hear, data)

    def hear(self, data: bytes) -> None:
        if not self.is_deaf:
            self._receive(data)

    async def flush(self) -> None:
        await asyncio.sleep(0)

    def renew(self) -> None:
        self.renewed += 1


class PostgresCarriage(LinkCarriage):
    """The database `name` of a server. It is away while nobody may connect to it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._admin, self._name = url.rsplit("/", 1)[0] + "/postgres", url.rsplit("/", 1)[1]

    def transport(self, prefix: str = "one") -> PostgresCarrier:
        return PostgresCarrier({"dsn": self._url}, prefix)

    async def stop(self) -> None:
        await self._say(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        await self._say(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")

    async def start(self) -> None:
        await self._say(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    async def _say(self, statement: str) -> None:
        connection = await asyncpg.connect(self._admin)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class RedisCarriage(LinkCarriage):
    """A server of its own. `start` brings back an empty one."""

    def __init__(self, server: Redis) -> None:
        self._server = server

    def transport(self, prefix: str = "one") -> RedisCarrier:
        return RedisCarrier(self._server.servers(), prefix)

    async def stop(self) -> None:
        await asyncio.to_thread(self._server.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)
