"""What is costly to make and cheap to lose, by key and for a while: in this process, or in a Redis that all processes share.

How to use it: `await cache.get(key)`, and where that is None make the value and `await cache.put(key, value, seconds=...)`.
Begin the key with what is cached, and name in it everything on which the value depends; where it depends on who asks, their
id as well. A value may be gone at any moment and is old for up to its time: nothing is stored here alone. What is held, its
bound and what ends it belong into the table of docs/architecture/scaling.md.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from open_webui.env import Settings
from open_webui.internal.log import get_logger
from open_webui.internal.redis_servers import RedisServers, failures, key_servers

log = get_logger(__name__)

# A larger value is not kept.
VALUE_BYTES: Final = 2**20
# What a process keeps of its own. Redis has a bound of its own (`maxmemory`).
MEMORY_BYTES: Final = 16 * 2**20
# What an entry costs beside its key and value.
_OVERHEAD: Final = 200
# A Redis that doesn't answer within so many seconds is away, and is left alone for a while.
_PATIENCE: Final = 1.0
_PAUSE: Final = 5.0


class Cache(Protocol):
    """Nothing here raises because what keeps the values is away: then there are none."""

    async def get(self, key: str) -> bytes | None:
        """The value that was put there, unless its time is over or it had to go."""
        ...

    async def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keeps a value for so many seconds, at least a thousandth. One of more than VALUE_BYTES is not kept."""
        ...

    async def remove(self, key: str) -> None:
        """Forgets a value."""
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...


class MemoryCache:
    """Cache of this process alone. What was not asked for the longest goes first."""

    def __init__(self, most_bytes: int = MEMORY_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._bytes = 0
        # Until when, and what. The one that was asked for last is at the end.
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        until, value = self._entries.get(key, (0.0, b""))
        if until <= self._clock():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes, *, seconds: float) -> None:
        self._forget(key)
        if len(value) > VALUE_BYTES:
            return
        self._entries[key] = (self._clock() + max(0.001, seconds), value)
        self._bytes += _cost(key, value)
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._entries)))

    async def remove(self, key: str) -> None:
        self._forget(key)

    async def close(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def _forget(self, key: str) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._bytes -= _cost(key, entry[1])


def _cost(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD


class RedisCache:
    """Cache of all processes with one REDIS_KEY_PREFIX. Connects when it is used first."""

    def __init__(self, servers: RedisServers, prefix: str) -> None:
        self._servers = servers
        self._prefix = f"{prefix}:cache:"
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._away_until = 0.0

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._do("GET", key)
        return value

    async def put(self, key: str, value: bytes, *, seconds: float) -> None:
        if len(value) > VALUE_BYTES:
            await self.remove(key)
        else:
            await self._do("SET", key, value, "PX", max(1, round(seconds * 1000)))

    async def remove(self, key: str) -> None:
        await self._do("DEL", key)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _do(self, command: str, key: str, *arguments: Any) -> Any:
        """The answer to a command; None while Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                client = await self._connected()
                return await client.execute_command(command, self._prefix + key, *arguments)
        except failures() as error:
            log.warning("the cache in Redis is away", reason=str(error) or "It does not answer.", again_in=_PAUSE)
            self._away_until = time.monotonic() + _PAUSE
            return None

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                self._client = await self._servers.connect_for_keys()
        return self._client


def open_cache(settings: Settings) -> Cache:
    """In Redis where REDIS_URL names one. Raises StartupError."""
    return open_shared_cache(settings) or MemoryCache()


def open_shared_cache(settings: Settings) -> Cache | None:
    """The one in Redis, for what only other processes would look up. Raises StartupError."""
    servers = key_servers(settings)
    return None if servers is None else RedisCache(servers, settings.redis_key_prefix)
